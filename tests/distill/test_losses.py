"""The weighted terms of a step in both units, against NumPy float64."""

import numpy as np
import pytest
import torch

from iid_cl.config.distill import CentralizationConfig, QueueConfig
from iid_cl.config.objectives import OBJECTIVE_INFO
from iid_cl.distill import matching as module
from iid_cl.distill.characteristic import characteristic, draw_frequencies
from iid_cl.distill.losses import centralization_term, cross_entropy_term, matching_terms, real_statistics, step_unit
from iid_cl.distill.matching import OBJECTIVES, CharacteristicMatching, MeanMatching
from tests.distill.helpers import draw, settings

SEPARATE = [name for name, info in OBJECTIVE_INFO.items() if not info.joint]
every_scale = pytest.mark.parametrize("scale", ["relative", "published"])


def terms_of(real, synthetic, seed=0, **options):
    return matching(real, synthetic, settings(**options), torch.Generator().manual_seed(seed))


def matching(real, synthetic, config, generator):
    objective = OBJECTIVES[config.objective](config, real.shape[2] * real.shape[3], generator)
    return matching_terms(real_statistics(real, objective, config), synthetic, objective, config)


def numpy_terms(real, synthetic):
    """match, covariance distance, real covariance's squared norm and real spread of each class, in NumPy."""
    rows = []
    for r, s in zip(real.numpy(), synthetic.numpy(), strict=True):
        match = ((r.mean(0) - s.mean(0)) ** 2).sum()
        centred = [x - x.mean(0) for x in (r, s)]
        sigma = [sum(f @ f.T for f in x) / len(x) for x in centred]
        distance = ((sigma[0] - sigma[1]) ** 2).sum()
        rows.append((match, distance, (sigma[0] ** 2).sum(), (centred[0] ** 2).sum() / len(r)))
    return np.array(rows).T


# --- matching


@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_published_terms_are_the_plain_sums(objective):
    real, synthetic = draw(0, 3, 6, 4, 5), draw(1, 3, 2, 4, 5)
    match, distance, _, _ = numpy_terms(real, synthetic)
    terms = terms_of(real, synthetic, cm=0.01, scale="published", objective=objective)
    assert terms.keys() == {"match", "cm"}
    np.testing.assert_allclose(terms["match"].numpy(), match, rtol=1e-10)
    np.testing.assert_allclose(terms["cm"].numpy(), 0.01 * distance, rtol=1e-10)


@pytest.mark.parametrize("objective", ["dm", "idm"])
def test_relative_terms_are_in_units_of_the_real_images(objective):
    real, synthetic = draw(2, 3, 6, 4, 5), draw(3, 3, 2, 4, 5)
    match, distance, norm, real_spread = numpy_terms(real, synthetic)
    terms = terms_of(real, synthetic, cm=0.3, scale="relative", objective=objective)
    np.testing.assert_allclose(terms["match"].numpy(), match / real_spread, rtol=1e-10)
    np.testing.assert_allclose(terms["cm"].numpy(), 0.3 * distance / norm, rtol=1e-10)


@every_scale
def test_characteristic_terms_equal_complex_exponentials(scale, monkeypatch):
    real, synthetic = draw(4, 3, 6, 4, 5), 0.3 + draw(5, 3, 2, 4, 5)
    monkeypatch.setattr(module, "FREQUENCIES", 30)
    monkeypatch.setattr(module, "AMPLITUDE", 0.25)
    terms = terms_of(real, synthetic, cm=0.3, scale=scale, objective="ncfm")
    _, distance, norm, real_spread = numpy_terms(real, synthetic)
    directions = torch.randn(30, 20, generator=torch.Generator().manual_seed(0)).double().numpy()
    for k in range(3):
        r, s = (
            np.exp(1j * x[k].flatten(1).numpy() @ directions.T / np.sqrt(real_spread[k])).mean(0)
            for x in (real, synthetic)
        )
        scatter = (np.abs(r) - np.abs(s)) ** 2
        place = np.abs(r - s) ** 2 - scatter
        expected = np.sqrt(0.25 * scatter + 0.75 * place).mean()
        assert float(terms["match"][k]) == pytest.approx(expected, rel=1e-3)
    unit = norm if scale == "relative" else 1.0
    np.testing.assert_allclose(terms["cm"].numpy(), 0.3 * distance / unit, rtol=1e-10)


