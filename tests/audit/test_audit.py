"""The audit of a run: each image that reaches a memory is found among its experience's training images, or it ends."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iid_cl.audit.audit import Audit, Promise, check_bytes, remark
from iid_cl.budget import Budget
from iid_cl.data.fingerprint import fingerprint
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.memory.jpeg import JpegSet, encode
from iid_cl.records.integrity import sha256_of

ORDER = [[2, 0], [1]]
PIXELS = 1 * 2 * 2


def image(number: int) -> Tensor:
    """The grey (1, 2, 2) image of this number."""
    return torch.full((1, 2, 2), number, dtype=torch.uint8)


def made(train: list[tuple[int, int]], test: list[tuple[int, int]]) -> ImageDataset:
    """A data set of images by number, each with its class."""
    parts = [
        LabelledImages(torch.stack([image(number) for number, _ in part]), torch.tensor([label for _, label in part]))
        for part in (train, test)
    ]
    return ImageDataset("made", *parts, ("zero", "one", "two"), Normalization((0.5,), (0.5,)), ())


#             index:   0        1        2        3        4        5
DATASET = made([(10, 0), (11, 1), (20, 2), (12, 0), (10, 0), (21, 2)], [(30, 0), (31, 1), (32, 2)])


def stacked(*numbers: int) -> Tensor:
    return torch.stack([image(number) for number in numbers])


def indices(audit: Audit) -> dict[str, list[int]]:
    return {key: found.tolist() for key, found in audit.state_dict().items()}


def save(path: Path, *labels: int) -> ExemplarSet:
    memory = ExemplarSet.from_classes({label: stacked(label % 256) for label in labels})
    save_memory(path, memory)
    return memory


def test_images_are_found_by_content_whatever_their_order() -> None:
    audit = Audit(DATASET, ORDER)
    audit.trace("random", 0, {0: stacked(12, 10), 2: stacked(21)})
    audit.trace("random", 1, {1: stacked(11)})
    assert indices(audit) == {"random/0/0": [3, 0], "random/0/2": [5], "random/1/1": [1]}


def test_equal_images_are_told_apart_by_their_number() -> None:
    audit = Audit(DATASET, ORDER)
    audit.trace("random", 0, {0: stacked(10, 10)})
    assert indices(audit) == {"random/0/0": [0, 4]}
    with pytest.raises(RuntimeError, match="image 2 of 3 equals training image 0, but came more often than the data"):
        audit.trace("random", 0, {0: stacked(10, 10, 10)})


def test_a_test_image_ends_the_run() -> None:
    with pytest.raises(RuntimeError, match=r"random, experience 1, class 'zero': image 1 of 2 is test image 0;"):
        Audit(DATASET, ORDER).trace("random", 0, {0: stacked(10, 30)})


@pytest.mark.parametrize(("number", "index", "name"), [(11, 1, "one"), (20, 2, "two")])
def test_an_image_of_another_class_ends_the_run(number: int, index: int, name: str) -> None:
    with pytest.raises(RuntimeError, match=f"is training image {index}, of class '{name}'"):
        Audit(DATASET, ORDER).trace("random", 0, {0: stacked(number)})


@pytest.mark.parametrize(("experience", "label"), [(0, 1), (1, 0), (2, 1), (-1, 1), (0, 3)])
def test_a_class_of_another_experience_ends_the_run(experience: int, label: int) -> None:
    with pytest.raises(RuntimeError, match="given a class of another experience"):
        Audit(DATASET, ORDER).trace("random", experience, {label: stacked(11)})


def test_an_image_that_is_nowhere_ends_the_run() -> None:
    with pytest.raises(RuntimeError, match="is in neither part of the data set"):
        Audit(DATASET, ORDER).trace("random", 0, {0: stacked(99)})


def test_what_ends_a_run_leaves_no_trace() -> None:
    audit = Audit(DATASET, ORDER)
    with pytest.raises(RuntimeError):
        audit.trace("random", 0, {2: stacked(20), 0: stacked(30)})
    assert audit.state_dict() == {}


def test_an_experience_that_comes_again_counts_once() -> None:
    audit = Audit(DATASET, ORDER)
    for _ in range(2):
        audit.watch("random")(SimpleNamespace(current_experience=1), {1: stacked(11)})
    assert indices(audit) == {"random/1/1": [1]}


def test_a_checkpoint_carries_it_on(tmp_path: Path) -> None:
    first = Audit(DATASET, ORDER)
    first.trace("random", 0, {0: stacked(10, 12), 2: stacked(20)})
    second = Audit(DATASET, ORDER)
    second.load_state_dict({key: found.clone() for key, found in first.state_dict().items()})
    for audit in (first, second):
        audit.trace("random", 1, {1: stacked(11)})
        audit.save_sources(tmp_path / f"{len(list(tmp_path.iterdir()))}.json")
    assert indices(first) == indices(second)
    assert (tmp_path / "0.json").read_bytes() == (tmp_path / "1.json").read_bytes()


def test_sources_name_indices_by_method_experience_and_class(tmp_path: Path) -> None:
    audit = Audit(DATASET, ORDER)
    audit.trace("random", 0, {0: stacked(12, 10), 2: stacked(20)})
    audit.trace("distilled", 1, {1: stacked(11)})
    audit.save_sources(tmp_path / "sources.json")
    assert json.loads((tmp_path / "sources.json").read_text()) == {
        "format": "iid-cl sources",
        "version": 1,
        "dataset": "made",
        "fingerprint": fingerprint(DATASET),
        "methods": {"random": {"0": {"0": [0, 3], "2": [2]}}, "distilled": {"1": {"1": [1]}}},
    }


def test_copies_within_the_data_set_are_counted_and_no_leak(tmp_path: Path) -> None:
    #                0        1        2        3        4
    dataset = made([(10, 0), (11, 1), (10, 1), (20, 2), (20, 0)], [(11, 0), (10, 1), (40, 2)])
    audit = Audit(dataset, ORDER)
    audit.trace("random", 0, {0: stacked(10, 20), 2: stacked(20)})
    audit.trace("random", 1, {1: stacked(10, 11)})
    memory = save(tmp_path / "m.safetensors", 0, 1, 2)
    checks = audit.verify("random", tmp_path / "m.safetensors", memory.nbytes, Budget(ipc=1))
    # both tens and the eleven are in the test set; the tens lie in both experiences, the twenties both in the first
    assert checks["sources"] == {"images": 5, "experiences": 2, "also_in_test": 3, "also_in_other_experiences": 2}
    line = remark(checks)
    assert "3 of them equal a test image" in line
    assert "2 of them equal an image of another experience" in line


@pytest.mark.parametrize(
    ("held", "said"),
    [((0, 1, 2), "holds class 'one', which never reached"), ((0,), "lacks class 'two', which reached")],
)
def test_a_memory_of_classes_that_were_not_watched_ends_the_run(
    tmp_path: Path, held: tuple[int, ...], said: str
) -> None:
    audit = Audit(DATASET, ORDER)
    audit.trace("random", 0, {0: stacked(10), 2: stacked(20)})
    memory = save(tmp_path / "m.safetensors", *held)
    with pytest.raises(RuntimeError, match=said):
        audit.verify("random", tmp_path / "m.safetensors", memory.nbytes, Budget(ipc=1))


def test_methods_are_told_apart(tmp_path: Path) -> None:
    audit = Audit(DATASET, ORDER)
    audit.trace("random", 0, {0: stacked(10), 2: stacked(20, 21)})
    audit.trace("herding", 0, {0: stacked(10), 2: stacked(20)})
    memory = save(tmp_path / "m.safetensors", 0, 2)
    checks = audit.verify("herding", tmp_path / "m.safetensors", memory.nbytes, Budget(ipc=1))
    assert checks == {
        "sources": {"images": 2, "experiences": 1, "also_in_test": 0, "also_in_other_experiences": 0},
        "stored": {"images": 2, "among_sources": 0, "also_in_test": 0},
        "bytes": {"bytes": 12, "charged": 12, "allowed": 12},
        "sha256": sha256_of(tmp_path / "m.safetensors"),
    }
    assert remark(checks) == (
        "checked: made from 2 images, each a training image of its own experience; stores no test image; memory size "
        "12 bytes: matches the budget"
    )
    checks["stored"] = {"images": 2, "among_sources": 2, "also_in_test": 0}
    assert "; stores some of them and no test image; memory size" in remark(checks)
    checks["stored"] = {"images": 2, "among_sources": 2, "also_in_test": 1}
    assert "; stores some of them; 1 of those equal a test image; memory size" in remark(checks)
    checks["stored"] = {"images": 2, "among_sources": 0, "also_in_test": 1}
    assert "; stores synthetic images; 1 of those equal a test image; memory size" in remark(checks)
    checks["bytes"] = {"bytes": 1028, "charged": 1012, "allowed": 1015}
    assert remark(checks).endswith("; memory size 1,028 bytes, 1,012 of them charged: within the budget of 1,015 bytes")


REAL = Promise(real=True)


def written(path: Path, images: dict[int, Tensor]) -> int:
    """The bytes of a memory that is written there."""
    memory = ExemplarSet.from_classes(images)
    save_memory(path, memory)
    return memory.nbytes


def watched() -> Audit:
    audit = Audit(DATASET, ORDER)
    audit.trace("random", 0, {0: stacked(10, 12), 2: stacked(20, 21)})
    return audit


def test_stored_images_of_a_real_memory_are_those_that_reached_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    size = written(path, {0: stacked(12), 2: stacked(20)})
    checks = watched().verify("random", path, size, Budget(ipc=1), REAL)
    assert checks["stored"] == {"images": 2, "among_sources": 2, "also_in_test": 0}
    size = written(path, {0: stacked(12), 2: stacked(99)})
    with pytest.raises(RuntimeError, match="image 0 of class 'two' is none of those that reached the memory;"):
        watched().verify("random", path, size, Budget(ipc=1), REAL)


@pytest.mark.parametrize("promise", [REAL, Promise()])
def test_a_stored_test_image_ends_the_run(tmp_path: Path, promise: Promise) -> None:
    path = tmp_path / "m.safetensors"
    size = written(path, {0: stacked(10, 31), 2: stacked(20)})  # a test image of another class
    with pytest.raises(RuntimeError, match=r"m\.safetensors: image 1 of class 'zero' is test image 1; this is a bug"):
        watched().verify("random", path, size, Budget(ipc=2), promise)


def test_a_uniform_sample_may_lack_a_class_and_its_budget_counts_those_seen(tmp_path: Path) -> None:
    path, sample = tmp_path / "m.safetensors", Promise(real=True, every_class=False)
    size = written(path, {2: stacked(20, 21)})  # 12 bytes: two images of two classes seen
    assert watched().verify("random", path, size, Budget(ipc=1), sample)["bytes"]["allowed"] == 12
    with pytest.raises(RuntimeError, match="lacks class 'zero', which reached the memory"):
        watched().verify("random", path, size, Budget(ipc=1), REAL)
    size = written(path, {1: stacked(11)})
    with pytest.raises(RuntimeError, match="holds class 'one', which never reached the memory"):
        watched().verify("random", path, size, Budget(ipc=1), sample)


# --- bytes


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [
        (Budget(ipc=1), 3 * (PIXELS + 2)),
        (Budget(ipc=5), 15 * (PIXELS + 2)),
        (Budget(class_bytes=7), 3 * 7),
        (Budget(mem_size=3), 3 * (PIXELS + 2)),
        (Budget(mem_bytes=18), 18),
    ],
    ids=lambda value: value.key if isinstance(value, Budget) else "",
)
def test_a_memory_is_weighed_against_each_budget(tmp_path: Path, budget: Budget, allowed: int) -> None:
    save(tmp_path / "m.safetensors", 0, 1, 300)
    found, classes = check_bytes(tmp_path / "m.safetensors", 18, budget, PIXELS)
    assert found == {"bytes": 18, "charged": 18, "allowed": allowed}
    assert classes == {0, 1, 300}


@pytest.mark.parametrize("budget", [Budget(class_bytes=5), Budget(mem_size=2), Budget(mem_bytes=17)])
def test_a_memory_beyond_its_budget_ends_the_run(tmp_path: Path, budget: Budget) -> None:
    save(tmp_path / "m.safetensors", 0, 1, 2)
    with pytest.raises(RuntimeError, match=r"holds 18 bytes, more than the 1[257] of its budget"):
        check_bytes(tmp_path / "m.safetensors", 18, budget, PIXELS)


@pytest.mark.parametrize("claimed", [0, 17, 19])
def test_a_memory_that_weighs_something_else_ends_the_run(tmp_path: Path, claimed: int) -> None:
    save(tmp_path / "m.safetensors", 0, 1, 2)
    with pytest.raises(RuntimeError, match=f"holds 18 bytes, its header says 18, the run says {claimed}"):
        check_bytes(tmp_path / "m.safetensors", claimed, Budget(ipc=1), PIXELS)


def test_bytes_beside_the_tensors_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save(path, 0, 1, 2)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(RuntimeError, match="holds 22 bytes, its header says 18, the run says 18"):
        check_bytes(path, 18, Budget(ipc=1), PIXELS)


def test_budgets_in_images_leave_soft_labels_out_of_account(tmp_path: Path) -> None:
    memory = ExemplarSet.from_classes({0: stacked(1), 1: stacked(2)}).with_soft_labels(torch.full((2, 2), 0.5), [0, 1])
    path = tmp_path / "m.safetensors"
    save_memory(path, memory)
    soft = 2 + 2 * 2 * 2  # a byte for the two levels of an image, and int16 columns of each class
    assert check_bytes(path, 12 + soft, Budget(ipc=1), PIXELS)[0] == {"bytes": 22, "charged": 12, "allowed": 12}
    with pytest.raises(RuntimeError, match="holds 22 bytes, more than the 21"):
        check_bytes(path, 12 + soft, Budget(mem_bytes=21), PIXELS)


def test_soft_labels_of_a_jpeg_memory_are_charged_by_every_budget(tmp_path: Path) -> None:
    plain = JpegSet.from_classes({3: encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 50)}, (1, 8, 8))
    memory = plain.with_soft_labels(torch.full((2, 2), 0.5), [3, 5])
    save_memory(tmp_path / "m.safetensors", memory)
    weight = plain.nbytes + 2 + 2 * 2
    large, small = Budget(ipc=weight // PIXELS), Budget(ipc=plain.nbytes // (PIXELS + 2))
    assert check_bytes(tmp_path / "m.safetensors", weight, large, PIXELS)[0]["charged"] == weight
    with pytest.raises(RuntimeError, match=f"holds {weight} bytes, more than"):
        check_bytes(tmp_path / "m.safetensors", weight, small, PIXELS)


def test_a_jpeg_memory_is_charged_whole(tmp_path: Path) -> None:
    memory = JpegSet.from_classes({3: encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 50)}, (1, 8, 8))
    path = tmp_path / "m.safetensors"
    save_memory(path, memory)
    parts = memory.header.numel() + memory.scans.numel() + 2 * 4 + 2 * 2
    budget = Budget(class_bytes=parts)
    found, classes = check_bytes(path, parts, budget, 64)
    assert (found["charged"], classes) == (parts, {3})
