"""Soft labels inside strategies: numbers hidden in labels are taken out again, and the loss is worked out in NumPy."""

import copy
import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario
from avalanche.core import SupervisedPlugin
from avalanche.training.supervised import Naive
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from iid_cl.cli import main
from iid_cl.config.reading import load_config
from iid_cl.data.classes import Classes
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.memory.space import Space
from iid_cl.methods.base import Scene
from iid_cl.methods.real import Real
from iid_cl.strategies import (
    DistilledBuffer,
    DistilledReplay,
    DistilledReplayPlugin,
    InMemoryPlugin,
    MemoryBuffer,
    MemoryOnly,
    MemoryReplayPlugin,
    RandomBuffer,
    SoftLabelPlugin,
)

from .conftest import NORMALIZATION, TINY, make_benchmark

HIDDEN = 2**15  # labels are below; what is above numbers the exemplar, from 1
GRID = TINY.model_copy(update={"partition": 2})


# --- the plugin alone


def memory_of(rows: list[list[float]], labels: list[int], columns: list[int]) -> ExemplarSet:
    images = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    plain = ExemplarSet(images, torch.tensor(labels, dtype=torch.int16))
    return plain.with_soft_labels(torch.tensor(rows), columns)


def buffer_of(exemplars: ExemplarSet | None) -> RandomBuffer:
    buffer = RandomBuffer(1)
    buffer.memory.exemplars = exemplars
    return buffer


def step(plugin: SoftLabelPlugin, labels: list[int], scores: Tensor) -> SimpleNamespace:
    """What a strategy does with a mini-batch, as far as the plugin is concerned."""
    strategy = SimpleNamespace(mbatch=[torch.rand(len(labels), 1), torch.tensor(labels), torch.zeros(len(labels))])
    plugin.before_training_iteration(strategy)
    strategy.mb_y, strategy.mb_output = strategy.mbatch[1], scores
    strategy.loss = torch.nn.CrossEntropyLoss()(scores, strategy.mb_y)
    plugin.before_backward(strategy)
    return strategy


def cross_entropy(scores: Any, targets: Any) -> float:
    """The mean cross-entropy of probabilities, in float64."""
    scores, targets = (np.asarray(x, dtype=np.float64) for x in (scores, targets))
    shifted = scores - scores.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-(targets * log_probabilities).sum(1).mean())


SOFT = memory_of([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]], [0, 2, 2], [0, 2])  # as levels hold them
SCORES = torch.tensor(
    [[1.0, -2.0, 0.5, 3.0], [0.0, 0.25, -1.0, 2.0], [-3.0, 1.0, 2.0, 0.0], [0.5, 0.5, 4.0, -0.5], [2.0, 1.0, 0.0, -1.0]]
)
MIXED = [3, 2 + 3 * HIDDEN, 1, 0 + 1 * HIDDEN, 2 + 2 * HIDDEN]
MIXED_TARGETS = [[0, 0, 0, 1], [0.1, 0, 0.9, 0], [0, 1, 0, 0], [0.9, 0, 0.1, 0], [0.5, 0, 0.5, 0]]


def test_a_buffer_numbers_its_samples_for_the_plugin_only() -> None:
    buffer = RandomBuffer(1)
    assert not buffer.number_samples
    SoftLabelPlugin(buffer)
    assert buffer.number_samples


def test_labels_are_classes_again_before_the_step() -> None:
    strategy = step(SoftLabelPlugin(buffer_of(SOFT)), MIXED, SCORES)
    assert strategy.mbatch[1].tolist() == [3, 2, 1, 0, 2]
    assert strategy.mbatch[1].dtype == torch.int64


def test_the_loss_of_a_mixed_batch_is_that_of_its_targets() -> None:
    scores = SCORES.clone().requires_grad_()
    strategy = step(SoftLabelPlugin(buffer_of(SOFT)), MIXED, scores)
    assert strategy.loss.item() == pytest.approx(cross_entropy(SCORES, MIXED_TARGETS), rel=1e-6)
    strategy.loss.backward()
    expected = (np.asarray(SCORES.double().softmax(1)) - np.asarray(MIXED_TARGETS)) / 5
    np.testing.assert_allclose(scores.grad.numpy(), expected, atol=1e-6)


