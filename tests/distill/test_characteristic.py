"""Characteristic functions against complex exponentials in NumPy float64, by hand, and by what leaves them alone."""

import math

import numpy as np
import pytest
import torch

from iid_cl.distill.characteristic import characteristic, characteristic_distance, draw_frequencies
from tests.distill.helpers import draw

FLOOR = 2e-3  # what the constant under the root leaves of equal distributions

every_amplitude = pytest.mark.parametrize("amplitude", [0.0, 0.3, 0.5, 1.0])


def matching(real, synthetic, frequencies, amplitude):
    seen = (characteristic(features, frequencies) for features in (real, synthetic))
    return characteristic_distance(*seen, amplitude)


def functions(features, frequencies):
    """Mean of exp(i <t, x>) over the images of each class, (K, T), complex."""
    return np.stack(
        [np.exp(1j * (x @ t.T)).mean(0) for x, t in zip(features.numpy(), frequencies.numpy(), strict=True)]
    )


def reference(real, synthetic, frequencies, amplitude):
    r, s = functions(real, frequencies), functions(synthetic, frequencies)
    scatter = (np.abs(r) - np.abs(s)) ** 2
    place = 2 * np.abs(r) * np.abs(s) * (1 - np.cos(np.angle(r) - np.angle(s)))
    return np.sqrt(amplitude * scatter + (1 - amplitude) * place).mean(1)


def example(seed, images=6, made=3, classes=2, size=5, count=40):
    """Features of unit spread per direction and frequencies that they answer to."""
    real, synthetic = draw(seed, classes, images, size), draw(seed + 1, classes, made, size) + 0.5
    return real, synthetic, 0.4 * draw(seed + 2, classes, count, size)


@every_amplitude
@pytest.mark.parametrize("seed", [0, 10])
def test_equals_complex_exponentials(seed, amplitude):
    real, synthetic, frequencies = example(seed)
    value = matching(real, synthetic, frequencies, amplitude)
    assert value.shape == (2,)
    np.testing.assert_allclose(value.numpy(), reference(real, synthetic, frequencies, amplitude), rtol=1e-3)


def test_the_parts_are_those_of_complex_exponentials():
    real, _, frequencies = example(15)
    parts = characteristic(real, frequencies)
    assert [part.shape for part in parts] == [(2, 40)] * 2
    exact = functions(real, frequencies)
    np.testing.assert_allclose(parts[0].numpy(), exact.real, atol=1e-12)
    np.testing.assert_allclose(parts[1].numpy(), exact.imag, atol=1e-12)


def test_half_the_amplitude_measures_the_plain_distance():
    real, synthetic, frequencies = example(20)
    distance = np.abs(functions(real, frequencies) - functions(synthetic, frequencies))
    value = matching(real, synthetic, frequencies, 0.5)
    np.testing.assert_allclose(value.numpy(), (distance / math.sqrt(2)).mean(1), rtol=1e-3)


@pytest.mark.parametrize(
    ("made", "amplitude", "value"),
    [
        ([math.pi], 0.5, math.sqrt(2)),  # s = -1: as wide as r = 1, on the other side: 2 + 2 in place
        ([math.pi], 0.0, 2.0),
        ([math.pi], 0.75, 1.0),
        ([math.pi / 2, -math.pi / 2], 0.5, math.sqrt(0.5)),  # s = 0: all scattered, nowhere in place
        ([math.pi / 2, -math.pi / 2], 1.0, 1.0),
        ([math.pi / 3, -math.pi / 3], 1.0, 0.5),  # s = 1/2
        ([math.pi / 2], 0.5, 1.0),  # s = i: 2 in place
    ],
)
def test_by_hand(made, amplitude, value):
    real = torch.zeros(1, 1, 1, dtype=torch.float64)  # r = 1
    synthetic = torch.tensor(made, dtype=torch.float64).view(1, -1, 1)
    result = matching(real, synthetic, torch.ones(1, 1, 1, dtype=torch.float64), amplitude)
    assert float(result) == pytest.approx(value, abs=2e-3)


def test_the_value_is_the_mean_over_frequencies():
    real, synthetic, frequencies = example(30, classes=1)
    each = [matching(real, synthetic, frequencies[:, t : t + 1], 0.5) for t in range(40)]
    together = matching(real, synthetic, frequencies, 0.5)
    torch.testing.assert_close(together, torch.stack(each).mean(0))


@every_amplitude
def test_equal_sets_match(amplitude):
    real, synthetic, frequencies = example(40)
    assert matching(real, real, frequencies, amplitude).max() < FLOOR
    assert matching(real, torch.cat([real, real], 1), frequencies, amplitude).max() < FLOOR
    assert matching(real, synthetic, frequencies, amplitude).min() > 20 * FLOOR


