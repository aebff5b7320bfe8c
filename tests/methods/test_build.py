"""From a configuration to its memory method."""

from typing import Any

import pytest

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS
from iid_cl.config.reading import parse_config
from iid_cl.errors import UserError
from iid_cl.memory.dct_storage import Dct
from iid_cl.memory.storage import Jpeg, Whole
from iid_cl.methods.auto import Auto
from iid_cl.methods.build import BUILDERS, make_method
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.mixed import Mixed
from iid_cl.methods.real import Real
from iid_cl.methods.reservoir import Reservoir

REAL = [name for name, info in METHODS.items() if info.real]


def configured(memory: dict[str, Any], **sections: Any) -> Config:
    return parse_config({"memory": memory, **sections}, "a test")


@pytest.mark.parametrize("name", [name for name, info in METHODS.items() if not info.bound])
def test_every_name_that_is_no_bound_builds_a_method(name: str) -> None:
    method = make_method(Config(), name)
    told = method.describe()
    assert told["method"] == name
    assert method.by_class == (name != "reservoir")  # which draws from all classes alike
    method.load_state_dict(method.state_dict())
    assert method.describe() == told


@pytest.mark.parametrize("name", [*(name for name, info in METHODS.items() if info.bound), "herdng"])
def test_a_bound_or_another_name_has_none(name: str) -> None:
    with pytest.raises(UserError, match=rf"^memory\.method: '{name}' is not a memory; use one of reservoir, random, "):
        make_method(Config(), name)


def test_a_method_is_real_or_has_a_builder() -> None:
    assert {*REAL, *BUILDERS} == {name for name, info in METHODS.items() if not info.bound}
    assert not {*REAL} & {*BUILDERS}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(
    ("settings", "storage"), [({}, Whole(1)), ({"downscale": 2}, Whole(2)), ({"jpeg": 30}, Jpeg(30))], ids=str
)
def test_real_images_are_stored_as_configured(name: str, settings: dict[str, Any], storage: Whole | Jpeg) -> None:
    assert make_method(configured({"method": name, **settings}), name) == Real(name, storage)


def test_settings_of_distilled_images_reach_their_method() -> None:
    memory = {"method": "distilled", "soft_labels": True, "shrink": "cut", "jpeg": 40}
    config = configured(memory, distill={"iterations": 7, "partition": 1})
    expected = Distilled(config.distill, Jpeg(40), soft_labels=True, shrink_by="cut")
    assert make_method(config, "distilled") == expected
    assert make_method(configured({"method": "distilled"}), "distilled") == Distilled()


def test_a_hybrid_is_a_share_of_distilled_images() -> None:
    config = configured({"method": "hybrid", "share": 0.25, "shrink": "cut"}, distill={"partition": 2})
    assert make_method(config, "hybrid") == Mixed(0.25, Distilled(config.distill, shrink_by="cut"))


@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_auto_has_the_settings_of_the_distillation(mode: str) -> None:
    config = configured({"method": "auto", "shrink": "cut"}, train={"mode": mode})
    assert make_method(config, "auto") == Auto(Distilled(config.distill, shrink_by="cut"))


def test_auto_as_a_baseline_chooses_its_storage_itself() -> None:
    """Of the memory section's keys it takes those of its own."""
    memory = {"method": "distilled", "soft_labels": True, "jpeg": 40}
    config = configured(memory, distill={"partition": 1}, baselines=["auto"])
    assert make_method(config, "auto") == Auto(Distilled(config.distill, soft_labels=True))


@pytest.mark.parametrize(("step", "storage"), [("auto", Dct()), (40, Dct(40.0))])
def test_coefficients_are_a_storage_of_every_method_of_a_class(step: object, storage: Dct) -> None:
    for method in ("random", "herding"):
        assert make_method(configured({"method": method, "dct": step}), method) == Real(method, storage)
    config = configured({"method": "distilled", "dct": step})
    assert make_method(config, "distilled") == Distilled(config.distill, storage)
    assert make_method(configured({"method": "hybrid", "dct": step}), "hybrid").distilled.storage == storage


def test_a_reservoir_has_no_settings() -> None:
    assert make_method(configured({"method": "reservoir"}), "reservoir") == Reservoir()


def test_jpeg_beside_a_partition_is_refused() -> None:
    config = configured({"method": "random", "jpeg": 40}, distill={"partition": 2})
    with pytest.raises(UserError, match=r"memory\.jpeg: 40 stores images at full size; use distill\.partition 1"):
        make_method(config, "distilled")
