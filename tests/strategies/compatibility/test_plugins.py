"""Our memories in everything of Avalanche's that keeps exemplars in a storage policy, on both kinds of benchmark."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.training.plugins import bic
from torch import Tensor

from iid_cl.errors import UserError
from iid_cl.strategies import (
    AutoBuffer,
    DistilledBuffer,
    HerdingBuffer,
    HybridBuffer,
    MemoryBuffer,
    RandomBuffer,
    RealBuffer,
    ReservoirBuffer,
    SoftLabelPlugin,
    TaskLabelled,
)

from ..conftest import NORMALIZATION, TINY, make_benchmark
from .hosts import HOSTS, Extractor

IMAGE = 8 * 8 + 2  # one grey channel and a label


@dataclass(frozen=True)
class Memory:
    """A memory and what it holds of two experiences of two classes with six images each.

    Attributes:
        make: builds it.
        first: images of the first experience when that ends; None where their cost decides.
        last: images of each class at the end; None where chance or their cost decides.
        nbytes: of all of it, 8 full-size images where nothing else is said; for JPEG at most.
    """

    make: Callable[[], MemoryBuffer]
    first: int | None = 4
    last: int | None = 2
    nbytes: int = 8 * IMAGE


METHODS = {
    "distilled": Memory(lambda: DistilledBuffer(2, distill=TINY, normalization=NORMALIZATION)),
    "herding": Memory(lambda: HerdingBuffer(2, normalization=NORMALIZATION)),
    "random": Memory(lambda: RandomBuffer(2, normalization=NORMALIZATION)),
    "fixed total": Memory(
        lambda: DistilledBuffer(mem_size=8, shrink="cut", distill=TINY, normalization=NORMALIZATION), first=8
    ),
    "bytes per class": Memory(
        lambda: DistilledBuffer(class_bytes=2 * IMAGE + 50, distill=TINY, normalization=NORMALIZATION)
    ),
    "bytes in total": Memory(
        lambda: RealBuffer(mem_bytes=8 * IMAGE + 50, rule="k_centre", normalization=NORMALIZATION), first=8
    ),
    "reservoir": Memory(
        lambda: ReservoirBuffer(mem_size=16, normalization=NORMALIZATION), first=12, last=None, nbytes=16 * IMAGE
    ),
    "hybrid": Memory(lambda: HybridBuffer(2, distill=TINY, normalization=NORMALIZATION)),
    "auto": Memory(  # real images as coefficients: more than half of a class fits
        lambda: AutoBuffer(2, distill=TINY, normalization=NORMALIZATION), first=None, last=None
    ),
    "half size": Memory(  # four images in the bytes of one
        lambda: RealBuffer(1, rule="closest", downscale=2, normalization=NORMALIZATION),
        first=8,
        last=4,
        nbytes=4 * IMAGE,
    ),
    "JPEG": Memory(
        lambda: RandomBuffer(class_bytes=1500, jpeg=50, normalization=NORMALIZATION), first=12, last=6, nbytes=4 * 1500
    ),
}
# Hosts that draw exemplars with a loader of their own and unpack x, y, t.
WANT_TASK_LABELS = {("ER_ACE", "plain"), ("MemoryNCMUpdate", "plain"), ("MemoryFeCAMUpdate", "plain")}
# Hosts that fail where an online stream that tells its tasks leaves the memory empty, or without the classes at hand.
WANT_MEMORY_AT_ONCE = {"MemoryFeCAMUpdate", "GDumbPlugin", "ER_AML", "LaMAML"}
# What Avalanche 0.6 does on this torch with its own storage policy.
NO_TASK_LABEL = (AssertionError, "Task label not found")
UNEQUAL = (RuntimeError, "each element in list of batch should be of equal size")
STOCK_FAILS: dict[tuple[str, str], tuple[type[Exception], str]] = {
    ("BiCPlugin", "task-aware"): (TypeError, "unexpected keyword argument 'verbose'"),
    ("BiCPlugin", "plain"): (AttributeError, "property 'dataset' of 'DatasetExperience' object has no setter"),
    ("ER_AML", "plain"): NO_TASK_LABEL,
    ("MER", "plain"): NO_TASK_LABEL,
    ("LaMAML", "plain"): NO_TASK_LABEL,
    ("DER", "plain"): (ValueError, "expected 3, got 2"),
    ("CoPEPlugin", "plain"): UNEQUAL,
    ("SCR", "plain"): UNEQUAL,
}
# Those of them that work with our memories all the same.
MENDED = {("CoPEPlugin", "plain"), ("SCR", "plain")}
EVERYWHERE = [(host, kind) for host in HOSTS for kind in ("task-aware", "plain")]
SERVED = [pair for pair in EVERYWHERE if (pair not in STOCK_FAILS or pair in MENDED) and pair[0] != "DER"]


def with_memories() -> list[tuple[str, str, str]]:
    """Avalanche's own replay plugin with every memory; each other host with three, so that all memories meet hosts."""
    names = list(METHODS)
    triples = []
    for number, (host, kind) in enumerate(SERVED):
        some = names if host == "ReplayPlugin" else [names[(number + step) % len(names)] for step in (0, 4, 8)]
        triples += [(host, kind, name) for name in some]
    return triples


