"""Strategies that train and evaluate from memory, against the same strategies with Avalanche's loaders."""

import copy
import gc
import random
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.benchmarks.utils.transform_groups import DefaultTransformGroups
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from avalanche.training.supervised import JointTraining, Naive
from avalanche.training.templates import SupervisedTemplate
from torchvision.transforms import Compose, Lambda, Normalize, RandomCrop, ToTensor

from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError
from iid_cl.strategies import DistilledReplay, InMemoryPlugin, MemoryOnly, MemoryReplayPlugin, RandomBuffer

from .conftest import FORMS, NORMALIZATION, TINY, Digits, make_benchmark

Batch = list[torch.Tensor]


class Batches(SupervisedPlugin):
    """Keeps what a strategy trains on and is evaluated on, by epoch and by evaluated experience."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[list[Batch]] = []
        self.evaluated: list[list[Batch]] = []

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.trained.append([])

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.trained[-1].append([item.clone() for item in strategy.mbatch])

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.evaluated.append([])

    def before_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.evaluated[-1].append([item.clone() for item in strategy.mbatch])


def sizes(epochs: list[list[Batch]]) -> list[list[tuple[int, ...]]]:
    return [[tuple(len(item) for item in batch) for batch in epoch] for epoch in epochs]


def contents(epochs: list[list[Batch]]) -> list[Counter[Any]]:
    """The samples of each epoch, whatever their order."""
    return [
        Counter(
            (image.numpy().tobytes(), *map(int, rest)) for batch in epoch for image, *rest in zip(*batch, strict=True)
        )
        for epoch in epochs
    ]


def same_bits(one: list[list[Batch]], other: list[list[Batch]]) -> bool:
    flat = [[item for epoch in epochs for batch in epoch for item in batch] for epochs in (one, other)]
    return len(flat[0]) == len(flat[1]) and all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


def arguments(network: torch.nn.Module, plugins: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_mb_size": 5,
        "train_epochs": 2,
        "eval_mb_size": 7,
        "plugins": plugins,
        "evaluator": None,
        **more,
    }


def run(strategy: SupervisedTemplate, benchmark: CLScenario, **more: Any) -> None:
    torch.manual_seed(0)
    for experience in benchmark.train_stream:
        strategy.train(experience, **more)
        strategy.eval(benchmark.test_stream)


def both(
    make: Callable[[list[Any]], SupervisedTemplate],
    benchmark: Callable[[], CLScenario],
    ours: InMemoryPlugin,
    **more: Any,
) -> tuple[Batches, Batches]:
    """What a strategy sees with Avalanche's loaders, and from memory."""
    found = []
    for plugins in ([], [ours]):
        batches = Batches()
        run(make([*plugins, batches]), benchmark(), **more)
        found.append(batches)
    return found[0], found[1]


def plugin_for(form: str, **more: Any) -> InMemoryPlugin:
    """With transforms of batches where those of the benchmark take PIL images or arrays."""
    given = (NORMALIZATION.apply, NORMALIZATION.apply) if form in ("pil", "array") else ()
    return InMemoryPlugin(*given, **more)


# --- the same mini-batches


@pytest.mark.parametrize("form", FORMS)
def test_replay_sees_the_same_samples_in_batches_of_the_same_sizes(
    form: str, kind: str, network: torch.nn.Module
) -> None:
    def make(plugins: list[Any]) -> Naive:
        # four images of memory in each batch: whole passes, so that epochs hold the same samples
        memory = MemoryReplayPlugin(RandomBuffer(2, normalization=NORMALIZATION), batch_size_mem=4)
        return Naive(**arguments(copy.deepcopy(network), [memory, *plugins]))

    stock, ours = both(make, lambda: make_benchmark(kind, form, task_labels=kind == "task-aware"), plugin_for(form))
    parts = 3 if kind == "task-aware" else 2
    assert sizes(ours.trained) == [[(n,) * parts for n in (5, 5, 2)]] * 2 + [[(n,) * parts for n in (9, 9, 6)]] * 2
    assert sizes(ours.trained) == sizes(stock.trained)
    assert contents(ours.trained) == contents(stock.trained)
    for mine, theirs in zip(ours.trained[-1], stock.trained[-1], strict=True):
        assert [item.dtype for item in mine] == [item.dtype for item in theirs]
        assert (mine[1][:-4] >= 2).all()  # current classes first, the memory's after them
        assert (mine[1][-4:] < 2).all()
    assert same_bits(ours.evaluated, stock.evaluated)


