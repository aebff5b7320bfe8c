"""Exemplar sets: bytes by hand, partition, soft labels, merging, and what they refuse."""

import pytest
import torch

from iid_cl.memory.exemplars import ExemplarSet, SoftLabels


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


# --- partition


def test_a_partition_is_one_unless_said():
    assert ExemplarSet.from_classes({0: filled(1, 0)}).partition == 1
    assert ExemplarSet.from_classes({0: filled(1, 0, (1, 4, 6))}, partition=2).partition == 2


@pytest.mark.parametrize(
    ("partition", "size"), [(2, (1, 3, 4)), (2, (1, 4, 3)), (3, (1, 6, 4)), (0, (1, 4, 4)), (-1, (1, 4, 4))]
)
def test_a_partition_that_does_not_divide_is_refused(partition, size):
    with pytest.raises(ValueError, match=rf"a partition of {partition} does not divide images of \(1, 1, "):
        ExemplarSet.from_classes({0: filled(1, 0, size)}, partition=partition)


def quarters(*values):
    """A 4x4 image of four flat quarters, row by row."""
    grid = torch.tensor(values, dtype=torch.uint8).view(2, 2)
    return grid.repeat_interleave(2, 0).repeat_interleave(2, 1)[None]


def test_decoded_by_hand():
    groups = {
        7: torch.stack([quarters(50, 60, 70, 80)]),
        3: torch.stack([quarters(10, 20, 30, 40), quarters(1, 2, 3, 4)]),
    }
    decoded = ExemplarSet.from_classes(groups, partition=2).decoded()
    assert decoded.images.shape == (12, 1, 4, 4)
    assert decoded.images.dtype == torch.uint8
    for image, value in zip(decoded.images, [10, 20, 30, 40, 1, 2, 3, 4, 50, 60, 70, 80], strict=True):
        assert (image == value).all()
    assert decoded.labels.tolist() == [3] * 8 + [7] * 4
    assert decoded.labels.dtype == torch.int64


def test_decoded_parts_are_smooth_by_hand():
    image = torch.tensor([[0, 40, 0, 0], [0, 40, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.uint8)
    decoded = ExemplarSet.from_classes({0: image[None, None]}, partition=2).decoded().images
    assert decoded[0, 0].tolist() == [[0, 10, 30, 40]] * 4
    assert not decoded[1:].any()


def test_decoded_without_partition_is_what_is_stored():
    memory = ExemplarSet.from_classes({4: filled(2, 9), 1: filled(1, 3)})
    decoded = memory.decoded()
    assert torch.equal(decoded.images, memory.images)
    assert decoded.labels.tolist() == [1, 4, 4]


def test_a_partition_costs_nothing():
    assert ExemplarSet.from_classes({0: filled(3, 1, (1, 4, 6))}, partition=2).nbytes == 3 * 24 + 3 * 2


# --- soft labels


def soft_memory(by_class, columns, rows, partition=1, size=(1, 2, 2)):
    """``by_class`` is the number of images of each class; all classes come with the same columns."""
    groups = {c: filled(n, c, size) for c, n in by_class.items()}
    return ExemplarSet.from_classes(groups, {"of": sorted(by_class)}, partition).with_soft_labels(
        torch.tensor(rows), columns
    )


def test_soft_labels_are_levels_of_roots():
    memory = soft_memory({2: 2, 5: 1}, [2, 5], [[0.9, 0.1], [1.0, 0.0], [0.004, 0.996]])
    assert memory.soft_labels.levels.dtype == torch.uint8
    assert memory.soft_labels.levels.tolist() == [[15, 5], [15, 0], [1, 15]]  # 15 * sqrt(0.004 / 0.996) = 0.95
    torch.testing.assert_close(memory.soft_labels.probabilities[0], torch.tensor([0.9, 0.1]))
    assert memory.soft_labels.columns.dtype == torch.int16
    assert memory.soft_labels.columns.tolist() == [[2, 5], [2, 5]]
    assert memory.metadata == {"of": [2, 5]}


def test_soft_labels_are_charged_by_hand():
    # two classes of three images of 4x4, each four decoded images, over two columns
    memory = soft_memory({0: 3, 1: 3}, [0, 1], [[0.5, 0.5]] * 24, partition=2, size=(1, 4, 4))
    assert memory.nbytes == 6 * 16 + 6 * 2 + 24 + 2 * 2 * 2
    assert memory.soft_labels.nbytes == 32


def test_targets_without_soft_labels_are_the_decoded_class_indices():
    memory = ExemplarSet.from_classes({4: filled(1, 0, (1, 2, 2)), 1: filled(2, 0, (1, 2, 2))}, partition=2)
    targets = memory.targets(9)
    assert targets.tolist() == [1] * 8 + [4] * 4
    assert targets.dtype == torch.int64


def test_targets_of_one_experience_by_hand():
    memory = soft_memory({1: 2, 4: 1}, [1, 4], [[0.9, 0.1], [1.0, 0.0], [0.1, 0.9]])
    expected = [[0, 0.9, 0, 0, 0.1, 0], [0, 1.0, 0, 0, 0, 0], [0, 0.1, 0, 0, 0.9, 0]]
    torch.testing.assert_close(memory.targets(6), torch.tensor(expected))


def test_targets_of_columns_in_any_order():
    memory = soft_memory({1: 1, 4: 1}, [4, 1], [[0.9, 0.1], [0.5, 0.5]])
    torch.testing.assert_close(memory.targets(5), torch.tensor([[0, 0.1, 0, 0, 0.9], [0, 0.5, 0, 0, 0.5]]))


def test_targets_of_decoded_parts_by_hand():
    rows = [[1.0, 0.0], [0.5, 0.5], [0.1, 0.9], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5], [0.1, 0.9], [0.0, 1.0]]
    memory = soft_memory({0: 1, 2: 1}, [0, 2], rows, partition=2)
    torch.testing.assert_close(memory.targets(3), torch.tensor([[a, 0.0, b] for a, b in rows]))


def three_experiences():
    """Classes {0, 3}, then {1, 2, 5} with a third column, then {4} alone."""
    first = soft_memory({3: 1, 0: 1}, [0, 3], [[0.75, 0.25], [0.5, 0.5]])
    second = soft_memory(
        {1: 1, 2: 2, 5: 1}, [1, 2, 5], [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0, 1, 0], [0, 0.25, 0.75]]
    )
    third = soft_memory({4: 2}, [4], [[1.0], [1.0]])
    return first, second, third


