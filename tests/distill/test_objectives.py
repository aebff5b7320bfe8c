"""The losses against loops in NumPy float64, hand-worked examples, finite differences and their symmetries."""

import numpy as np
import pytest
import torch

from iid_cl.distill.objectives import (
    centre_distances,
    covariance_matching,
    exponential_centralization,
    in_units,
    local_covariance,
    mean_matching,
    quadratic_centralization,
    spread,
)
from tests.distill.helpers import draw

ALPHA, BETA = 0.1, 1.5  # leaves some of the images below alone and not others


def quadratic(features):
    return quadratic_centralization(centre_distances(features))


def exponential(features, alpha=ALPHA, beta=BETA):
    """With distances that are alpha times as long, which is what the paper's alpha comes to."""
    return exponential_centralization(alpha * centre_distances(features), beta)


def matched_covariance(real, synthetic):
    return covariance_matching(local_covariance(real), local_covariance(synthetic))


# Each loss as a function of two sets of local features (K, B, C, P) and (K, M, C, P), so that the symmetries
# below are stated once.
LOSSES = {
    "mean_matching": lambda real, synthetic: mean_matching(real.flatten(2), synthetic.flatten(2)),
    "quadratic": lambda real, synthetic: quadratic(synthetic.flatten(2)),
    "exponential": lambda real, synthetic: exponential(synthetic.flatten(2), beta=1.0),
    "centre_distances": lambda real, synthetic: centre_distances(synthetic.flatten(2)).square().sum(1),
    "covariance_matching": matched_covariance,
    "spread": lambda real, synthetic: spread(synthetic.flatten(2)),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


# --- independent computations: plain loops over METHOD's formulas


def loop_mean(features):
    total = np.zeros(features.shape[1:])
    for image in features:
        total += image
    return total / len(features)


def loop_mean_matching(real, synthetic):
    a, b = loop_mean(real), loop_mean(synthetic)
    return sum((a[d] - b[d]) ** 2 for d in range(len(a)))


def loop_centralization(features):
    mean = loop_mean(features)
    return sum((image[d] - mean[d]) ** 2 for image in features for d in range(len(mean)))


def loop_exponential(features, alpha, beta):
    mean = loop_mean(features)
    total = 0.0
    for image in features:
        distance = sum((image[d] - mean[d]) ** 2 for d in range(len(mean)))
        total += max(0.0, np.exp(alpha * distance) - beta)
    return total


def loop_covariance(features):
    images, channels, positions = features.shape
    mu = loop_mean(features)
    sigma = np.zeros((channels, channels))
    for i in range(images):
        for a in range(channels):
            for b in range(channels):
                for p in range(positions):
                    sigma[a, b] += (features[i, a, p] - mu[a, p]) * (features[i, b, p] - mu[b, p])
    return sigma / images


def loop_frobenius(a, b):
    return sum((a[i, j] - b[i, j]) ** 2 for i in range(a.shape[0]) for j in range(a.shape[1]))


def test_mean_matching_equals_loops():
    real, synthetic = draw(0, 3, 5, 7), draw(1, 3, 2, 7)
    expected = [loop_mean_matching(real[k].numpy(), synthetic[k].numpy()) for k in range(3)]
    np.testing.assert_allclose(mean_matching(real, synthetic).numpy(), expected, rtol=1e-12)


def test_centre_distances_equal_loops():
    features = draw(2, 3, 4, 6)
    expected = np.zeros((3, 4))
    for k, m in np.ndindex(3, 4):
        mean = loop_mean(features[k].numpy())
        expected[k, m] = sum((float(features[k, m, d]) - mean[d]) ** 2 for d in range(6))
    np.testing.assert_allclose(centre_distances(features).numpy(), expected, rtol=1e-12)


def test_quadratic_centralization_equals_loops():
    features = draw(2, 3, 4, 6)
    expected = [loop_centralization(features[k].numpy()) for k in range(3)]
    np.testing.assert_allclose(quadratic(features).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.5), (0.3, 4.0), (1.0, 1.0), (0.5, 0.0)])
def test_exponential_centralization_equals_loops(alpha, beta):
    features = draw(2, 3, 4, 6)
    expected = [loop_exponential(features[k].numpy(), alpha, beta) for k in range(3)]
    np.testing.assert_allclose(exponential(features, alpha, beta).numpy(), expected, rtol=1e-12)


