"""Repeatable arithmetic is switched on, said where it is not to be had, and switched off again."""

import os
import warnings

import pytest
import torch

from iid_cl.compute.deterministic import FIXED, WORKSPACE, deterministic


def nowhere_repeatable() -> None:
    """PyTorch has no deterministic algorithm for it on any device."""
    torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))


def settings() -> tuple[object, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        os.environ.get(WORKSPACE),
    )


def test_within_it_algorithms_repeat() -> None:
    with deterministic(True, print):
        assert settings() == (True, True, False, False, True, FIXED)


@pytest.mark.parametrize("wanted", [True, False])
def test_afterwards_everything_is_as_before(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings(), warnings.showwarning, list(warnings.filters)
    with deterministic(wanted, print):
        pass
    assert (settings(), warnings.showwarning, list(warnings.filters)) == before
    with pytest.raises(ZeroDivisionError), deterministic(wanted, print):
        raise ZeroDivisionError
    assert (settings(), warnings.showwarning, list(warnings.filters)) == before


def test_unwanted_it_changes_nothing() -> None:
    before = settings()
    with deterministic(False, print):
        assert settings() == before


def test_a_workspace_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with deterministic(True, print):
        assert os.environ[WORKSPACE] == ":16:8"
    assert os.environ[WORKSPACE] == ":16:8"


@pytest.mark.parametrize("filters", ["error", "ignore"])
def test_what_cannot_repeat_is_said_once_per_run(filters: str) -> None:
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter(filters)  # type: ignore[arg-type]
        for count in (1, 2):
            with deterministic(True, said.append):
                nowhere_repeatable()
                nowhere_repeatable()
            assert len(said) == count
    assert said[0] == "deterministic: put_ has no repeatable algorithm here; figures may differ from run to run."


def test_each_operation_is_named() -> None:
    said: list[str] = []
    with deterministic(True, said.append):
        for name in ("one_backward", "two_backward", "one_backward"):
            warnings.warn(f"{name} does not have a deterministic implementation, but you set ...", stacklevel=1)
        warnings.warn("Deterministic behavior was enabled with\nCuBLAS.", stacklevel=1)
    assert [line.split()[1] for line in said[:2]] == ["one_backward", "two_backward"]
    assert said[2:] == ["deterministic: Deterministic behavior was enabled with CuBLAS."]


def test_other_warnings_are_left_alone() -> None:
    said: list[str] = []
    with pytest.warns(UserWarning, match="something else"), deterministic(True, said.append):
        warnings.warn("something else", stacklevel=1)
    assert said == []


def test_a_gpu_in_use_before_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    said: list[str] = []
    with deterministic(True, said.append):
        pass
    assert len(said) == 1
    assert f"{WORKSPACE}={FIXED}" in said[0]


@pytest.mark.gpu
def test_a_gpu_repeats_sums_that_it_else_would_not() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    values = torch.randn(1_000_000, device="cuda", generator=generator)
    places = torch.randint(10, values.shape, device="cuda", generator=generator)
    with deterministic(True, print):
        sums = [torch.zeros(10, device="cuda").index_add_(0, places, values) for _ in range(20)]
    assert all(torch.equal(each, sums[0]) for each in sums)
