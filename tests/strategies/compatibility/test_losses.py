"""Our memories beside regularisers, and under other losses than plain cross-entropy."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.models.base_model import BaseModel
from avalanche.training.losses import ICaRLLossPlugin, MaskedCrossEntropy
from avalanche.training.plugins import (
    EWCPlugin,
    LFLPlugin,
    LwFPlugin,
    MASPlugin,
    ReplayPlugin,
    RWalkPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.supervised import Naive
from torch import Tensor, nn
from torch.nn import functional

from iid_cl.strategies import DistilledBuffer, DistilledReplayPlugin

from ..conftest import TINY
from .learners import Deliveries, Pooled, learner
from .streams import make_stream

EXPERIENCES = [{0: 4, 1: 4}, {2: 4, 3: 4}]
REGULARIZERS: dict[str, Callable[[], Any]] = {
    "LwF": lambda: LwFPlugin(alpha=100.0, temperature=2.0),
    "EWC": lambda: EWCPlugin(ewc_lambda=100.0),
    "MAS": lambda: MASPlugin(lambda_reg=100.0),
    "RWalk": lambda: RWalkPlugin(ewc_lambda=100.0, delta_t=1),
    "LFL": lambda: LFLPlugin(lambda_e=1.0),
}


class Described(Pooled, BaseModel):
    """LFL asks the model for its features."""

    def get_features(self, x: Tensor) -> Tensor:
        return self.features(x)


def train(kind: str, plugins: list[Any], criterion: Any = None) -> tuple[Deliveries, DistilledBuffer, list[Tensor]]:
    """Two experiences from the same weights each time; returns the weights at the end."""
    torch.manual_seed(0)
    deliveries, memory = Deliveries(), DistilledBuffer(2, distill=TINY)
    strategy = learner(Described(1, nn.Linear(6, 4)), memory, [deliveries, *plugins], criterion)
    stream = make_stream(kind, EXPERIENCES)
    for experience in stream.train_stream:
        strategy.train(experience)
    strategy.eval(stream.test_stream)
    return deliveries, memory, [parameter.detach() for parameter in strategy.model.parameters()]


def assert_replayed(deliveries: Deliveries, memory: DistilledBuffer) -> None:
    assert deliveries.counts[1] == {(0, 0): 4, (1, 0): 4, (2, 0): 4, (3, 0): 4}
    assert sorted(memory.buffer.targets) == [0, 0, 1, 1, 2, 2, 3, 3]


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("regularizer", "kind"),
    [(name, kind) for name in REGULARIZERS for kind in ("task-aware", "plain") if (name, kind) != ("LwF", "plain")],
)
def test_a_regularizer_works_beside_replay(regularizer: str, kind: str) -> None:
    """It changes what is learned, and leaves memory and mini-batches as they are."""
    plain = train(kind, [])
    deliveries, memory, weights = train(kind, [REGULARIZERS[regularizer]()])
    assert_replayed(deliveries, memory)
    assert torch.equal(memory.exemplars.images, plain[1].exemplars.images)
    assert all(parameter.isfinite().all() for parameter in weights)
    assert distance(weights, plain[2]) > 1e-6


def train_with(replay: Any, plugins: list[Any], kind: str) -> list[Tensor]:
    """Two experiences with a replay plugin of ours or of Avalanche's; returns the weights at the end."""
    torch.manual_seed(0)
    model = Pooled(1, nn.Linear(6, 4))
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=4,
        plugins=[replay, *plugins],
        evaluator=None,
    )
    with warnings.catch_warnings(record=True):  # Avalanche's own policies and SI, on this numpy
        warnings.simplefilter("ignore")
        for experience in make_stream(kind, EXPERIENCES).train_stream:
            strategy.train(experience)
    return [parameter.detach() for parameter in model.parameters()]


REPLAYS = {"avalanche": lambda: ReplayPlugin(8), "ours": lambda: DistilledReplayPlugin(2, distill=TINY)}