def test_local_covariance_equals_loops():
    features = draw(3, 2, 5, 3, 4)
    expected = np.stack([loop_covariance(features[k].numpy()) for k in range(2)])
    np.testing.assert_allclose(local_covariance(features).numpy(), expected, rtol=1e-12, atol=1e-14)


def test_covariance_matching_equals_loops():
    real, synthetic = draw(4, 2, 6, 3, 4), draw(5, 2, 2, 3, 4)
    expected = [
        loop_frobenius(loop_covariance(real[k].numpy()), loop_covariance(synthetic[k].numpy())) for k in range(2)
    ]
    np.testing.assert_allclose(matched_covariance(real, synthetic).numpy(), expected, rtol=1e-12)


def test_spread_equals_loops():
    features = draw(6, 3, 4, 6)
    expected = [loop_centralization(features[k].numpy()) / 4 for k in range(3)]
    np.testing.assert_allclose(spread(features).numpy(), expected, rtol=1e-12)


@every_loss
def test_single_precision_agrees_with_double(loss):
    real, synthetic = draw(7, 2, 6, 4, 9), draw(8, 2, 3, 4, 9)
    np.testing.assert_allclose(
        loss(real.float(), synthetic.float()).double().numpy(), loss(real, synthetic).numpy(), rtol=1e-4
    )


# --- worked by hand


def test_mean_matching_by_hand():
    real = torch.tensor([[[0.0, 0.0], [2.0, 4.0]]])  # mean (1, 2)
    synthetic = torch.tensor([[[4.0, 3.0]]])
    assert mean_matching(real, synthetic).tolist() == [10.0]  # 3^2 + 1^2


def test_quadratic_centralization_by_hand():
    features = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]]])  # mean (1, 1)
    assert centre_distances(features).tolist() == [[2.0, 2.0, 4.0]]
    assert quadratic(features).tolist() == [8.0]


def test_exponential_centralization_by_hand():
    # with alpha = ln(2) / 2 the exponentials are 2, 2 and 4
    features = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]]], dtype=torch.float64)
    alpha = np.log(2) / 2
    for beta, total in ((1.0, 1 + 1 + 3), (1.5, 0.5 + 0.5 + 2.5), (2.5, 1.5), (5.0, 0.0)):
        assert exponential(features, alpha, beta).tolist() == [pytest.approx(total, rel=1e-12)]


def test_exponential_centralization_leaves_near_images_alone():
    # distances 1 and 4 (twice each) about the mean; exp(0.5 d) is 1.65 and 7.39
    distances = torch.tensor([[1.0, 4.0, 4.0, 1.0]], dtype=torch.float64, requires_grad=True)
    exponential_centralization(0.5 * distances, 2.0).sum().backward()
    steep = 0.5 * np.exp(2.0)
    np.testing.assert_allclose(distances.grad.numpy(), [[0.0, steep, steep, 0.0]], rtol=1e-12)


def test_images_near_enough_have_no_gradient_at_all():
    features = (0.01 * draw(45, 2, 4, 6)).requires_grad_()
    value = exponential(features, alpha=1.0, beta=2.0)
    value.sum().backward()
    assert value.tolist() == [0.0, 0.0]
    assert not features.grad.any()


def test_spread_by_hand():
    features = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [1.0, 1.0]]])  # 2 + 2 + 4 + 0 of 4 images
    assert spread(features).tolist() == [2.0]


def test_local_covariance_by_hand():
    # one position: images (1, 0) and (-1, 2), mean (0, 1), deviations +-(1, -1)
    features = torch.tensor([[[[1.0], [0.0]], [[-1.0], [2.0]]]])
    assert local_covariance(features).tolist() == [[[1.0, -1.0], [-1.0, 1.0]]]


def test_local_covariance_sums_over_positions_by_hand():
    # one channel, two positions: images (1, 10) and (3, 4), mean (2, 7), squared deviations 1 + 9 each
    features = torch.tensor([[[[1.0, 10.0]], [[3.0, 4.0]]]])
    assert local_covariance(features).tolist() == [[[10.0]]]


def test_covariance_matching_by_hand():
    real = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
    synthetic = torch.tensor([[[2.0, 0.0], [1.0, 4.0]]])
    assert covariance_matching(real, synthetic).tolist() == [15.0]  # 1 + 1 + 4 + 9


# --- gradients


