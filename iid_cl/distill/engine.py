"""The engine's two entry points: :func:`distill` for users, and :func:`run_job` for a job that is ready."""

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from iid_cl.config.base import Precision
from iid_cl.config.distill import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill.arguments import accepted_classes, accepted_device, check_arguments
from iid_cl.distill.distillation import Distillation, DivergedError
from iid_cl.distill.job import DistillJob
from iid_cl.distill.journal import Journal
from iid_cl.distill.matching import MatchingLoss
from iid_cl.distill.progress import progress_bars
from iid_cl.distill.trained import TrainedNetwork
from iid_cl.distill.watch import OnSnapshot, OnStep, Snapshots, Watch
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.storage import LossyFormat
from iid_cl.nets import Network
from iid_cl.seeding import draw_seed


class DistillOptions(TypedDict, total=False):
    """Further keyword arguments of :func:`distill`.

    Attributes:
        weights: number of images that each image of a class stands for, (n_c,) floating point. In a class without
            weights each image counts once.
        start: initial images of each class, uint8 (m_c, C, H, W). The first ones are taken, and repeated if there are
            too few (with a partition each stored image shows several). By default random images of the class.
        as_stored: the lossy format that the images will be stored in. Losses see the images as read back. Gradients
            pass through as if nothing had been lost (the straight-through estimator, Bengio, Léonard and Courville
            2013). After each step the changes since the start become sparser, so that the result takes as few bytes as
            the initial images.
        embedder: your own network in place of ``config.embedder``, with fresh weights in each iteration unless it is
            pretrained, see :class:`iid_cl.nets.NamedLayer`. It moves to ``device`` and its weights are frozen. ``idm``
            and ``ncfm`` then train no queue.
        objective: your own matching loss in place of ``config.objective``'s; everything else follows the
            configuration. With the relative scale the learning rate expects a loss in units of the real features'
            spread, see :func:`iid_cl.distill.objectives.spread`.
        trained: networks for class centralization and soft labels; without any they are trained here, following
            ``config.cc``.
        soft_labels: store each decoded image's class probabilities under the trained networks.
        on_step: called now and then with the iteration (from 1) and the mean loss terms per class.
        on_snapshot: called with the iteration and the current images, at each iteration of ``snapshots``.
        snapshots: iterations at which ``on_snapshot`` is called; 0 means the initial images. They do not change the
            result.
        journal: saves the state of the distillation when due, and returns the state of an interrupted one.
        progress: whether a bar shows the iterations; None: where standard output is a terminal.
        precision: number format of the networks' passes: ``float32``, ``bfloat16``, or ``auto`` for the faster one.
        compile: whether these passes are compiled, which takes half a minute; None: only if the distillation is long
            enough to pay for it.

    >>> options: DistillOptions = {"soft_labels": True, "snapshots": (0, 100)}
    """

    weights: Mapping[int, Tensor]
    start: Mapping[int, Tensor] | None
    as_stored: LossyFormat | None
    embedder: Network | None
    objective: MatchingLoss | None
    trained: Sequence[TrainedNetwork] | None
    soft_labels: bool
    on_step: OnStep | None
    on_snapshot: OnSnapshot | None
    snapshots: Snapshots
    journal: Journal | None
    progress: bool | None
    precision: Precision
    compile: bool | None


def distill(
    images_by_class: Mapping[int, Tensor],
    config: DistillConfig,
    *,
    ipc: int,
    generator: torch.Generator,
    device: torch.device | str,
    normalization: Normalization,
    augmentations: Sequence[str] = (),
    **options: Unpack[DistillOptions],
) -> ExemplarSet:
    """Condenses each class into ``ipc`` stored images by matching feature distributions.

    With fresh embedders a class's images do not depend on other classes: distilled alone they come out the same.
    Networks trained on the experience (for class centralization, or in a queue of embedders) tie classes together.

    Args:
        images_by_class: images (n_c, C, H, W) of each class of the current experience, all of one shape: tensors or
            arrays of uint8, or of floats from 0 to 1, which are taken as the same images in uint8.
        config: objective, weights, iterations, embedder.
        ipc: images per class to store, at most n_c.
        generator: source of all randomness; a single number is drawn from it.
        device: where to compute.
        normalization: what networks see; images are optimised in this space.
        augmentations: transformations to draw from, unless the configuration names some.
        options: rarely needed arguments, see :class:`DistillOptions`.

    Returns:
        The exemplars as stored, uint8. Their metadata name the number of iterations and the arithmetic.

    Raises:
        UserError: an argument of another type or range, no classes, a class without images or with fewer than
            ``ipc``, a ``start`` that lacks a class or has images of another kind, or images that diverge.
        TypeError: an option that does not exist.

    >>> images = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    >>> memory = distill(
    ...     {0: images[:10], 1: images[10:]},
    ...     DistillConfig(iterations=1, real_batch=4),
    ...     ipc=2,
    ...     generator=torch.Generator().manual_seed(0),
    ...     device="cpu",
    ...     normalization=Normalization((0.5,), (0.25,)),
    ... )
    >>> memory.classes, tuple(memory.images.shape)
    ([0, 1], (4, 1, 8, 8))
    """
    for name in options:
        if name not in DistillOptions.__annotations__:
            raise TypeError(f"distill() has no option {name!r}")
    classes = accepted_classes(images_by_class, options.get("weights"), options.get("start"))
    check_arguments(config, ipc, generator, normalization, augmentations, classes)
    precision, compiling = options.get("precision", "auto"), options.get("compile")
    job = DistillJob(
        classes,
        int(ipc),
        config,
        Lens(normalization, tuple(augmentations), accepted_device(device), precision, compiling),
        draw_seed(generator),
        options.get("as_stored"),
        options.get("embedder"),
        options.get("objective"),
        options.get("trained") or (),
        options.get("soft_labels", False),
    )
    watch = Watch(
        options.get("on_step"), options.get("on_snapshot"), options.get("snapshots", ()), options.get("journal")
    )
    with progress_bars(options.get("progress")) as bars:
        return run_job(job, watch.beside(bars))


def run_job(job: DistillJob, watch: Watch) -> ExemplarSet:
    """Condenses each class of a job, see :func:`distill`; resumes an interrupted one from the watch's journal.

    Raises:
        UserError: see :func:`distill`.
    """
    job.check()
    job = job.with_own_augmentations()
    journal = watch.journal
    finished = None if journal is None else journal.finished()
    if finished is not None:
        return finished
    state = None if journal is None else journal.under_way()
    slower = None if job.config.retry is None else job.slower(job.config.retry)
    if slower is not None and state is not None and state["lr"] == slower.config.lr:
        memory = Distillation(slower).run(watch, state)
    else:
        try:
            memory = Distillation(job).run(watch, state)
        except DivergedError:
            if slower is None:
                raise
            memory = Distillation(slower).run(watch, None)
    if journal is not None:
        journal.finish(memory)
    return memory