def cases(pairs: Iterable[tuple[str, ...]]) -> list[Any]:
    return [pytest.param(*words, id="-".join(words)) for words in pairs]


def train_alone(host: str, kind: str) -> None:
    """Trains with Avalanche's own policy, whose deprecated ``update`` warns and undoes all filters at each call."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        train(HOSTS[host](None), kind)


class Watch:
    """The images that reach any copy of a model's feature extractor, in each experience."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.seen: list[set[bytes]] = []
        seen = self.seen  # the hook is copied with the model; this list is not

        def look(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            if type(inputs[0]) is Tensor:  # RAR traces the model with something else
                seen[-1].update(image.numpy().tobytes() for image in inputs[0].detach())

        next(m for m in model.modules() if isinstance(m, Extractor)).register_forward_pre_hook(look)


def train(
    strategy: Any, kind: str, policy: MemoryBuffer | None = None, per_class: int = 6
) -> tuple[Watch, list[bytes]]:
    """Trains two experiences of two classes; returns what the model saw and the exemplars after the first."""
    watch, first = Watch(strategy.model), list[bytes]()
    benchmark = make_benchmark(kind, per_class=per_class)
    for experience in benchmark.train_stream:
        watch.seen.append(set())
        strategy.train(experience)
        if policy is not None and not first:
            first = [sample[0].numpy().tobytes() for sample in policy.buffer if sample[1] < 2]
    strategy.eval(benchmark.test_stream)
    return watch, first


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")  # FeCAM
@pytest.mark.filterwarnings("ignore:Avalanche is transitioning")  # LaMAML
@pytest.mark.parametrize(("host", "kind", "method"), cases(with_memories()))
def test_a_host_trains_and_replays_from_our_memory(host: str, kind: str, method: str) -> None:
    torch.manual_seed(0)
    memory = METHODS[method]
    policy = memory.make()
    strategy = HOSTS[host](TaskLabelled(policy) if (host, kind) in WANT_TASK_LABELS else policy)
    watch, old = train(strategy, kind, policy, per_class=10 if method == "auto" else 6)
    assert memory.first in (None, len(old))
    assert policy.exemplars.classes == [0, 1, 2, 3]
    if memory.last is not None:
        assert Counter(policy.buffer.targets) == dict.fromkeys(range(4), memory.last)
    assert policy.nbytes <= memory.nbytes if method in ("JPEG", "auto") else policy.nbytes == memory.nbytes
    assert watch.seen[1] & set(old), "no exemplar of the first experience reached the model in the second"
    assert all(parameter.isfinite().all() for parameter in strategy.model.parameters())


def train_online(host: str, kind: str, boundaries: bool) -> list[int]:
    """Two experiences in two halves each; returns the exemplars after each half."""
    torch.manual_seed(0)
    policy = METHODS["random"].make()
    strategy = HOSTS[host](TaskLabelled(policy) if (host, kind) in WANT_TASK_LABELS else policy)
    stream, sizes = make_benchmark(kind).train_stream, []
    for experience in split_online_stream(stream, experience_size=6, access_task_boundaries=boundaries, seed=0):
        strategy.train(experience)
        sizes.append(len(policy.buffer))
    return sizes


@pytest.mark.parametrize(("host", "kind"), cases(pair for pair in SERVED if pair[0] not in WANT_MEMORY_AT_ONCE))
def test_a_host_learns_from_an_online_stream_that_tells_its_tasks(host: str, kind: str) -> None:
    assert train_online(host, kind, boundaries=True) == [0, 4, 4, 8]


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")  # FeCAM
@pytest.mark.filterwarnings("ignore:Avalanche is transitioning")  # LaMAML
@pytest.mark.parametrize(("host", "kind"), cases(SERVED))
def test_a_host_learns_from_an_online_stream_without_boundaries(host: str, kind: str) -> None:
    assert train_online(host, kind, boundaries=False) == [4, 4, 8, 8]


@pytest.mark.filterwarnings("ignore:Avalanche is transitioning")  # LaMAML
@pytest.mark.parametrize(("host", "kind"), cases(pair for pair in SERVED if pair[0] in WANT_MEMORY_AT_ONCE))
def test_these_hosts_fail_before_an_online_streams_first_task_ends(host: str, kind: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"num_samples=0|non-empty|multinomial"):
        train_online(host, kind, boundaries=True)


@pytest.mark.parametrize(("host", "kind"), cases(sorted(WANT_TASK_LABELS)))
def test_these_hosts_need_task_labels(host: str, kind: str) -> None:
    """Fails, and the docs can be simplified, when a host takes samples (x, y)."""
    with pytest.raises(ValueError, match="expected 3, got 2"):
        train(HOSTS[host](METHODS["random"].make()), kind)


@pytest.mark.parametrize(("host", "kind"), cases(pair for pair in EVERYWHERE if pair not in STOCK_FAILS))
def test_avalanche_alone_works(host: str, kind: str) -> None:
    train_alone(host, kind)


@pytest.mark.parametrize(("host", "kind"), cases(STOCK_FAILS))
def test_avalanche_alone_is_broken(host: str, kind: str) -> None:
    """Fails when a newer Avalanche works, which the table in the docs has to say then."""
    error, message = STOCK_FAILS[host, kind]
    with pytest.raises(error, match=message):
        train_alone(host, kind)


def test_der_is_not_served() -> None:
    """It trains on the logits that its network gave for each exemplar, as a fourth item of a sample."""
    policy = METHODS["distilled"].make()
    with pytest.raises(ValueError, match="expected 4, got 3"):
        train(HOSTS["DER"](policy), "task-aware")


def test_bic_would_work_with_a_newer_scheduler_call(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = bic.MultiStepLR
    monkeypatch.setattr(bic, "MultiStepLR", lambda *given, verbose, **named: scheduler(*given, **named))
    torch.manual_seed(0)
    policy = METHODS["distilled"].make()
    strategy = HOSTS["BiCPlugin"](policy)
    plugin = next(p for p in strategy.plugins if isinstance(p, bic.BiCPlugin))
    plugin.mem_size, plugin.val_percentage = 8, 0.5  # what it sets aside of each experience for its second stage
    watch, old = train(strategy, "task-aware", policy)
    assert sorted(policy.buffer.targets) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert watch.seen[1] & set(old)


# Hosts whose mini-batches hold exemplars as samples to classify.
LEARN_SOFT_LABELS = {"ReplayPlugin", "Replay", "GDumbPlugin"}


@pytest.mark.parametrize("wrap", [lambda policy: policy, TaskLabelled], ids=["itself", "task-labelled"])
@pytest.mark.parametrize("host", sorted(LEARN_SOFT_LABELS))
def test_a_host_learns_by_soft_labels(host: str, wrap: Callable[[MemoryBuffer], Any]) -> None:
    weights = []
    for soft in (True, False):
        torch.manual_seed(0)
        policy = DistilledBuffer(2, distill=TINY, normalization=NORMALIZATION, soft_labels=True)
        strategy = HOSTS[host](wrap(policy))
        if soft:
            strategy.plugins.append(SoftLabelPlugin(policy))
        torch.manual_seed(1)
        train(strategy, "task-aware")
        weights.append(torch.cat([parameter.detach().flatten() for parameter in strategy.model.parameters()]))
    assert not torch.equal(*weights)


@pytest.mark.filterwarnings("ignore:Avalanche is transitioning")  # LaMAML
@pytest.mark.parametrize("host", [host for host in HOSTS if host not in LEARN_SOFT_LABELS])
def test_the_other_hosts_refuse_soft_labels(host: str) -> None:
    """Before they begin: they would take a hidden number for a class, some without an error."""
    policy = DistilledBuffer(2, distill=TINY, normalization=NORMALIZATION, soft_labels=True)
    strategy = HOSTS[host](policy)
    strategy.plugins.append(SoftLabelPlugin(policy))
    with pytest.raises(UserError, match=r"^SoftLabelPlugin: in this \w+ .* give it to ReplayPlugin, .*\.$"):
        train(strategy, "task-aware")
    assert policy.exemplars is None
