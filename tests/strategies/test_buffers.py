from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.supervised import Naive
from torch import Tensor

from iid_cl.config.reading import parse_config
from iid_cl.distill.job import DistillJob
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.methods import distilled as distilled_module
from iid_cl.methods.build import make_method
from iid_cl.methods.memory import Memory
from iid_cl.nets import NamedLayer
from iid_cl.strategies import DistilledBuffer, HerdingBuffer, MemoryBuffer, MemoryReplayPlugin, RandomBuffer, RealBuffer

from .conftest import NORMALIZATION, TINY, Digits, make_benchmark

AGENT = SimpleNamespace(device="cpu")


def make(method: str, ipc: int = 2, **arguments: object) -> MemoryBuffer:
    if method == "distilled":
        return DistilledBuffer(ipc, distill=TINY, **arguments)
    if method == "herding":
        return HerdingBuffer(ipc, features=lambda images, strategy, generator: lambda x: x.flatten(1), **arguments)
    return RandomBuffer(ipc, **arguments)


def fill(buffer: MemoryBuffer, kind: str = "plain", experiences: int = 2, **arguments: object) -> MemoryBuffer:
    for experience in list(make_benchmark(kind, **arguments).train_stream)[:experiences]:
        buffer.post_adapt(AGENT, experience)
    return buffer


@pytest.mark.parametrize("method", ["distilled", "herding", "random"])
def test_every_method_fills_the_same_budget(method: str, kind: str) -> None:
    buffer = fill(make(method), kind)
    assert sorted(buffer.buffer.targets) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert buffer.max_size == len(buffer.buffer) == 8
    assert buffer.nbytes == 8 * (64 + 2)  # 8x8 grey bytes and a two-byte label each
    assert len(buffer.buffer[0]) == (3 if kind == "task-aware" else 2)


