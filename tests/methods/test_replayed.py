"""The memory in a plain loop: budgets by name, batches, loaders, states and files."""

from pathlib import Path

import pytest
import torch
from avalanche.benchmarks.utils import as_classification_dataset
from torch import Tensor

from iid_cl import Memory, load_memory
from iid_cl.budget import Budget
from iid_cl.data.images import Normalization
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError
from iid_cl.methods.auto import Auto
from iid_cl.methods.base import Method
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.real import Real
from iid_cl.methods.reservoir import Reservoir
from iid_cl.strategies import MemoryBuffer

from .helpers import TINY, flat, flatten, noise


def filled(**options: object) -> Memory:
    """A memory of the grey levels 1, 2 (class 3) and 11, 12 (class 7)."""
    memory = Memory("random", mem_size=4, device="cpu", **options)  # type: ignore[arg-type]
    memory.update(flat(1, 2, 11, 12), [3, 3, 7, 7])
    return memory


def levels(images: Tensor) -> list[int]:
    return [round(value) for value in (images[:, 0, 0, 0] * 255).tolist()]


def test_budgets_by_name() -> None:
    assert Memory("random").budget == Memory("random", 10).budget == Memory("random", ipc=10).budget == Budget(ipc=10)
    assert Memory("random", mem_bytes=500).budget == Budget(mem_bytes=500)
    with pytest.raises(UserError, match=r"^a memory needs one budget; ipc and another one are given"):
        Memory("random", 10, ipc=10)
    with pytest.raises(UserError, match=r"exactly one of ipc"):
        Memory("random", ipc=10, mem_size=20)


def test_it_is_a_data_set() -> None:
    memory = filled()
    assert len(memory) == 4
    images, labels = memory[:]
    assert sorted(zip(levels(images), labels.tolist(), strict=True)) == [(1, 3), (2, 3), (11, 7), (12, 7)]
    image, label = memory[0]
    assert (label, image.shape) == (3, (1, 8, 8))
    assert levels(memory.dataset(lambda image: image + 1)[:][0]) == [255 + level for level in levels(images)]


def test_samples_are_those_of_the_latest_update() -> None:
    memory = filled()
    assert len(memory[:][1]) == 4
    memory.update(flat(21), [9])
    assert sorted(memory[:][1].tolist()) == [3, 7, 9]


def test_labels_are_the_datas_in_every_task() -> None:
    memory = Memory("random", ipc=1, device="cpu")
    for task in (0, 1):
        memory.update(flat(task + 1), [3], tasks=[task])
    assert sorted(zip(levels(memory[:][0]), memory[:][1].tolist(), strict=True)) == [(1, 3), (2, 3)]


def test_an_empty_memory_has_no_samples() -> None:
    memory = Memory("random")
    assert len(memory) == 0
    for ask in (memory.dataset, lambda: memory.batch(1), lambda: memory.loader(1), lambda: memory[0]):
        with pytest.raises(UserError, match=r"^the memory is still empty; update it first"):
            ask()
    with pytest.raises(UserError, match="still empty"):
        memory.save("nothing.safetensors")


def test_batches_follow_the_generator() -> None:
    memory = filled()
    first, second = (memory.batch(3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    own = [levels(memory.batch(4)[0]) for _ in range(20)]
    assert all(sorted(batch) == [1, 2, 11, 12] for batch in own)
    assert len({tuple(batch) for batch in own}) > 5  # of 24 orders
    assert levels(memory.batch(2, torch.neg)[0])[0] < 0


def test_draws_leave_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    memory = filled()
    memory.batch(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_is_shuffled_by_the_memorys_seed() -> None:
    orders = [[levels(x) for x, _ in filled(seed=seed).loader(2)] for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len({str(order) for order in orders}) > 1
    assert [levels(x) for x, _ in filled().loader(4, shuffle=False)] == [levels(filled()[:][0])]


def test_a_state_goes_on_with_the_same_draws() -> None:
    memory, resumed = filled(), Memory("random", mem_size=4, device="cpu")
    memory.batch(1)
    resumed.load_state_dict(memory.state_dict())
    for one in (memory, resumed):
        one.update(flat(21), [9])
    assert torch.equal(memory[:][0], resumed[:][0])
    assert [levels(memory.batch(3)[0]) for _ in range(5)] == [levels(resumed.batch(3)[0]) for _ in range(5)]


def test_a_file_holds_the_normalisation(in_tmp_path: Path) -> None:
    memory = filled()
    memory.save("m.safetensors", {"origin": "made up"})
    loaded = load_memory("m.safetensors")
    assert memory.normalization is not None
    assert loaded.metadata["mean"] == list(memory.normalization.mean) == pytest.approx([6.5 / 255])
    assert loaded.metadata["origin"] == "made up"
    assert torch.equal(loaded.decoded().images, memory.exemplars.decoded().images)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "make",
    [lambda: Distilled(TINY), lambda: Auto(Distilled(TINY)), lambda: Real("random"), Reservoir],
    ids=["distilled", "auto", "random", "reservoir"],
)
@pytest.mark.parametrize("normalization", [None, Normalization((0.4,), (0.3,))], ids=["measured", "given"])
def test_the_loops_memory_is_avalanches(make: type[Method], normalization: Normalization | None) -> None:
    memory = Memory(make(), mem_size=4, seed=3, normalization=normalization, device="cpu")
    buffer = MemoryBuffer(make(), mem_size=4, seed=3, normalization=normalization, device="cpu")
    buffer.own_features = flatten
    for classes in ([0, 1], [2, 3]):
        images, labels = noise(24, classes[0]), torch.tensor(classes).repeat(12)
        memory.update(images.float() / 255, labels, features=flatten)
        buffer.update_from_dataset(as_classification_dataset(TensorImages(images, labels)))
    ours, theirs = memory.exemplars, buffer.exemplars
    assert ours is not None
    assert theirs is not None
    assert ours.tensors().keys() == theirs.tensors().keys()
    for name, tensor in ours.tensors().items():
        assert torch.equal(tensor, theirs.tensors()[name]), name
    assert memory[:][1].tolist() == list(buffer.buffer.targets)


@pytest.mark.parametrize("method", ["herding", "closest"])
def test_methods_that_need_features_train_a_network_for_them(method: str) -> None:
    memory = Memory(method, ipc=2, device="cpu")
    memory.update(noise(12), [0, 1] * 6)
    assert len(memory) == 4