@every_loss
def test_gradient_agrees_with_finite_differences(loss):
    real, synthetic = draw(9, 2, 4, 2, 3), draw(10, 2, 3, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(real, s), (synthetic,))


def test_covariance_gradient_agrees_with_central_differences():
    real, synthetic = draw(11, 1, 5, 2, 3), draw(12, 1, 2, 2, 3).requires_grad_()
    matched_covariance(real, synthetic).sum().backward()
    step = 1e-5
    for index in np.ndindex(*synthetic.shape):
        ends = []
        for sign in (1, -1):
            moved = synthetic.detach().clone()
            moved[index] += sign * step
            sigmas = loop_covariance(real[0].numpy()), loop_covariance(moved[0].numpy())
            ends.append(loop_frobenius(*sigmas))
        assert float(synthetic.grad[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def test_exponential_gradient_agrees_with_central_differences():
    features = draw(2, 3, 4, 6).requires_grad_()
    exponential(features).sum().backward()
    active = np.exp(ALPHA * centre_distances(features.detach()).numpy()) > BETA
    assert active.any()
    assert not active.all()
    step = 1e-6
    for index in np.ndindex(*features.shape):
        ends = []
        for sign in (1, -1):
            moved = features.detach().clone().numpy()
            moved[index] += sign * step
            ends.append(loop_exponential(moved[index[0]], ALPHA, BETA))
        assert float(features.grad[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def test_centralization_pulls_straight_to_the_mean():
    features = draw(13, 1, 4, 5).requires_grad_()
    quadratic(features).sum().backward()
    expected = 2 * (features.detach() - features.detach().mean(1, keepdim=True))
    torch.testing.assert_close(features.grad, expected)


# --- what leaves them as they are, and what does not


@every_loss
def test_order_of_images_does_not_matter(loss):
    real, synthetic = draw(14, 2, 5, 3, 4), draw(15, 2, 4, 3, 4)
    shuffled = loss(real[:, [3, 0, 4, 1, 2]], synthetic[:, [2, 3, 0, 1]])
    torch.testing.assert_close(shuffled, loss(real, synthetic))


@every_loss
def test_class_does_not_depend_on_other_classes(loss):
    real, synthetic = draw(16, 3, 5, 3, 4), draw(17, 3, 4, 3, 4)
    together = loss(real, synthetic)
    alone = torch.cat([loss(real[k : k + 1], synthetic[k : k + 1]) for k in range(3)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, alone)


@every_loss
def test_class_has_no_gradient_from_other_classes(loss):
    real, synthetic = draw(18, 3, 5, 3, 4), draw(19, 3, 4, 3, 4).requires_grad_()
    loss(real, synthetic)[1].backward()
    assert synthetic.grad[1].abs().min() > 0
    assert not synthetic.grad[[0, 2]].any()


def test_equal_inputs_match_exactly():
    features = draw(20, 2, 5, 3, 4)
    assert LOSSES["mean_matching"](features, features).tolist() == [0.0, 0.0]
    assert matched_covariance(features, features).tolist() == [0.0, 0.0]


def test_losses_are_positive_for_unequal_inputs():
    real, synthetic = draw(21, 2, 5, 3, 4), draw(22, 2, 4, 3, 4)
    for loss in LOSSES.values():
        assert (loss(real, synthetic) > 0).all()


def test_equal_synthetic_images_have_no_deviation():
    features = draw(23, 2, 1, 3, 4).expand(2, 4, 3, 4)
    assert quadratic(features.flatten(2)).max() < 1e-28
    assert exponential(features.flatten(2), beta=1.0).max() < 1e-14
    assert local_covariance(features).abs().max() < 1e-28


def test_a_single_image_has_no_deviation():
    assert quadratic(draw(24, 2, 1, 12)).tolist() == [0.0, 0.0]
    assert exponential(draw(24, 2, 1, 12)).tolist() == [0.0, 0.0]


def test_equal_images_have_no_spread_and_nothing_to_match():
    almost = torch.ones(2, 3, 4)
    almost[:, 0, 0] += 1e-4  # as rounding might
    for features in (torch.ones(2, 3, 4), almost, torch.zeros(2, 3, 4)):
        unit = spread(features)
        assert unit.tolist() == [0, 0]
        assert in_units(torch.ones(2), unit).tolist() == [0, 0]


def test_units_divide():
    values = torch.tensor([6.0, 6.0, 6.0], requires_grad=True)
    result = in_units(values, torch.tensor([2.0, 0.0, 1e-30]))
    torch.testing.assert_close(result, torch.tensor([3.0, 0.0, 6e30]))
    result.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([0.5, 0.0, 1e30]))


@pytest.mark.parametrize("name", ["quadratic", "exponential", "centre_distances", "covariance_matching", "spread"])
def test_deviations_ignore_a_translation(name):
    real, synthetic = draw(25, 2, 5, 3, 4), draw(26, 2, 4, 3, 4)
    offsets = draw(27, 2, 1, 3, 4), draw(28, 2, 1, 3, 4)  # of each set, class, channel and position
    moved = LOSSES[name](real + offsets[0], synthetic + offsets[1])
    torch.testing.assert_close(moved, LOSSES[name](real, synthetic))


def test_mean_matching_ignores_a_translation_of_both_only():
    real, synthetic, offset = draw(29, 2, 5, 6), draw(30, 2, 4, 6), draw(31, 2, 1, 6)
    value = mean_matching(real, synthetic)
    torch.testing.assert_close(mean_matching(real + offset, synthetic + offset), value)
    assert ((mean_matching(real + offset, synthetic) - value).abs() > 0.1).all()


@pytest.mark.parametrize(
    ("name", "power"),
    [("mean_matching", 2), ("quadratic", 2), ("centre_distances", 4), ("covariance_matching", 4), ("spread", 2)],
)
def test_scaling_the_features_scales_the_loss_by_its_power(name, power):
    real, synthetic = draw(32, 2, 5, 3, 4), draw(33, 2, 4, 3, 4)
    loss = LOSSES[name]
    torch.testing.assert_close(loss(3 * real, 3 * synthetic), 3**power * loss(real, synthetic))


def test_repeating_every_image_changes_sums_only():
    real, synthetic = draw(34, 2, 5, 3, 4), draw(35, 2, 3, 3, 4)
    twice = torch.cat([synthetic, synthetic], 1)
    for name in ("mean_matching", "covariance_matching", "spread"):
        torch.testing.assert_close(LOSSES[name](real, twice), LOSSES[name](real, synthetic))
    for name in ("quadratic", "exponential", "centre_distances"):
        torch.testing.assert_close(LOSSES[name](real, twice), 2 * LOSSES[name](real, synthetic))


def test_mean_matching_sees_means_only():
    real, synthetic = draw(36, 1, 4, 6), draw(37, 1, 2, 6)
    wider = synthetic.mean(1, keepdim=True) + 5 * (synthetic - synthetic.mean(1, keepdim=True))
    torch.testing.assert_close(mean_matching(real, wider), mean_matching(real, synthetic))


def test_local_covariance_is_symmetric_and_positive():
    sigma = local_covariance(draw(38, 2, 3, 6, 2))
    torch.testing.assert_close(sigma, sigma.transpose(1, 2))
    assert torch.linalg.eigvalsh(sigma).min() > -1e-12


def test_trace_of_the_local_covariance_is_the_spread():
    features = draw(39, 3, 5, 4, 6)
    trace = local_covariance(features).diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(trace, spread(features.flatten(2)))


def test_class_mean_keeps_its_position():
    # every image has the same value at each position, but positions differ: nothing deviates
    features = draw(40, 1, 1, 3, 5).expand(1, 4, 3, 5)
    assert local_covariance(features).abs().max() < 1e-28


def test_positions_may_be_renamed_for_all_images_but_not_for_one():
    features = draw(41, 1, 4, 3, 5)
    sigma = local_covariance(features)
    order = [4, 2, 0, 1, 3]
    torch.testing.assert_close(local_covariance(features[..., order]), sigma)
    one = features.clone()
    one[:, 0] = features[:, 0][..., order]
    assert (local_covariance(one) - sigma).abs().max() > 0.01


def test_renaming_channels_renames_rows_and_columns():
    features, order = draw(42, 1, 4, 3, 5), [2, 0, 1]
    expected = local_covariance(features)[:, order][:, :, order]
    torch.testing.assert_close(local_covariance(features[:, :, order]), expected)


def test_covariance_matching_is_symmetric_in_its_arguments():
    a, b = draw(43, 2, 3, 3), draw(44, 2, 3, 3)
    torch.testing.assert_close(covariance_matching(a, b), covariance_matching(b, a))
