"""Distillation of classes of unequal size: a small class gets no more synthetic images than it has real ones."""

from dataclasses import replace

from iid_cl.distill.engine import run_job
from iid_cl.distill.job import DistillJob
from iid_cl.distill.watch import Watch
from iid_cl.memory.exemplars import ExemplarSet


def distill_each(job: DistillJob, watch: Watch) -> ExemplarSet:
    """Condenses each class to ``job.ipc`` images, or to its number of real images if that is smaller.

    Classes with the same number are condensed together, the largest numbers first. All use the job's seed, so a class
    comes out the same whichever classes stand beside it.
    """
    counts = {label: min(job.ipc, len(images)) for label, images in job.classes.images.items()}
    if not counts:
        return run_job(job, watch)  # raises the error
    memory: ExemplarSet | None = None
    for count in sorted(set(counts.values()), reverse=True):
        group = job.classes.of(label for label in counts if counts[label] == count)
        distilled = run_job(replace(job, classes=group, ipc=count), watch)
        memory = distilled if memory is None else distilled.merge(memory)  # keeps the largest classes' metadata
    assert memory is not None  # there is a class
    return memory
