"""How the arithmetic is carried out: number format, compilation, and how much of it at a time."""

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
from torch.utils.flop_counter import FlopCounterMode

from iid_cl.compute.batches import has_batch_norm
from iid_cl.errors import UserError
from iid_cl.nets import Network

# Floating-point operations from which on compiling pays. On two CPU cores 1e13 take more than a minute without a
# compiler, and the compiler itself half a minute. On an H100 it wins half a minute back over 7e14.
COMPILING_PAYS = {"cpu": 5e12, "cuda": 7e14}  # per thread; per device
CPU_BLOCK = 64  # images per forward pass that a CPU's caches hold
DEVICE_BLOCK = 4096  # images per forward pass elsewhere: enough to fill a device
CPU_MEMORY = 2 << 30  # bytes of activations at a time on a CPU: fixed, so that a result doesn't depend on what is free
DEVICE_SHARE = 0.4  # of the memory that is free on a device
COMPILER_WARNINGS = (  # of PyTorch's compiler on what it does by itself; patterns
    r"\s*Online softmax is disabled",
    "TensorFloat32 tensor cores",
    "The CUDA Graph is empty",
    "The .grad attribute of a Tensor that is not a leaf",
)


@dataclass(frozen=True)
class Cost:
    """What one image costs a network."""

    flops: int  # of a forward pass
    activation_bytes: int  # kept for the backward pass, float32
    feature_bytes: int  # of the last feature map, float32


def measure(network: Network, shape: tuple[int, int, int], device: torch.device) -> Cost:
    """Counts operations and activations of ``network.embed`` on images of ``shape``, by running it once."""
    count = 3  # few layers have as many channels, so tensors of so many rows belong to the images
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes if tensor.shape[:1] == (count,) else 0
        return tensor

    images = torch.zeros(count, *shape, device=device, requires_grad=True)
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        features = network.embed(images)
    return Cost(counter.get_total_flops() // count, kept // count, features.nbytes // count)


@dataclass(frozen=True)
class Arithmetic:
    """Number format and compilation of the networks' passes, see :func:`choose`."""

    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def embed(self, network: Network, images: Tensor) -> Tensor:
        """Last feature maps (N, C, H', W') of images (N, c, H, W), float32 whatever the format in between."""
        # within a captured function it is compiled along with the rest
        function = _compiled_embed if self.compiled and not torch.compiler.is_compiling() else _embed
        images = images.contiguous(memory_format=torch.channels_last)
        # Blocks of equal size: a lone last image would be compiled once more. Batch norm in training needs the whole.
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
        """In words."""
        return f"{str(self.dtype).removeprefix('torch.')}, {'compiled' if self.compiled else 'eager'}"

    def captures(self, device: torch.device) -> bool:
        """Whether whole steps are compiled and replayed as CUDA graphs."""
        return self.compiled and device.type == "cuda"

    def capture(self, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        """On a GPU ``function`` compiled as a whole, to be replayed as a CUDA graph; on a CPU ``function`` itself."""
        return torch.compile(function, dynamic=False, mode="reduce-overhead") if self.captures(device) else function


EAGER = Arithmetic()


def choose(precision: str, compiling: bool | None, device: torch.device, flops: float, own: bool) -> Arithmetic:
    """The arithmetic asked for, or what is fastest for ``flops`` operations on ``device``.

    The choice depends on the machine and the settings and never on a timing, so that a run repeats.

    Args:
        precision: ``float32``, ``bfloat16`` or ``auto``.
        compiling: whether to compile; None where it pays.
        device: where it runs.
        flops: floating-point operations of the whole job.
        own: the network or the objective is the user's; it is compiled on demand only.

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
    """The arithmetic of a classifier's training, which shows a network ``images`` images of ``shape`` in all.

    On a CPU nothing is compiled unless asked for: small networks train side by side there, on a thread each.
    """
    if device.type == "cpu" and not compiling:
        return Arithmetic(torch.float32 if precision == "auto" else getattr(torch, precision))
    # a copy: what autograd keeps of the weights' own graph would tie a recorded step to another stream
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    flops = 3 * images * measure(frozen, shape, device).flops  # a backward pass costs two forward passes
    return choose(precision, compiling, device, flops, own=False)


def compiler_problem(device_type: str) -> str | None:
    """Why the compiler does not work on this machine's ``cpu`` or ``cuda``, or None; it is tried once."""
    return _try_compiler(device_type)


def classes_per_chunk(bytes_per_class: int, device: torch.device) -> int:
    """How many classes fit into memory at a time, at least 1.

    The number changes the last digits of sums: a run that has to repeat goes by all of the device's memory.
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
    """One compilation serves all networks of an architecture and all numbers of images."""
    # takes a second, which what is never compiled need not wait for
    from torch._dynamo import config, maybe_mark_dynamic

    maybe_mark_dynamic(images, 0)
    # a study compiles more architectures than PyTorch's limit per function foresees
    with config.patch(recompile_limit=64):
        return _compiled()(network, images, dtype)


@cache
def _compiled() -> Callable[[Network, Tensor, torch.dtype], Tensor]:
    """Asking for it takes longer than a small step."""
    return torch.compile(_embed)


@cache
def _try_compiler(device_type: str) -> str | None:
    """Why the compiler does not work on this machine, or None."""
    # a CUDA build of PyTorch on a machine without one says so on every compilation
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