def test_the_loss_of_exemplars_alone_and_of_one_that_comes_twice() -> None:
    strategy = step(SoftLabelPlugin(buffer_of(SOFT)), [HIDDEN, HIDDEN, 2 + 2 * HIDDEN], SCORES[:3])
    targets = [MIXED_TARGETS[3], MIXED_TARGETS[3], MIXED_TARGETS[4]]
    assert float(strategy.loss) == pytest.approx(cross_entropy(SCORES[:3], targets), rel=1e-6)


@pytest.mark.parametrize("labels", [[3, 2, 1, 0, 2], [0] * 5, [HIDDEN - 1] * 5], ids=str)
def test_samples_without_a_number_are_left_alone(labels: list[int]) -> None:
    plugin = SoftLabelPlugin(buffer_of(SOFT))
    strategy = SimpleNamespace(mbatch=[torch.rand(5, 1), torch.tensor(labels), torch.zeros(5)])
    before = [tensor.clone() for tensor in strategy.mbatch]
    plugin.before_training_iteration(strategy)
    assert all(torch.equal(a, b) for a, b in zip(strategy.mbatch, before, strict=True))
    strategy.mb_y, strategy.mb_output, strategy.loss = strategy.mbatch[1], SCORES, torch.tensor(7.0)
    plugin.before_backward(strategy)
    assert strategy.loss == 7.0


@pytest.mark.parametrize("exemplars", [None, dataclasses.replace(SOFT, soft_labels=None)], ids=["empty", "hard"])
def test_a_memory_without_soft_labels_has_the_loss_of_its_classes(exemplars: ExemplarSet | None) -> None:
    strategy = step(SoftLabelPlugin(buffer_of(exemplars)), MIXED, SCORES)
    assert strategy.mbatch[1].tolist() == [3, 2, 1, 0, 2]
    assert float(strategy.loss) == pytest.approx(cross_entropy(SCORES, np.eye(4)[[3, 2, 1, 0, 2]]), rel=1e-6)


def test_targets_follow_the_memory_and_the_network() -> None:
    buffer = buffer_of(SOFT)
    plugin = SoftLabelPlugin(buffer)
    step(plugin, MIXED, SCORES)
    wider = torch.cat([SCORES, SCORES[:, :2]], dim=1)
    strategy = step(plugin, MIXED, wider)
    padded = np.pad(np.asarray(MIXED_TARGETS), ((0, 0), (0, 2)))
    assert float(strategy.loss) == pytest.approx(cross_entropy(wider, padded), rel=1e-6)
    buffer.memory.exemplars = memory_of([[0.1, 0.9], [1.0, 0.0]], [1, 3], [1, 3])
    strategy = step(plugin, [1 + HIDDEN, 3 + 2 * HIDDEN], SCORES[:2])
    assert float(strategy.loss) == pytest.approx(cross_entropy(SCORES[:2], [[0, 0.1, 0, 0.9], [0, 1, 0, 0]]))


# --- in strategies, end to end


BENCHMARKS = pytest.mark.parametrize(
    ("kind", "task_labels"), [("plain", False), ("task-aware", False), ("task-aware", True)]
)


