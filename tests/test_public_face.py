"""What `from iid_cl import ...` gives, and old import paths."""

import importlib
import subprocess
import sys

import pytest
import torch

import iid_cl


def test_every_public_name_is_there() -> None:
    for name in iid_cl.__all__:
        assert callable(getattr(iid_cl, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        _ = iid_cl.distil  # type: ignore[attr-defined]


def test_distill_is_the_function_however_it_is_imported() -> None:
    from iid_cl import DistillConfig, Normalization, distill
    from iid_cl.distill import distill as function

    images = {0: torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}
    first, second = (
        call(
            images,
            DistillConfig(iterations=0),
            ipc=1,
            generator=torch.Generator().manual_seed(0),
            device="cpu",
            normalization=Normalization((0.5,), (0.25,)),
        )
        for call in (distill, function)
    )
    assert torch.equal(first.images, second.images)


def test_importing_the_package_imports_neither_torch_nor_numpy() -> None:
    program = "import sys, iid_cl; print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("config_distill", "config.distill", "DistillConfig"),
        ("config_files", "config.reading", "load_config"),
        ("config_schema", "config.schema", "config_schema"),
        ("evaluate.scratch", "evaluate.protocol", "judge"),
        ("memory.budget", "budget", "Budget"),
    ],
)
def test_paths_that_the_documentation_named_lead_to_the_same_objects(old: str, new: str, name: str) -> None:
    before, now = (importlib.import_module(f"iid_cl.{path}") for path in (old, new))
    assert getattr(before, name) is getattr(now, name)
