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

    The data set and its split are those the memory was made from.

    Raises:
        UserError: the file or the data set is unusable, or they contradict each other.
    """
    device = resolve_device(config.device)
    memory = load_memory(path)
    try:
        stream = StreamConfig.model_validate(memory.metadata["stream"])
        seed = TypeAdapter(Seed).validate_python(memory.metadata["seed"])
        made_of = [str(name) for name in memory.metadata["class_names"]]
    except (KeyError, TypeError, ValueError, ValidationError):
        raise UserError(
            f"{path}: does not say which data set it was made from; `iid-cl distill` writes that."
        ) from None
    dataset = load_dataset(stream, data_root, seed)
    fits = memory.shape == dataset.shape and memory.classes[-1] < len(made_of)
    if made_of != list(dataset.class_names) or not fits:
        raise UserError(
            f"{path}: was made from other classes or image sizes than {stream.dataset!r} has here; "
            "name its own data set with --data-root."
        )
    soft = memory.soft_labels
    if soft is not None and int(soft.columns.max()) > memory.classes[-1]:
        raise UserError(f"{path}: its soft labels name a class that it does not hold; make the memory anew.")
    seen_as = [list(dataset.normalization.mean), list(dataset.normalization.std)]
    if [memory.metadata.get("mean"), memory.metadata.get("std")] not in (seen_as, [None, None]):
        raise UserError(
            f"{path}: was made for another normalisation than {stream.dataset!r} has here; make the memory anew."
        )
    judged = config.evaluate
    check_network("evaluate.network", judged.network, dataset)
    for index, network in enumerate(judged.transfer):
        check_network(f"evaluate.transfer.{index}", network, dataset)
    with Reporter(console) as reporter, deterministic(config.deterministic, reporter.line):
        networks = f"{judged.networks} network{'s' if judged.networks > 1 else ''}"
        names = ", ".join(network.label for network in (judged.network, *judged.transfer))
        images = f"{len(dataset.test):,} {'held-out training' if stream.validation else 'test'} images"
        stored = f"{len(memory):,} images, {memory.nbytes:,} bytes"
        reporter.line(f"{path}: {stored}; {networks} ({names}), {judged.epochs} epochs each, {images}")

        trained = 0
        total = judged.networks * (1 + len(judged.transfer))
        reporter.stage(trained, total, "networks", memory.nbytes)

        def on_network(network: NetworkConfig, number: int, accuracy: float) -> None:
            nonlocal trained
            trained += 1
            reporter.line(f"  {network.label} {number}: {100 * accuracy:.1f} %")
            reporter.event("network", network=network.label, number=number, accuracy=accuracy)
            reporter.stage(trained, total, "networks", memory.nbytes)

        judgements = judge(
            memory,
            dataset.test,
            judged,
            normalization=dataset.normalization,
            augmentations=dataset.augmentations,
            seed=config.seed,
            device=device,
            on_network=on_network,
            precision=config.precision,
            compile=config.compile,
        )
        for one in judgements:
            drop = 100 * (judgements[0].mean - one.mean)
            side = "below" if drop >= 0 else "above"
            against = "" if one is judgements[0] else f", {abs(drop):.1f} points {side} {judged.network.label}"
            reporter.result(f"{one.network.label}: accuracy {percent(one.accuracies)} %{against}")
            reporter.event("result", network=one.network.label, accuracies=one.accuracies, mean=one.mean)
    return judgements