class Steps(SupervisedPlugin):
    """Keeps the parts of each step, with the targets that its memory samples should have had."""

    def __init__(self, memory: MemoryBuffer) -> None:
        super().__init__()
        self.memory = memory
        self.losses: list[tuple[float, float]] = []  # as it was, and as worked out here
        self.hard: list[float] = []  # with class indices for all
        self.shares: list[float] = []  # of memory samples
        self.tasks: dict[int, set[int]] = {}

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        labels, scores = strategy.mb_y.tolist(), strategy.mb_output.detach()
        assert set(labels) <= {0, 1, 2, 3}
        targets = np.eye(4)[labels]
        from_memory = 0
        for row, image in enumerate(strategy.mb_x):
            number = self.number(image)
            if number is not None:
                targets[row] = self.target(number)
                from_memory += 1
        self.losses.append((float(strategy.loss.detach()), cross_entropy(scores, targets)))
        self.hard.append(cross_entropy(scores, np.eye(4)[labels]))
        self.shares.append(from_memory / len(labels))
        if len(strategy.mbatch) > 2:
            for label, task in zip(labels, strategy.mbatch[2].tolist(), strict=True):
                self.tasks.setdefault(label, set()).add(int(task))

    def number(self, image: Tensor) -> int | None:
        """Which of the memory's decoded images this is."""
        if self.memory.exemplars is None:
            return None
        decoded = NORMALIZATION.apply(self.memory.exemplars.decoded().images)
        found = (decoded == image).flatten(1).all(1).nonzero().flatten().tolist()
        assert len(found) < 2
        return found[0] if found else None

    def target(self, number: int) -> np.ndarray:
        """The stored probabilities at the places of their classes."""
        exemplars = self.memory.exemplars
        assert exemplars is not None
        assert exemplars.soft_labels is not None
        label = int(exemplars.labels[number // exemplars.partition**2])
        columns = exemplars.soft_labels.columns[exemplars.classes.index(label)].tolist()
        row = np.zeros(4)
        for column, probability in zip(columns, exemplars.soft_labels.probabilities[number].tolist(), strict=True):
            if column >= 0:
                row[column] = probability
        return row / row.sum()


def arguments_of(network: torch.nn.Module, plugins: list[Any]) -> dict[str, Any]:
    return {
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_mb_size": 6,
        "train_epochs": 2,
        "plugins": plugins,
        "evaluator": None,
    }


def train(strategy: SupervisedTemplate, benchmark: CLScenario) -> None:
    torch.manual_seed(0)
    for experience in benchmark.train_stream:
        strategy.train(experience)


def check(steps: Steps) -> None:
    """The losses are those of the stored probabilities, which make a difference."""
    exemplars = steps.memory.exemplars
    assert exemplars is not None
    assert exemplars.soft_labels is not None
    assert exemplars.soft_labels.probabilities.amax(1).min() < 1
    found, expected = (np.array(values) for values in zip(*steps.losses, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    some = np.array(steps.shares) > 0
    assert some.any()
    assert np.abs(found - np.array(steps.hard))[some].max() > 0.01
    np.testing.assert_allclose(found[~some], np.array(steps.hard)[~some], rtol=1e-4)


def distilled(**options: Any) -> DistilledBuffer:
    return DistilledBuffer(1, **{"distill": TINY, "soft_labels": True, "normalization": NORMALIZATION, **options})


@pytest.mark.parametrize("in_memory", [False, True], ids=["loader", "memory"])
@pytest.mark.parametrize("settings", [TINY, GRID], ids=["whole", "grid"])
@BENCHMARKS
def test_replay_learns_by_soft_labels(
    kind: str, task_labels: bool, settings: Any, in_memory: bool, network: torch.nn.Module
) -> None:
    memory = distilled(distill=settings)
    steps = Steps(memory)
    plugins = [MemoryReplayPlugin(memory), SoftLabelPlugin(memory), *[InMemoryPlugin()] * in_memory, steps]
    strategy = Naive(**arguments_of(network, plugins))
    benchmark = make_benchmark(kind, task_labels=task_labels)
    train(strategy, benchmark)
    check(steps)
    half = len(steps.shares) // 2
    assert set(steps.shares[:half]) == {0.0}  # the first experience has no memory yet
    assert min(steps.shares[half:]) > 0
    tasks = {0: {0}, 1: {0}, 2: {1}, 3: {1}} if task_labels else {c: {0} for c in range(4)}
    assert steps.tasks == ({} if kind == "plain" else tasks)
    strategy.eval(benchmark.test_stream)


@pytest.mark.parametrize("in_memory", [False, True], ids=["loader", "memory"])
@BENCHMARKS
def test_memory_only_learns_by_soft_labels(
    kind: str, task_labels: bool, in_memory: bool, network: torch.nn.Module
) -> None:
    memory = distilled()
    steps = Steps(memory)
    plugins = [SoftLabelPlugin(memory), *[InMemoryPlugin()] * in_memory, steps]
    strategy = MemoryOnly(memory=memory, **arguments_of(network, plugins))
    train(strategy, make_benchmark(kind, task_labels=task_labels))
    check(steps)
    assert set(steps.shares) == {1.0}


def test_distilled_replay_learns_by_soft_labels(kind: str, network: torch.nn.Module) -> None:
    strategy = DistilledReplay(
        ipc=1, distill=TINY, soft_labels=True, normalization=NORMALIZATION, **arguments_of(network, [])
    )
    steps = Steps(strategy.memory)
    strategy.plugins.append(steps)
    train(strategy, make_benchmark(kind))
    check(steps)
    # an image and a label, two probabilities of two bytes, and which two classes they stand for
    assert strategy.memory.nbytes == 4 * (64 + 2) + 4 + 4 * 2 * 2


def test_the_replay_plugin_takes_the_soft_label_plugin_beside_it(network: torch.nn.Module) -> None:
    replay = DistilledReplayPlugin(1, distill=TINY, soft_labels=True, normalization=NORMALIZATION)
    steps = Steps(replay.storage_policy)
    train(
        Naive(**arguments_of(network, [SoftLabelPlugin(replay.storage_policy), replay, steps])), make_benchmark("plain")
    )
    check(steps)


def test_the_images_are_those_without_soft_labels(kind: str, network: torch.nn.Module) -> None:
    images = []
    for wanted in (False, True):
        strategy = DistilledReplay(
            ipc=1, distill=TINY, soft_labels=wanted, normalization=NORMALIZATION, **arguments_of(network, [])
        )
        train(strategy, make_benchmark(kind))
        images.append(strategy.memory.exemplars.images)
        assert (strategy.memory.exemplars.soft_labels is not None) == wanted
    assert torch.equal(*images)


@pytest.mark.parametrize("form", ["pil", "array", "unit", "normalized"])
def test_samples_of_any_form_carry_their_number(form: str, kind: str, network: torch.nn.Module) -> None:
    memory = distilled()
    plugin = SoftLabelPlugin(memory)
    seen: list[tuple[int, int]] = []

    class Before(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            labels = strategy.mbatch[1].tolist()
            seen.extend((label // HIDDEN - 1, label % HIDDEN) for label in labels if label >= HIDDEN)

    train(Naive(**arguments_of(network, [Before(), MemoryReplayPlugin(memory), plugin])), make_benchmark(kind, form))
    assert sorted(set(seen)) == [(0, 0), (1, 1)]  # the memory of the first experience
    assert list(memory.buffer.targets) == [0, 1, 2, 3]  # what Avalanche groups by


def weights_after(network: torch.nn.Module, kind: str, mode: str, soft: bool) -> Tensor:
    memory = RandomBuffer(1, normalization=NORMALIZATION)
    plugins: list[Any] = [SoftLabelPlugin(memory)] if soft else []
    if mode == "replay":
        strategy = Naive(**arguments_of(network, [MemoryReplayPlugin(memory), *plugins]))
    else:
        strategy = MemoryOnly(memory=memory, **arguments_of(network, plugins))
    train(strategy, make_benchmark(kind))
    return torch.cat([parameter.detach().flatten() for parameter in strategy.model.parameters()])


@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_a_memory_without_soft_labels_trains_as_ever(mode: str, kind: str, network: torch.nn.Module) -> None:
    plain = weights_after(copy.deepcopy(network), kind, mode, soft=False)
    assert torch.equal(weights_after(copy.deepcopy(network), kind, mode, soft=True), plain)


class Swapped(Real):
    """Real images that are said to be of the experience's other class."""

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> ExemplarSet:
        chosen = super().condense(arrived, space, scene)
        first, second = chosen.classes
        rows = [[0.05, 0.95] if label == first else [0.95, 0.05] for label in chosen.labels.tolist()]
        return chosen.with_soft_labels(torch.tensor(rows), [first, second])


def test_what_is_learned_is_what_the_soft_labels_say(kind: str, network: torch.nn.Module) -> None:
    memory = MemoryBuffer(Swapped("random"), 4, normalization=NORMALIZATION)
    options = {**arguments_of(network, [SoftLabelPlugin(memory)]), "train_epochs": 60}
    strategy = MemoryOnly(memory=memory, **options)
    train(strategy, make_benchmark(kind))
    strategy.model.eval()
    with torch.no_grad():
        predicted = strategy.model(NORMALIZATION.apply(memory.exemplars.images)).argmax(1)
    other = torch.tensor([1, 0, 3, 2])[memory.exemplars.labels.long()]
    assert torch.equal(predicted, other)


# --- as configured


@pytest.mark.parametrize("method", ["none", "random", "herding", "joint"])
def test_soft_labels_of_another_method_are_refused(method: str) -> None:
    with pytest.raises(UserError, match=rf"memory: .*soft_labels: true means nothing to '{method}'"):
        load_config("split_digits.yaml", ["memory.soft_labels=true", f"memory.method={method}"])


SETTINGS = {
    "stream.classes": "[[3, 1], [0, 7]]",
    "model": "{width: 4, depth: 1}",
    "train.epochs": "1",
    "train.memory_epochs": "2",
    "memory.ipc": "1",
    "distill": "{iterations: 2, real_batch: 4, embedder: {width: 4, depth: 1}}",
    "distill.cc": "{weight: 0, network: {width: 4, depth: 1}, trainings: 1, epochs: 1, snapshots: 1}",
    "distill.cm.weight": "0",
    "baselines": "[random]",
    "device": "cpu",
}


def ran(monkeypatch: pytest.MonkeyPatch, out: str, **settings: str) -> dict[str, Any]:
    """The summary of ``iid-cl run``, by method."""
    sets = [f"{key}={value}" for key, value in {**SETTINGS, **settings}.items()]
    arguments = ["run", "split_digits.yaml", "--out", out, *(part for text in sets for part in ("--set", text))]
    monkeypatch.setattr(sys, "argv", ["iid-cl", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    summary = json.loads((Path(out) / "run.json").read_text())
    return {result["method"]: result for result in summary["results"]}


@pytest.mark.usefixtures("no_reports")
@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_a_run_learns_by_soft_labels_and_charges_their_bytes(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    hard = ran(monkeypatch, "hard", **{"train.mode": mode})
    soft = ran(monkeypatch, "soft", **{"train.mode": mode, "memory.soft_labels": "true"})
    assert hard["distilled"]["memory_bytes"] == 4 * 66
    # per image a byte for two probabilities, per class the two classes that they stand for
    assert soft["distilled"]["memory_bytes"] == 4 * 66 + 4 + 4 * 2 * 2
    memory = load_memory(Path("soft/memory.safetensors"))
    assert memory.nbytes == soft["distilled"]["memory_bytes"]
    assert memory.soft_labels is not None
    assert memory.soft_labels.columns.tolist() == [[0, 7], [1, 3], [1, 3], [0, 7]]  # of 0, 1, 3 and 7
    assert torch.equal(memory.images, load_memory(Path("hard/memory.safetensors")).images)
    lines = [json.loads(line) for line in Path("soft/metrics.jsonl").read_text().splitlines()]
    assert [line["memory_bytes"] for line in lines if line["method"] == "distilled"] == [142, 284]
    # a baseline of real images has none, and is what it was
    for key in ("memory_bytes", "matrix"):
        assert soft["random"][key] == hard["random"][key]


@pytest.mark.usefixtures("no_reports")
def test_soft_labels_change_what_a_run_learns(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = {"train.mode": "memory_only", "train.memory_epochs": "30", "baselines": "[]", "train.lr": "0.1"}
    hard = ran(monkeypatch, "hard", **longer)
    soft = ran(monkeypatch, "soft", **longer, **{"memory.soft_labels": "true"})
    assert hard["distilled"]["matrix"] != soft["distilled"]["matrix"]
