"""Split MNIST from an empty file: forgetting, a distilled memory, and a comparison at equal bytes.

    python examples/tutorial.py             # MNIST, which Avalanche downloads
    python examples/tutorial.py --digits    # scikit-learn's digits: no download

docs/tutorial.md explains it step by step.
"""

# --8<-- [start:imports]
import argparse

import torch
from avalanche.benchmarks import SplitMNIST, nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin

# --8<-- [end:imports]
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset

from iid_cl import DistillConfig
from iid_cl.strategies import DistilledReplay, HerdingBuffer, MemoryReplayPlugin, RandomBuffer


class Digits(Dataset):
    """Digits of 8x8 pixels, from 0 to 1, in the place of MNIST."""

    def __init__(self, images, labels):
        self.images = torch.tensor(images / 16, dtype=torch.float32)[:, None]
        self.targets = labels.tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]


def split_digits():
    """Five experiences of two digits, like SplitMNIST."""
    images, labels = load_digits().images, load_digits().target
    train_x, test_x, train_y, test_y = train_test_split(images, labels, stratify=labels, random_state=0)
    train, test = Digits(train_x, train_y), Digits(test_x, test_y)
    return nc_benchmark(
        as_classification_dataset(train), as_classification_dataset(test), n_experiences=5, task_labels=False, seed=0
    )


# --8<-- [start:data]
def stream(digits=False):
    """Ten digits, two at a time, and the side of an image in pixels."""
    return (split_digits(), 8) if digits else (SplitMNIST(n_experiences=5, seed=0), 28)


# --8<-- [end:data]
# --8<-- [start:learner]
def learner(side, epochs):
    """What every strategy needs: a network, its optimizer, a loss, and how it is measured."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(32 * (side // 2) ** 2, 10),
    )  # fmt: skip
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_mb_size": 64,
        "train_epochs": epochs,
        "eval_mb_size": 512,
        "evaluator": EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
    }


# --8<-- [end:learner]
# --8<-- [start:run]
def run(strategy, benchmark):
    """Trains on one experience after the other; returns the final accuracy over all ten digits."""
    for experience in benchmark.train_stream:
        strategy.train(experience)
    return strategy.eval(benchmark.test_stream)["Top1_Acc_Stream/eval_phase/test_stream/Task000"]


# --8<-- [end:run]
# --8<-- [start:strategies]
def strategies(side, epochs, iterations):
    """The same learner without a memory, and with three memories of one image per class."""
    yield "no memory", Naive(**learner(side, epochs))
    for name, buffer in (("random", RandomBuffer(1)), ("herding", HerdingBuffer(1))):
        yield name, Naive(**learner(side, epochs), plugins=[MemoryReplayPlugin(buffer)])
    yield "distilled", DistilledReplay(**learner(side, epochs), ipc=1, distill=DistillConfig(iterations=iterations))


# --8<-- [end:strategies]
# --8<-- [start:main]
def main(digits=False, epochs=1, iterations=200):
    """Prints accuracy and bytes of each strategy, and returns the accuracies."""
    benchmark, side = stream(digits)
    found = {}
    for name, strategy in strategies(side, epochs, iterations):
        found[name] = run(strategy, benchmark)
        memory = [plugin.memory for plugin in strategy.plugins if hasattr(plugin, "memory")]
        print(f"{name:10} {found[name]:.3f}  {memory[0].nbytes if memory else 0:,} bytes")
    strategy.memory.save("memory.safetensors")
    return found


# --8<-- [end:main]
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits", action="store_true", help="scikit-learn's digits in place of MNIST")
    parser.add_argument("--epochs", type=int, default=None, help="passes over each experience: 1, or 5 of the digits")
    parser.add_argument("--iterations", type=int, default=200, help="steps of each distillation")
    arguments = parser.parse_args()
    main(arguments.digits, arguments.epochs or (5 if arguments.digits else 1), arguments.iterations)
