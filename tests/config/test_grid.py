"""What a comparison spells out."""

from typing import Any

import pytest

from iid_cl.config.experiment import Config
from iid_cl.config.grid import Cell, baseline_of, cells
from iid_cl.errors import UserError
from tests.runs.helpers import miniature

SHAPE = (1, 8, 8)


def grid(classes: int = 4, base: dict[str, Any] | None = None, **compare: Any) -> list[Cell]:
    return cells(miniature(**(base or {}), compare=compare), SHAPE, classes)


def test_the_grid_is_whole_and_bounds_come_once() -> None:
    found = grid(
        methods=["none", "herding", "distilled"], modes=["replay", "memory_only"], budgets={"ipc": [1, 5]}, seeds=2
    )
    memories = [
        f"{method}-{mode}-ipc{ipc}-seed{seed}"
        for method in ("herding", "distilled")
        for mode in ("replay", "memory_only")
        for ipc in (1, 5)
        for seed in (0, 1)
    ]
    assert sorted(cell.name for cell in found) == sorted([*memories, "none-seed0", "none-seed1"])
    assert [cell.seed for cell in found] == [0] * 9 + [1] * 9


def test_a_cell_is_the_base_with_its_method_mode_budget_and_seed() -> None:
    (cell,) = [c for c in grid(methods=["random"], modes=["memory_only"], budgets={"ipc": [3]}, seeds=2) if c.seed]
    config = cell.config
    assert (config.memory.method, config.memory.ipc, config.train.mode, config.seed) == ("random", 3, "memory_only", 1)
    assert config.distill == miniature().distill


def test_mode_and_budget_are_the_configurations_by_default() -> None:
    base = {"memory": {"ipc": 7}, "train": {"mode": "memory_only"}, "seed": 5}
    found = grid(base=base, methods=["random"], seeds=1)
    assert [cell.name for cell in found] == ["random-memory_only-ipc7-seed5"]


def test_a_bound_does_not_depend_on_mode_or_budget() -> None:
    one, other = (
        grid(methods=["joint"], seeds=1, modes=modes, budgets={"ipc": [ipc]})[0]
        for modes, ipc in ((["replay"], 1), (["memory_only"], 9))
    )
    assert one == other
    assert one.digest == other.digest


def test_memories_of_a_budget_train_for_equal_updates_in_memory_only_mode() -> None:
    base = {"train": {"memory_epochs": 3, "batch_size": 8}}
    found = grid(
        base=base,
        methods=["none", "random", "distilled_half"],
        modes=["replay", "memory_only"],
        budgets={"ipc": [2, 5]},
        seeds=1,
    )
    updates = {cell.name: cell.config.train.memory_updates for cell in found}
    assert updates == {
        "none-seed0": None,
        "random-replay-ipc2-seed0": None,
        "random-replay-ipc5-seed0": None,
        "distilled_half-replay-ipc2-seed0": None,
        "distilled_half-replay-ipc5-seed0": None,
        "random-memory_only-ipc2-seed0": 3,  # 4 classes: 8 images, one batch
        "random-memory_only-ipc5-seed0": 9,  # 20 images, three batches
        "distilled_half-memory_only-ipc2-seed0": 3,
        "distilled_half-memory_only-ipc5-seed0": 9,
    }


def test_configured_updates_stay() -> None:
    base = {"train": {"memory_updates": 17, "mode": "memory_only"}}
    assert [cell.config.train.memory_updates for cell in grid(base=base, methods=["random"], seeds=1)] == [17]


def test_variants_and_methods_of_ones_own() -> None:
    own = {"name": "strong", "set": {"distill.cm.weight": 2.0}}
    found = {cell.label: cell.config for cell in grid(methods=["distilled", "distilled_half", own], seeds=1)}
    assert [config.distill.factor for config in found.values()] == [1, 2, 1]
    assert [config.distill.cm.weight for config in found.values()] == [0, 0, 2.0]


def test_settings_of_the_configured_memory_are_no_other_methods() -> None:
    base = {"memory": {"soft_labels": True}}
    soft = {cell.label: cell.config.memory.soft_labels for cell in grid(base=base, methods=["distilled", "random"])}
    assert soft == {"distilled": True, "random": False}


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["herdign"], r"'herdign' is no method; did you mean 'herding'"),
        ([{"name": "mine", "set": {"train.lr": 1.0}}], r"'mine' sets 'train\.lr', which all methods share"),
        ([{"name": "mine", "set": {"memory.ipc": 1}}], r"'mine' sets 'memory\.ipc', which all methods share"),
        ([{"name": "mine", "set": {"distill.lr": -1.0}}], r"method 'mine': distill\.lr: -1\.0 is not accepted"),
        ([{"name": "random", "set": {"distill.lr": 1.0}}], "two methods are called 'random'"),
        (
            [{"name": "a", "set": {"distill.lr": 1.0}}, {"name": "a", "set": {"distill.lr": 2.0}}],
            "two methods are called 'a'",
        ),
    ],
)
def test_methods_that_cannot_be_compared(methods: list[Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        grid(methods=methods)


def test_budgets_are_of_one_kind() -> None:
    with pytest.raises(UserError, match="budgets of one kind only, not of ipc and mem_size"):
        grid(budgets={"ipc": [1], "mem_size": [10]})


@pytest.mark.parametrize(
    ("methods", "wanted", "chosen"),
    [
        (["none", "random", "herding"], None, "herding"),
        (["none", "random", "distilled"], None, "random"),
        (["none", "random", "herding"], "random", "random"),
        (["none"], None, None),
    ],
)
def test_the_baseline(methods: list[str], wanted: str | None, chosen: str | None) -> None:
    config: Config = miniature(compare={"methods": methods, "baseline": wanted})
    assert baseline_of(config, cells(config, SHAPE, 4)) == chosen


def test_a_baseline_has_a_memory_and_takes_part() -> None:
    for name in ("none", "herding"):
        config = miniature(compare={"methods": ["none", "random"], "baseline": name})
        with pytest.raises(
            UserError, match=rf"compare\.baseline: '{name}' is not among the memories compared \(random\)"
        ):
            baseline_of(config, cells(config, SHAPE, 4))


def test_the_digest_follows_what_the_outcome_depends_on() -> None:
    def digest(**changes: Any) -> str:
        return grid(base=changes, methods=["random"], seeds=1)[0].digest

    assert digest(name="other", evaluate={"epochs": 7}, baselines=["none"]) == digest()
    assert digest(train={"lr": 0.5}) != digest()
    assert digest(distill={"iterations": 4}) != digest()
