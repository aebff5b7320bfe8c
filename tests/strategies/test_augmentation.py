from types import SimpleNamespace

import torch

from iid_cl.strategies.augmentation import BatchAugmentationPlugin


def test_it_changes_images_and_nothing_else() -> None:
    images, labels, tasks = torch.rand(16, 1, 8, 8), torch.arange(16), torch.zeros(16)
    strategy = SimpleNamespace(mbatch=[images.clone(), labels, tasks])
    BatchAugmentationPlugin(("flip",), torch.Generator().manual_seed(0)).before_training_iteration(strategy)
    mirrored = [
        torch.allclose(new, old.flip(-1), atol=1e-5) for new, old in zip(strategy.mbatch[0], images, strict=True)
    ]
    same = [torch.allclose(new, old, atol=1e-5) for new, old in zip(strategy.mbatch[0], images, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 2 < sum(mirrored) < 14
    assert strategy.mbatch[1] is labels
    assert strategy.mbatch[2] is tasks
