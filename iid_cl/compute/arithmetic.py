"""Number format and compilation of the networks' passes, and how many images or classes they take at a time."""

import copy
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from iid_cl.compute.batches import has_batch_norm
from iid_cl.errors import UserError
from iid_cl.nets import Network

# Number of floating-point operations from which on compiling pays. On two CPU cores 1e13 operations take more than a
# minute without a compiler, which itself takes half a minute. On an H100 it wins half a minute back over 7e14.
COMPILING_PAYS = {"cpu": 5e12, "cuda": 7e14}  # per thread; per device
CPU_BLOCK = 64  # images per forward pass that fit into a CPU's caches
DEVICE_BLOCK = 4096  # images per forward pass elsewhere: enough to fill a device
CPU_MEMORY = 2 << 30  # bytes of activations at a time on a CPU: fixed, so that a result doesn't depend on what is free
DEVICE_SHARE = 0.4  # of the memory that is free on a device
COMPILER_WARNINGS = (  # patterns of warnings of PyTorch's compiler about its own doings
    r"\s*Online softmax is disabled",
    "TensorFloat32 tensor cores",
    "The CUDA Graph is empty",
    "The .grad attribute of a Tensor that is not a leaf",
)


@dataclass(frozen=True)
class Cost:
    """The cost of one image in a network."""

    flops: int  # of a forward pass
    activation_bytes: int  # stored for the backward pass, float32
    feature_bytes: int  # of the last feature map, float32