@pytest.mark.parametrize("method", ["distilled", "herding", "random"])
def test_no_image_of_another_experience_reaches_a_memory(
    method: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a class is condensed from anything but its own experience's training images."""
    seen: list[dict[int, set[bytes]]] = []

    def spy(images_by_class: Mapping[int, Tensor]) -> None:
        seen.append({c: {x.numpy().tobytes() for x in images} for c, images in images_by_class.items()})

    made_by = type(make(method).method)
    condense = made_by.condense
    monkeypatch.setattr(
        made_by, "condense", lambda self, arrived, *rest: (spy(arrived.images), condense(self, arrived, *rest))[1]
    )
    fill(make(method), kind)

    truth = Digits("bytes")
    for index, classes in enumerate([(0, 1), (2, 3)]):
        expected = {
            c: {a.tobytes() for a, y in zip(truth.arrays, truth.targets, strict=True) if y == c} for c in classes
        }
        assert seen[index] == expected


def test_what_the_engine_is_given_is_the_current_experience_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[set[int]] = []
    real = distilled_module.distill_each

    def spied(job: DistillJob, watch: Watch) -> ExemplarSet:
        given.append(set(job.classes.images))
        return real(job, watch)

    monkeypatch.setattr(distilled_module, "distill_each", spied)
    fill(make("distilled"))
    assert given == [{0, 1}, {2, 3}]


def test_real_memories_hold_real_training_images() -> None:
    truth = {a.tobytes(): y for a, y in zip(Digits("bytes").arrays, Digits("bytes").targets, strict=True)}
    for method in ("herding", "random"):
        memory = fill(make(method)).exemplars
        assert [truth[image.numpy().tobytes()] for image in memory.images] == memory.labels.tolist()


@pytest.mark.parametrize("name", ["distilled", "hybrid", "random"])
def test_a_loop_of_ones_own_stores_the_same_bytes(name: str, network: torch.nn.Module, tmp_path: Path) -> None:
    """What Avalanche trains and fills, against ``Memory`` and each experience's images in a plain loop."""
    config = parse_config({"distill": TINY.model_dump(), "memory": {"method": name}}, "a test")
    method = make_method(config, name)
    memory = Memory(method, ipc=2, seed=5, normalization=NORMALIZATION, device="cpu")
    images, labels = Digits("bytes"), torch.tensor(Digits("bytes").targets)
    pictures = torch.stack([images[number][0] for number in range(len(images))])
    for classes in ([0, 1], [2, 3]):
        rows = torch.isin(labels, torch.tensor(classes))
        memory.update(
            pictures[rows], labels[rows], features=lambda _, lens, __: lambda batch: lens.show(batch).flatten(1)
        )
    memory.save(tmp_path / "loop.safetensors")

    buffer = MemoryBuffer(
        make_method(config, name), 2, seed=5, normalization=NORMALIZATION,
        features=lambda *_: lambda batch: batch.flatten(1),
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    strategy = Naive(model=network, optimizer=optimizer, train_mb_size=4, plugins=[MemoryReplayPlugin(buffer)])
    for experience in make_benchmark("plain").train_stream:
        strategy.train(experience)
    found, expected = load_memory(tmp_path / "loop.safetensors").tensors(), buffer.exemplars.tensors()
    assert {key: tensor.tolist() for key, tensor in found.items()} == {
        key: tensor.tolist() for key, tensor in expected.items()
    }


def test_distilled_images_are_not_the_real_ones_they_started_from() -> None:
    truth = {a.tobytes() for a in Digits("bytes").arrays}
    memory = fill(make("distilled")).exemplars
    assert not any(image.numpy().tobytes() in truth for image in memory.images)


def test_what_is_replayed_is_what_is_stored() -> None:
    buffer = fill(make("distilled", normalization=NORMALIZATION))
    for stored, sample in zip(buffer.exemplars.images, buffer.buffer, strict=True):
        torch.testing.assert_close(sample[0], NORMALIZATION.apply(stored))


def test_older_classes_stay_as_they_are() -> None:
    first = fill(make("distilled"), experiences=1).exemplars
    both = fill(make("distilled"), experiences=2).exemplars
    assert torch.equal(both.images[:4], first.images)


@pytest.mark.parametrize("method", ["distilled", "random"])
def test_a_seed_fixes_the_memory(method: str) -> None:
    one, again, other = (fill(make(method, seed=seed)).exemplars.images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_task_labels_are_those_the_classes_came_with() -> None:
    buffer = fill(make("random"), "task-aware", task_labels=True)
    pairs = [(int(y), int(t)) for _, y, t in buffer.buffer]
    assert pairs == [(0, 0), (0, 0), (1, 0), (1, 0), (2, 1), (2, 1), (3, 1), (3, 1)]


@pytest.mark.parametrize("method", ["distilled", "herding", "random"])
def test_it_serves_avalanches_own_replay_plugin(method: str, kind: str, network: torch.nn.Module) -> None:
    buffer = make(method)
    strategy = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=4,
        plugins=[ReplayPlugin(mem_size=buffer.max_size, storage_policy=buffer)],
        evaluator=None,
    )
    for experience in make_benchmark(kind).train_stream:
        strategy.train(experience)
    assert buffer.exemplars.classes == [0, 1, 2, 3]


def test_herding_without_a_layer_says_what_to_pass() -> None:
    buffer = HerdingBuffer(1)
    experience = next(iter(make_benchmark("plain").train_stream))
    with pytest.raises(UserError, match=r"no layer at work .*; pass `features`"):
        buffer.post_adapt(SimpleNamespace(model=torch.nn.Flatten(), device="cpu"), experience)


@pytest.mark.parametrize("method", ["distilled", "herding", "random"])
def test_a_class_with_fewer_images_than_asked_keeps_what_it_has(method: str) -> None:
    buffer = fill(make(method, ipc=7))
    assert buffer.exemplars.labels.tolist() == [c for c in range(4) for _ in range(6)]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="ipc: 0"):
        RandomBuffer(0)


def test_resizing_is_refused_unless_it_changes_nothing() -> None:
    buffer = fill(make("random"))
    buffer.resize(AGENT, 8)
    with pytest.raises(UserError, match="cannot be resized to 3"):
        buffer.resize(AGENT, 3)


def test_saving_writes_the_memory_and_where_it_comes_from(tmp_path: Path) -> None:
    buffer = make("distilled", seed=5, normalization=NORMALIZATION)
    with pytest.raises(UserError, match="still empty"):
        buffer.save(tmp_path / "m.safetensors")
    fill(buffer).save(tmp_path / "m.safetensors")
    loaded = load_memory(tmp_path / "m.safetensors")
    assert torch.equal(loaded.images, buffer.exemplars.images)
    assert loaded.metadata["method"] == "distilled"
    assert loaded.metadata["seed"] == 5
    assert loaded.metadata["mean"] == [0.3]
    assert loaded.metadata["distill"]["iterations"] == TINY.iterations


def test_the_default_normalisation_is_measured_on_the_first_experience() -> None:
    buffer = fill(make("random"))
    truth = Digits("bytes")
    pixels = torch.tensor([a.tolist() for a, y in zip(truth.arrays, truth.targets, strict=True) if y < 2]).double()
    assert buffer.normalization.mean[0] == pytest.approx(float(pixels.mean()) / 255)
    assert buffer.normalization.std[0] == pytest.approx(float(pixels.std()) / 255)


def test_a_rule_of_ones_own_chooses_images_and_is_named() -> None:
    """The darkest images of each class."""

    def darkest(features: Tensor, count: int, weights: Tensor, generator: torch.Generator) -> Tensor:
        return features.double().sum(1).argsort()[:count]

    buffer = fill(RealBuffer(2, rule=darkest, features=lambda images, strategy, generator: lambda x: x.flatten(1)))
    assert buffer.describe()["method"] == "darkest"
    assert buffer.exemplars is not None
    truth = Digits("bytes")
    for label, kept in buffer.exemplars.by_class().items():
        sums = sorted(int(x.sum()) for x, y in zip(truth.arrays, truth.targets, strict=True) if y == label)
        assert [int(image.long().sum()) for image in kept] == sums[:2]


def test_an_objective_and_an_embedder_of_ones_own_reach_the_distillation() -> None:
    asked = []

    def objective(real: Tensor, synthetic: Tensor) -> Tensor:
        asked.append(real.shape[2:])
        return (real.flatten(2).mean(1) - synthetic.flatten(2).mean(1)).square().sum(1)

    layer = torch.nn.Conv2d(1, 3, 3, stride=2)  # 8x8 images to 3x3 maps of 3 channels
    embedder = NamedLayer(torch.nn.Sequential(layer), "0")
    buffer = fill(DistilledBuffer(2, distill=TINY, embedder=embedder, objective=objective))
    assert buffer.exemplars is not None
    assert buffer.exemplars.metadata["own_objective"] == "objective"
    assert set(asked) == {(3, 9)}