def test_a_small_memory_fills_its_share_and_nothing_is_dropped(kind: str, network: torch.nn.Module) -> None:
    def make(plugins: list[Any]) -> Naive:
        memory = MemoryReplayPlugin(RandomBuffer(1), batch_size_mem=6)
        return Naive(**arguments(copy.deepcopy(network), [memory, *plugins]))

    stock, ours = both(make, lambda: make_benchmark(kind), InMemoryPlugin(), drop_last=True)
    assert sizes(ours.trained) == sizes(stock.trained)
    assert contents(ours.trained)[2:] == contents(stock.trained)[2:]
    assert [len(epoch) for epoch in ours.trained] == [2, 2, 3, 3]  # drop_last counts where there is no memory
    for epoch in ours.trained[2:]:
        assert all(Counter(batch[1][-6:].tolist()) == {0: 3, 1: 3} for batch in epoch)


def test_the_order_of_plugins_does_not_matter(kind: str, network: torch.nn.Module) -> None:
    found = []
    for first in (True, False):
        memory, ours, batches = MemoryReplayPlugin(RandomBuffer(2), batch_size_mem=4), InMemoryPlugin(), Batches()
        order = [ours, memory] if first else [memory, ours]
        run(Naive(**arguments(copy.deepcopy(network), [*order, batches])), make_benchmark(kind))
        found.append(batches)
    assert len(found[0].trained[-1][0][1]) == 9
    assert same_bits(found[0].trained, found[1].trained)


def test_avalanches_replay_plugin_is_served_too(kind: str, network: torch.nn.Module) -> None:
    def make(plugins: list[Any]) -> Naive:
        buffer = RandomBuffer(2)
        memory = ReplayPlugin(mem_size=0, batch_size_mem=4, storage_policy=buffer)
        return Naive(**arguments(copy.deepcopy(network), [*plugins, memory]))

    stock, ours = both(make, lambda: make_benchmark(kind), InMemoryPlugin())
    assert sizes(ours.trained) == sizes(stock.trained)
    assert contents(ours.trained) == contents(stock.trained)
    assert len(ours.trained[-1][0][1]) == 9


def test_memory_only_and_joint_training(kind: str, network: torch.nn.Module) -> None:
    def memory_only(plugins: list[Any]) -> MemoryOnly:
        return MemoryOnly(memory=RandomBuffer(3), **arguments(copy.deepcopy(network), plugins))

    stock, ours = both(memory_only, lambda: make_benchmark(kind), InMemoryPlugin())
    assert [sum(len(batch[1]) for batch in epoch) for epoch in ours.trained] == [6, 6, 12, 12]
    assert sizes(ours.trained) == sizes(stock.trained)
    assert contents(ours.trained) == contents(stock.trained)
    found = []
    for plugins in ([], [InMemoryPlugin()]):
        batches = Batches()
        JointTraining(**arguments(copy.deepcopy(network), [*plugins, batches])).train(make_benchmark(kind).train_stream)
        found.append(batches)
    stock, ours = found
    assert sizes(ours.trained) == sizes(stock.trained)
    assert contents(ours.trained) == contents(stock.trained)
    assert sorted(y for batch in ours.trained[0] for y in batch[1].tolist()) == sorted([0, 1, 2, 3] * 6)