def measure(network: Network, shape: tuple[int, int, int], device: torch.device) -> Cost:
    """Counts operations and activations of ``network.embed`` on images of ``shape``, by running it once."""
    from torch.utils.flop_counter import FlopCounterMode  # late, because it imports Triton

    count = 3  # few layers have 3 channels, so a tensor with 3 rows belongs to the images
    activations = 0  # bytes

    def pack(tensor: Tensor) -> Tensor:
        nonlocal activations
        activations += tensor.nbytes if tensor.shape[:1] == (count,) else 0
        return tensor

    images = torch.zeros(count, *shape, device=device, requires_grad=True)
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        features = network.embed(images)
    return Cost(counter.get_total_flops() // count, activations // count, features.nbytes // count)


@dataclass(frozen=True)
class Arithmetic:
    """Number format and compilation of the networks' passes, see :func:`choose`."""

    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def embed(self, network: Network, images: Tensor) -> Tensor:
        """Last feature maps (N, C, H', W') of images (N, c, H, W); always float32."""
        # inside a captured function, whatever it calls is compiled along with it
        function = _compiled_embed if self.compiled and not torch.compiler.is_compiling() else _embed
        if self.compiled or images.device.type != "cpu":  # the faster layout there
            images = images.contiguous(memory_format=torch.channels_last)
        # Blocks of equal size: a single last image would be compiled once more. Batch norm in training needs the whole.
        block = CPU_BLOCK if images.device.type == "cpu" else DEVICE_BLOCK
        if network.training and has_batch_norm(network):
            block = len(images)
        blocks = images.tensor_split(-(-len(images) // block))
        return torch.cat([function(network, block, self.dtype) for block in blocks])

    def scores(self, network: Network, images: Tensor) -> Tensor:
        """Class scores (N, K) of images (N, c, H, W)."""
        scores: Tensor = network.classifier(network.pool(self.embed(network, images)))
        return scores

    @property
    def label(self) -> str:
        """The arithmetic in words, e.g. ``float32, eager``."""
        return f"{str(self.dtype).removeprefix('torch.')}, {'compiled' if self.compiled else 'eager'}"

    def captures(self, device: torch.device) -> bool:
        """Whether whole steps are compiled and replayed as CUDA graphs."""
        return self.compiled and device.type == "cuda"

    def capture(self, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        """``function`` compiled to be replayed as a CUDA graph where :meth:`captures` says so; else unchanged."""
        return torch.compile(function, dynamic=False, mode="reduce-overhead") if self.captures(device) else function


EAGER = Arithmetic()


def choose(precision: str, compiling: bool | None, device: torch.device, flops: float, own: bool) -> Arithmetic:
    """The requested arithmetic, or the fastest one for ``flops`` operations on ``device``.

    The choice depends on the machine and the settings and never on a timing, so a run repeats.

    Args:
        precision: ``float32``, ``bfloat16`` or ``auto``.
        compiling: whether to compile; None: only if it pays.
        device: where to compute.
        flops: floating-point operations of the whole job.
        own: whether the network or the objective is the user's; these are compiled only on request.

    Raises:
        UserError: ``compiling`` is true and the compiler does not work.
    """
    limit = COMPILING_PAYS.get(device.type, math.inf) * (torch.get_num_threads() if device.type == "cpu" else 1)
    compiled = compiling if compiling is not None else flops >= limit and not own
    problem = _try_compiler(device.type) if compiled else None
    if problem is not None:
        if compiling:
            raise UserError(f"compile: true, but the compiler does not work ({problem}); use false.")
        warnings.warn(f"going on without a compiler, which does not work here: {problem}", RuntimeWarning, stacklevel=2)
        compiled = False
    if precision != "auto":
        return Arithmetic(getattr(torch, precision), compiled)
    # without a compiler, a CPU's norms are slower in bfloat16 than its convolutions gain
    if device.type == "cpu":
        fast = compiled and _fast_bfloat16()
    else:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return Arithmetic(torch.bfloat16 if fast else torch.float32, compiled)


def for_training(
    network: Network,
    shape: tuple[int, int, int],
    images: int,
    device: torch.device,
    precision: str = "auto",
    compiling: bool | None = None,
) -> Arithmetic:
    """The arithmetic of a classifier's training on ``images`` images of ``shape``, counted over all epochs.

    On a CPU nothing is compiled unless ``compiling`` is true: small networks train in parallel, one per thread.
    """
    if device.type == "cpu" and not compiling:
        return Arithmetic(torch.float32 if precision == "auto" else getattr(torch, precision))
    # a copy: autograd would tie the weights to this stream, and a recorded step uses another
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    flops = 3 * images * measure(frozen, shape, device).flops  # a backward pass costs two forward passes
    return choose(precision, compiling, device, flops, own=False)


def compiler_problem(device_type: str) -> str | None:
    """Why the compiler does not work on this machine's ``cpu`` or ``cuda``; None if it works. It is tried once."""
    return _try_compiler(device_type)


def classes_per_chunk(bytes_per_class: int, device: torch.device) -> int:
    """Number of classes that fit into memory at a time, at least 1.

    The number changes the last digits of sums. So a deterministic run goes by a GPU's total memory, not its free one.
    """
    if device.type != "cuda":
        return max(1, CPU_MEMORY // bytes_per_class)
    free, total = torch.cuda.mem_get_info(device)
    usable = total if torch.are_deterministic_algorithms_enabled() else free
    return max(1, int(usable * DEVICE_SHARE) // bytes_per_class)


def _embed(network: Network, images: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return network.embed(images).float()


def _compiled_embed(network: Network, images: Tensor, dtype: torch.dtype) -> Tensor:
    """:func:`_embed`, compiled once for all networks of an architecture and all numbers of images."""
    # imported here because it takes a second, for which an eager run need not wait
    from torch._dynamo import config, maybe_mark_dynamic

    maybe_mark_dynamic(images, 0)
    # a study compiles more architectures than PyTorch's limit per function allows
    with config.patch(recompile_limit=64):
        return _compiled()(network, images, dtype)


@cache
def _compiled() -> Callable[[Network, Tensor, torch.dtype], Tensor]:
    """Cached because ``torch.compile`` itself takes longer than a small step."""
    return torch.compile(_embed)


@cache
def _try_compiler(device_type: str) -> str | None:
    """Why the compiler does not work on this machine; None if it works."""
    # a CUDA build of PyTorch on a machine without a GPU warns on every compilation
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for pattern in COMPILER_WARNINGS:
        warnings.filterwarnings("ignore", pattern, UserWarning)
    try:
        torch.compile(lambda x: x.sin() + x.sum())(torch.ones(100, device=device_type))
    except (RuntimeError, OSError, ImportError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None


def _fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 faster than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
