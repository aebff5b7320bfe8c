"""The page on scale, and its arithmetic by hand."""

import pytest

from benchmarks import scale
from benchmarks.machine import convnet_traffic

RATES = {
    "ceiling, matrix product": 1000.0,  # GFLOP/s
    "ceiling, copy": 1e6,  # GB/s: bytes cost nothing beside operations
    "share of the floor (operations or bytes)": 0.5,
    "against Avalanche's loader": 640.0,
}


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    found = dict(RATES)
    monkeypatch.setattr(scale, "rate", lambda name, figure: found[figure])
    return found


def test_the_page_holds_what_the_script_computes() -> None:
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.update(text) == text, "run python -m benchmarks.scale"
    figures = dict(scale.rows(scale.Run()))
    hours = float(figures["1,000 iterations of 1,000 classes on one GPU"].removesuffix(" h"))
    learner = next(value for name, value in figures.items() if name.startswith("learner, 10 epochs"))
    assert f"would take {hours:.1f} hours" in text
    assert learner == "24 h"  # "a day", in the same sentence


def test_an_iteration_takes_its_operations_or_its_bytes(rates: dict[str, float]) -> None:
    """Three convolutions of 3x3 on 32, 16 and 8 pixels of side; two operations in each product; 1 + 2 passes back."""
    run = scale.Run(side=32, ipc=10)
    forward = 2 * 9 * 128 * (3 * 32**2 + 128 * 16**2 + 128 * 8**2)
    seconds = scale.step_seconds(run, real_batch=70)
    assert seconds == pytest.approx((70 + 30) * forward / 1e12 / 0.5, rel=1e-3)
    rates["ceiling, copy"] = 1e-3
    traffic = convnet_traffic(scale.EMBEDDER, (3, 32, 32), 2)
    assert scale.step_seconds(run, real_batch=70) == pytest.approx(100 * traffic / 1e6 / 0.5)


def test_a_learner_slows_down_with_its_positions(rates: dict[str, float]) -> None:
    """A ResNet without its classifier costs the same at each position: 64 pixels of side have four times as many."""
    assert scale.learner_rate(scale.Run(classes=10, side=64)) == pytest.approx(640 / 4, rel=1e-3)