def test_bytes_without_a_transform_stay_bytes(kind: str) -> None:
    class Cast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(64, 4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.linear(images.flatten(1).float())

    streams = {name: [as_classification_dataset(Digits("bytes", classes=2))] for name in ("train", "test")}

    def make(plugins: list[Any]) -> Naive:
        return Naive(**arguments(Cast(), plugins))

    stock, ours = both(make, lambda: with_classes_timeline(benchmark_from_datasets(**streams)), InMemoryPlugin())
    assert ours.trained[0][0][0].dtype == torch.uint8
    assert contents(ours.trained) == contents(stock.trained)
    assert same_bits(ours.evaluated, stock.evaluated)


# --- the same results


def test_evaluation_agrees_bit_for_bit(kind: str, network: torch.nn.Module) -> None:
    results = []
    for plugins in ([], [InMemoryPlugin()]):
        evaluator = EvaluationPlugin(
            accuracy_metrics(experience=True, stream=True), loss_metrics(experience=True, stream=True)
        )
        strategy = Naive(**arguments(copy.deepcopy(network), plugins, evaluator=evaluator))
        results.append(strategy.eval(make_benchmark(kind).test_stream))
    assert results[0] == results[1]
    assert len(results[0]) == 6


@pytest.mark.parametrize("form", ["bytes", "pil"])
def test_training_on_whole_batches_ends_in_the_same_weights(form: str, kind: str, network: torch.nn.Module) -> None:
    """With one mini-batch per epoch the order of samples only changes the order of sums."""

    def make(plugins: list[Any], model: torch.nn.Module) -> Naive:
        memory = MemoryReplayPlugin(RandomBuffer(2, normalization=NORMALIZATION), batch_size_mem=4)
        return Naive(**arguments(model, [memory, *plugins], train_mb_size=100, train_epochs=5))

    models = []
    for plugins in ([], [plugin_for(form)]):
        models.append(copy.deepcopy(network))
        run(make(plugins, models[-1]), make_benchmark(kind, form))
    stock, ours = (model.state_dict() for model in models)
    assert max(float((stock[name] - value).abs().max()) for name, value in network.state_dict().items()) > 0.01
    for name, value in ours.items():
        torch.testing.assert_close(value, stock[name], rtol=1e-4, atol=1e-5)


def test_metrics_forgetting_and_evaluation_while_training(kind: str, network: torch.nn.Module) -> None:
    batches = Batches()
    strategy = DistilledReplay(
        ipc=1,
        distill=TINY,
        normalization=NORMALIZATION,
        **arguments(
            network,
            [InMemoryPlugin(), batches],
            eval_every=1,
            evaluator=EvaluationPlugin(
                accuracy_metrics(epoch=True, experience=True, stream=True), forgetting_metrics(experience=True)
            ),
        ),
    )
    benchmark = make_benchmark(kind)
    for experience in benchmark.train_stream:
        strategy.train(experience, [benchmark.test_stream])
    metrics = strategy.eval(benchmark.test_stream)
    # before training and after each of two epochs, twice; two experiences each time; and once more at the end
    assert len(batches.evaluated) == 2 * 3 * 2 + 2
    assert [len(epoch) for epoch in batches.trained] == [3, 3, 3, 3]
    assert [sum(len(batch[1]) for batch in epoch) for epoch in batches.trained] == [12, 12, 27, 27]
    assert sum(name.startswith("ExperienceForgetting") for name in metrics) == 1
    accuracy = next(value for name, value in metrics.items() if name.startswith("Top1_Acc_Stream"))
    evaluated = [batch for epoch in batches.evaluated[-2:] for batch in epoch]
    network.eval()
    right = sum(int((network(batch[0]).argmax(1) == batch[1]).sum()) for batch in evaluated)
    assert accuracy == pytest.approx(right / 24)


# --- randomness


def test_a_seed_repeats_training_bit_for_bit_and_global_randomness_is_left_alone(
    kind: str, network: torch.nn.Module
) -> None:
    def trained(seed: int, global_seed: int) -> Batches:
        batches = Batches()
        memory = MemoryReplayPlugin(RandomBuffer(2), batch_size_mem=3)
        strategy = Naive(**arguments(copy.deepcopy(network), [memory, InMemoryPlugin(seed=seed), batches]))
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        random.seed(global_seed)
        states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        for experience in make_benchmark(kind).train_stream:
            strategy.train(experience)
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())
        return batches

    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    one, again, other = trained(0, 1), trained(0, 2), trained(1, 1)
    torch.set_rng_state(before[0])
    np.random.set_state(before[1])
    random.setstate(before[2])
    assert same_bits(one.trained, again.trained)
    assert not same_bits(one.trained, other.trained)
    assert not same_bits(one.trained[:1], one.trained[1:2])  # each epoch has its own order


# --- reading once, and letting go


class Counted(Digits):
    """Counts how often each sample is read."""

    def __init__(self, *rest: Any, **more: Any) -> None:
        super().__init__(*rest, **more)
        self.reads: Counter[int] = Counter()

    def __getitem__(self, index: int) -> tuple[object, int]:
        self.reads[index] += 1
        return super().__getitem__(index)


