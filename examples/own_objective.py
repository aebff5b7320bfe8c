"""A matching objective in a file of its own, beside the one that ships.

An objective is a function from features of real and of synthetic images to one value per class. This one matches
the second moment of each feature, too: its spread about the mean. Runs in half a minute on a CPU.

    python examples/own_objective.py
"""

import argparse

import torch

from iid_cl.config import DistillConfig, EmbedderConfig, EvaluateConfig, NetworkConfig, StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.distill import distill
from iid_cl.distill.objectives import in_units, spread
from iid_cl.evaluate.protocol import judge


def moment_matching(real, synthetic):
    """Distance of means, and of standard deviations, of each feature.

    Args:
        real: (K, B, C, P) local features of B real images of each of K classes.
        synthetic: (K, M, C, P) of M synthetic ones, from the same network and augmentation.

    Returns:
        (K,), in units of the real features' spread, which is what the default learning rate expects.
    """
    real, synthetic = real.flatten(2), synthetic.flatten(2)
    apart = (real.mean(1) - synthetic.mean(1)).square().sum(1)
    if synthetic.shape[1] > 1:  # a single image has no deviation
        deviations = (one.var(1, correction=0).add(1e-6).sqrt() for one in (real, synthetic))
        first, second = deviations
        apart = apart + (first - second).square().sum(1)
    return in_units(apart, spread(real))


def main(iterations=100, epochs=100, ipc=3):
    """Accuracies of networks trained on a memory of either objective."""
    data = load_dataset(StreamConfig(dataset="digits"), None)
    config = DistillConfig(iterations=iterations, real_batch=64, embedder=EmbedderConfig(width=32, depth=2))
    protocol = EvaluateConfig(network=NetworkConfig(width=32, depth=2), epochs=epochs, networks=1)
    found = {}
    for objective in (None, moment_matching):
        memory = distill(
            data.train.by_class(),
            config,
            ipc=ipc,
            generator=torch.Generator().manual_seed(0),
            device="cpu",
            normalization=data.normalization,
            augmentations=data.augmentations,
            objective=objective,
        )
        judgement = judge(
            memory,
            data.test,
            protocol,
            normalization=data.normalization,
            augmentations=data.augmentations,
            seed=0,
            device=torch.device("cpu"),
        )
        name = memory.metadata.get("own_objective", config.objective)
        found[name] = judgement[0].mean
        print(f"{name}: {memory.nbytes} bytes, accuracy {found[name]:.3f}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=100, help="steps of each distillation")
    parser.add_argument("--epochs", type=int, default=100, help="of the networks trained on each memory")
    arguments = parser.parse_args()
    main(arguments.iterations, arguments.epochs)
