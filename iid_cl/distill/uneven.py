"""Distillation of classes of unequal size: a class with fewer images than asked gives as many as it has."""

from dataclasses import replace

from iid_cl.distill.engine import run_job
from iid_cl.distill.job import DistillJob
from iid_cl.distill.watch import Watch
from iid_cl.memory.exemplars import ExemplarSet


def distill_each(job: DistillJob, watch: Watch) -> ExemplarSet:
    """:func:`iid_cl.distill.engine.run_job` of ``job.ipc`` images of each class, or as many as it has.

    Classes of equal numbers are condensed together, the larger ones first, all from the job's seed, so that a class
    comes out the same whatever stands beside it.
    """
    counts = {label: min(job.ipc, len(images)) for label, images in job.classes.images.items()}
    if not counts:
        return run_job(job, watch)  # which says what is wrong
    memory: ExemplarSet | None = None
    for count in sorted(set(counts.values()), reverse=True):
        group = job.classes.of(label for label in counts if counts[label] == count)
        distilled = run_job(replace(job, classes=group, ipc=count), watch)
        memory = distilled if memory is None else distilled.merge(memory)  # whose metadata are the larger ones'
    assert memory is not None  # there is a class
    return memory
