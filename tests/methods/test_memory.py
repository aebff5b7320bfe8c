"""The memory around a method: what it hands the method, and what it remembers itself."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from iid_cl.budget import Budget
from iid_cl.config.methods import METHODS
from iid_cl.data.classes import Classes
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.distill.journal import Journal
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.space import Space
from iid_cl.memory.storage import Whole
from iid_cl.methods.auto import Auto, Way
from iid_cl.methods.base import Arrival, Method, Scene, Work
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.memory import Memory, measure
from iid_cl.methods.real import Real
from iid_cl.methods.reservoir import Reservoir
from iid_cl.seeding import make_generator

from .helpers import NORMALIZATION, TINY, Remembering, flat, flatten, labelled, noise

UNIT = 64 + 2  # a grey image of 8x8 and its label


@dataclass
class Recorder(Method):
    """Keeps the first images, and all that it is told."""

    calls: list[tuple[Classes, Space, Scene]] = field(default_factory=list)
    shrunk: list[tuple[Exemplars, Space]] = field(default_factory=list)
    decisions: int = 0
    fails: bool = False

    def condense(self, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        self.calls.append((arrived, space, scene))
        self.decisions += 1
        if self.fails:
            raise KeyboardInterrupt
        return Whole().store(arrived.images, lambda label, count: torch.arange(count), space)

    def shrink(self, old: Exemplars, space: Space, scene: Scene) -> Exemplars:
        self.shrunk.append((old, space))
        return super().shrink(old, space, scene)

    def work(self, arrival: Arrival, space: Space) -> Work:
        return Work(0)

    def describe(self) -> dict[str, Any]:
        return {"method": "recorder"}

    def state_dict(self) -> dict[str, Any]:
        return {"decisions": self.decisions}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.decisions = state["decisions"]


class Recording(Remembering):
    """One of this method."""

    def __init__(self, budget: Budget | int = 2, **arguments: Any) -> None:
        super().__init__(Recorder(), budget, **arguments)

    @property
    def recorder(self) -> Recorder:
        assert isinstance(self.method, Recorder)
        return self.method

    @property
    def spaces(self) -> list[Space]:
        return [space for _, space, _ in self.recorder.calls]


def values(memory: Memory) -> dict[int, list[int]]:
    """The grey levels of flat images of each class."""
    assert memory.exemplars is not None
    return {label: images[:, 0, 0, 0].tolist() for label, images in memory.exemplars.by_class().items()}


# --- what a method is told


@pytest.mark.parametrize(
    ("budget", "rooms"),
    [
        (Budget(ipc=2), [2 * UNIT] * 3),
        (Budget(class_bytes=150), [150] * 3),
        (Budget(mem_size=12), [6 * UNIT, 4 * UNIT, 3 * UNIT]),
        (Budget(mem_bytes=1000), [500, 333, 250]),
    ],
    ids=lambda value: value.key if isinstance(value, Budget) else "",
)
def test_a_method_is_told_the_bytes_of_each_class_old_and_new(budget: Budget, rooms: list[int]) -> None:
    memory = Recording(budget).meet({0: noise(9), 1: noise(9)}, {4: noise(9)}, {1: noise(9), 2: noise(9)})
    assert [space.room for space in memory.spaces] == rooms
    assert all(space.budget == budget for space in memory.spaces)


@pytest.mark.parametrize(
    ("budget", "paying"),
    [(Budget(ipc=2), [2, 0, 2, 0]), (Budget(mem_size=12), [2, 3, 4, 5])],
    ids=["growing", "fixed"],
)
def test_a_header_is_shared_by_all_classes_by_those_that_arrive_or_is_paid(budget: Budget, paying: list[int]) -> None:
    """In a growing memory a class that comes back may be one that has paid; new classes find the header there."""
    memory = Recording(budget).meet(
        {0: noise(9), 1: noise(9)}, {4: noise(9)}, {1: noise(9), 2: noise(9)}, {7: noise(9)}
    )
    assert [space.paying for space in memory.spaces] == paying


def test_a_method_is_told_what_is_there_and_what_it_stands_for() -> None:
    memory = Recording()
    before = []
    for groups in ({0: noise(9), 1: noise(3)}, {4: noise(5)}, {1: noise(7)}):
        before.append(memory.exemplars)
        memory.meet(groups)
    assert all(space.old is old for space, old in zip(memory.spaces, before, strict=True))
    assert before[0] is None
    assert [space.stands_for for space in memory.spaces] == [{}, {0: 9, 1: 3}, {0: 9, 1: 3, 4: 5}]
    assert memory.stands_for == {0: 9, 1: 10, 4: 5}


def test_a_class_that_comes_back_begins_with_its_exemplars_which_stand_for_several_images() -> None:
    memory = Recording().meet({3: flat(1, 2, 3, 4, 5, 6, 7), 4: flat(40, 41)})
    memory.meet({3: flat(11, 12, 13), 8: flat(80)})
    arrived = memory.recorder.calls[1][0]
    assert arrived.images[3][:, 0, 0, 0].tolist() == [1, 2, 11, 12, 13]
    assert arrived.images[8][:, 0, 0, 0].tolist() == [80]
    assert {label: weights.tolist() for label, weights in arrived.weights.items()} == {3: [3.5, 3.5, 1.0, 1.0, 1.0]}
    assert arrived.weights[3].dtype == torch.float64
    assert values(memory) == {3: [1, 2], 4: [40, 41], 8: [80]}
    memory.meet({3: flat(21)})
    assert memory.recorder.calls[2][0].weights[3].tolist() == [5.0, 5.0, 1.0]  # seven images and three


def test_older_classes_stay_where_the_memory_grows_and_shrink_where_it_does_not() -> None:
    groups = {0: flat(1, 2, 3, 4), 1: flat(11, 12, 13)}, {2: flat(21, 22, 23, 24, 25)}
    growing = Recording(3).meet(*groups)
    assert growing.recorder.shrunk == []
    assert values(growing) == {0: [1, 2, 3], 1: [11, 12, 13], 2: [21, 22, 23]}
    fixed = Recording(Budget(mem_size=7)).meet(*groups)
    ((old, space),) = fixed.recorder.shrunk
    assert old.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert space is fixed.spaces[1]
    assert values(fixed) == {0: [1, 2], 1: [11, 12], 2: [21, 22]}


def test_classes_that_come_back_are_not_shrunk_but_condensed() -> None:
    memory = Recording(Budget(mem_size=6)).meet({0: flat(1, 2, 3), 1: flat(11, 12, 13)}, {1: flat(14), 2: flat(21)})
    ((old, _),) = memory.recorder.shrunk
    assert old.classes == [0]
    memory.meet({0: flat(5), 1: flat(15), 2: flat(22)})  # all of them come back
    assert len(memory.recorder.shrunk) == 1


def test_a_method_of_the_whole_memory_makes_all_of_it() -> None:
    """Classes that come back do not bring their exemplars; what the method returns is the memory."""
    method = Recorder()
    method.by_class = False
    memory = Remembering(method, 2).meet({0: flat(1, 2, 3), 1: flat(11)}, {0: flat(5)})
    assert memory.exemplars is not None
    assert memory.exemplars.classes == [0]
    assert method.calls[1][0].images[0][:, 0, 0, 0].tolist() == [5]
    assert method.calls[1][0].weights == {}


def test_draws_depend_on_the_seed_and_the_number_of_the_update() -> None:
    def drawn(seed: int) -> list[list[int]]:
        memory = Recording(seed=seed).meet({0: noise(3)}, {1: noise(3)})
        return [torch.randperm(50, generator=scene.generator).tolist() for _, _, scene in memory.recorder.calls]

    assert drawn(5) == [torch.randperm(50, generator=make_generator(5, "memory", n)).tolist() for n in (0, 1)]
    assert drawn(5)[0] != drawn(5)[1]
    assert drawn(5) != drawn(6)


def test_a_method_sees_images_as_the_memory_is_told() -> None:
    memory = Recording(normalization=NORMALIZATION, augmentations=("crop",))
    watch, older = Watch(snapshots=(1,)), Watch(snapshots=(2,))
    memory.update(labelled({0: noise(3)}), device="cpu", features=flatten, watch=watch, older=older)
    ((_, _, scene),) = memory.recorder.calls
    assert (scene.lens.normalization, scene.lens.augmentations) == (NORMALIZATION, ("crop",))
    assert scene.lens.device == torch.device("cpu")
    assert scene.features is flatten
    assert scene.watch == watch
    assert scene.older == older


def test_normalisation_is_measured_on_the_first_images_where_none_is_given() -> None:
    memory = Recording()
    memory.meet({0: flat(0, 255), 1: flat(51)})  # 0, 1 and 0.2
    assert memory.normalization == memory.recorder.calls[0][2].lens.normalization
    assert memory.normalization is not None
    (mean,), (std,) = memory.normalization.mean, memory.normalization.std
    assert mean == pytest.approx(0.4)
    deviations = 64 * (0.4**2 + 0.6**2 + 0.2**2)
    assert std == pytest.approx((deviations / (3 * 64 - 1)) ** 0.5)
    first = memory.normalization
    memory.meet({2: flat(255)})
    assert memory.normalization == first
    assert Recording(normalization=NORMALIZATION).meet({0: flat(7)}).normalization == NORMALIZATION


def test_images_of_one_grey_level_have_a_spread_all_the_same() -> None:
    assert measure(flat(51, 51)) == Normalization((pytest.approx(0.2),), (1e-3,))


# --- indices


def of_task(task: int, *labels: int) -> tuple[LabelledImages, Tensor]:
    """An image of each class, its grey level saying which."""
    return LabelledImages(flat(*(100 * task + label for label in labels)), torch.tensor(labels)), torch.full(
        (len(labels),), task
    )


def meet_task(memory: Memory, task: int, *labels: int) -> None:
    images, tasks = of_task(task, *labels)
    memory.update(images, tasks=tasks)


def test_the_same_index_of_another_task_is_another_class() -> None:
    memory = Recording()
    meet_task(memory, 0, 0, 1)
    meet_task(memory, 1, 1, 5)
    meet_task(memory, 2, 0, 1)
    assert memory.keys == {0: (0, 0), 1: (1, 0), 2: (1, 1), 5: (5, 1), 3: (0, 2), 4: (1, 2)}
    assert values(memory) == {0: [0], 1: [1], 2: [101], 3: [200], 4: [201], 5: [105]}
    told = {"0": (0, 0), "1": (1, 0), "2": (1, 1), "3": (0, 2), "4": (1, 2), "5": (5, 1)}
    assert memory.describe()["keys"] == {n: {"class": c, "task": t} for n, (c, t) in told.items()}
    meet_task(memory, 1, 1)
    assert memory.stands_for == {0: 1, 1: 1, 2: 2, 5: 1, 3: 1, 4: 1}


def test_indices_of_one_task_are_the_datas() -> None:
    memory = Recording().meet({7: flat(7), 3: flat(3)})
    assert memory.keys == {7: (7, 0), 3: (3, 0)}
    assert "keys" not in memory.describe()


@pytest.mark.parametrize("label", [2**15, -1])
def test_an_index_beyond_16_bits_is_refused(label: int) -> None:
    memory = Recording().meet({0: flat(1)})
    with pytest.raises(UserError, match=rf"^class index {label}: a memory takes class indices from 0 to 32767\.$"):
        memory.meet({label: flat(1)})
    assert memory.keys == {0: (0, 0)}


def test_floats_are_remembered_as_the_same_bytes() -> None:
    images = noise(12)
    memories = [Memory("random", 2, seed=3), Memory("random", 2, seed=3)]
    for memory, given in zip(memories, (images, images.double().numpy() / 255), strict=True):
        memory.update(LabelledImages(given, [0, 1] * 6))
        assert memory.exemplars is not None
    assert torch.equal(memories[0].exemplars.decoded().images, memories[1].exemplars.decoded().images)


@pytest.mark.parametrize("tasks", [["a", "b"], [0.5, 1.5], [0], torch.zeros(2)], ids=str)
def test_odd_task_labels_are_refused(tasks: Any) -> None:
    with pytest.raises(UserError, match=r"^tasks: are .*give a whole number for each image"):
        Memory("random", 1).update(LabelledImages(noise(2), [0, 1]), tasks=tasks)


def test_images_without_labels_are_refused() -> None:
    with pytest.raises(UserError, match=r"^labels: are missing; give images and labels"):
        Memory("random", 1).update(noise(2))


def test_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="holds no images"):
        Memory("random").update(LabelledImages(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(0)))


# --- who looks on


def test_images_are_shown_before_they_are_condensed_and_can_be_refused() -> None:
    seen: list[dict[int, list[int]]] = []

    def look(arrived: Mapping[int, Tensor]) -> None:
        seen.append({label: images[:, 0, 0, 0].tolist() for label, images in arrived.items()})
        if 9 in arrived:
            raise UserError("no nines.")

    memory = Recording()
    memory.update(labelled({3: flat(1, 2), 0: flat(5)}), on_images=look)
    memory.update(labelled({3: flat(4)}), on_images=look)
    assert seen == [{0: [5], 3: [1, 2]}, {3: [4]}]  # new images alone
    with pytest.raises(UserError, match="no nines"):
        memory.update(labelled({9: flat(9)}), on_images=look)
    assert len(memory.recorder.calls) == memory.updates == 2
    assert memory.stands_for == {0: 1, 3: 3}


def test_a_journal_is_told_where_an_update_begins_and_that_it_is_in_the_memory() -> None:
    told: list[str] = []

    class Told(Journal):
        def begin_update(self) -> None:
            told.append("begins")

        def end_update(self) -> None:
            told.append(f"ends with {memory.updates}")

    memory = Recording()
    watch = Watch(journal=Told(lambda: False, lambda: None))
    memory.update(labelled({0: noise(3)}), watch=watch)
    memory.recorder.fails = True
    with pytest.raises(KeyboardInterrupt):
        memory.update(labelled({1: noise(3)}), watch=watch)
    assert told == ["begins", "ends with 1", "begins"]


# --- what fails leaves it as it was


def everything(memory: Memory) -> dict[str, Any]:
    return {**vars(memory), "stands_for": dict(memory.stands_for), "method": memory.method.state_dict()}


@pytest.mark.parametrize(
    ("progress", "watch", "shown"),
    [(None, None, True), (None, Watch(), False), (True, Watch(), True), (False, None, False)],
)
def test_bars_show_in_a_terminal_unless_the_caller_watches(
    progress: bool | None,
    watch: Watch | None,
    shown: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    memory = Memory(Distilled(TINY), ipc=2, device="cpu", progress=progress)
    memory.update(labelled({0: noise(6), 1: noise(6, 1)}), watch=watch)
    assert ("Distilling 2 classes" in capsys.readouterr().out) == shown
    assert repr(memory) == "Memory(ipc=2: 4 images of 2 classes, 264 bytes)"
    assert repr(memory.exemplars) == "ExemplarSet(4 images of 2 classes, 264 bytes)"
    assert repr(memory.dataset()) == "MemorySamples(4 images)"


def test_a_setting_of_the_method_is_not_taken_for_a_budget() -> None:
    with pytest.raises(TypeError, match=r"no argument 'distill'; .*Distilled\(DistillConfig"):
        Memory("distilled", ipc=2, distill=TINY)  # type: ignore[call-arg]


def test_an_update_that_fails_changes_nothing() -> None:
    memory = Recording(Budget(mem_size=8))
    memory.recorder.fails = True
    empty = everything(memory)
    with pytest.raises(KeyboardInterrupt):
        memory.meet({0: noise(3), 1: noise(3)})
    assert everything(memory) == empty
    memory.recorder.fails = False
    memory.meet({0: noise(3), 1: noise(3)})
    before = everything(memory)
    assert before["updates"] == 1
    for groups, error in (({1: noise(3)}, KeyboardInterrupt), ({c: noise(1) for c in range(2, 9)}, UserError)):
        memory.recorder.fails = error is KeyboardInterrupt
        with pytest.raises(error):
            memory.meet(groups)
        after = everything(memory)
        assert after["exemplars"] is before["exemplars"]
        assert after == before


def test_what_happens_in_a_transaction_that_fails_is_undone() -> None:
    """A host may fail after the update."""
    memory = Recording(Budget(mem_size=8)).meet({0: noise(3), 1: noise(3)})
    before = everything(memory)

    def undone() -> None:
        with memory.transaction():
            memory.meet({1: noise(3), 5: noise(3)})
            memory.resize(6)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert everything(memory) == before
    with memory.transaction():
        memory.meet({5: noise(3)})
    assert memory.updates == 2


def test_a_choice_made_in_a_transaction_that_fails_is_not_made() -> None:
    auto = Auto(Distilled(TINY))
    memory, chosen = Remembering(auto, 2), []

    def undone() -> None:
        with memory.transaction():
            memory.meet({0: noise(12)})
            chosen.append(auto.choice)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert (chosen, auto.choice) == ([Way(1.0, dct=True)], None)


# --- state


METHOD_OF: dict[str, Any] = {
    "recorder": Recorder,
    "random": lambda: Real("random"),
    "reservoir": Reservoir,
    "soft labels": lambda: Distilled(TINY, soft_labels=True),
    "auto": lambda: Auto(Distilled(TINY)),
}


def plain(value: Any) -> bool:
    """Whether a state holds plain values and tensors alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (int, float, str, bool, Tensor)


