from types import SimpleNamespace

import pytest
import torch

from iid_cl.errors import UserError
from iid_cl.strategies import RandomBuffer, TaskLabelled

from .conftest import NORMALIZATION, make_benchmark

AGENT = SimpleNamespace(device="cpu")


def test_an_empty_memory_has_no_groups() -> None:
    memory = RandomBuffer(2)
    assert memory.buffer_groups == {}
    assert memory.buffer_datasets == []


def test_groups_hold_each_class_with_its_transforms_and_task_labels(kind: str) -> None:
    memory = RandomBuffer(2, normalization=NORMALIZATION)
    for experience in make_benchmark(kind, task_labels=kind == "task-aware").train_stream:
        memory.post_adapt(AGENT, experience)
    groups = memory.buffer_groups
    assert list(groups) == [0, 1, 2, 3]
    assert len(memory.buffer_datasets) == 4
    decoded = memory.exemplars.decoded()
    for label, group in groups.items():
        samples = list(group.buffer)
        assert [(y, t) for _, y, t in samples] == [(label, label // 2 if kind == "task-aware" else 0)] * 2
        for sample, stored in zip(samples, decoded.images[decoded.labels == label], strict=True):
            torch.testing.assert_close(sample[0], NORMALIZATION.apply(stored))


def test_task_labels_are_added_where_there_are_none(kind: str) -> None:
    memory = RandomBuffer(2, normalization=NORMALIZATION)
    view = TaskLabelled(memory)
    assert len(view.buffer) == view.max_size == 0
    for experience in make_benchmark(kind, task_labels=kind == "task-aware").train_stream:
        view.post_adapt(AGENT, experience)
    assert view.max_size == len(view.buffer) == 8
    tasks = [0] * 4 + [1] * 4 if kind == "task-aware" else [0] * 8
    assert [(y, t) for _, y, t in view.buffer] == list(zip([0, 0, 1, 1, 2, 2, 3, 3], tasks, strict=True))
    for sample, original in zip(view.buffer, memory.buffer, strict=True):
        torch.testing.assert_close(sample[0], original[0])


def test_a_view_is_updated_and_resized_as_its_memory_is() -> None:
    memory = RandomBuffer(2)
    view = TaskLabelled(memory)
    view.update(SimpleNamespace(device="cpu", experience=next(iter(make_benchmark("plain").train_stream))))
    assert memory.exemplars.classes == [0, 1]
    with pytest.raises(UserError, match="cannot be resized to 2"):
        view.resize(AGENT, 2)
