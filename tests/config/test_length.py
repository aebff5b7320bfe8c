"""How many iterations a distillation takes where none are given."""

import pytest

from iid_cl.config.distill import DistillConfig


@pytest.mark.parametrize(
    ("settings", "ipc", "expected"),
    [
        ({}, 3, 1000),
        ({"partition": 2}, 1, 300),  # networks see 4 images
        ({}, 31, 300),
        ({}, 32, 100),
        ({"partition": 2}, 8, 100),  # networks see 32 images
        ({"objective": "idm"}, 50, 1000),
        ({"iterations": 0}, 50, 0),
        ({"iterations": 2000, "objective": "idm"}, 1, 2000),
    ],
)
def test_more_images_take_fewer_iterations(settings: dict[str, object], ipc: int, expected: int) -> None:
    assert DistillConfig.model_validate(settings).length(ipc) == expected