@pytest.mark.parametrize("name", METHOD_OF)
@pytest.mark.parametrize("budget", [Budget(ipc=2), Budget(mem_size=9)], ids=lambda budget: budget.key)
def test_a_memory_goes_on_from_its_state(name: str, budget: Budget) -> None:
    experiences = {0: noise(12), 1: noise(12, 1)}, {4: noise(12, 2)}, {1: noise(12, 3), 2: noise(12, 4)}
    straight = Remembering(METHOD_OF[name](), budget, seed=3)
    for number, groups in enumerate(experiences):
        state = straight.state_dict()
        assert plain(state)
        other = Remembering(METHOD_OF[name](), budget, seed=3)
        other.load_state_dict(state)
        for memory in (straight, other):
            memory.meet(groups)
        assert straight.exemplars is not None
        assert other.exemplars is not None
        for key, tensor in straight.exemplars.tensors().items():
            assert torch.equal(other.exemplars.tensors()[key], tensor), (number, key)
        assert other.describe() == straight.describe()
        assert (other.keys, other.stands_for, other.updates) == (straight.keys, straight.stands_for, number + 1)


def test_the_state_of_an_empty_memory_empties_a_full_one() -> None:
    memory = Recording()
    empty = memory.state_dict()
    memory.meet({0: noise(3)})
    memory.load_state_dict(empty)
    assert memory.state_dict() == empty
    assert (memory.exemplars, memory.normalization, memory.nbytes) == (None, None, 0)


