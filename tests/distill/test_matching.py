"""Objectives in two halves: what is observed once is all that comparing needs."""

import pytest
import torch
from torch.nn import functional

from iid_cl.compute.arithmetic import Cost
from iid_cl.config.distill import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill.matching import OBJECTIVES, MeanMatching, OwnObjective
from iid_cl.distill.objectives import mean_matching
from iid_cl.distill.workload import Workload
from iid_cl.errors import UserError
from tests.distill.helpers import draw

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def made(name, seed=0):
    return OBJECTIVES[name](DistillConfig(objective=name), 20, torch.Generator().manual_seed(seed))


@every_objective
def test_real_images_may_change_once_they_are_observed(name):
    real, synthetic, objective = draw(0, 3, 6, 4, 5), draw(1, 3, 2, 4, 5), made(name)
    statistics = objective.observe(real)
    expected = objective.compare(statistics, synthetic)
    assert expected.shape == (3,)
    assert (expected > 0).all()
    real.zero_()
    assert torch.equal(objective.compare(statistics, synthetic), expected)


def test_linear_gradients_are_those_of_a_classifier():
    """Against PyTorch's own gradient of the cross-entropy over all images of all classes."""
    real, synthetic, objective = draw(0, 3, 6, 4, 5), draw(1, 3, 2, 4, 5), made("lgm")
    weights = objective.weights[:3].double().requires_grad_()
    gradients = []
    for features in (real, synthetic):
        labels = torch.arange(3).repeat_interleave(features.shape[1])
        loss = functional.cross_entropy(features.flatten(0, 1).flatten(1) @ weights.T, labels)
        gradients.append(torch.autograd.grad(loss, weights)[0].flatten())
    first, second = gradients
    expected = 1 - float(first @ second) / float(first.norm() * second.norm())
    assert objective.compare(objective.observe(real), synthetic).tolist() == pytest.approx([expected] * 3, rel=1e-4)
    assert objective.compare(objective.observe(real), real).tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert not torch.equal(objective.weights, made("lgm", seed=1).weights)


def test_linear_gradients_of_a_class_alone_and_of_too_many():
    objective = made("lgm")
    apart = objective.compare(objective.observe(draw(0, 1, 6, 4, 5)), draw(1, 1, 2, 4, 5))
    assert 0 < float(apart) < 2  # against a second row that no class has
    with pytest.raises(UserError, match="lgm compares at most 1000 classes at once, not 1001; use dm"):
        objective.observe(torch.zeros(1001, 1, 20, 1))


@pytest.mark.parametrize(("name", "classes"), [("dm", 1), ("lgm", 7)])
def test_classes_that_are_compared_at_once_stay_together(name, classes):
    lens = Lens(Normalization((0.5,), (0.25,)), (), torch.device("cpu"))
    work = Workload(
        DistillConfig(objective=name), 1, Cost(1, 2**40, 4), (1, 8, 8), 7, 1, lens
    )  # a class fills the memory
    assert work.chunk(None) == classes


def test_means_draw_nothing_and_characteristic_functions_do():
    draws = torch.Generator().manual_seed(3)
    before = draws.get_state()
    for name in ("dm", "idm"):
        assert OBJECTIVES[name](DistillConfig(), 20, draws) == MeanMatching(relative=True)
        assert OBJECTIVES[name](DistillConfig(scale="published"), 20, draws) == MeanMatching(relative=False)
    assert torch.equal(draws.get_state(), before)
    first, second = (OBJECTIVES["ncfm"](DistillConfig(), 20, draws).frequencies for _ in range(2))
    assert first.shape[::2] == (1, 20)
    assert not torch.equal(first, second)


def test_an_own_loss_gets_the_features_of_both_sides():
    real, synthetic = draw(0, 3, 6, 4, 5), draw(1, 3, 2, 4, 5)
    objective = OwnObjective(lambda a, b: mean_matching(a.flatten(2), b.flatten(2)))
    expected = ((real.mean(1) - synthetic.mean(1)) ** 2).sum((1, 2))
    torch.testing.assert_close(objective.compare(objective.observe(real), synthetic), expected)