@pytest.mark.parametrize("replay", REPLAYS)
def test_lwf_needs_task_labels_whatever_the_memory(replay: str) -> None:
    with pytest.raises(AttributeError, match="targets_task_labels"):
        train_with(REPLAYS[replay](), [LwFPlugin()], "plain")


@pytest.mark.parametrize("replay", REPLAYS)
def test_si_runs_without_effect_on_a_cpu_whatever_the_memory(replay: str, kind: str) -> None:
    """Avalanche 0.6 keeps views of the parameters where it means copies, so it sees no parameter move."""
    plain = train_with(REPLAYS[replay](), [], kind)
    penalised = train_with(REPLAYS[replay](), [SynapticIntelligencePlugin(si_lambda=1e6)], kind)
    assert distance(plain, penalised) == 0


def test_si_works_once_it_copies_what_it_keeps(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is in Avalanche: ``parameter.detach().cpu().flatten()`` copies on a GPU only."""

    def extract(model: nn.Module, target: Any, excluded: set[str]) -> None:
        for name, parameter in SynapticIntelligencePlugin.allowed_parameters(model, excluded):
            target[name].data = parameter.detach().clone().flatten()

    monkeypatch.setattr(SynapticIntelligencePlugin, "extract_weights", extract)
    plain = train_with(REPLAYS["ours"](), [], kind)
    penalised = train_with(REPLAYS["ours"](), [SynapticIntelligencePlugin(si_lambda=1e6)], kind)
    assert distance(plain, penalised) > 1e-6
    assert all(parameter.isfinite().all() for parameter in penalised)


def focal(scores: Tensor, labels: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017) with gamma 2."""
    each = functional.cross_entropy(scores, labels, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def balanced_softmax(scores: Tensor, labels: Tensor) -> Tensor:
    """Balanced softmax (Ren et al. 2020) for the mini-batch's own class frequencies."""
    counts = labels.bincount(minlength=scores.shape[1]).clamp_min(1)
    return functional.cross_entropy(scores + counts.log(), labels)


LOSSES: dict[str, Callable[[], Any]] = {
    "class weights": lambda: nn.CrossEntropyLoss(weight=torch.tensor([4.0, 4.0, 1.0, 1.0])),
    "label smoothing": lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    "focal": lambda: focal,
    "balanced softmax": lambda: balanced_softmax,
    "iCaRL": ICaRLLossPlugin,
    "masked": MaskedCrossEntropy,
}


@pytest.mark.filterwarnings("ignore:Call to deprecated function before_training_exp:DeprecationWarning")  # masked
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_given_current_data_and_memory(loss: str, kind: str) -> None:
    criterion = LOSSES[loss]()
    given: list[set[int]] = []

    class Heard:
        """The loss, with the labels it is given."""

        def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
            given.append(set(labels.tolist()))
            return criterion(scores, labels)

    plugins = [criterion] if isinstance(criterion, ICaRLLossPlugin | MaskedCrossEntropy) else []
    deliveries, memory, weights = train(kind, plugins, Heard())
    assert_replayed(deliveries, memory)
    assert set().union(*given[:2]) == {0, 1}  # two mini-batches in each experience
    assert set().union(*given[2:4]) == {0, 1, 2, 3}
    assert all(parameter.isfinite().all() for parameter in weights)


def test_a_loader_balanced_by_task(network: nn.Module) -> None:
    """Avalanche's replay with ``task_balanced_dataloader`` takes as many exemplars of each task."""
    memory, deliveries = DistilledBuffer(2, distill=TINY), Deliveries()
    plugin = ReplayPlugin(memory.max_size, batch_size_mem=4, task_balanced_dataloader=True, storage_policy=memory)
    strategy = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=2,
        plugins=[plugin, deliveries],
        evaluator=None,
    )
    stream = make_stream("task-aware", [{0: 4, 1: 4}, {2: 4}, {3: 2}], tasks=(0, 1, 2))
    for experience in stream.train_stream:
        strategy.train(experience)
    tasks = {task: sum(n for (_, t), n in deliveries.counts[2].items() if t == task) for task in (0, 1, 2)}
    assert tasks == {0: 2, 1: 2, 2: 2}
