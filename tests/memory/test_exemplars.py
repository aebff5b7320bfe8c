"""Exemplar sets: bytes by hand, merging, and what they refuse."""

import pytest
import torch

from iid_cl.memory.exemplars import ExemplarSet


def filled(count, value, size=(3, 4, 5)):
    return torch.full((count, *size), value, dtype=torch.uint8)


def values(memory):
    return memory.images[:, 0, 0, 0].tolist()


def test_bytes_by_hand():
    memory = ExemplarSet.from_classes({0: filled(2, 1), 1: filled(5, 2)})
    assert memory.nbytes == 7 * (3 * 4 * 5) + 7 * 2  # uint8 pixels and int16 labels


def test_bytes_count_what_is_held_and_not_what_it_was_cut_from():
    everything = filled(100, 1)
    assert ExemplarSet.from_classes({0: everything[::10]}).nbytes == 10 * 60 + 20
    assert ExemplarSet(everything[:1].expand(3, 3, 4, 5), torch.zeros(3, dtype=torch.int16)).nbytes == 186


def test_classes_are_sorted_and_labelled():
    memory = ExemplarSet.from_classes({7: filled(1, 70), 2: filled(2, 20), 300: filled(1, 30)})
    assert memory.labels.tolist() == [2, 2, 7, 300]
    assert memory.labels.dtype == torch.int16
    assert values(memory) == [20, 20, 70, 30]
    assert memory.classes == [2, 7, 300]
    assert len(memory) == 4


def test_by_class_gives_back_what_went_in():
    groups = {3: torch.randint(256, (4, 1, 5, 6), dtype=torch.uint8), 1: filled(2, 9, (1, 5, 6))}
    back = ExemplarSet.from_classes(groups).by_class()
    assert list(back) == [1, 3]
    assert all(torch.equal(back[c], groups[c]) for c in groups)


def test_merge_adds_new_classes():
    older = ExemplarSet.from_classes({5: filled(2, 50), 1: filled(1, 10)}, {"step": 1})
    newer = ExemplarSet.from_classes({3: filled(2, 30)}, {"step": 2})
    merged = older.merge(newer)
    assert merged.labels.tolist() == [1, 3, 3, 5, 5]
    assert values(merged) == [10, 30, 30, 50, 50]
    assert merged.metadata == {"step": 2}
    assert merged.nbytes == older.nbytes + newer.nbytes


def test_merge_takes_a_class_in_both_from_the_newer():
    older = ExemplarSet.from_classes({1: filled(3, 10), 2: filled(1, 20)})
    merged = older.merge(ExemplarSet.from_classes({1: filled(1, 11)}))
    assert merged.labels.tolist() == [1, 2]
    assert values(merged) == [11, 20]


def test_merge_leaves_both_sides_alone():
    older, newer = (ExemplarSet.from_classes({c: filled(1, c)}) for c in (1, 2))
    older.merge(newer)
    assert (older.classes, newer.classes) == ([1], [2])


def test_metadata_is_optional():
    assert dict(ExemplarSet.from_classes({0: filled(1, 0)}).metadata) == {}


def test_no_class_is_refused():
    with pytest.raises(ValueError, match="at least one class"):
        ExemplarSet.from_classes({})


@pytest.mark.parametrize("label", [-1, 2**15])
def test_classes_outside_16_bits_are_refused(label):
    with pytest.raises(ValueError, match=r"between 0 and 32767"):
        ExemplarSet.from_classes({label: filled(1, 0)})


def test_the_largest_class_of_16_bits_is_kept():
    assert ExemplarSet.from_classes({2**15 - 1: filled(1, 0)}).classes == [32767]


def test_images_that_are_not_uint8_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \(N, C, H, W\), not torch\.float32 \(2, 3, 4, 5\)"):
        ExemplarSet.from_classes({0: torch.zeros(2, 3, 4, 5)})


def test_images_without_channels_are_refused():
    with pytest.raises(ValueError, match=r"not torch\.uint8 \(2, 4, 5\)"):
        ExemplarSet(torch.zeros(2, 4, 5, dtype=torch.uint8), torch.zeros(2, dtype=torch.int16))


@pytest.mark.parametrize(
    "labels", [torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int16)], ids=["int64", "too many"]
)
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels are int16 \(2,\)"):
        ExemplarSet(filled(2, 0), labels)