DENSE = [
    [0.75, 0, 0, 0.25, 0, 0],  # class 0
    [0, 0.5, 0.25, 0, 0, 0.25],  # class 1
    [0, 0.125, 0.75, 0, 0, 0.125],  # class 2, twice
    [0, 0, 1.0, 0, 0, 0],
    [0.5, 0, 0, 0.5, 0, 0],  # class 3
    [0, 0, 0, 0, 1.0, 0],  # class 4, twice
    [0, 0, 0, 0, 1.0, 0],
    [0, 0, 0.25, 0, 0, 0.75],  # class 5
]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)], ids=str)
def test_targets_of_several_experiences_by_hand(order):
    parts = three_experiences()
    first, second, third = (parts[i] for i in order)
    merged = first.merge(second).merge(third)
    assert merged.labels.tolist() == [0, 1, 2, 2, 3, 4, 4, 5]
    assert values(merged) == [0, 1, 2, 2, 3, 4, 4, 5]
    assert merged.soft_labels.columns.tolist() == [
        [0, 3, -1], [1, 2, 5], [1, 2, 5], [0, 3, -1], [4, -1, -1], [1, 2, 5],
    ]  # fmt: skip
    torch.testing.assert_close(merged.targets(6), torch.tensor(DENSE), atol=0.03, rtol=0)  # as far as levels go
    torch.testing.assert_close(merged.targets(8)[:, :6], merged.targets(6))
    assert not merged.targets(8)[:, 6:].any()
    assert merged.metadata == third.metadata


def test_targets_sum_to_one_and_are_near_the_probabilities():
    rows = torch.rand(40, 7, generator=torch.Generator().manual_seed(0)).mul(4).softmax(1)
    groups = {c: filled(4, c, (1, 2, 2)) for c in range(10)}
    memory = ExemplarSet.from_classes(groups).with_soft_labels(rows, range(3, 10))
    targets = memory.targets(10)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(40), atol=1e-6, rtol=0)
    # half a level of the largest root, to each side; the sum moves by less than as much
    bound = (rows.amax(1, keepdim=True).sqrt() / 30 + rows.sqrt()).square() - rows
    assert ((targets[:, 3:] - rows).abs() <= 2 * bound).all()


def test_merging_charges_the_padded_columns_by_hand():
    first, second, _ = three_experiences()
    # two and four images of 2x2; six rows and, of five classes, five rows of columns, all of width three
    assert first.merge(second).nbytes == 6 * 4 + 6 * 2 + 6 * 2 + 5 * 3 * 2  # three levels take two bytes


