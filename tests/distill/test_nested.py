"""The order in which distilled images may be cut."""

import pytest
import torch

from iid_cl.config.distill import EmbedderConfig
from iid_cl.distill import nested as module
from iid_cl.distill.nested import nested
from iid_cl.memory.exemplars import ExemplarSet
from tests.distill.helpers import CPU, GREY, SMALL, images_of


def order(memory, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return nested(memory, EmbedderConfig(**SMALL), normalization=GREY, device=CPU, generator=generator)


class Pixels:
    """Features of an image of 2x2 pixels are its first two."""

    def eval(self):
        return self

    def features(self, images):
        return (0.4 * images + 0.3).flatten(1)[:, :2]


def image(x, y):
    return torch.tensor([[[x, y], [0, 0]]], dtype=torch.uint8)


def test_images_stand_in_the_order_of_herding_by_hand(monkeypatch):
    """Unit vectors at 0, 90 and 45 degrees: the one at 45 is nearest to their mean, then come the others, by index."""
    monkeypatch.setattr(module, "build_network", lambda *_: Pixels())
    memory = ExemplarSet.from_classes(
        {4: torch.stack([image(200, 0), image(0, 200), image(200, 200)]), 9: torch.stack([image(0, 90), image(90, 0)])}
    )
    found = order(memory)
    assert found.labels.tolist() == [4, 4, 4, 9, 9]
    assert [tuple(one[0, 0].tolist()) for one in found.images] == [(200, 200), (200, 0), (0, 200), (0, 90), (90, 0)]


def test_nothing_is_lost_and_soft_labels_travel_along():
    memory = ExemplarSet.from_classes(images_of(2, 5, count=7)).with_soft_labels(
        torch.linspace(0.1, 0.9, 14)[:, None].expand(-1, 2), [2, 5]
    )
    found = order(memory)
    assert not torch.equal(found.images, memory.images)
    before, after = (
        {
            (int(c), x.numpy().tobytes()): float(p[0])
            for c, x, p in zip(m.labels, m.images, m.soft_labels.probabilities, strict=True)
        }
        for m in (memory, found)
    )
    assert before == after
    assert torch.equal(order(memory).images, found.images)  # a seed repeats


def test_the_first_ones_stand_for_all_better_than_the_first_as_they_came():
    """In the mean of features that no network here was drawn for: those of other seeds."""
    from iid_cl.nets import build_network

    memory = ExemplarSet.from_classes({3: images_of(3, count=24)[3]})
    found = order(memory)
    better = []
    for seed in range(100, 110):
        network = build_network(EmbedderConfig(**SMALL), (1, 8, 8), 1, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            features = torch.nn.functional.normalize(network.features(GREY.apply(memory.images)), dim=1)
            first = torch.nn.functional.normalize(network.features(GREY.apply(found.images[:6])), dim=1)
        mean = features.mean(0)
        better.append(float((first.mean(0) - mean).norm() / (features[:6].mean(0) - mean).norm()))
    assert max(better) < 1


@pytest.mark.parametrize("partition", [1, 2])
def test_grids_are_ordered_as_wholes(partition):
    memory = ExemplarSet.from_classes(images_of(2, count=6), partition=partition)
    found = order(memory)
    assert found.partition == partition
    assert sorted(x.numpy().tobytes() for x in found.images) == sorted(x.numpy().tobytes() for x in memory.images)
