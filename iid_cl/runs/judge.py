"""``iid-cl evaluate``: a memory judged by networks trained on it alone."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.base import Seed
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config, StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.data.fingerprint import fingerprint
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import Judgement, judge
from iid_cl.evaluate.ranking import Ranking
from iid_cl.memory.files import load_memory
from iid_cl.precheck.fits import check_network
from iid_cl.records.cells import digest_of, read_cell_file, write_cell_file
from iid_cl.records.integrity import sha256_of
from iid_cl.report.statistics import percent
from iid_cl.runs.ending import interruptions
from iid_cl.runs.ranked import check_rankable, rank
from iid_cl.terminal.reporter import Reporter
from iid_cl.terminal.signals import Stopped, stop_request


def evaluate_memory(
    path: Path, config: Config, data_root: Path | None, console: Console, *, ranking: bool = False
) -> list[Judgement]:
    """Trains networks of each architecture on the memory alone and prints their accuracy on real test images.

    The memory file names the data set and its split. Until all networks are judged, ``MEMORY.judged`` keeps the
    accuracies so far, and the same command goes on with the rest. With ``ranking`` more networks are trained, on real
    images, for DD-Ranking's scores.

    Raises:
        UserError: the file or the data set is unusable, or they contradict each other.
    """
    device = resolve_device(config.device)
    memory = load_memory(path)
    try:
        stream = StreamConfig.model_validate(memory.metadata["stream"])
        seed = TypeAdapter(Seed).validate_python(memory.metadata["seed"])
        class_names = [str(name) for name in memory.metadata["class_names"]]
    except (KeyError, TypeError, ValueError, ValidationError):
        raise UserError(
            f"{path}: does not say which data set it was made from; `iid-cl distill` writes that."
        ) from None
    if unknown := sorted(set(stream.programs) - set(config.stream.programs)):
        raise UserError(
            f"{path}: names a program as its data set; if you trust it, run it with --set stream.dataset={unknown[0]}."
        )
    dataset = load_dataset(stream, data_root, seed)
    fits = memory.shape == dataset.shape and memory.classes[-1] < len(class_names)
    if class_names != list(dataset.class_names) or not fits:
        raise UserError(
            f"{path}: was made from other classes or image sizes than {stream.label!r} has here; "
            "name its own data set with --data-root."
        )
    soft = memory.soft_labels
    if soft is not None and int(soft.columns.max()) > memory.classes[-1]:
        raise UserError(f"{path}: its soft labels name a class that it does not hold; make the memory again.")
    normalization = [list(dataset.normalization.mean), list(dataset.normalization.std)]
    if [memory.metadata.get("mean"), memory.metadata.get("std")] not in (normalization, [None, None]):
        raise UserError(
            f"{path}: was made for another normalisation than {stream.label!r} has here; make the memory again."
        )
    protocol = config.evaluate
    check_network("evaluate.network", protocol.network, dataset)
    for index, network in enumerate(protocol.transfer):
        check_network(f"evaluate.transfer.{index}", network, dataset)
    test = dataset.test.of_classes(memory.classes)  # all that the protocol looks at
    if not len(test):
        raise UserError(f"{path}: {stream.label!r} holds no test image of its classes; name another --data-root.")
    if ranking:
        check_rankable(memory, dataset)
    judged = _Judged(path, config, fingerprint(dataset))
    with (
        interruptions(path, console, "the same command"),
        stop_request() as stop,
        Reporter(console) as reporter,
        deterministic(config.deterministic, reporter.line),
    ):
        networks = f"{protocol.networks} network{'s' if protocol.networks > 1 else ''}"
        names = ", ".join(network.label for network in (protocol.network, *protocol.transfer))
        kind = "held-out training" if stream.validation else "test"
        images = f"{len(test):,} {kind} images of {len(memory.classes)} class{'es' if len(memory.classes) > 1 else ''}"
        size = f"{len(memory):,} images, {memory.nbytes:,} bytes"
        reporter.line(f"{path}: {size}; {networks} ({names}), {protocol.epochs} epochs each, {images}")
        total = protocol.networks * (1 + len(protocol.transfer))
        reporter.stage(judged.count, total, "networks", memory.nbytes)

        def on_network(network: NetworkConfig, number: int, accuracy: float) -> None:
            before = judged.keep(network, number, accuracy)
            reporter.line(f"  {network.label} {number}: {100 * accuracy:.1f} %{' (judged before)' if before else ''}")
            reporter.event("network", network=network.label, number=number, accuracy=accuracy)
            reporter.stage(judged.count, total, "networks", memory.nbytes)

        def after_epoch(_: int) -> None:
            if stop.number is not None:
                raise Stopped(stop.number)

        judgements = judge(
            memory,
            test,
            protocol,
            normalization=dataset.normalization,
            augmentations=dataset.augmentations,
            seed=config.seed,
            device=device,
            on_network=on_network,
            known=judged.accuracy,
            after_epoch=after_epoch,
            precision=config.precision,
            compile=config.compile,
        )
        for judgement in judgements:
            first, label = judgements[0], judgement.network.label
            points = 100 * (first.mean - judgement.mean)
            side = "below" if points >= 0 else "above"
            against = "" if judgement is first else f", {abs(points):.1f} points {side} {first.network.label}"
            reporter.result(f"{label}: accuracy {percent(judgement.accuracies)} %{against}")
            reporter.event("result", network=label, accuracies=judgement.accuracies, mean=judgement.mean)
        judged.forget()
        if ranking:
            _report_ranking(rank(memory, judgements[0].mean, dataset, config, device, reporter), reporter)
    return judgements


def _report_ranking(ranking: Ranking, reporter: Reporter) -> None:
    lrs, ars = 100 * ranking.label_robust, 100 * ranking.augmentation_robust
    reporter.result(
        f"DD-Ranking: label-robust score {lrs:.1f} %, augmentation-robust score {ars:.1f} % (27 %: no lead)"
    )
    reporter.line(
        f"  {100 * ranking.improvement:+.1f} points over random images, {100 * ranking.recovery:.1f} below all images"
    )
    reporter.event("ranking", label_robust=lrs / 100, augmentation_robust=ars / 100, **asdict(ranking))


class _Judged:
    """The networks that an evaluation has judged, in a folder beside the memory until all are.

    Where the folder cannot be written, nothing is kept.

    Args:
        path: the memory.
        config: how it is judged.
        data: fingerprint of the data set.

    Attributes:
        count: number of networks judged.
    """

    def __init__(self, path: Path, config: Config, data: str) -> None:
        self._folder = path.with_name(f"{path.name}.judged")
        keys = {"evaluate", "seed", "precision", "compile", "deterministic"}
        self._digest = digest_of([config.model_dump(mode="json", include=keys), sha256_of(path)])
        self._data = data
        self._names = [network.label for network in (config.evaluate.network, *config.evaluate.transfer)]
        numbers = range(1, config.evaluate.networks + 1)
        files = {(name, number): self._read(name, number) for name in self._names for number in numbers}
        self._accuracies = {place: accuracy for place, accuracy in files.items() if accuracy is not None}

    @property
    def count(self) -> int:
        return len(self._accuracies)

    def accuracy(self, network: NetworkConfig, number: int) -> float | None:
        """That of a network that was judged before."""
        return self._accuracies.get((network.label, number))

    def keep(self, network: NetworkConfig, number: int, accuracy: float) -> bool:
        """Keeps an accuracy; returns whether it was kept before."""
        place = network.label, number
        if place in self._accuracies:
            return True
        self._accuracies[place] = accuracy
        record = {"digest": self._digest, "data": self._data, "accuracy": accuracy}
        with suppress(UserError):
            write_cell_file(self._file(*place), record)
        return False

    def forget(self) -> None:
        """Removes the folder, once all networks are judged."""
        for name, number in self._accuracies:
            with suppress(OSError):
                self._file(name, number).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()  # if nothing else lies there

    def _file(self, name: str, number: int) -> Path:
        return self._folder / f"{self._names.index(name)}-{number}.json"

    def _read(self, name: str, number: int) -> float | None:
        def convert(record: dict[str, Any]) -> float | None:
            value = record["accuracy"]
            return value if isinstance(value, float) and 0 <= value <= 1 else None

        return read_cell_file(self._file(name, number), self._digest, self._data, convert)
