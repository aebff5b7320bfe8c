"""One method of a run: trains through the stream, and evaluates after each experience."""

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack, cast

import torch

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import first_arrivals, make_stream
from iid_cl.distill.journal import Journal
from iid_cl.evaluate.metrics import mean_by_class, mean_row, seen_accuracy, summary
from iid_cl.files import State
from iid_cl.nets import Network
from iid_cl.precheck.forecast import Spent
from iid_cl.records.checkpoint import fits_the_run
from iid_cl.records.recording import Recording, moments
from iid_cl.records.result import Result
from iid_cl.runs.learners import ProgressPlugin, make_memory_buffer, make_strategy
from iid_cl.runs.loggers import Loggers
from iid_cl.runs.position import PositionPlugin
from iid_cl.runs.saver import Saver
from iid_cl.strategies import ClassAccuracyPlugin, FastStepPlugin, MemoryBuffer
from iid_cl.strategies.benchmark import make_benchmark
from iid_cl.strategies.buffers import OnImages
from iid_cl.strategies.memory_only import MemoryOnlyPlugin
from iid_cl.strategies.state import (
    global_randomness,
    global_state,
    load_global_state,
    load_strategy,
    prepare_strategy,
    strategy_state,
)
from iid_cl.terminal.reporter import Reporter

OnExperience = Callable[[Mapping[str, Any]], None]


class Hooks(TypedDict, total=False):
    """Optional arguments of :func:`run_method`.

    Attributes:
        prefix: stands before each phase's name.
        on_experience: called with the record of each evaluation.
        on_images: called with the images that reach the memory.
        saver: saves the run's state, this method's included, after each experience and during training.
        state: this method's part of a saved state, to resume from.
        loggers: log the first network and the memory.
        recording: records the distillations; the caller saves its state.
        on_network: called with the first network at the end.
        left: seconds left of the whole run, from what this method has taken; None if they are not known.
    """

    prefix: str
    on_experience: OnExperience | None
    on_images: OnImages | None
    saver: Saver | None
    state: Mapping[str, Any] | None
    loggers: Loggers | None
    recording: Recording | None
    on_network: Callable[[Network], None] | None
    left: Callable[[Spent], float | None]


def run_method(
    config: Config,
    method: MethodName,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
    **hooks: Unpack[Hooks],
) -> tuple[Result, MemoryBuffer | None]:
    """Trains and evaluates one learner over the whole stream, or ``train.networks`` learners that share a memory.

    Class order and initial weights depend on the configuration and the seed only, so methods can be compared.

    Args:
        config: everything but the method.
        method: which memory, or which bound.
        dataset: the data, as loaded for ``config.stream``.
        device: where to train and distil.
        reporter: shows progress.
        hooks: see :class:`Hooks`.

    Raises:
        UserError: the stream, the network or the memory's size does not fit the data, or training diverges.
    """
    saver, state = hooks.get("saver"), hooks.get("state")
    with global_randomness(config.seed):
        course = _Course(config, method, dataset, device, reporter, hooks)
        if state is not None:
            with fits_the_run():
                course.load_state_dict(state)
        if saver is not None:
            saver.of_method = course.state_dict
        try:
            course.run(hooks.get("on_experience"))
        finally:
            if saver is not None:
                saver.of_method = None
        course.embed(dataset)
        on_network = hooks.get("on_network")
        if on_network is not None:
            on_network(course.network)
    return course.result(), course.memory