@pytest.fixture
def projected(monkeypatch):
    """What characteristic functions are taken of: projections (K, n, T) in float64, call by call."""
    seen = []

    def recorded(features, frequencies):
        seen.append((features.detach().double() @ frequencies.double().transpose(1, 2)).numpy())
        return characteristic(features, frequencies)

    monkeypatch.setattr(module, "characteristic", recorded)
    return seen


def test_projected_features_have_unit_variance_about_the_real_mean(projected, monkeypatch):
    monkeypatch.setattr(module, "FREQUENCIES", 8192)
    scales = torch.tensor([0.01, 1.0, 300.0], dtype=torch.float64)[:, None, None, None]
    real, synthetic = scales * draw(100, 3, 30, 2, 3) + 5, scales * (draw(101, 3, 5, 2, 3) + 3) + 5
    terms_of(real, synthetic, objective="ncfm")
    seen, made = projected
    assert seen.shape == (3, 30, 8192)
    assert np.abs(seen.mean(1)).max() < 1e-9
    np.testing.assert_allclose(seen.var(1).mean(1), 1.0, atol=0.04)
    # synthetic features are measured with the real ones' mean and spread
    for k in range(3):
        x, y = real[k].flatten(1).numpy(), synthetic[k].flatten(1).numpy()
        distance = ((y - x.mean(0)) ** 2).sum(1).mean() / ((x - x.mean(0)) ** 2).sum(1).mean()
        assert (made[k] ** 2).mean() == pytest.approx(distance, rel=0.1)


def test_a_class_without_spread_has_a_finite_characteristic_function(projected):
    real = draw(102, 2, 4, 3, 2)
    real[0] = 7.0
    frequencies = draw_frequencies(9, 6, torch.Generator().manual_seed(0))
    seen = CharacteristicMatching(frequencies).observe(real)
    assert seen.moments.spread[0] == 0
    assert seen.moments.spread[1] > 0
    assert not projected[0][0].any()
    cosines, sines = seen.function
    assert cosines[0].tolist() == [1.0] * 9
    assert sines[0].tolist() == [0.0] * 9
    assert cosines[1].isfinite().all()


@pytest.mark.parametrize("objective", SEPARATE)
def test_a_far_common_offset_loses_no_digits_in_single_precision(objective):
    # 512 + k / 256 is exact in single precision, so that nothing but the function itself could lose digits
    real, synthetic = ((x.float() * 256).round() / 256 for x in (draw(103, 2, 8, 3, 2), draw(104, 2, 4, 3, 2) + 0.5))
    plain, moved = (terms_of(real + x, synthetic + x, cm=0.3, objective=objective) for x in (0, 512))
    for name, term in plain.items():
        torch.testing.assert_close(moved[name], term, rtol=1e-4, atol=1e-5)
        assert (term > 0.01).all()


