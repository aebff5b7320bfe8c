"""Everything of Avalanche 0.6 that keeps exemplars in a storage policy, with a policy of one's own or with its own.

A host is built by a function of the benchmark's number of classes, a storage policy (None leaves Avalanche's own, of
``STOCK_SIZE`` images) and the strategy's further arguments.
"""

from collections.abc import Callable
from typing import Any

import torch
from avalanche.models import FeCAMClassifier, NCMClassifier, SCRModel, TrainEvalModel
from avalanche.training.plugins import BiCPlugin, CoPEPlugin, GDumbPlugin, MIRPlugin, RARPlugin, ReplayPlugin
from avalanche.training.plugins.update_fecam import MemoryFeCAMUpdate
from avalanche.training.plugins.update_ncm import MemoryNCMUpdate
from avalanche.training.supervised import DER, ER_ACE, ER_AML, MER, SCR, Naive, Replay
from avalanche.training.supervised.lamaml_v2 import LaMAML
from torch import nn

from iid_cl.strategies import MemoryBuffer

STOCK_SIZE = 8
FEATURES = 6
Host = Callable[..., Any]


class Extractor(nn.Module):
    """Features (N, FEATURES) of grey 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x.flatten(1)))


class Classifier(nn.Module):
    """A network that LaMAML and MER call with the task labels too."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.features = Extractor()
        self.classifier = nn.Linear(FEATURES, classes)

    def forward(self, x: torch.Tensor, task_labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.classifier(self.features(x))


def settings(model: nn.Module, **extra: Any) -> dict[str, Any]:
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "train_mb_size": 2,
        "eval_mb_size": 4,
        "train_epochs": 1,
        "evaluator": None,
        **extra,
    }


def with_plugin(plugin: Any, model: nn.Module | None = None, **extra: Any) -> Naive:
    chosen = Classifier() if model is None else model
    return Naive(**settings(chosen, criterion=nn.CrossEntropyLoss(), plugins=[plugin], **extra))


def size(policy: MemoryBuffer | None) -> int:
    return STOCK_SIZE if policy is None else policy.max_size


def replay_plugin(policy: MemoryBuffer | None) -> Any:
    return with_plugin(ReplayPlugin(mem_size=size(policy), storage_policy=policy))


def replay_strategy(policy: MemoryBuffer | None) -> Any:
    strategy = Replay(**settings(Classifier(), criterion=nn.CrossEntropyLoss()), mem_size=STOCK_SIZE)
    return swap(strategy, next(p for p in strategy.plugins if isinstance(p, ReplayPlugin)), policy)


def bic(policy: MemoryBuffer | None) -> Any:
    return with_plugin(BiCPlugin(mem_size=size(policy), storage_policy=policy, stage_2_epochs=1))


def rar(policy: MemoryBuffer | None) -> Any:
    return with_plugin(
        RARPlugin(batch_size_mem=2, mem_size=size(policy), storage_policy=policy, name_ext_layer="features.layer")
    )


def memory_ncm(policy: MemoryBuffer | None) -> Any:
    model = TrainEvalModel(Extractor(), nn.Linear(FEATURES, 4), NCMClassifier(normalize=False))
    return with_plugin(MemoryNCMUpdate(mem_size=STOCK_SIZE, storage_policy=policy), model)


def memory_fecam(policy: MemoryBuffer | None) -> Any:
    model = TrainEvalModel(Extractor(), nn.Linear(FEATURES, 4), FeCAMClassifier())
    return with_plugin(MemoryFeCAMUpdate(mem_size=STOCK_SIZE, storage_policy=policy), model)


def gdumb(policy: MemoryBuffer | None) -> Any:
    plugin = GDumbPlugin(mem_size=STOCK_SIZE)
    return swap(with_plugin(plugin), plugin, policy)


def mir(policy: MemoryBuffer | None) -> Any:
    """Its replay leaves out the classes of the last mini-batch; with one sample in that, there is a class to replay."""
    plugin = MIRPlugin(batch_size_mem=1, mem_size=STOCK_SIZE, subsample=4)
    return swap(with_plugin(plugin, train_mb_size=1), plugin, policy)


def cope(policy: MemoryBuffer | None) -> Any:
    plugin = CoPEPlugin(mem_size=STOCK_SIZE, n_classes=4, p_size=4)
    return swap(with_plugin(plugin), plugin, policy)


def er_ace(policy: MemoryBuffer | None) -> Any:
    strategy = ER_ACE(**settings(Classifier(), criterion=nn.CrossEntropyLoss()), mem_size=STOCK_SIZE, batch_size_mem=4)
    return swap(strategy, strategy, policy)


def er_aml(policy: MemoryBuffer | None) -> Any:
    """Its mini-batches are no larger than a class's exemplars: a larger one never comes, see the settings' test."""
    model = Classifier()
    strategy = ER_AML(
        **settings(model, criterion=nn.CrossEntropyLoss()),
        feature_extractor=model.features,
        mem_size=STOCK_SIZE,
        batch_size_mem=4,
    )
    return swap(strategy, strategy, policy)


def der(policy: MemoryBuffer | None) -> Any:
    strategy = DER(**settings(Classifier(), criterion=nn.CrossEntropyLoss()), mem_size=STOCK_SIZE, batch_size_mem=2)
    return swap(strategy, strategy, policy)


def scr(policy: MemoryBuffer | None) -> Any:
    strategy = SCR(**settings(SCRModel(Extractor(), nn.Linear(FEATURES, 4))), mem_size=STOCK_SIZE, batch_size_mem=4)
    return swap(strategy, strategy.replay_plugin, policy)


def mer(policy: MemoryBuffer | None) -> Any:
    strategy = MER(**settings(Classifier(), criterion=nn.CrossEntropyLoss()), mem_size=STOCK_SIZE, n_inner_steps=1)
    return swap(strategy, strategy.buffer, policy)


def lamaml(policy: MemoryBuffer | None) -> Any:
    strategy = LaMAML(**settings(Classifier(), criterion=nn.CrossEntropyLoss()), max_buffer_size=STOCK_SIZE)
    return swap(strategy, strategy.buffer, policy)


def swap(strategy: Any, holder: Any, policy: MemoryBuffer | None) -> Any:
    """Gives the policy to the object that holds Avalanche's own."""
    if policy is not None:
        holder.storage_policy = policy
    return strategy


HOSTS: dict[str, Host] = {
    "ReplayPlugin": replay_plugin,
    "Replay": replay_strategy,
    "BiCPlugin": bic,
    "RARPlugin": rar,
    "MemoryNCMUpdate": memory_ncm,
    "MemoryFeCAMUpdate": memory_fecam,
    "GDumbPlugin": gdumb,
    "MIRPlugin": mir,
    "CoPEPlugin": cope,
    "ER_ACE": er_ace,
    "ER_AML": er_aml,
    "DER": der,
    "SCR": scr,
    "MER": mer,
    "LaMAML": lamaml,
}
