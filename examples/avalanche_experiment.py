"""A distilled memory in an ordinary Avalanche experiment.

Everything here is Avalanche's own (benchmark, evaluation, regularisation, loggers) but the one line that
builds the strategy. Runs in half a minute on a CPU and downloads nothing: scikit-learn's digits stand in for
MNIST. With MNIST at hand, take ``SplitMNIST(n_experiences=5)`` as the benchmark.

    python examples/avalanche_experiment.py
"""

import argparse

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics
from avalanche.logging import InteractiveLogger
from avalanche.models import SimpleMLP
from avalanche.training.plugins import EvaluationPlugin, LwFPlugin
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset
from torchvision.transforms import Compose, Normalize, RandomAffine, ToTensor

from iid_cl.config import DistillConfig, EmbedderConfig
from iid_cl.strategies import DistilledReplay


class Digits(Dataset):
    """PIL images and labels, like torchvision's MNIST."""

    def __init__(self, images, labels):
        self.images = [Image.fromarray((image * (255 / 16)).round().astype("uint8")) for image in images]
        self.targets = labels.tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]


def split_digits(n_experiences=5):
    """A SplitMNIST-like benchmark: samples (x, y, t) with torchvision transforms."""
    bundle = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        bundle.images, bundle.target, test_size=0.25, stratify=bundle.target, random_state=0
    )
    to_input = [ToTensor(), Normalize((0.3053,), (0.3760,))]
    return nc_benchmark(
        train_dataset=as_classification_dataset(Digits(train_x, train_y)),
        test_dataset=as_classification_dataset(Digits(test_x, test_y)),
        n_experiences=n_experiences,
        task_labels=False,
        seed=0,
        train_transform=Compose([RandomAffine(10, translate=(0.1, 0.1)), *to_input]),
        eval_transform=Compose(to_input),
    )


def main(train_epochs=20, iterations=200, experiences=5):
    """Trains over the stream and returns the final accuracy on all classes."""
    torch.manual_seed(0)
    benchmark = split_digits(experiences)
    model = SimpleMLP(num_classes=10, input_size=64, hidden_size=256)
    strategy = DistilledReplay(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        criterion=torch.nn.CrossEntropyLoss(),
        ipc=2,
        distill=DistillConfig(iterations=iterations, real_batch=64, embedder=EmbedderConfig(width=64, depth=2)),
        train_mb_size=64,
        train_epochs=train_epochs,
        eval_mb_size=256,
        plugins=[LwFPlugin(alpha=0.5, temperature=2)],
        evaluator=EvaluationPlugin(
            accuracy_metrics(experience=True, stream=True),
            forgetting_metrics(stream=True),
            loggers=[InteractiveLogger()],
        ),
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        metrics = strategy.eval(benchmark.test_stream)
    strategy.memory.save("digits-memory.safetensors")
    final = metrics["Top1_Acc_Stream/eval_phase/test_stream/Task000"]
    print(f"{len(strategy.memory.exemplars)} images, {strategy.memory.nbytes} bytes, final accuracy {final:.3f}")
    return final


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train-epochs", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=200, help="steps of each distillation")
    arguments = parser.parse_args()
    main(arguments.train_epochs, arguments.iterations)