def test_merge_takes_the_soft_labels_of_a_class_in_both_from_the_newer():
    older = soft_memory({0: 2, 1: 1}, [0, 1], [[0.9, 0.1], [1.0, 0.0], [0.1, 0.9]])
    newer = soft_memory({0: 1, 2: 1}, [0, 2], [[0.5, 0.5], [0.1, 0.9]])
    merged = older.merge(newer)
    assert merged.labels.tolist() == [0, 1, 2]
    torch.testing.assert_close(merged.targets(3), torch.tensor([[0.5, 0, 0.5], [0.1, 0.9, 0], [0.1, 0, 0.9]]))
    torch.testing.assert_close(older.targets(3), torch.tensor([[0.9, 0.1, 0], [1.0, 0, 0], [0.1, 0.9, 0]]))


def test_merge_keeps_partitioned_soft_labels_with_their_images():
    first = soft_memory({1: 1}, [1], [[1.0]] * 4, partition=2)
    rows = [[i**2 / (i**2 + 225), 225 / (i**2 + 225)] for i in range(8)]
    second = soft_memory({0: 1, 2: 1}, [0, 2], rows, partition=2)
    merged = first.merge(second)
    assert merged.partition == 2
    expected = [[a, 0, b] for a, b in rows[:4]] + [[0, 1, 0]] * 4 + [[a, 0, b] for a, b in rows[4:]]
    torch.testing.assert_close(merged.targets(3), torch.tensor(expected))


def test_memories_stored_in_different_ways_are_not_merged():
    size = (1, 2, 2)
    plain, grid = (ExemplarSet.from_classes({0: filled(1, 0, size)}, partition=f) for f in (1, 2))
    soft = soft_memory({1: 1}, [1], [[1.0]])
    for older, newer in ((plain, grid), (grid, plain), (plain, soft), (soft, plain)):
        with pytest.raises(ValueError, match="only memories stored in the same way can be merged"):
            older.merge(newer)


ROWS = torch.tensor([[15, 15], [5, 15]], dtype=torch.uint8)
COLUMNS = torch.tensor([[0, 1], [0, 1]], dtype=torch.int16)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (ROWS.float(), COLUMNS),
        (ROWS, COLUMNS.long()),
        (ROWS[0], COLUMNS),
        (ROWS, COLUMNS[0]),
        (ROWS[:1], COLUMNS),
        (ROWS, COLUMNS[:1]),
        (ROWS[:, :1], COLUMNS),
        (ROWS, COLUMNS[:, :1]),
        (ROWS + 1, COLUMNS),
        (ROWS, COLUMNS - 2),
        (ROWS[:, :0], COLUMNS[:, :0]),
        (ROWS * torch.tensor([[1], [0]]).byte(), COLUMNS),
        (ROWS, COLUMNS * 0 - 1),
        (ROWS * torch.tensor([0, 1]).byte(), COLUMNS * torch.tensor([1, -1]).short()),
    ],
    ids=[
        "float32", "int64 columns", "rows of one dimension", "columns of one dimension", "too few rows",
        "too few columns rows", "narrow rows", "narrow columns", "above 15", "below -1",
        "empty", "all zero", "no class", "all at no class",
    ],
)  # fmt: skip
def test_soft_labels_that_do_not_fit_are_refused(rows, columns):
    memory = ExemplarSet.from_classes({0: filled(1, 0), 1: filled(1, 1)})
    fields = (memory.images, memory.labels, {}, 1)
    assert ExemplarSet(*fields, SoftLabels(ROWS, COLUMNS)).soft_labels is not None
    with pytest.raises(ValueError, match="soft labels"):
        ExemplarSet(*fields, SoftLabels(rows, columns))


def test_soft_labels_are_counted_by_decoded_images():
    memory = ExemplarSet.from_classes({0: filled(1, 0, (1, 2, 2))}, partition=2)
    assert memory.with_soft_labels(torch.ones(4, 1), [0]).soft_labels.probabilities.shape == (4, 1)
    with pytest.raises(ValueError, match=r"soft labels of \(1, 1\) and \(1, 1\) don't fit"):
        memory.with_soft_labels(torch.ones(1, 1), [0])


def test_padding_adds_empty_columns():
    padded = SoftLabels(ROWS, COLUMNS).padded(4)
    assert padded.levels.tolist() == [[15, 15, 0, 0], [5, 15, 0, 0]]
    assert padded.columns.tolist() == [[0, 1, -1, -1], [0, 1, -1, -1]]
    assert (padded.levels.dtype, padded.columns.dtype) == (torch.uint8, torch.int16)
