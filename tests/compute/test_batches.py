import pytest
import torch
from torch import nn

from iid_cl.compute.batches import batch_sizes
from iid_cl.compute.classifier import Training, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.nets import build_network

BATCH, PLAIN = nn.BatchNorm2d(3), nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("count", "size", "alone", "together"),
    [
        (0, 4, [], []),
        (1, 4, [1], [1]),  # there is no other mini-batch
        (4, 4, [4], [4]),
        (5, 4, [4, 1], [5]),
        (6, 4, [4, 2], [4, 2]),
        (9, 4, [4, 4, 1], [4, 5]),
        (3, 1, [1, 1, 1], [1, 1, 1]),
    ],
)
def test_a_rest_of_one_joins_the_mini_batch_before_it_for_batch_norm(
    count: int, size: int, alone: list[int], together: list[int]
) -> None:
    assert batch_sizes(count, size) == batch_sizes(count, size, PLAIN) == alone
    assert batch_sizes(count, size, nn.Sequential(BATCH, PLAIN)) == together


def test_a_network_with_batch_norm_trains_on_a_number_of_images_that_leaves_one() -> None:
    draws = torch.Generator().manual_seed(0)
    network = build_network(NetworkConfig(name="resnet18", norm="batch"), (1, 8, 8), 2, draws)
    images = torch.randn(5, 1, 8, 8, generator=draws)
    labels = torch.tensor([0, 1, 0, 1, 0])
    train_classifier(network, images, labels, Training(1, 2), augmentations=(), generator=draws)
    counts = {int(part.num_batches_tracked) for part in network.modules() if isinstance(part, nn.BatchNorm2d)}
    assert counts == {2}
