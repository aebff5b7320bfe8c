"""One run: a learner goes through the stream with one method, evaluated after each experience."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict, Unpack

import torch
from avalanche.training.determinism.rng_manager import RNGManager

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS, MethodName
from iid_cl.data.images import ImageDataset
from iid_cl.data.streams import class_order, make_benchmark
from iid_cl.distill.journal import Journal
from iid_cl.evaluate.metrics import mean_by_class, mean_row, seen_accuracy, summary
from iid_cl.files import State
from iid_cl.records.checkpoint import fits_the_run
from iid_cl.records.recording import Recording, moments
from iid_cl.records.result import Result
from iid_cl.runs.learners import ProgressPlugin, make_memory_buffer, make_strategy
from iid_cl.runs.loggers import Loggers
from iid_cl.runs.position import (
    PositionPlugin,
    global_state,
    load_global_state,
    load_strategy,
    prepare_strategy,
    strategy_state,
)
from iid_cl.runs.saver import Saver
from iid_cl.strategies import ClassAccuracyPlugin, MemoryBuffer
from iid_cl.strategies.buffers import OnImages
from iid_cl.strategies.memory_only import MemoryOnlyPlugin
from iid_cl.terminal.reporter import Reporter

OnExperience = Callable[[Mapping[str, Any]], None]


class Hooks(TypedDict, total=False):
    """Who takes part in a run, see :func:`run_method`."""

    prefix: str
    on_experience: OnExperience | None
    on_images: OnImages | None
    saver: Saver | None
    kept: Mapping[str, Any] | None
    loggers: Loggers | None
    recording: Recording | None


def run_method(
    config: Config,
    method: MethodName,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
    **hooks: Unpack[Hooks],
) -> tuple[Result, MemoryBuffer | None]:
    """Trains and evaluates one learner over the whole stream; ``train.networks`` of them on one memory.

    Class order and initial weights depend on the configuration and seed only, so methods compare.

    Args:
        config: everything but the method.
        method: which memory, or which bound.
        dataset: the data, as loaded for ``config.stream``.
        device: where to train and distil.
        reporter: shows progress.
        hooks: ``prefix`` stands before each phase's name; ``on_experience`` is called after each evaluation with its
            record, ``on_images`` with the images that reach the memory; ``saver`` saves the state of the run, this
            method's included, after each experience and in its training; ``kept`` is this method's part of a saved
            state, to go on from; ``loggers`` log the first network and the memory; ``recording`` takes in what is
            distilled, and the caller keeps its state.

    Raises:
        UserError: the stream, the network or the memory's size does not fit the data, or training diverges.
    """
    saver, loggers, kept = hooks.get("saver"), hooks.get("loggers"), hooks.get("kept")
    with _global_randomness(config.seed):
        course = _Course(config, method, dataset, device, reporter, hooks)
        if course.memory is not None:
            course.memory.on_images = hooks.get("on_images")
        if loggers is not None:
            course.log_to(loggers)
        if kept is not None:
            with fits_the_run():
                course.load_state_dict(kept)
        if saver is not None:
            saver.of_method = course.state_dict
        try:
            course.run(hooks.get("on_experience"))
        finally:
            if saver is not None:
                saver.of_method = None
        course.embed(dataset)
    return course.result(), course.memory


class _Course:
    """The way of a method's networks through the stream; ``index`` and ``number`` say which experience and network."""

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
        self._config, self._method, self._reporter = config, method, reporter
        prefix, saver, recording = hooks.get("prefix", ""), hooks.get("saver"), hooks.get("recording")
        self._prefix, self._saver = prefix, saver
        self.order = class_order(config.stream, len(dataset.class_names), config.seed)
        self._counts = ClassAccuracyPlugin()
        self._progress = ProgressPlugin(reporter, prefix)
        self.memory = make_memory_buffer(config, method, dataset, self._progress, reporter)
        self._recording = recording
        if recording is not None and self.memory is not None:
            self.memory.on_losses, self.memory.on_snapshot = recording.on_step, recording.on_snapshot
            self.memory.snapshots = moments(config.distill.iterations)
        last = [self._counts, self._progress]
        self._strategies = [
            make_strategy(config, method, dataset, device, self.memory, last, number)
            for number in range(config.train.networks)
        ]
        self._positions = [PositionPlugin(saver) for _ in self._strategies]
        for strategy, position in zip(self._strategies, self._positions, strict=True):
            strategy.plugins.append(position)
        self._journal = None
        if saver is not None:
            self._journal = Journal(saver.due, saver.save)
            if self.memory is not None:
                self.memory.journal = self._journal
        self._benchmark = make_benchmark(dataset, self.order)
        self._sizes = [len(experience.dataset) for experience in self._benchmark.test_stream]
        self._joint = METHODS[method].sees == "all"
        self._index = self._number = 0
        self._matrices: list[list[list[float]]] = [[] for _ in self._strategies]
        self._class_accuracies: list[dict[int, float]] = []
        self._of_classes: list[dict[int, float]] = []  # of the networks that are done with the experience at hand
        self._train_seconds = self._seconds_before = 0.0
        self._said_choice = False

    def log_to(self, loggers: Loggers) -> None:
        """Has the first network and the memory logged."""
        loggers.attach(self._strategies[0], self.memory)

    def run(self, on_experience: OnExperience | None) -> None:
        """Trains on what is left of the stream, and evaluates."""
        total = 1 if self._joint else len(self._sizes)
        while self._index < total:
            memory_bytes = None if self.memory is None else self.memory.nbytes
            self._reporter.stage(self._index, total, memory_bytes=memory_bytes)
            if self._recording is not None:
                self._recording.begin(self._method, self._index)
            while self._number < len(self._strategies):
                self._train_and_evaluate()
                self._number += 1
            if self._recording is not None:
                self._recording.keep(None if self.memory is None else self.memory.exemplars)
            record = self._record()
            self._say_choice()
            self._index, self._number, self._of_classes = self._index + 1, 0, []
            if on_experience is not None:
                on_experience(record)
            if self._saver is not None:
                self._saver.save()

    def embed(self, dataset: ImageDataset) -> None:
        """Records the first network's features of the memory's images, where they are distilled, and of real ones."""
        memory = self.memory
        if self._recording is None or memory is None or memory.exemplars is None:
            return
        if METHODS[self._method].distils:
            self._recording.embed(self._method, self._strategies[0].model, dataset, memory.exemplars)

    def _train_and_evaluate(self) -> None:
        """One network's experience."""
        index, number = self._index, self._number
        strategy, last = self._strategies[number], len(self._sizes) - 1 if self._joint else index
        where, count = self._where(), len(self._strategies)
        self._progress.experience = where if count == 1 else f"{where}, network {number + 1}/{count}"
        for plugin in strategy.plugins:
            if isinstance(plugin, MemoryOnlyPlugin):  # a run that goes on may have filled it before
                assert self.memory is not None  # that of the plugin
                plugin.fill = number == 0 and self.memory.updates <= index
        start = time.perf_counter()
        stream = self._benchmark.train_stream
        strategy.train(stream if self._joint else stream[index])
        self._train_seconds += time.perf_counter() - start
        accuracies = _accuracies(strategy.eval(self._benchmark.test_stream[: last + 1]), last + 1)
        self._matrices[number].append(accuracies)
        self._of_classes.append(self._counts.accuracies)

    def _where(self) -> str:
        whole = f"experience {self._index + 1}/{len(self._sizes)}"
        return self._prefix + ("all experiences" if self._joint else whole)

    def _record(self) -> dict[str, Any]:
        """What the experience at hand has come to; also shown."""
        self._class_accuracies.append(mean_by_class(self._of_classes))
        row = mean_row([matrix[-1] for matrix in self._matrices])
        seen = seen_accuracy(row, self._sizes)
        cells = " ".join(f"{accuracy:.3f}" for accuracy in row)
        self._reporter.line(f"{self._where()}  seen classes {seen:.3f}  each experience {cells}")
        scores = summary(self._matrices, self._sizes)
        return {
            "experience": len(row) - 1,
            "classes": [c for group in self.order for c in group] if self._joint else self.order[self._index],
            "accuracy_each": row,
            "accuracy_seen": seen,
            "accuracy_tasks": scores["final_task_accuracy"],
            "accuracy_classes": self._class_accuracies[-1],
            "average_accuracy": scores["average_accuracy"],
            "forgetting": scores["forgetting"],
            "backward_transfer": scores["backward_transfer"],
            "memory_bytes": 0 if self.memory is None else self.memory.nbytes,
        }

    def _say_choice(self) -> None:
        """Shows what a method has chosen, and what it tried, once."""
        made = {} if self.memory is None else self.memory.describe()
        if self._said_choice or not made.get("tried"):
            return
        self._said_choice = True
        losses = sorted(made["tried"].items(), key=lambda way: math.inf if way[1] is None else way[1])
        tried = ", ".join(f"{label} {'diverged' if loss is None else f'{loss:.3f}'}" for label, loss in losses)
        noise = "" if losses[0][0] == made["choice"] else "; no difference beyond two standard errors"
        self._reporter.line(
            f"{self._prefix}{self._method} keeps: {made['choice']} (held-out cross-entropy: {tried}{noise})"
        )

    def result(self) -> Result:
        """What the whole stream has come to."""
        memory = self.memory
        condense_seconds = 0.0 if memory is None else memory.seconds
        return Result(
            method=self._method,
            mode=self._config.train.mode,
            seed=self._config.seed,
            class_order=self.order,
            matrix=[mean_row(rows) for rows in zip(*self._matrices, strict=True)],
            memory_images=0 if memory is None else len(memory.buffer),
            memory_bytes=0 if memory is None else memory.nbytes,
            condense_seconds=condense_seconds,
            train_seconds=self._train_seconds - condense_seconds,
            total_seconds=self._seconds(),
            class_accuracies=self._class_accuracies,
            network_matrices=self._matrices,
            test_sizes=self._sizes,
            **summary(self._matrices, self._sizes),
            updates=self._progress.updates,
            choice=None if memory is None else memory.describe().get("choice"),
        )

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

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
            "seconds": self._seconds(),
            "global": global_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there.

        Raises:
            ValueError: it is that of another stream; other errors where it is none at all.
        """
        places = (state["index"], len(self._sizes) + 1), (state["number"], len(self._strategies))
        if any(type(place) is not int or not 0 <= place < end for place, end in places):
            raise ValueError(f"experience {state['index']!r} or network {state['number']!r} is none of the run's")
        self._index, self._number = state["index"], state["number"]
        self._matrices, self._class_accuracies = state["matrices"], state["class_accuracies"]
        self._of_classes = state["of_classes"]
        self._train_seconds, self._seconds_before = state["train_seconds"], state["seconds"]
        stream = self._benchmark.train_stream
        if self.memory is not None:
            updates = state["memory"]["updates"]
            self.memory.load_state_dict(state["memory"], stream[updates - 1].dataset if updates else None)
        if self._journal is not None:
            self._journal.load_state_dict(state["journal"])
        for number, (strategy, kept) in enumerate(zip(self._strategies, state["strategies"], strict=True)):
            begun = self._index + (number < self._number)
            prepare_strategy(strategy, stream[:begun])
            load_strategy(strategy, kept)
        current, kept = self._strategies[self._number], state["strategies"][self._number]

        def put_back() -> None:
            load_strategy(current, kept)
            load_global_state(state["global"])

        if state["epochs"] is not None:
            self._positions[self._number].go_on(state["epochs"], kept["loader"], put_back)
        load_global_state(state["global"])


def _accuracies(metrics: Mapping[str, float], count: int) -> list[float]:
    """Accuracy on each of the first ``count`` test experiences, read from Avalanche's metric names."""
    found = {}
    for name, value in metrics.items():
        match = re.fullmatch(r"Top1_Acc_Exp/eval_phase/test_stream/(?:Task\d+/)?Exp(\d+)", name)
        if match:
            found[int(match[1])] = float(value)
    return [found[j] for j in range(count)]


@contextmanager
def _global_randomness(seed: int) -> Iterator[None]:
    """Networks may draw from the global generators (dropout), and Avalanche too: seeds them, and restores them."""
    before = global_state()
    try:
        RNGManager.set_random_seeds(seed)
        yield
    finally:
        load_global_state(before)