def test_a_state_is_no_part_of_the_memory() -> None:
    memory = Recording().meet({0: noise(3)})
    state = memory.state_dict()
    memory.meet({0: noise(3), 1: noise(3)})
    assert state["stands_for"] == {0: 3}
    assert state["keys"] == {0: [0, 0]}


# --- odds and ends


def test_a_name_and_a_number_are_enough() -> None:
    memory = Memory("random", 3)
    assert memory.method == Real("random")
    assert memory.budget == Budget(ipc=3)
    assert isinstance(Memory().method, Auto)
    assert Memory().budget == Budget(ipc=10)
    with pytest.raises(UserError, match=r"^memory\.method: 'herdng' is not a memory; use one of "):
        Memory("herdng")


@pytest.mark.parametrize("name", [name for name, info in METHODS.items() if not info.bound])
def test_every_method_fills_a_memory_by_its_name(name: str) -> None:
    from iid_cl.config.reading import parse_config
    from iid_cl.methods.build import make_method

    small = {"width": 4, "depth": 1}
    config = parse_config({"distill": {"iterations": 2, "real_batch": 4, "embedder": small}}, "a test")
    memory = Remembering(make_method(config, name), 2).meet({0: noise(12), 3: noise(12, 1)}, {5: noise(12, 2)})
    assert memory.exemplars is not None
    assert memory.nbytes <= 3 * 2 * UNIT
    assert set(memory.exemplars.classes) <= {0, 3, 5}
    assert memory.describe()["method"] == name


def test_a_resized_memory_keeps_the_first_images() -> None:
    memory = Recording(Budget(mem_size=6)).meet({0: flat(1, 2, 3), 7: flat(71, 72, 73)})
    memory.resize(5)
    assert values(memory) == {0: [1, 2], 7: [71, 72]}
    assert memory.budget == Budget(mem_size=5)
    with pytest.raises(UserError, match="no room for one image of each of 2 classes"):
        memory.resize(1)
    assert memory.budget == Budget(mem_size=5)
    with pytest.raises(
        UserError, match=r"^a memory with a budget of ipc: 2 cannot be resized to 4 images; give it mem"
    ):
        Recording(2).resize(4)


def test_a_memory_describes_itself() -> None:
    memory = Recording(Budget(mem_size=6), seed=4)
    assert memory.describe() == {"mem_size": 6, "seed": 4, "method": "recorder"}
    memory = Recording(2, normalization=NORMALIZATION)
    assert memory.describe() == {"ipc": 2, "seed": 0, "mean": [0.3], "std": [0.4], "method": "recorder"}