def counted(form: str = "bytes") -> tuple[CLScenario, Counted, Counted]:
    train, test = Counted(form), Counted(form, skip=10)
    groups = {"train": NORMALIZATION.apply, "eval": NORMALIZATION.apply}
    halves = {
        name: [
            as_classification_dataset(source, transform_groups=groups).subset(part)
            for part in (range(12), range(12, 24))
        ]
        for name, source in (("train", train), ("test", test))
    }
    return with_classes_timeline(benchmark_from_datasets(**halves)), train, test


def test_samples_are_read_once_and_evaluation_does_not_read_again(network: torch.nn.Module) -> None:
    benchmark, train, test = counted()
    strategy = Naive(**arguments(network, [InMemoryPlugin()]))
    run(strategy, benchmark)
    once = dict.fromkeys(range(24), 3)  # and twice before, to see that a sample is the same each time
    assert train.reads == once
    assert test.reads == once
    run(strategy, benchmark)
    strategy.eval(benchmark.train_stream)
    assert train.reads == once
    assert test.reads == once


def test_data_sets_cut_differently_from_the_same_sources_are_kept_apart(network: torch.nn.Module) -> None:
    sources = [TensorImages(torch.full((2, 1, 8, 8), float(i)), torch.tensor([i, i])) for i in range(2)]
    first, second = (as_classification_dataset(source) for source in sources)
    joined = first.concat(second)
    mapped = type(first)([first], frozen_transform_groups=DefaultTransformGroups((None, [3, 3].__getitem__)))
    stream = [joined, joined.subset([0, 2, 1, 3]), joined.subset([3, 1]), first, mapped]
    batches = Batches()
    strategy = Naive(**arguments(network, [InMemoryPlugin(), batches]))
    strategy.eval(benchmark_from_datasets(test=stream).test_stream)
    found = [batch[1].tolist() for (batch,) in batches.evaluated]
    assert found == [[0, 0, 1, 1], [0, 1, 0, 1], [1, 0], [0, 0], [3, 3]]


def test_samples_go_with_their_data_set(network: torch.nn.Module) -> None:
    benchmark, train, _ = counted()
    plugin = InMemoryPlugin()
    strategy = Naive(**arguments(network, [plugin]))
    run(strategy, benchmark)
    items = [weakref.ref(item) for kept in plugin._kept.values() for item in kept.items]
    assert len(items) == 2 * 4  # images and labels of two experiences in two streams
    gone = weakref.ref(train)
    del benchmark, train, _
    strategy.experience = strategy._eval_streams = None
    gc.collect()
    assert gone() is None
    assert plugin._kept == {}
    assert all(item() is None for item in items)


def test_an_older_memory_is_not_kept(kind: str, network: torch.nn.Module) -> None:
    plugin = InMemoryPlugin()
    memory = MemoryReplayPlugin(RandomBuffer(1))
    strategy = Naive(**arguments(network, [plugin, memory]))
    benchmark = make_benchmark(kind, experiences=4)
    lengths = []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        gc.collect()
        kept = [len(kept.items[1]) for kept in plugin._kept.values()]
        lengths.append(sorted(kept))
    # six images in each experience; what the memory held while an experience was trained left with the next memory
    assert lengths == [[6], [6, 6], [6, 6, 6], [6, 6, 6, 6]]


def test_the_plugin_goes_before_the_data(network: torch.nn.Module) -> None:
    benchmark, train, _ = counted()
    plugin = InMemoryPlugin()
    strategy = Naive(**arguments(network, [plugin]))
    run(strategy, benchmark)
    item = weakref.ref(next(iter(plugin._kept.values())).items[0])
    del plugin, strategy
    gc.collect()
    assert item() is None
    assert len(train) == 24


def test_tensors_on_the_cpu_are_not_copied(network: torch.nn.Module) -> None:
    images = torch.rand(8, 1, 8, 8)
    stream = [as_classification_dataset(TensorImages(images, torch.arange(8) % 4)).subset([3, 5])]
    plugin = InMemoryPlugin()
    Naive(**arguments(network, [plugin])).train(benchmark_from_datasets(train=stream).train_stream)
    ((kept),) = plugin._kept.values()
    assert kept.items[0].data_ptr() == images.data_ptr()