def test_gradient_at_equal_sets_is_a_number():
    real, _, frequencies = example(41)
    synthetic = real.clone().requires_grad_()
    matching(real, synthetic, frequencies, 0.5).sum().backward()
    assert synthetic.grad.isfinite().all()
    assert synthetic.grad.abs().max() < 1e-6


def test_more_than_the_mean_is_matched():
    """Sets of one mean and unlike scatter, which mean matching takes for equal."""
    real, frequencies = draw(42, 1, 6, 5), 0.4 * draw(43, 1, 40, 5)
    real = real - real.mean(1, keepdim=True)
    assert matching(real, 3 * real, frequencies, 0.5).min() > 50 * FLOOR


@every_amplitude
def test_a_common_shift_changes_nothing(amplitude):
    real, synthetic, frequencies = example(50)
    offset = 5 * draw(53, 2, 1, 5)
    moved = matching(real + offset, synthetic + offset, frequencies, amplitude)
    torch.testing.assert_close(moved, matching(real, synthetic, frequencies, amplitude))


def test_the_amplitude_alone_is_blind_to_where_the_images_lie():
    real, synthetic, frequencies = example(60)
    offset = 2 * draw(63, 2, 1, 5)
    values = {
        amplitude: [matching(real, made, frequencies, amplitude) for made in (synthetic, synthetic + offset)]
        for amplitude in (0.5, 1.0)
    }
    torch.testing.assert_close(*values[1.0])
    assert (values[0.5][0] - values[0.5][1]).abs().min() > 0.05


def test_the_phase_alone_is_blind_to_how_wide_they_scatter():
    half = draw(64, 1, 3, 5)
    real = torch.cat([half, -half], 1)  # symmetric: the function is real, and at low frequencies positive
    low = 0.12 * draw(65, 1, 40, 5)
    assert matching(real, 2 * real, low, 0.0).max() < FLOOR
    assert matching(real, 2 * real, low, 1.0).min() > 10 * FLOOR


@every_amplitude
def test_order_of_images_does_not_matter(amplitude):
    real, synthetic, frequencies = example(70)
    shuffled = matching(real[:, [3, 5, 0, 1, 4, 2]], synthetic[:, [2, 0, 1]], frequencies, amplitude)
    torch.testing.assert_close(shuffled, matching(real, synthetic, frequencies, amplitude))


def test_a_class_depends_on_no_other():
    real, synthetic, frequencies = example(80, classes=3)
    synthetic.requires_grad_()
    together = matching(real, synthetic, frequencies, 0.5)
    alone = [matching(*(x[k : k + 1] for x in (real, synthetic, frequencies)), 0.5) for k in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
    together[1].backward()
    assert synthetic.grad[1].abs().min() > 0
    assert not synthetic.grad[[0, 2]].any()


@every_amplitude
def test_gradient_agrees_with_finite_differences(amplitude):
    real, synthetic, frequencies = example(90, count=4, size=3)
    assert torch.autograd.gradcheck(lambda s: matching(real, s, frequencies, amplitude), (synthetic.requires_grad_(),))


@every_amplitude
def test_gradient_agrees_with_differences_of_the_complex_exponentials(amplitude):
    real, synthetic, frequencies = example(91, count=12, size=3)
    synthetic.requires_grad_()
    matching(real, synthetic, frequencies, amplitude).sum().backward()
    step, exact = 1e-5, np.zeros(tuple(synthetic.shape))
    for index in np.ndindex(*exact.shape):
        ends = []
        for sign in (1, -1):
            moved = synthetic.detach().clone()
            moved[index] += sign * step
            ends.append(reference(real, moved, frequencies, amplitude).sum())
        exact[index] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(synthetic.grad.numpy(), exact, atol=0.02 * np.abs(exact).max())


# --- frequencies


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_frequencies_are_normal_and_centred():
    t = draw_frequencies(20000, 2, generator(1))[0].double().numpy()
    assert np.abs(t.mean(0)).max() < 0.03
    np.testing.assert_allclose(np.cov(t.T), np.eye(2), atol=0.05)
    assert (t**4).mean() == pytest.approx(3.0, abs=0.2)  # a uniform draw of unit variance has 1.8


def test_classes_share_their_frequencies():
    real, synthetic, _ = example(110, classes=3)
    frequencies = draw_frequencies(7, 5, generator(2)).double()
    assert frequencies.shape == (1, 7, 5)
    shared, repeated = (matching(real, synthetic, t, 0.5) for t in (frequencies, frequencies.expand(3, 7, 5)))
    torch.testing.assert_close(shared, repeated)


def test_frequencies_repeat_for_a_seed_and_go_on():
    draws = generator(4)
    first, second = (draw_frequencies(5, 3, draws) for _ in range(2))
    assert torch.equal(first, draw_frequencies(5, 3, generator(4)))
    assert not torch.equal(first, second)
