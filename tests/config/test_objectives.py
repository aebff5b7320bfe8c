"""The table of objectives agrees with the names that type checkers and the configuration know."""

from typing import get_args

import pytest

from iid_cl.config.distill import DistillConfig
from iid_cl.config.objectives import OBJECTIVE_INFO, ObjectiveName, partitions_in_words
from iid_cl.distill.matching import OBJECTIVES


def test_the_table_the_names_and_the_losses_agree() -> None:
    assert list(OBJECTIVE_INFO) == list(get_args(ObjectiveName)) == list(OBJECTIVES)
    assert all(info.name == name for name, info in OBJECTIVE_INFO.items())


@pytest.mark.parametrize(("objective", "partition"), [("dm", 1), ("idm", 2), ("ncfm", 2)])
def test_an_objective_implies_a_partition_unless_one_is_given(objective: ObjectiveName, partition: int) -> None:
    assert DistillConfig(objective=objective).factor == partition
    assert DistillConfig(objective=objective, partition=3).factor == 3


def test_the_key_says_what_each_objective_is() -> None:
    said = DistillConfig.model_fields["objective"].description or ""
    assert said.startswith("Matching base: dm (means of features), idm (the same on partitioned images")
    assert all(f"{info.name} ({info.says})" in said for info in OBJECTIVE_INFO.values())
    assert partitions_in_words() == "1 with dm and lgm, 2 with idm and ncfm"