def test_a_plugin_that_writes_into_a_mini_batch_leaves_the_data_alone(network: torch.nn.Module) -> None:
    class Eraser(SupervisedPlugin):
        def after_forward(self, strategy: Any, **kwargs: Any) -> None:
            strategy.mbatch[0].data.zero_()

        after_eval_forward = after_forward

    images = torch.rand(8, 1, 8, 8)
    streams = {
        name: [as_classification_dataset(TensorImages(images, torch.arange(8) % 4))] for name in ("train", "test")
    }
    before = images.clone()
    run(Naive(**arguments(network, [InMemoryPlugin(), Eraser()])), benchmark_from_datasets(**streams))
    assert torch.equal(images, before)


# --- transforms


def single(transform: Any, source: Any = None) -> CLScenario:
    """One experience; ``transform`` is the train group, and evaluation has the known one."""
    groups = {"train": transform, "eval": NORMALIZATION.apply}
    source = source if source is not None else Digits("bytes")
    stream = [as_classification_dataset(source, transform_groups=groups)]
    return benchmark_from_datasets(train=stream, test=stream)


def train_on(benchmark: CLScenario, plugin: InMemoryPlugin) -> Batches:
    batches = Batches()
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    run(Naive(**arguments(network, [plugin, batches], train_epochs=1)), benchmark)
    return batches


def shout(images: torch.Tensor) -> torch.Tensor:
    return images * 2


shout.batched = True


def test_known_transforms_are_applied_in_order_to_whole_batches() -> None:
    benchmark = single(Compose([Lambda(NORMALIZATION.apply), shout, Normalize((1.0,), (4.0,))]))
    stock = [sample[0] for sample in benchmark.train_stream[0].dataset]
    batches = train_on(benchmark, InMemoryPlugin())
    found = {image.numpy().tobytes() for batch in batches.trained[0] for image in batch[0]}
    assert found == {image.numpy().tobytes() for image in stock}


