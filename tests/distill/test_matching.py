"""Objectives in two halves: what is observed once is all that comparing needs."""

import pytest
import torch

from iid_cl.config.distill import DistillConfig
from iid_cl.distill.matching import OBJECTIVES, MeanMatching, OwnObjective
from iid_cl.distill.objectives import mean_matching
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


def test_only_characteristic_functions_draw_anything():
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