class _Course:
    """The course of a method's networks through the stream: experience ``index`` and network ``number`` come next."""

    def __init__(
        self,
        config: Config,
        method: MethodName,
        dataset: ImageDataset,
        device: torch.device,
        reporter: Reporter,
        hooks: Hooks,
    ) -> None:
        self._started = time.perf_counter()
        self._config, self._method, self._reporter, self._left = config, method, reporter, hooks.get("left")
        self._prefix, self._saver, self._recording = hooks.get("prefix", ""), hooks.get("saver"), hooks.get("recording")
        stream = make_stream(config.stream, dataset, config.seed)
        self.order = stream.order
        self._counts = ClassAccuracyPlugin()
        self._progress = ProgressPlugin(reporter, self._prefix)
        self._journal = None if self._saver is None else Journal(self._saver.due, self._saver.save)
        self.memory = memory = make_memory_buffer(config, method, dataset, self._progress, reporter)
        if memory is not None:
            memory.on_images, memory.journal = hooks.get("on_images"), self._journal
            if self._recording is not None:
                memory.on_losses, memory.on_snapshot = self._recording.on_step, self._recording.on_snapshot
                memory.snapshots = moments
        self._joint = METHODS[method].sees == "all"
        trainings = config.train.networks * (1 if self._joint else len(self.order))
        self._strategies = [
            make_strategy(config, method, dataset, device, memory, [
                self._counts,
                self._progress,
                FastStepPlugin(config.precision, config.compile, trainings=trainings, say=reporter.line),
            ], number)
            for number in range(config.train.networks)
        ]  # fmt: skip
        self._positions = [PositionPlugin(self._saver) for _ in self._strategies]
        for strategy, position in zip(self._strategies, self._positions, strict=True):
            strategy.plugins.append(position)
        loggers = hooks.get("loggers")
        if loggers is not None:
            loggers.attach(self._strategies[0], memory)
        self._benchmark = make_benchmark(dataset, stream)
        self._sizes = [len(experience.dataset) for experience in self._benchmark.test_stream]
        self._index = self._number = 0
        self._matrices: list[list[list[float]]] = [[] for _ in self._strategies]
        self._class_accuracies: list[dict[int, float]] = []  # by experience, mean over networks
        self._of_classes: list[dict[int, float]] = []  # by network, after the current experience
        self._train_seconds = 0.0
        self._choice_shown = False

    @property
    def network(self) -> Network:
        """The first network."""
        return cast(Network, self._strategies[0].model)  # it was built by the configuration

    @property
    def _memory_bytes(self) -> int:
        return 0 if self.memory is None else self.memory.nbytes

    def run(self, on_experience: OnExperience | None) -> None:
        """Trains on the rest of the stream, and evaluates."""
        total = 1 if self._joint else len(self._sizes)
        while self._index < total:
            left = None if self._left is None else partial(self._left, self._spent())
            self._reporter.stage(self._index, total, memory_bytes=self._memory_bytes, left=left)
            if self._recording is not None:
                self._recording.begin(self._method, self._index)
            while self._number < len(self._strategies):
                self._train_and_evaluate()
                self._number += 1
            if self._recording is not None:
                self._recording.keep(None if self.memory is None else self.memory.exemplars)
            record = self._record()
            self._show_choice()
            self._index, self._number, self._of_classes = self._index + 1, 0, []
            if on_experience is not None:
                on_experience(record)
            if self._saver is not None:
                self._saver.save()

    def _spent(self) -> Spent:
        """Seconds so far, by kind of work."""
        condensing = 0.0 if self.memory is None else self.memory.seconds
        training = self._train_seconds - condensing
        return Spent(self._index, training, condensing, time.perf_counter() - self._started - self._train_seconds)

    def embed(self, dataset: ImageDataset) -> None:
        """Records the first network's features of distilled and real images, if the method distils."""
        if self._recording is None or self.memory is None or self.memory.exemplars is None:
            return
        if METHODS[self._method].distils:
            self._recording.embed(self._method, self._strategies[0].model, dataset, self.memory.exemplars)

    def _train_and_evaluate(self) -> None:
        """Trains one network on the current experience, and tests it on all classes seen."""
        index, number = self._index, self._number
        strategy, count = self._strategies[number], len(self._sizes) if self._joint else index + 1
        networks = len(self._strategies)
        self._progress.experience = self._where() + (f", network {number + 1}/{networks}" if networks > 1 else "")
        for plugin in strategy.plugins:
            if isinstance(plugin, MemoryOnlyPlugin):  # before an interruption, the memory may have been filled
                assert self.memory is not None  # the plugin's memory
                plugin.fill = number == 0 and self.memory.updates <= index
        start = time.perf_counter()
        stream = self._benchmark.train_stream
        strategy.train(stream if self._joint else stream[index])
        self._train_seconds += time.perf_counter() - start
        self._matrices[number].append(_accuracies(strategy.eval(self._benchmark.test_stream[:count]), count))
        self._of_classes.append(self._counts.accuracies)

    def _where(self) -> str:
        experience = f"experience {self._index + 1}/{len(self._sizes)}"
        return self._prefix + ("all experiences" if self._joint else experience)

    def _record(self) -> dict[str, Any]:
        """The current experience's metrics, which are also shown."""
        self._class_accuracies.append(mean_by_class(self._of_classes))
        row = mean_row([matrix[-1] for matrix in self._matrices])
        overall = seen_accuracy(row, self._sizes)
        cells = " ".join(f"{accuracy:.3f}" for accuracy in row)
        self._reporter.line(f"{self._where()}  seen classes {overall:.3f}  each experience {cells}")
        scores = summary(self._matrices, self._sizes)
        return {
            "experience": len(row) - 1,
            "classes": first_arrivals(self.order) if self._joint else self.order[self._index],
            "accuracy_each": row,
            "accuracy_seen": overall,
            "accuracy_tasks": scores["final_task_accuracy"],
            "accuracy_classes": self._class_accuracies[-1],
            "average_accuracy": scores["average_accuracy"],
            "forgetting": scores["forgetting"],
            "backward_transfer": scores["backward_transfer"],
            "memory_bytes": self._memory_bytes,
        }

    def _show_choice(self) -> None:
        """Shows once which way of storing a method has chosen."""
        choice = None if self.memory is None else self.memory.describe().get("choice")
        if choice is not None and not self._choice_shown:
            self._choice_shown = True
            self._reporter.line(f"{self._prefix}{self._method} keeps: {choice}")

    def result(self) -> Result:
        """The metrics of the whole stream."""
        memory = self.memory
        condense_seconds = 0.0 if memory is None else memory.seconds
        return Result(
            method=self._method,
            mode=self._config.train.mode,
            seed=self._config.seed,
            class_order=self.order,
            matrix=[mean_row(rows) for rows in zip(*self._matrices, strict=True)],
            memory_images=0 if memory is None else len(memory.buffer),
            memory_bytes=self._memory_bytes,
            condense_seconds=condense_seconds,
            train_seconds=self._train_seconds - condense_seconds,
            total_seconds=time.perf_counter() - self._started,
            class_accuracies=self._class_accuracies,
            network_matrices=self._matrices,
            test_sizes=self._sizes,
            **summary(self._matrices, self._sizes),
            updates=self._progress.updates,
            choice=None if memory is None else memory.describe().get("choice"),
        )

    def state_dict(self) -> State:
        """Everything that the rest of the stream depends on."""
        return {
            "index": self._index,
            "number": self._number,
            "epochs": self._positions[self._number].epochs,
            "strategies": [strategy_state(strategy) for strategy in self._strategies],
            "memory": None if self.memory is None else self.memory.state_dict(),
            "journal": None if self._journal is None else self._journal.state_dict(),
            "matrices": self._matrices,
            "class_accuracies": self._class_accuracies,
            "of_classes": self._of_classes,
            "train_seconds": self._train_seconds,
            "seconds": time.perf_counter() - self._started,
            "global": global_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`.

        Raises:
            ValueError: the state is of another stream. A state that is damaged raises other errors, too.
        """
        places = (state["index"], len(self._sizes) + 1), (state["number"], len(self._strategies))
        if any(type(place) is not int or not 0 <= place < end for place, end in places):
            raise ValueError(f"the run has no experience {state['index']!r} or no network {state['number']!r}")
        self._index, self._number = state["index"], state["number"]
        self._matrices, self._class_accuracies = state["matrices"], state["class_accuracies"]
        self._of_classes, self._train_seconds = state["of_classes"], state["train_seconds"]
        self._started -= state["seconds"]
        stream = self._benchmark.train_stream
        if self.memory is not None:
            updates = state["memory"]["updates"]
            self.memory.load_state_dict(state["memory"], stream[updates - 1].dataset if updates else None)
        if self._journal is not None:
            self._journal.load_state_dict(state["journal"])
        for number, (strategy, saved) in enumerate(zip(self._strategies, state["strategies"], strict=True)):
            prepare_strategy(strategy, stream[: self._index + (number < self._number)])
            load_strategy(strategy, saved)
        current, saved = self._strategies[self._number], state["strategies"][self._number]

        def restore() -> None:
            load_strategy(current, saved)
            load_global_state(state["global"])

        if state["epochs"] is not None:
            self._positions[self._number].resume(state["epochs"], saved["loader"], restore)
        load_global_state(state["global"])


def _accuracies(metrics: Mapping[str, float], count: int) -> list[float]:
    """Accuracy on each of the first ``count`` test experiences, read from Avalanche's metric names."""
    name = re.compile(r"Top1_Acc_Exp/eval_phase/test_stream/(?:Task\d+/)?Exp(\d+)")
    matches = ((name.fullmatch(key), value) for key, value in metrics.items())
    by_experience = {int(match[1]): float(value) for match, value in matches if match}
    return [by_experience[index] for index in range(count)]