def test_a_given_transform_takes_the_place_of_the_data_sets_own_in_its_phase_only() -> None:
    shapes: list[tuple[int, ...]] = []

    def given(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return torch.ones_like(images, dtype=torch.float32)

    benchmark = single(Compose([RandomCrop(8, padding=1), NORMALIZATION.apply]))
    batches = train_on(benchmark, InMemoryPlugin(train_transform=given))
    assert shapes == [(5, 1, 8, 8)] * 4 + [(4, 1, 8, 8)]
    assert all((batch[0] == 1).all() for batch in batches.trained[0])
    stock = torch.stack([sample[0] for sample in benchmark.test_stream[0].dataset.eval()])
    assert torch.equal(torch.cat([batch[0] for batch in batches.evaluated[0]]), stock)


@pytest.mark.parametrize(
    ("transform", "named"),
    [
        (Compose([RandomCrop(8, padding=1), NORMALIZATION.apply]), r"RandomCrop\(size=\(8, 8\), padding=1\)"),
        (lambda image: image.float(), "<function .*lambda"),
    ],
    ids=["torchvision", "function"],
)
def test_a_transform_of_single_images_is_named_with_the_ways_out(transform: Any, named: str) -> None:
    message = (
        rf"the transform {named}.* works on single images; give InMemoryPlugin\(train_transform=\.\.\.\) a function of "
        r"batches \(N, C, H, W\), or mark it with batched = True if it takes batches, or leave InMemoryPlugin out\.$"
    )
    with pytest.raises(UserError, match=message):
        train_on(single(transform), InMemoryPlugin())


def test_evaluation_names_its_own_argument(network: torch.nn.Module) -> None:
    strategy = Naive(**arguments(network, [InMemoryPlugin(train_transform=NORMALIZATION.apply)]))
    with pytest.raises(UserError, match=r"InMemoryPlugin\(eval_transform="):
        strategy.eval(make_benchmark("plain", "pil").test_stream)


def test_a_transform_of_labels_is_never_dropped() -> None:
    with pytest.raises(UserError, match=r"works on single labels; mark it .* or leave InMemoryPlugin out"):
        train_on(single((None, lambda label: 3 - label)), InMemoryPlugin(train_transform=NORMALIZATION.apply))

    def turned(labels: Any) -> Any:
        return 3 - labels

    turned.batched = True
    batches = train_on(single((None, turned)), InMemoryPlugin(train_transform=lambda images: images / 255))
    benchmark = single((None, turned))
    found = Counter(
        (int(y), image.sum().item()) for batch in batches.trained[0] for image, y in zip(*batch, strict=True)
    )
    expected = Counter((int(y), (image / 255).sum().item()) for image, y in benchmark.train_stream[0].dataset)
    assert found == expected


def test_pictures_without_any_transform_need_one() -> None:
    for form, named in (("pil", "PIL images"), ("array", "arrays")):
        with pytest.raises(UserError, match=rf"samples are {named} .* give InMemoryPlugin\(train_transform="):
            train_on(single(None, Digits(form)), InMemoryPlugin())


@pytest.mark.parametrize("custom", [None, shout], ids=["their own", "one for all"])
def test_joined_data_keep_their_transforms(custom: Any) -> None:
    parts = [
        as_classification_dataset(
            TensorImages(torch.full((5, 1, 8, 8), 10.0 + number), torch.arange(5) % 4), transform_groups=groups
        )
        for number, groups in enumerate(({"train": shout, "eval": shout}, None))
    ]
    stream = [parts[0].concat(parts[1]).subset([9, 0, 5, 1, 6, 2, 7, 3, 8, 4])]
    benchmark = benchmark_from_datasets(train=stream, test=stream)
    batches = train_on(benchmark, InMemoryPlugin(custom, custom))
    second = 11.0 if custom is None else 22.0

    def met(epoch: Any) -> list[tuple[float, int]]:
        return [(float(image.mean()), int(label)) for batch in epoch for image, label in zip(*batch[:2], strict=True)]

    assert Counter(met(batches.trained[0])) == Counter([(v, n % 4) for v in (20.0, second) for n in range(5)])
    assert met(batches.evaluated[0]) == [
        (20.0 if row < 5 else second, row % 5 % 4) for row in (9, 0, 5, 1, 6, 2, 7, 3, 8, 4)
    ]


def test_a_source_that_augments_by_itself_is_refused() -> None:
    class Augmented(Digits):
        def __getitem__(self, index: int) -> tuple[object, int]:
            image, label = super().__getitem__(index)
            return RandomCrop(8, padding=3)(image), label

    with pytest.raises(UserError, match="the data set Augmented gives another image each time"):
        train_on(single(NORMALIZATION.apply, Augmented("bytes")), InMemoryPlugin())


def test_a_source_that_normalises_by_itself_is_read_as_it_is() -> None:
    class Ready(Digits):
        def __getitem__(self, index: int) -> tuple[object, int]:
            image, label = super().__getitem__(index)
            return Compose([ToTensor(), Normalize((0.3,), (0.4,))])(image), label

    benchmark = single(None, Ready("pil"))
    stock = {sample[0].numpy().tobytes() for sample in benchmark.train_stream[0].dataset}
    batches = train_on(benchmark, InMemoryPlugin(eval_transform=lambda images: images))
    assert {image.numpy().tobytes() for batch in batches.trained[0] for image in batch[0]} == stock


def test_the_guides_example_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "avalanche.md").read_text(encoding="utf-8")
    code = page.split("## Data in memory")[1].split("```python\n")[1].split("```")[0]
    assert "ipc" not in code
    source = TensorImages(torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8), torch.arange(24) % 2)
    stream = [as_classification_dataset(source)]
    names = {
        "benchmark": benchmark_from_datasets(train=stream, test=stream),
        "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)),
    }
    small = "ipc=1, distill=TINY, evaluator=None, train_mb_size=8,"  # of the defaults, which take minutes
    exec(code.replace("train_mb_size=128,", small), {**names, "TINY": TINY})
    weights = names["model"][1].weight
    assert weights.grad is not None
    assert weights.grad.isfinite().all()


@pytest.mark.gpu
def test_on_a_gpu_the_mini_batches_are_the_cpus(kind: str, network: torch.nn.Module) -> None:
    found = []
    for device in ("cpu", "cuda"):
        batches = Batches()
        memory = MemoryReplayPlugin(RandomBuffer(2, normalization=NORMALIZATION), batch_size_mem=3)
        plugins = [memory, InMemoryPlugin(), batches]
        run(Naive(**arguments(copy.deepcopy(network), plugins, device=device)), make_benchmark(kind))
        assert batches.trained[0][0][0].device.type == device
        found.append([[[item.cpu() for item in batch] for batch in epoch] for epoch in batches.trained])
    for one, other in zip(*found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                torch.testing.assert_close(a, b)