def test_frequencies_take_the_format_of_the_features():
    real, synthetic = draw(105, 2, 8, 3, 2), draw(106, 2, 4, 3, 2)
    frequencies = draw_frequencies(9, 6, torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        objective = CharacteristicMatching(frequencies)
        assert objective.compare(objective.observe(real.to(dtype)), synthetic.to(dtype)).dtype == dtype


def test_statistics_hold_what_their_names_say():
    real = draw(107, 3, 6, 4, 5)
    objective = MeanMatching(relative=True)
    statistics = real_statistics(real, objective, settings(cm=0.3))
    _, _, norm, real_spread = numpy_terms(real, real)
    np.testing.assert_allclose(statistics.matched.mean.numpy(), real.numpy().mean(1).reshape(3, 20), rtol=1e-10)
    np.testing.assert_allclose(statistics.matched.spread.numpy(), real_spread, rtol=1e-10)
    np.testing.assert_allclose(statistics.covariance.square().sum((1, 2)).numpy(), norm, rtol=1e-10)
    assert real_statistics(real, objective, settings(cm=0.0)).covariance is None


@every_scale
@pytest.mark.parametrize("objective", SEPARATE)
def test_terms_of_a_class_depend_on_no_other(objective, scale):
    real, synthetic = draw(108, 3, 6, 4, 5), draw(109, 3, 2, 4, 5)
    options = {"cm": 0.3, "objective": objective, "scale": scale}
    together = terms_of(real, synthetic, **options)
    for k in range(3):
        alone = terms_of(real[k : k + 1], synthetic[k : k + 1], **options)
        for name, term in together.items():
            torch.testing.assert_close(term[k : k + 1], alone[name])


@every_scale
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_covariance_needs_a_weight_and_two_images(objective, scale):
    real, synthetic = draw(8, 2, 3, 4, 5), draw(9, 2, 2, 4, 5)
    options = {"objective": objective, "scale": scale}
    assert terms_of(real, synthetic, cm=0.3, **options).keys() == {"match", "cm"}
    assert terms_of(real, synthetic, cm=0.0, **options).keys() == {"match"}
    assert terms_of(real, synthetic[:, :1], cm=0.3, **options).keys() == {"match"}


@pytest.mark.parametrize(
    ("objective", "scale", "match", "cm"),
    [
        ("dm", "relative", 1.0, 1.0),
        ("dm", "published", 9.0, 81.0),
        ("idm", "relative", 1.0, 1.0),
        ("ncfm", "relative", 1.0, 1.0),
        ("ncfm", "published", 1.0, 81.0),
    ],
)
def test_terms_when_all_features_triple(objective, scale, match, cm):
    real, synthetic = draw(10, 2, 6, 4, 5), draw(11, 2, 3, 4, 5)
    options = {"cm": 0.1, "scale": scale, "objective": objective}
    plain, tripled = terms_of(real, synthetic, **options), terms_of(3 * real, 3 * synthetic, **options)
    np.testing.assert_allclose((tripled["match"] / plain["match"]).numpy(), match, rtol=1e-6)
    np.testing.assert_allclose((tripled["cm"] / plain["cm"]).numpy(), cm, rtol=1e-10)


@pytest.mark.parametrize("axis", [2, 3], ids=["channels", "positions"])
def test_relative_terms_do_not_count_the_features(axis):
    real, synthetic = draw(12, 2, 6, 4, 5), draw(13, 2, 3, 4, 5)
    doubled = [torch.cat([x, x], axis) for x in (real, synthetic)]
    for scale, match, cm in (("relative", 1.0, 1.0), ("published", 2.0, 4.0)):
        plain, twice = terms_of(real, synthetic, cm=0.1, scale=scale), terms_of(*doubled, cm=0.1, scale=scale)
        np.testing.assert_allclose((twice["match"] / plain["match"]).numpy(), match, rtol=1e-10)
        np.testing.assert_allclose((twice["cm"] / plain["cm"]).numpy(), cm, rtol=1e-10)


def test_characteristic_terms_do_not_count_the_features_on_average(monkeypatch):
    monkeypatch.setattr(module, "FREQUENCIES", 8192)
    real, synthetic = draw(14, 1, 6, 4, 5), 0.5 + draw(15, 1, 3, 4, 5)
    plain = float(terms_of(real, synthetic, objective="ncfm")["match"])
    doubled = torch.cat([real, real], 2), torch.cat([synthetic, synthetic], 2)
    twice = float(terms_of(*doubled, objective="ncfm")["match"])
    assert twice == pytest.approx(plain, rel=0.02)


@every_scale
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_terms_of_real_images_without_deviation_are_finite(objective, scale):
    real, synthetic = torch.ones(2, 3, 4, 5), torch.ones(2, 2, 4, 5, requires_grad=True)
    terms = terms_of(real, synthetic, cm=0.3, scale=scale, objective=objective)
    sum(term.sum() for term in terms.values()).backward()
    assert all(torch.isfinite(term).all() for term in terms.values())
    assert torch.isfinite(synthetic.grad).all()


@pytest.mark.parametrize("objective", SEPARATE)
def test_a_class_of_equal_images_has_nothing_to_match_and_leaves_the_others(objective):
    real, synthetic = draw(16, 2, 6, 4, 5), draw(17, 2, 3, 4, 5)
    real[0] = 1.0
    terms = terms_of(real, synthetic, cm=0.3, objective=objective)
    assert [float(term[0]) for term in terms.values()] == [0.0, 0.0]
    assert all(float(term[1]) > 0.01 for term in terms.values())


@every_scale
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_of_the_terms_agrees_with_finite_differences(objective, scale):
    real, synthetic = draw(18, 2, 4, 2, 3), draw(19, 2, 3, 2, 3).requires_grad_()
    options = {"objective": objective, "scale": scale}

    def total(made):
        return sum(terms_of(real, made, cm=0.2, **options).values())

    assert torch.autograd.gradcheck(total, (synthetic,))


# --- class centralization


def centralized(features, real_spread, scale="relative", **options):
    config = settings(cc_options={"weight": 0.05, **options}, scale=scale)
    return centralization_term(features, torch.tensor(real_spread, dtype=torch.float64), config)


def numpy_distances(features):
    return np.stack([((x - x.mean(0)) ** 2).sum(1) for x in features.numpy()])


def test_quadratic_centralization_in_both_units():
    features, units = draw(20, 3, 4, 6), [2.0, 5.0, 0.5]
    distances = numpy_distances(features)
    relative = 0.05 * (distances / np.array(units)[:, None]).mean(1)
    np.testing.assert_allclose(centralized(features, units).numpy(), relative, rtol=1e-10)
    published = centralized(features, units, "published").numpy()
    np.testing.assert_allclose(published, 0.05 * distances.sum(1), rtol=1e-10)


@pytest.mark.parametrize("beta", [2.0, 1.2, 1.0])
def test_exponential_centralization_in_both_units(beta):
    features, units = draw(21, 3, 4, 6), [2.0, 5.0, 4.0]
    distances, options = numpy_distances(features), {"form": "exponential", "beta": beta}
    in_units = distances / np.array(units)[:, None]
    relative = 0.05 * np.maximum(0.0, np.exp(in_units) - beta).mean(1)
    np.testing.assert_allclose(centralized(features, units, **options).numpy(), relative, rtol=1e-10)
    published = 0.05 * np.maximum(0.0, np.exp(distances) - beta).sum(1)
    np.testing.assert_allclose(centralized(features, units, "published", **options).numpy(), published, rtol=1e-10)


FORMS = pytest.mark.parametrize("form", ["quadratic", "exponential"])


@FORMS
def test_relative_centralization_knows_no_size_of_features(form):
    features, units = draw(22, 2, 4, 6), [8.0, 9.0]
    plain = centralized(features, units, form=form)
    assert (plain > 0).all()
    tripled = centralized(3 * features, [9 * unit for unit in units], form=form)
    torch.testing.assert_close(tripled, plain)
    doubled = centralized(torch.cat([features, features], 2), [2 * unit for unit in units], form=form)
    torch.testing.assert_close(doubled, plain)


@FORMS
def test_relative_centralization_is_a_mean_over_images_and_the_published_a_sum(form):
    features, units = draw(23, 2, 4, 6), [8.0, 9.0]
    twice = torch.cat([features, features], 1)
    torch.testing.assert_close(centralized(twice, units, form=form), centralized(features, units, form=form))
    torch.testing.assert_close(
        centralized(twice, units, "published", form=form), 2 * centralized(features, units, "published", form=form)
    )


@FORMS
def test_the_weight_multiplies_the_term(form):
    features = draw(24, 2, 4, 6)
    plain = centralized(features, [8.0, 9.0], form=form)
    torch.testing.assert_close(centralized(features, [8.0, 9.0], form=form, weight=0.5), 10 * plain)


@every_scale
@FORMS
def test_gradient_of_centralization_agrees_with_finite_differences(form, scale):
    features = (0.5 * draw(25, 2, 4, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: centralized(x, [2.0, 3.0], scale, form=form, beta=1.5), (features,))


@FORMS
def test_a_class_without_real_spread_is_left_alone(form):
    features = draw(26, 2, 4, 6).requires_grad_()
    terms = centralized(features, [0.0, 8.0], form=form, beta=1.0)
    terms.sum().backward()
    assert terms[0].item() == 0.0
    assert not features.grad[0].any()
    assert features.grad[1].isfinite().all()
    assert features.grad[1].abs().max() > 0


def test_quadratic_is_the_default_form():
    assert CentralizationConfig().form == "quadratic"


# --- cross-entropy


def entropy(scores, accuracy, scale, weight=0.5, labels=None):
    config = settings(scale=scale, queue=QueueConfig(cross_entropy=weight))
    labels = torch.arange(len(scores)) if labels is None else torch.tensor(labels)
    return cross_entropy_term(scores, labels, torch.tensor(accuracy, dtype=torch.float64), config)


def numpy_entropy(scores):
    """Of each image of (K, M, K) scores: the row of class k should speak for k."""
    scores = scores.detach().numpy()
    return np.array(
        [
            [np.log(np.exp(scores[k, m]).sum()) - scores[k, m, k] for m in range(scores.shape[1])]
            for k in range(len(scores))
        ]
    )


def test_relative_cross_entropy_is_the_mean_of_a_class():
    scores = draw(30, 3, 4, 3)
    expected = 0.5 * 0.75 * numpy_entropy(scores).mean(1)
    np.testing.assert_allclose(entropy(scores, 0.75, "relative").numpy(), expected, rtol=1e-10)


def test_published_cross_entropy_sums_to_the_mean_over_all_images_times_the_accuracy_in_percent():
    scores = draw(31, 3, 4, 3)
    terms = entropy(scores, 0.75, "published", weight=0.2)
    assert terms.shape == (3,)
    assert float(terms.sum()) == pytest.approx(0.2 * 75 * numpy_entropy(scores).mean(), rel=1e-10)
    np.testing.assert_allclose(terms.numpy(), 0.2 * 75 * numpy_entropy(scores).sum(1) / 12, rtol=1e-10)


def test_cross_entropy_by_hand():
    # two classes of one image: equal scores cost ln 2, a lead of ln 3 costs ln(4/3)
    scores = torch.tensor([[[0.0, 0.0]], [[0.0, np.log(3.0)]]], dtype=torch.float64)
    terms = entropy(scores, 1.0, "relative", weight=1.0)
    np.testing.assert_allclose(terms.numpy(), [np.log(2), np.log(4 / 3)], rtol=1e-10)


@every_scale
@pytest.mark.parametrize("labels", [[2], [3, 1], [0, 2, 3]], ids=str)
def test_cross_entropy_of_some_classes_is_theirs_among_all(labels, scale):
    scores = draw(34, 4, 3, 4)
    some = entropy(scores[labels], 0.6, scale, labels=labels)
    torch.testing.assert_close(some, entropy(scores, 0.6, scale)[labels])


@every_scale
def test_a_network_that_knows_nothing_has_no_say(scale):
    scores = draw(32, 3, 4, 3).requires_grad_()
    terms = entropy(scores, 0.0, scale)
    terms.sum().backward()
    assert terms.tolist() == [0.0, 0.0, 0.0]
    assert not scores.grad.any()


@every_scale
def test_gradient_of_cross_entropy_agrees_with_finite_differences(scale):
    scores = draw(33, 3, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: entropy(x, 0.6, scale), (scores,))


# --- the step


def test_the_unit_of_a_step_counts_the_images_and_pixels_of_a_class():
    synthetic = torch.zeros(7, 3, 1, 8, 12)
    assert step_unit(synthetic, settings(scale="relative")) == 3 * 1 * 8 * 12
    assert step_unit(synthetic, settings(scale="published")) == 1.0
