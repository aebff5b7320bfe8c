"""What is left of a run, on made clocks: each kind of work takes its own time, and none of them is even."""

from typing import Any

import pytest

from iid_cl.config.reading import parse_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.streams import class_order
from iid_cl.errors import UserError
from iid_cl.precheck.forecast import Forecast, Spent
from iid_cl.precheck.plan import Step, plan
from iid_cl.terminal.live import Stage

SPENT = {"update": 0.01, "class": 4.0, "image": 0.002}  # seconds of a clock that is made up
CASES: dict[str, dict[str, Any]] = {
    "work grows with all data so far": {"memory": {"method": "cumulative"}},
    "distilled, then herding": {"memory": {"method": "distilled", "ipc": 1}, "baselines": ["herding"]},
    "shrinking, then all data": {
        "memory": {"method": "distilled", "ipc": None, "mem_size": 20},
        "baselines": ["cumulative"],
    },
}


def plans_of(case: str) -> dict[str, list[Step]]:
    config = parse_config({"stream": {"dataset": "digits", "experiences": 5}, **CASES[case]}, "case")
    dataset = load_dataset(config.stream, None)
    order = class_order(config.stream, 10, config.seed)
    methods = [config.memory.method, *config.baselines]
    return {method: plan(config, method, dataset, order) for method in methods}


def took(step: Step, unevenness: float) -> Spent:
    """Seconds of one experience."""
    classes = sum(part.classes for part in step.distillations)
    condensing = SPENT["class"] * classes if classes else 0.001 * step.train_images
    return Spent(1, unevenness * SPENT["update"] * step.updates, condensing, SPENT["image"] * step.test_images)


def seconds(spent: Spent) -> float:
    return spent.training + spent.condensing + spent.evaluation


@pytest.mark.parametrize("case", CASES)
def test_half_way_through_it_is_within_a_factor_of_one_and_a_half(case: str) -> None:
    plans = plans_of(case)
    parts = [
        (method, number, took(step, 1.2 if method == "distilled" else 1.0))
        for method, steps in plans.items()
        for number, step in enumerate(steps, start=1)
    ]
    whole = sum(seconds(part) for *_, part in parts)
    forecast, spent, gone = Forecast(lambda: plans), dict[str, Spent](), 0.0
    for method, number, part in parts:
        before = spent.get(method, Spent(0, 0.0, 0.0, 0.0))
        training, condensing = before.training + part.training, before.condensing + part.condensing
        spent[method] = Spent(number, training, condensing, before.evaluation + part.evaluation)
        gone += seconds(part)
        if gone >= whole / 2:
            break
    left = forecast.left(spent)
    assert left is not None
    assert gone < whole
    assert (whole - gone) / 1.5 < left < (whole - gone) * 1.5


def test_it_multiplies_counts_by_seconds() -> None:
    steps = [Step((0,), 10, 5, 0, updates, ()) for updates in (10, 20, 30)]
    forecast = Forecast(lambda: {"a": steps, "b": steps[:1]})
    # 10 updates took 4 s, 5 test images 1 s and selecting among 10 images 0.5 s;
    # 60 updates, 15 test images and 30 images are left
    assert forecast.left({"a": Spent(1, 4.0, 0.5, 1.0)}) == pytest.approx(24.0 + 3.0 + 1.5)


def test_what_has_not_been_seen_is_not_foretold() -> None:
    plans = plans_of("distilled, then herding")
    forecast = Forecast(lambda: dict(reversed(plans.items())))
    assert forecast.left({}) is None
    assert forecast.left({"herding": Spent(5, 1.0, 1.0, 1.0)}) is None  # nothing has been distilled
    assert forecast.left({"herding": Spent(5, 1.0, 1.0, 1.0), "distilled": Spent(1, 1.0, 1.0, 1.0)}) is not None


def test_a_plan_is_made_when_it_is_needed_and_one_that_cannot_be_made_stops_nothing() -> None:
    asked = []

    def no_plans() -> dict[str, list[Step]]:
        asked.append(1)
        raise UserError("no room")

    forecast = Forecast(no_plans)
    assert forecast.left({"a": Spent(0, 0.0, 0.0, 0.0)}) is None
    assert not asked
    assert forecast.left({"a": Spent(1, 1.0, 1.0, 1.0)}) is None
    assert forecast.left({"a": Spent(2, 2.0, 2.0, 2.0)}) is None
    assert len(asked) == 1


def test_the_view_counts_a_forecast_down() -> None:
    stage = Stage(10, "experiences", 0.0, done=2, done_at=16.0, forecast=30.0)
    assert stage.left(20.0) == pytest.approx(26.0)
    assert stage.left(50.0) == 0.0
