"""Digits in five experiences, with a distilled memory. Start it again after Ctrl-C: it goes on."""

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.models import SimpleMLP
from avalanche.training.plugins import EvaluationPlugin
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from iid_cl.config import DistillConfig, EmbedderConfig
from iid_cl.strategies import DistilledReplay, load, save


def digits(images, labels):
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(labels))
    data.targets = labels.tolist()
    return as_classification_dataset(data)


bundle = load_digits()
train_x, test_x, train_y, test_y = train_test_split(bundle.images, bundle.target, random_state=0)
benchmark = nc_benchmark(digits(train_x, train_y), digits(test_x, test_y), n_experiences=5, task_labels=False, seed=0)
torch.manual_seed(0)
model = SimpleMLP(num_classes=10, input_size=64, hidden_size=100)
strategy = DistilledReplay(
    model=model,
    optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    criterion=torch.nn.CrossEntropyLoss(),
    ipc=2,
    distill=DistillConfig(iterations=30, real_batch=32, embedder=EmbedderConfig(width=8, depth=2)),
    train_mb_size=32,
    train_epochs=3,
    evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
)

done = load(strategy, "state", benchmark.train_stream)  # 0 the first time
print(f"{done} of 5 experiences are done")
for experience in benchmark.train_stream[done:]:
    print(f"learning the digits {experience.classes_in_this_experience}", flush=True)
    strategy.train(experience)
    (accuracy,) = strategy.eval(benchmark.test_stream).values()
    print(f"  accuracy on all digits: {100 * accuracy:.1f} %")
    save(strategy, "state")
print(strategy.memory)
