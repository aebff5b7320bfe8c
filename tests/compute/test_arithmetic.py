"""How the arithmetic is carried out: counted by hand, chosen by rule, and the same in blocks, formats and compiled."""

import os
import shutil
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from iid_cl.compute import arithmetic as acceleration
from iid_cl.compute.arithmetic import (
    COMPILING_PAYS,
    CPU_BLOCK,
    CPU_MEMORY,
    DEVICE_SHARE,
    EAGER,
    Arithmetic,
    Cost,
    choose,
    classes_per_chunk,
    for_training,
    measure,
)
from iid_cl.config.distill import NetworkConfig
from iid_cl.errors import UserError
from iid_cl.nets import Network, build_network
from tests.compiling import quiet_compiler

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

every_format = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def built(shape=(1, 8, 8), classes=1, seed=0, **options):
    network = build_network(NetworkConfig(**options), shape, classes, torch.Generator().manual_seed(seed))
    return network.requires_grad_(False)


def noise(count, shape=(1, 8, 8), seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


# --- what an image costs, in closed form: 2 * k * k * channels in * channels out * positions of each convolution


class Squares(Network):
    """Two convolutions without padding, each squared: every layer keeps exactly its input."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(2, 5, (7, 3))
        self.second = torch.nn.Conv2d(5, 4, (1, 2), bias=False)

    def embed(self, images):
        return self.second(self.first(images).square()).square()


def test_cost_of_a_network_by_hand():
    # 2 images' channels of 8x9; 5 of 2x7; 4 of 2x6
    flops = 2 * 7 * 3 * 2 * 5 * (2 * 7) + 2 * 1 * 2 * 5 * 4 * (2 * 6)
    kept = 2 * 8 * 9 + 2 * 5 * 2 * 7 + 4 * 2 * 6  # the input of either convolution and of either square
    assert measure(Squares(), (2, 8, 9), CPU) == Cost(flops, 4 * kept, 4 * 4 * 2 * 6)


@pytest.mark.parametrize(
    ("options", "shape", "flops", "features"),
    [
        ({"width": 4, "depth": 1}, (1, 8, 8), 2 * 9 * 1 * 4 * 64, 4 * 16),
        ({"width": 8, "depth": 2}, (3, 8, 12), 2 * 9 * 3 * 8 * 96 + 2 * 9 * 8 * 8 * 24, 8 * 6),
        ({"width": 8, "depth": 2, "norm": "none"}, (3, 8, 12), 2 * 9 * 3 * 8 * 96 + 2 * 9 * 8 * 8 * 24, 8 * 6),
        ({"name": "mlp"}, (1, 8, 8), 2 * 64 * 128 + 2 * 128 * 128, 128),
    ],
    ids=["one block", "two blocks", "without norms", "mlp"],
)
def test_cost_of_the_networks_here_by_hand(options, shape, flops, features):
    cost = measure(built(shape, **options), shape, CPU)
    assert cost.flops == flops
    assert cost.feature_bytes == 4 * features


def test_activations_grow_with_width_and_the_image():
    def kept(shape, **options):
        return measure(built(shape, **options), shape, CPU).activation_bytes

    plain = kept((1, 8, 8), width=8, depth=2)
    # at least what it cannot do without: each convolution's output, for the norm behind it
    assert plain >= 4 * (8 * 64 + 8 * 16)
    assert kept((1, 16, 16), width=8, depth=2) == pytest.approx(4 * plain, rel=0.05)
    assert kept((1, 8, 8), width=16, depth=2) == pytest.approx(2 * plain, rel=0.05)


def test_measuring_leaves_the_network_as_it_was():
    network, before = Squares(), torch.get_rng_state()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    measure(network, (2, 8, 9), CPU)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), before)


# --- the choice


@pytest.fixture
def machine(monkeypatch):
    """A machine of given abilities; without a compiler, to try it is a failure of its own."""

    def make(*, threads=1, fast=False, problem=None, cuda_bfloat16=True):
        tries = []
        monkeypatch.setattr(acceleration, "_try_compiler", lambda device_type: tries.append(device_type) or problem)
        monkeypatch.setattr(acceleration, "_fast_bfloat16", lambda: fast)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: cuda_bfloat16)
        return tries

    return make


@pytest.mark.parametrize(
    ("device", "threads", "limit"),
    [(CPU, 1, COMPILING_PAYS["cpu"]), (CPU, 6, 6 * COMPILING_PAYS["cpu"]), (CUDA, 6, COMPILING_PAYS["cuda"])],
    ids=["one thread", "six threads", "cuda"],
)
def test_long_jobs_are_compiled_and_short_ones_not(machine, device, threads, limit):
    tries = machine(threads=threads)
    assert not choose("float32", None, device, 0.999 * limit, False).compiled
    assert tries == []  # not even tried
    assert choose("float32", None, device, limit, False).compiled
    assert tries == [device.type]


def test_compiling_pays_on_either_device_in_this_order():
    assert 0 < COMPILING_PAYS["cpu"] < COMPILING_PAYS["cuda"]


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_what_is_asked_for_stands_before_the_rule(machine, device):
    machine()
    assert choose("float32", True, device, 0.0, False).compiled
    assert not choose("float32", False, device, 1e30, False).compiled


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_a_users_network_is_compiled_on_demand_only(machine, device):
    machine()
    assert not choose("float32", None, device, 1e30, True).compiled
    assert choose("float32", True, device, 0.0, True).compiled


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_a_format_asked_for_is_taken(machine, device, compiling):
    machine(fast=not compiling, cuda_bfloat16=not compiling)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        assert choose(name, compiling, device, 0.0, False) == Arithmetic(dtype, compiling)


@pytest.mark.parametrize(
    ("device", "compiling", "fast", "cuda_bfloat16", "dtype"),
    [
        (CPU, True, True, False, torch.bfloat16),
        (CPU, True, False, True, torch.float32),
        (CPU, False, True, True, torch.float32),
        (CUDA, True, False, True, torch.bfloat16),
        (CUDA, False, False, True, torch.bfloat16),
        (CUDA, True, True, False, torch.float32),
    ],
)
def test_the_format_follows_the_machine(machine, device, compiling, fast, cuda_bfloat16, dtype):
    machine(fast=fast, cuda_bfloat16=cuda_bfloat16)
    assert choose("auto", compiling, device, 0.0, False) == Arithmetic(dtype, compiling)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, EAGER),
        ({"precision": "bfloat16"}, Arithmetic(torch.bfloat16)),
        ({"compiling": False}, EAGER),
        ({"compiling": True}, Arithmetic(torch.bfloat16, True)),
        ({"compiling": True, "precision": "float32"}, Arithmetic(torch.float32, True)),
    ],
    ids=str,
)
def test_trainings_on_a_cpu_are_compiled_on_demand_only(machine, given, chosen):
    machine(fast=True)
    assert for_training(built(), (1, 8, 8), 10**12, CPU, **given) == chosen


def test_trainings_on_a_gpu_are_compiled_where_it_pays(machine, monkeypatch):
    """A backward pass costs twice a forward pass."""
    machine(cuda_bfloat16=True)
    monkeypatch.setattr(acceleration, "measure", lambda network, shape, device: Cost(1000, 0, 0))
    images = int(COMPILING_PAYS["cuda"]) // 3000
    for count, compiled in ((images - 1, False), (images + 1, True)):
        assert for_training(built(), (1, 8, 8), count, CUDA) == Arithmetic(torch.bfloat16, compiled)


def test_counting_a_trainings_operations_leaves_the_network_as_it_was(machine):
    machine(fast=True)
    network = built(norm="batch").requires_grad_(True).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for_training(network, (1, 8, 8), 1, CPU, compiling=True)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_compiler_asked_for_that_does_not_work_is_a_users_error(machine):
    machine(problem="no g++")
    with pytest.raises(UserError, match=r"^compile: true, but the compiler does not work \(no g\+\+\); use "):
        choose("auto", True, CPU, 0.0, False)


def test_without_a_working_compiler_the_rule_goes_on_eagerly_and_says_so(machine):
    machine(problem="no g++", fast=True)
    with pytest.warns(RuntimeWarning, match=r"^going on without a compiler, which does not work here: no g\+\+$"):
        chosen = choose("auto", None, CPU, 1e30, False)
    assert chosen == EAGER == Arithmetic(torch.float32, False)


def test_a_failure_without_words_is_called_by_its_type(monkeypatch):
    def broken(function):
        raise RuntimeError

    monkeypatch.setattr(torch, "compile", broken)
    assert acceleration._try_compiler.__wrapped__("cpu") == "RuntimeError"


BROKEN = """
import torch, warnings
from iid_cl.compute.arithmetic import EAGER, choose
from iid_cl.errors import UserError
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert choose("auto", None, torch.device("cpu"), 1e30, False) == EAGER
said = [str(w.message)[:31] for w in caught if w.category is RuntimeWarning]  # PyTorch 2.11 has words with itself
assert said == ["going on without a compiler, wh"]
try:
    choose("float32", True, torch.device("cpu"), 0.0, False)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("broken", "named"),
    [({"CXX": "/nonexistent/c++"}, "/nonexistent/c++"), ({"TORCHINDUCTOR_CACHE_DIR": "/proc/nope"}, "/proc/nope")],
    ids=["no compiler", "no folder to compile in"],
)
def test_a_compiler_that_does_not_work_is_noticed(tmp_path, broken, named):
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **broken}
    found = subprocess.run([sys.executable, "-c", BROKEN], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("compile: true, but the compiler does not work (")
    assert len(found.stdout.splitlines()) == 1
    assert named in found.stdout


# --- how much at a time


@pytest.mark.parametrize("size", [1, 1000, CPU_MEMORY // 7, CPU_MEMORY // 2 + 1, CPU_MEMORY, CPU_MEMORY + 1, 1 << 50])
def test_on_a_cpu_a_fixed_amount_of_memory_is_filled(size):
    chunk = classes_per_chunk(size, CPU)
    assert chunk >= 1
    assert chunk * size <= CPU_MEMORY or chunk == 1
    assert (chunk + 1) * size > CPU_MEMORY


def test_on_a_gpu_a_share_of_what_is_free_is_filled(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000_000, 10**12))
    share = DEVICE_SHARE * 10_000_000
    for size in (10_000, 333_333, int(share), int(share) + 1, 10**10):
        chunk = classes_per_chunk(size, CUDA)
        assert chunk == 1 or chunk * size <= share
        assert (chunk + 1) * size > share


def test_on_a_gpu_that_has_to_repeat_it_does_not_matter_what_is_free(monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    chunks = set()
    for free in (10_000_000, 20_000_000):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 80_000_000))
        chunks.add(classes_per_chunk(1_000_000, CUDA))
    assert chunks == {int(DEVICE_SHARE * 80)}


# --- passes


def embedded(arithmetic, network, count):
    """Features of images, and the gradient of their squared sum in the images."""
    images = noise(count, seed=count).requires_grad_()
    features = arithmetic.embed(network, images)
    features.square().sum().backward()
    return features.detach(), images.grad


@pytest.mark.parametrize("options", [{"width": 4, "depth": 1}, {"width": 4, "depth": 3, "norm": "group"}])
def test_any_number_of_images_is_embedded_as_if_at_once(options):
    network, images = built(**options), noise(130)
    whole = network.embed(images)
    for count in range(1, 131):
        torch.testing.assert_close(EAGER.embed(network, images[:count]), whole[:count], rtol=1e-5, atol=1e-6)


class Counting(Network):
    """Features are the pixels; remembers which images came in which pass."""

    def __init__(self):
        super().__init__()
        self.classifier = torch.nn.Linear(4, 2)
        self.seen = []

    def embed(self, images):
        self.seen.append(images[:, 0, 0, 0].tolist())
        return images


def test_blocks_are_as_few_and_as_even_as_can_be():
    for count in range(1, 4 * CPU_BLOCK + 3):
        network = Counting()
        images = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        assert torch.equal(EAGER.embed(network, images), images)
        assert list(chain.from_iterable(network.seen)) == list(range(count))
        sizes = [len(block) for block in network.seen]
        assert len(sizes) == -(-count // CPU_BLOCK)
        assert max(sizes) <= CPU_BLOCK
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [2, 100])
def test_gradients_pass_through_blocks(count):
    network, images = built(width=4, depth=1), noise(count, seed=count).requires_grad_()
    network.embed(images).square().sum().backward()
    torch.testing.assert_close(embedded(EAGER, network, count)[1], images.grad, rtol=1e-5, atol=1e-6)


def test_features_are_single_precision_whatever_the_format_between():
    network, images = built(width=4, depth=2), noise(70)
    exact, rough = (Arithmetic(dtype).embed(network, images) for dtype in (torch.float32, torch.bfloat16))
    assert exact.dtype == rough.dtype == torch.float32
    error = (rough - exact).norm() / exact.norm()
    assert 1e-4 < error < 0.03  # bfloat16 keeps 8 bits
    assert torch.equal(rough, rough.bfloat16().float())  # which is where it comes from


@every_format
def test_scores_are_those_of_the_network(dtype):
    network, images = built(width=4, depth=2, classes=3), noise(70)
    scores = Arithmetic(dtype).scores(network, images)
    assert scores.shape == (70, 3)
    assert scores.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    np.testing.assert_allclose(scores.numpy(), network(images).numpy(), atol=tolerance)


def test_batch_norm_in_training_sees_the_whole_batch():
    network, images = built(width=4, depth=2, norm="batch", classes=3), noise(130)
    for training in (True, False):
        network.train(training)
        torch.testing.assert_close(EAGER.scores(network, images), network(images), rtol=1e-4, atol=1e-5)


def test_steps_are_captured_where_a_gpu_compiles():
    captures = {(c, d.type): Arithmetic(compiled=c).captures(d) for c in (True, False) for d in (CPU, CUDA)}
    assert [case for case, captured in captures.items() if captured] == [(True, "cuda")]
    for compiled, device in ((True, CPU), (False, CPU), (False, CUDA)):
        assert Arithmetic(compiled=compiled).capture(noise, device) is noise


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler")
@quiet_compiler
def test_compiled_passes_and_their_gradients_agree_with_eager_ones():
    """One compilation of each format serves networks of any weights and any number of images."""
    assert acceleration._try_compiler("cpu") is None
    torch._dynamo.reset()
    counters.clear()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.03)):
        for seed, count in ((0, 70), (1, 131)):
            network = built(width=4, depth=1, seed=seed)
            eager, compiled = (embedded(Arithmetic(dtype, c), network, count) for c in (False, True))
            for expected, found in zip(eager, compiled, strict=True):
                assert found.dtype == torch.float32
                assert found.shape == expected.shape
                assert float((found - expected).norm() / expected.norm()) < tolerance
    assert counters["stats"]["unique_graphs"] == 2
    torch._dynamo.reset()


# --- on a GPU


@pytest.mark.gpu
@quiet_compiler
@every_format
@pytest.mark.parametrize("compiled", [False, True])
def test_passes_on_cuda_agree_with_the_cpu(dtype, compiled):
    network = built(width=16, depth=2)
    images = noise(300)
    expected = EAGER.embed(network, images)
    found = Arithmetic(dtype, compiled).embed(network.to("cuda"), images.to("cuda")).cpu()
    assert float((found - expected).norm() / expected.norm()) < 0.03
