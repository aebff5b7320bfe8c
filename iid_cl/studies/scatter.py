"""Scatter plots of stored among real images: t-SNE of a trained network's features."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor

from iid_cl.compute.deterministic import deterministic
from iid_cl.compute.devices import resolve_device
from iid_cl.config.distill import CentralizationConfig
from iid_cl.config.experiment import Config
from iid_cl.config.study import ScatterConfig, StudyConfig
from iid_cl.data.classes import Classes
from iid_cl.data.images import ImageDataset
from iid_cl.data.lens import Lens
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.distill.trained import train_networks
from iid_cl.errors import UserError
from iid_cl.nets import Network
from iid_cl.precheck.fits import check_methods, check_network
from iid_cl.records.provenance import provenance
from iid_cl.runs.whole import whole_memory
from iid_cl.seeding import derive_seed
from iid_cl.studies.cases import Case, cases
from iid_cl.studies.directory import Cell, Place, StudyRun, make_cell, study_run
from iid_cl.studies.figures import save_scatter_figure
from iid_cl.studies.rows import Point
from iid_cl.terminal.screen import emit


def run_scatter(
    study: StudyConfig, scatter: ScatterConfig, data_root: Path | None, out: Path | None, console: Console
) -> list[Point]:
    """Embeds each variant's memory together with the same real images; writes ``study.csv``, JSON and figure.

    The real images are training images, and the network is trained on the training set. An unfinished study in ``out``
    goes on: variants that are finished are not embedded again.

    Raises:
        UserError: a setting does not fit the data.
    """
    todo = cases(study)
    forget_datasets()
    first = todo[0].config
    device = resolve_device(first.device)
    dataset = dataset_of(first, data_root)
    check_network("scatter.network", scatter.network, dataset)
    for case in todo:
        if (case.config.stream, case.config.seed) != (first.stream, first.seed):
            raise UserError(
                f"study {study.name}: variants of a scatter share one stream and seed; set them in its base."
            )
        check_methods(case.config, [case.config.memory.method], dataset, range(len(dataset.class_names)))
    extra = scatter.model_dump(mode="json")
    cells = [make_cell(number, case.config, data_root, extra) for number, case in enumerate(todo)]
    with study_run(Place(study, data_root, out), cells, Point, device, console) as run:
        with deterministic(first.deterministic, run.reporter.line):
            points = _Scatter(run, scatter, dataset, device).points(todo, cells)
        save_scatter_figure(run.path / "study.png", points, dataset.class_names[: scatter.classes], study.title)
        run.conclude({"study": study.model_dump(mode="json"), **provenance(device)})
        console.print(Text(f"Everything is in {run.path}"), soft_wrap=True)
        emit(console, "finished", directory=str(run.path), points=len(points))
    return points


class _Scatter:
    """Embeds the variants of a study in its directory."""

    def __init__(self, run: StudyRun, scatter: ScatterConfig, dataset: ImageDataset, device: torch.device) -> None:
        self._run, self._scatter, self._dataset, self._device = run, scatter, dataset, device

    def points(self, todo: Sequence[Case], cells: Sequence[Cell]) -> list[Point]:
        """The points of all variants. Each variant is kept as soon as it is there."""
        run, dataset, scatter = self._run, self._dataset, self._scatter
        kept = [run.kept(cell) for cell in cells]
        done = sum(points is not None for points in kept)
        run.reporter.line(f"{len(cells)} memories" + (f", {done} of them finished before" if done else ""))
        if done < len(cells):
            run.reporter.line(f"training {scatter.network.name} on {len(dataset.train):,} real images")
            network = _trained(scatter, dataset, todo[0].config, self._device)
        points: list[Point] = []
        for case, cell, before in zip(todo, cells, kept, strict=True):
            if before is None:
                run.reporter.line(f"{case.variant}: making the memory")
                memory = whole_memory(case.config, dataset, self._device, run.reporter).decoded()
                before = _embed(case, memory.by_class(), dataset, scatter, network, self._device)
                run.keep(cell, before)
            points += before
            run.write_table(points)
        return points


def _trained(scatter: ScatterConfig, dataset: ImageDataset, first: Config, device: torch.device) -> Network:
    config = CentralizationConfig(network=scatter.network, trainings=1, epochs=scatter.epochs, snapshots=1)
    lens = Lens(dataset.normalization, dataset.augmentations, device, first.precision, first.compile)
    (trained,) = train_networks(Classes(dataset.train.by_class()), config, lens, derive_seed(first.seed, "scatter"))
    return trained.network


@torch.no_grad()
def _embed(
    case: Case,
    stored: dict[int, Tensor],
    dataset: ImageDataset,
    scatter: ScatterConfig,
    network: Network,
    device: torch.device,
) -> list[Point]:
    from sklearn.manifold import TSNE

    real = dataset.train.by_class()
    groups = [(c, False, real[c][: scatter.real]) for c in range(scatter.classes) if c in real]
    groups += [(c, True, stored[c]) for c in range(scatter.classes) if c in stored]
    images = torch.cat([members for _, _, members in groups])
    batches = map(dataset.normalization.apply, images.split(256))
    features = torch.cat([network.features(batch.to(device)).cpu() for batch in batches])
    perplexity = min(scatter.perplexity, (len(features) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=case.config.seed % 2**32).fit_transform(
        features.numpy()
    )
    kinds = [(label, is_stored) for label, is_stored, members in groups for _ in range(len(members))]
    return [
        Point(case.variant, label, is_stored, round(float(x), 4), round(float(y), 4))
        for (label, is_stored), (x, y) in zip(kinds, plane, strict=True)
    ]
