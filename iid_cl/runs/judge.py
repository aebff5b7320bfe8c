"""``iid-cl evaluate``: a memory judged by networks trained on it alone."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.base import Seed
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config, StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import Judgement, judge
from iid_cl.memory.files import load_memory
from iid_cl.precheck.fits import check_network
from iid_cl.report.statistics import percent
from iid_cl.terminal.reporter import Reporter


def evaluate_memory(path: Path, config: Config, data_root: Path | None, console: Console) -> list[Judgement]:
    """Trains networks of each architecture on the memory alone and prints their accuracy on real test images.

    The memory file names the data set and its split.

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
    dataset = load_dataset(stream, data_root, seed)
    fits = memory.shape == dataset.shape and memory.classes[-1] < len(class_names)
    if class_names != list(dataset.class_names) or not fits:
        raise UserError(
            f"{path}: was made from other classes or image sizes than {stream.dataset!r} has here; "
            "name its own data set with --data-root."
        )
    soft = memory.soft_labels
    if soft is not None and int(soft.columns.max()) > memory.classes[-1]:
        raise UserError(f"{path}: its soft labels name a class that it does not hold; make the memory again.")
    normalization = [list(dataset.normalization.mean), list(dataset.normalization.std)]
    if [memory.metadata.get("mean"), memory.metadata.get("std")] not in (normalization, [None, None]):
        raise UserError(
            f"{path}: was made for another normalisation than {stream.dataset!r} has here; make the memory again."
        )
    protocol = config.evaluate
    check_network("evaluate.network", protocol.network, dataset)
    for index, network in enumerate(protocol.transfer):
        check_network(f"evaluate.transfer.{index}", network, dataset)
    test = dataset.test.of_classes(memory.classes)  # all that the protocol looks at
    if not len(test):
        raise UserError(f"{path}: {stream.dataset!r} holds no test image of its classes; name another --data-root.")
    with Reporter(console) as reporter, deterministic(config.deterministic, reporter.line):
        networks = f"{protocol.networks} network{'s' if protocol.networks > 1 else ''}"
        names = ", ".join(network.label for network in (protocol.network, *protocol.transfer))
        kind = "held-out training" if stream.validation else "test"
        images = f"{len(test):,} {kind} images of {len(memory.classes)} class{'es' if len(memory.classes) > 1 else ''}"
        size = f"{len(memory):,} images, {memory.nbytes:,} bytes"
        reporter.line(f"{path}: {size}; {networks} ({names}), {protocol.epochs} epochs each, {images}")

        trained = 0
        total = protocol.networks * (1 + len(protocol.transfer))
        reporter.stage(trained, total, "networks", memory.nbytes)

        def on_network(network: NetworkConfig, number: int, accuracy: float) -> None:
            nonlocal trained
            trained += 1
            reporter.line(f"  {network.label} {number}: {100 * accuracy:.1f} %")
            reporter.event("network", network=network.label, number=number, accuracy=accuracy)
            reporter.stage(trained, total, "networks", memory.nbytes)

        judgements = judge(
            memory,
            test,
            protocol,
            normalization=dataset.normalization,
            augmentations=dataset.augmentations,
            seed=config.seed,
            device=device,
            on_network=on_network,
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
    return judgements
