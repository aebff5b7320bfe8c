"""``iid-cl distill`` and ``iid-cl evaluate``: a memory of a whole data set, and its judgement."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from torch import Tensor

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.base import Seed
from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import REAL_METHODS, Config, StreamConfig
from iid_cl.data.classes import Classes
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.data.lens import Lens
from iid_cl.distill.engine import run_job
from iid_cl.distill.job import DistillJob
from iid_cl.distill.trained import label_softly, train_networks
from iid_cl.distill.uneven import distill_each
from iid_cl.distill.watch import OnSnapshot, Watch
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import Judgement, judge
from iid_cl.launch.launch import Launch
from iid_cl.memory.exemplars import Exemplars, ExemplarSet, distilled_images
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.memory.real import ordering, store_jpeg, store_whole
from iid_cl.memory.selection import FeatureExtractor
from iid_cl.methods.mixing import hybrid_jpeg
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.provenance import provenance
from iid_cl.report.pictures import save_memory_picture
from iid_cl.report.statistics import percent
from iid_cl.seeding import draw_seed, make_generator
from iid_cl.terminal.reporter import Reporter


def condense_dataset(
    config: Config, data_root: Path | None, out: Path, console: Console, how: Launch | None = None
) -> None:
    """Condenses all classes of a data set, as one experience, into the memory file ``out``.

    A picture of the memory is written beside it. With ``how``, workers share the classes out.

    Raises:
        UserError: the data set, the budget or the file is unusable.
    """
    device = resolve_device(config.device)
    if config.memory.method not in ("distilled", *REAL_METHODS):
        known = ", ".join(("distilled", *REAL_METHODS))
        raise UserError(f"memory.method: {config.memory.method!r} belongs to a stream of experiences; use {known}.")
    if out.suffix != ".safetensors":
        raise UserError(f"--out: {str(out)!r} must end in .safetensors.")
    if how is not None:
        from iid_cl.runs.shards import check_shards, shared_memory  # which distils by this module

        check_shards(config)
    dataset = load_dataset(config.stream, data_root, config.seed)
    check_methods(config, [config.memory.method], dataset, range(len(dataset.class_names)))
    with Reporter(console) as reporter, deterministic(config.deterministic, reporter.line):
        started = time.perf_counter()
        if how is None:
            memory = make_memory(config, dataset, device, reporter)
        else:
            memory = shared_memory(config, dataset, data_root, how, reporter)
        seconds = time.perf_counter() - started
        save_memory(out, memory, memory_metadata(config, dataset, device, seconds))
        picture = out.with_suffix(".png")
        save_memory_picture(picture, memory, dataset.class_names)
        reporter.result(
            f"{out}: {len(memory):,} images of {len(memory.classes)} classes ({config.memory.method}), "
            f"{memory.nbytes:,} bytes, {seconds:.1f} s; picture in {picture}"
        )
        reporter.event(
            "finished", file=str(out), picture=str(picture), method=config.memory.method, images=len(memory),
            memory_bytes=memory.nbytes, condense_seconds=seconds,
        )  # fmt: skip


def memory_metadata(config: Config, dataset: ImageDataset, device: torch.device, seconds: float) -> dict[str, Any]:
    """What a memory file says of its making; :func:`evaluate_memory` finds the data set by it."""
    return {
        **origin_of(config, dataset),
        "mean": list(dataset.normalization.mean),
        "std": list(dataset.normalization.std),
        "method": config.memory.method,
        config.memory.budget.key: config.memory.budget.amount,
        "seed": config.seed,
        "seconds": round(seconds, 3),
        "provenance": provenance(device),
    }


def origin_of(config: Config, dataset: ImageDataset) -> dict[str, Any]:
    """The data set that a memory is made from: what :func:`evaluate_memory` and people know it by."""
    return {"stream": config.stream.model_dump(mode="json"), "class_names": list(dataset.class_names)}


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
    shape = next(iter(memory.by_class().values())).shape[1:]
    fits = tuple(shape) == dataset.shape and memory.classes[-1] < len(made_of)
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
        )
        for one in judgements:
            drop = 100 * (judgements[0].mean - one.mean)
            side = "below" if drop >= 0 else "above"
            against = "" if one is judgements[0] else f", {abs(drop):.1f} points {side} {judged.network.label}"
            reporter.result(f"{one.network.label}: accuracy {percent(one.accuracies)} %{against}")
            reporter.event("result", network=one.network.label, accuracies=one.accuracies, mean=one.mean)
    return judgements


def trained_extractor(
    images_by_class: Mapping[int, Tensor],
    config: Config,
    dataset: ImageDataset,
    generator: torch.Generator,
    device: torch.device | str,
) -> FeatureExtractor:
    """Features of one network trained on these real images, as long as those of class centralization."""
    once = config.distill.cc.model_copy(update={"trainings": 1, "snapshots": 1, "network": config.model})
    lens = Lens(dataset.normalization, dataset.augmentations, torch.device(device))
    (trained,) = train_networks(Classes(images_by_class), once, lens, draw_seed(generator))
    return trained.network.features


def make_memory(
    config: Config,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,
    *,
    on_snapshot: OnSnapshot | None = None,
    snapshots: Collection[int] = (),
) -> Exemplars:
    """The configured memory of all classes of a data set, as one experience; see ``distill`` for the snapshots."""
    by_class, method = dataset.train.by_class(), config.memory.method
    generator = make_generator(config.seed, "memory", 0)
    image_bytes = by_class[min(by_class)][0].numel()
    room = config.memory.budget.room(len(by_class), image_bytes)
    if method in REAL_METHODS:
        extract = None
        if method != "random":
            reporter.line(f"training a network for {method}'s features")
            extract = trained_extractor(by_class, config, dataset, generator, device)
        order = ordering(
            by_class, method, extract, normalization=dataset.normalization, device=device, generator=generator
        )
        if config.memory.jpeg is not None:
            return store_jpeg(by_class, order, room, config.memory.jpeg, len(by_class))
        return store_whole(by_class, order, room, config.memory.downscale)

    jpeg = config.memory.jpeg

    def distil(
        images: Mapping[int, Tensor],
        weights: Mapping[int, Tensor],
        count: int,
        start: Mapping[int, Tensor] | None = None,
    ) -> ExemplarSet:
        job = DistillJob(
            Classes(images, weights, start),
            count,
            config.distill,
            Lens(dataset.normalization, dataset.augmentations, device),
            draw_seed(generator),
            None if jpeg is None else JpegFormat(jpeg),
            soft_labels=config.memory.soft_labels and jpeg is None,
        )
        watch = Watch(
            lambda done, told: reporter.progress("distilling", done, config.distill.iterations, lambda: told),
            on_snapshot,
            snapshots,
        )
        # snapshots are of all classes at once, so none of them may have fewer images than asked
        return (run_job if snapshots else distill_each)(job, watch)

    width = len(by_class) if config.memory.soft_labels else 0
    if jpeg is not None:
        memory = hybrid_jpeg(
            by_class, {}, room, 1.0, jpeg, distil=distil, ordering=None, paying=len(by_class), soft_width=width
        )
        if not config.memory.soft_labels:
            return memory
        lens = Lens(dataset.normalization, dataset.augmentations, device).augmented_by(config.distill.augment)
        return label_softly(memory, Classes(by_class), config.distill.cc, lens, draw_seed(generator))
    count = distilled_images(config.memory.budget, room, image_bytes, width, config.distill.factor)
    return distil(by_class, {}, count)
