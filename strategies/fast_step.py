"""A learner's training passes in the arithmetic of all other networks: compiled or in bfloat16 where that pays."""

import warnings
from collections.abc import Callable
from typing import Any

from avalanche.core import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.optim import SGD

from iid_cl.compute.arithmetic import EAGER, Arithmetic, for_training
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.config.base import Precision
from iid_cl.nets import Network

BETWEEN = ("before_forward", "after_forward", "before_backward", "after_backward", "before_update", "after_update")
OWN_LOOP = ("training_epoch", "forward", "criterion", "backward", "optimizer_step", "mb_x", "mb_y")


class FastStepPlugin(SupervisedPlugin):
    """Computes a strategy's training as evaluation computes its own: compiled, or in bfloat16, where that pays.

    The strategy's loop stays as it is, and so do its metrics and loggers. On a GPU the whole step is recorded as a CUDA
    graph and replayed, if nothing acts between its passes; see :class:`iid_cl.compute.sgd_step.SgdStep`. What cannot be
    computed faster is computed as without this plugin. Belongs behind plugins that set the number of epochs.

    Args:
        precision: ``float32``, ``bfloat16`` or ``auto``.
        compile: whether the passes are compiled; None: where that pays.
        trainings: number of trainings like the next one, which share what is compiled.
        say: told in one line why a step cannot be computed faster; by default a warning.

    >>> from avalanche.training.supervised import Naive
    >>> from iid_cl.nets import ConvNet
    >>> model = ConvNet((1, 8, 8), classes=2, width=4, depth=1)
    >>> plugin = FastStepPlugin()
    >>> plugin in Naive(model=model, optimizer=SGD(model.parameters(), lr=0.1), plugins=[plugin]).plugins
    True
    """

    def __init__(
        self,
        precision: Precision = "auto",
        compile: bool | None = None,
        *,
        trainings: int = 1,
        say: Callable[[str], None] = warnings.warn,
    ) -> None:
        super().__init__()
        self._precision, self._compile, self._trainings, self._say = precision, compile, trainings, say
        self._said: set[str] = set()
        self._views = 0  # images to be trained on
        self._arithmetic: Arithmetic | None = None  # chosen at the first mini-batch, which shows the images' shape
        self._whole = False  # whether the step is taken at once
        self._step: SgdStep | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Takes the place of the strategy's forward pass or, where its step is recorded, of all of it."""
        self._arithmetic, self._step, self._whole = None, None, False
        self._views = self._trainings * strategy.train_epochs * len(strategy.adapted_dataset)
        model = strategy.model
        if not isinstance(model, Network) or model.frozen:
            what = "it is partly frozen" if isinstance(model, Network) else "it is no network of iid_cl.nets"
            self._tell(strategy, f"{type(model).__name__} is trained without a faster step, because {what}.")
            return
        strategy.forward = lambda: self._forward(strategy)
        if not recordable(strategy):
            return
        obstacle = _obstacle(strategy)
        if obstacle is not None:
            self._tell(strategy, f"steps of training are not recorded for the GPU, because {obstacle}.")
            return
        self._whole = True
        strategy.backward = strategy.optimizer_step = lambda: None  # the step has done it

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Gives the strategy its own step back."""
        for name in ("forward", "backward", "optimizer_step"):
            vars(strategy).pop(name, None)
        self._arithmetic, self._step = None, None

    def _forward(self, strategy: Any) -> Tensor:
        """Class scores of the mini-batch; of a recorded step, as they were before it."""
        images: Tensor = strategy.mb_x
        if not strategy.is_training:  # an evaluation in the middle of training
            return _own_forward(strategy)
        if self._arithmetic is None:
            shape = (images.shape[1], images.shape[2], images.shape[3])
            chosen = for_training(strategy.model, shape, self._views, images.device, self._precision, self._compile)
            self._arithmetic = chosen
            self._step = SgdStep(strategy.model, strategy.optimizer, chosen) if self._whole else None
        if self._step is not None:
            return self._step(images, strategy.mb_y).clone()
        if self._arithmetic == EAGER and images.device.type == "cpu":
            return _own_forward(strategy)
        return self._arithmetic.scores(strategy.model, images)

    def _tell(self, strategy: Any, line: str) -> None:
        """Says a line once, where a faster step was to be expected."""
        expected = recordable(strategy) or self._compile or self._precision == "bfloat16"
        if expected and line not in self._said:
            self._said.add(line)
            self._say(line)


def _own_forward(strategy: Any) -> Tensor:
    scores: Tensor = type(strategy).forward(strategy)
    return scores


def recordable(strategy: Any) -> bool:
    """Whether steps on the strategy's device can be recorded."""
    return str(strategy.device).startswith("cuda")


def _obstacle(strategy: Any) -> str | None:
    """Why a strategy's whole step cannot be taken at once; None: it can."""
    for name in OWN_LOOP:
        if getattr(type(strategy), name) is not getattr(SupervisedTemplate, name):
            return f"{type(strategy).__name__} has its own {name}"
    criterion = strategy._criterion
    plain = nn.CrossEntropyLoss()
    if type(criterion) is not nn.CrossEntropyLoss or _settings(criterion) != _settings(plain):
        return "its loss is not the plain cross-entropy"
    if type(strategy.optimizer) is not SGD:
        return f"its optimizer is {type(strategy.optimizer).__name__}, not SGD"
    for plugin in strategy.plugins:
        for hook in BETWEEN:
            method = getattr(type(plugin), hook, None)  # Avalanche's own plugins need not have it
            if method is not None and method.__module__ != SupervisedPlugin.__module__:
                return f"{type(plugin).__name__} acts in {hook}"
    return None


def _settings(criterion: nn.CrossEntropyLoss) -> tuple[Any, ...]:
    return criterion.weight, criterion.reduction, criterion.label_smoothing, criterion.ignore_index
