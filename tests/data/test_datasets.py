"""The named data sets: the right pixels under the right labels, split as documented."""

import hashlib
import pickle
import struct
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages
from iid_cl.data.places import default_data_root
from iid_cl.errors import UserError

NAMES = ["ant", "bee", "cat"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens an address hears that there is no network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def load(name: str, root: Path | None = None, seed: int = 0, **stream: object) -> ImageDataset:
    return load_dataset(StreamConfig.model_validate({"dataset": name, **stream}), root, seed)


def rows(*parts: LabelledImages) -> Counter[tuple[int, bytes]]:
    """How often each image occurs under each label."""
    pairs = [pair for part in parts for pair in zip(part.labels.tolist(), part.images, strict=True)]
    return Counter((label, image.numpy().tobytes()) for label, image in pairs)


def random_images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_folder(root: Path, train: int = 8, test: int = 3, size: int = 6, mode: str = "RGB") -> Path:
    """An image folder of random images, the same ones for the same arguments."""
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    for part, count, seed in (("train", train, 0), ("test", test, 1)):
        images = iter(random_images(count * len(NAMES), *shape, seed=seed))
        for name in NAMES:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(next(images)).save(root / part / name / f"{i}.png")
    return root


# digits


def test_digits_are_all_there_and_once() -> None:
    bundle = load_digits()
    scaled = [[[int(np.rint(value * 255 / 16)) for value in row] for row in image] for image in bundle.images]
    everything = LabelledImages(torch.tensor(scaled, dtype=torch.uint8)[:, None], torch.from_numpy(bundle.target))
    dataset = load("digits")
    assert rows(dataset.train, dataset.test) == rows(everything)
    assert (len(dataset.train), len(dataset.test)) == (1347, 450)  # a quarter of 1,797, rounded up
    assert dataset.shape == (1, 8, 8)
    assert dataset.class_names == tuple("0123456789")


def test_digits_split_as_scikit_learn_does() -> None:
    bundle, dataset = load_digits(), load("digits")
    pixels = np.round(bundle.images * (255 / 16)).astype(np.uint8)
    split = train_test_split(pixels, bundle.target, test_size=0.25, stratify=bundle.target, random_state=0)
    train, test, train_labels, test_labels = map(torch.from_numpy, split)
    assert torch.equal(dataset.train.images[:, 0], train)
    assert torch.equal(dataset.test.images[:, 0], test)
    assert dataset.train.labels.tolist() == train_labels.tolist()
    assert dataset.test.labels.tolist() == test_labels.tolist()


def test_digits_without_scikit_learn_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.data.digits.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        load("digits")


def test_digits_split_is_fixed() -> None:
    first = load("digits", seed=0)
    np.random.seed(5)
    torch.manual_seed(5)
    second = load("digits", seed=1)
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.images, second.test.images)
    assert torch.equal(first.test.labels, second.test.labels)


def test_digits_are_never_mirrored() -> None:
    assert "flip" not in load("digits").augmentations


def test_digits_normalisation_gives_zero_mean_and_unit_spread() -> None:
    dataset = load("digits")
    images = dataset.normalization.apply(dataset.train.images)
    assert images.mean().abs() < 0.01
    assert (images.std() - 1).abs() < 0.01


# validation


@pytest.mark.parametrize(("fraction", "held"), [(0.25, 2), (0.5, 4), (0.125, 1), (0.875, 7)])
def test_validation_takes_its_share_of_each_class(tmp_path: Path, fraction: float, held: int) -> None:
    root = make_folder(tmp_path)
    dataset = load("image_folder", root, validation=fraction)
    assert dataset.test.labels.bincount().tolist() == [held] * 3
    assert dataset.train.labels.bincount().tolist() == [8 - held] * 3


@pytest.mark.parametrize("name", ["image_folder", "digits"])
def test_validation_splits_the_training_set_and_leaves_the_test_set_out(tmp_path: Path, name: str) -> None:
    root = make_folder(tmp_path)
    whole, held = load(name, root), load(name, root, validation=0.25)
    assert rows(held.train, held.test) == rows(whole.train)
    assert rows(held.test) != rows(whole.test)
    if name == "image_folder":  # whose images all differ
        assert not rows(held.train) & rows(held.test)
        assert not rows(held.train, held.test) & rows(whole.test)


def test_validation_follows_the_seed() -> None:
    first, again, other = (load("digits", seed=seed, validation=0.25) for seed in (3, 3, 4))
    assert torch.equal(first.test.images, again.test.images)
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.test.images, other.test.images)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_validation_leaves_no_class_empty(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(UserError, match=rf"stream\.validation: {fraction} of the 8 images of class 'ant'"):
        load("image_folder", make_folder(tmp_path), validation=fraction)


# image_folder


def test_an_image_folder_holds_its_files(tmp_path: Path) -> None:
    root = make_folder(tmp_path)
    dataset = load("image_folder", root)
    assert dataset.class_names == tuple(NAMES)
    assert dataset.shape == (3, 6, 6)
    for part, images in (("train", dataset.train), ("test", dataset.test)):
        expected: Counter[tuple[int, bytes]] = Counter()
        for label, name in enumerate(NAMES):
            for file in (root / part / name).iterdir():
                with Image.open(file) as image:
                    expected[label, np.asarray(image).transpose(2, 0, 1).tobytes()] += 1
        assert rows(images) == expected


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_an_image_folders_normalisation_has_its_channels(tmp_path: Path, mode: str, channels: int) -> None:
    dataset = load("image_folder", make_folder(tmp_path, mode=mode))
    assert dataset.shape == (channels, 6, 6)
    assert len(dataset.normalization.mean) == len(dataset.normalization.std) == channels


def test_an_image_folder_is_resized(tmp_path: Path) -> None:
    dataset = load("image_folder", make_folder(tmp_path), image_size=4)
    assert dataset.train.images.shape == (24, 3, 4, 4)
    assert dataset.test.images.shape == (9, 3, 4, 4)


def test_grey_training_and_coloured_test_images_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, mode="L")
    Image.new("RGB", (6, 6), (9, 8, 7)).save(tmp_path / "test" / "bee" / "1.png")
    with pytest.raises(UserError, match=r"training images of shape \(1, 6, 6\) but test images of shape \(3, 6, 6\)"):
        load("image_folder", tmp_path)


def test_images_are_decoded_once_and_never_beside_the_originals(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "images")
    before = sorted(root.rglob("*"))
    load("image_folder", root)
    assert sorted(root.rglob("*")) == before
    assert any(path.is_file() for path in default_data_root().rglob("*"))


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_image_size_is_refused_where_it_has_no_effect(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"stream\.image_size: 16 has no effect on '{name}'"):
        load(name, tmp_path, image_size=16)


# tiny_imagenet


def make_tiny_imagenet(root: Path, ids: tuple[str, ...] = ("n02", "n01")) -> dict[str, int]:
    """The archive's layout with four training and two test images a class; the grey value of each class."""
    base = root / "tiny-imagenet-200"
    (base / "val" / "images").mkdir(parents=True)
    (base / "wnids.txt").write_text("".join(f"{i}\n" for i in ids))
    lines = []
    for number, name in enumerate(ids):
        folder = base / "train" / name / "images"
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (100 * number, i, 0)).save(folder / f"{name}_{i}.JPEG", quality=100)
        for i in range(2):
            file = f"val_{number + 2 * i}.JPEG"
            Image.new("RGB", (8, 8), (100 * number, 0, 0)).save(base / "val" / "images" / file, quality=100)
            lines.append(f"{file}\t{name}\t0\t0\t7\t7\n")
    (base / "val" / "val_annotations.txt").write_text("".join(sorted(lines)))
    return {name: 100 * number for number, name in enumerate(ids)}


def test_tiny_imagenet_tests_on_its_validation_images(tmp_path: Path) -> None:
    reds = make_tiny_imagenet(tmp_path)
    dataset = load("tiny_imagenet", tmp_path)
    assert dataset.class_names == ("n01", "n02")
    assert dataset.train.labels.bincount().tolist() == [4, 4]
    assert dataset.test.labels.bincount().tolist() == [2, 2]
    for part in (dataset.train, dataset.test):
        for label, name in enumerate(dataset.class_names):
            red = part.images[part.labels == label][:, 0].int()
            assert (red - reds[name]).abs().max() <= 5  # JPEG


@pytest.mark.parametrize("missing", ["wnids.txt", "val/val_annotations.txt"])
def test_tiny_imagenet_names_the_file_that_is_missing(tmp_path: Path, missing: str) -> None:
    make_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200" / missing).unlink()
    with pytest.raises(UserError, match=rf"{missing}; unpack tiny-imagenet-200\.zip"):
        load("tiny_imagenet", tmp_path)


def test_tiny_imagenet_without_a_training_folder_is_refused(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200" / "train" / "n01").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="n01"):
        load("tiny_imagenet", tmp_path)


def test_tiny_imagenet_without_a_test_image_is_refused(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200" / "val" / "images" / "val_1.JPEG").unlink()
    with pytest.raises(UserError, match=r"val_1\.JPEG"):
        load("tiny_imagenet", tmp_path)


@pytest.mark.parametrize(
    ("line", "shown"), [("val_0.JPEG\tn99\t0\n", "n99"), ("val_0.JPEG\n", "val_0.JPEG"), ("\tn\n", "n")]
)
def test_tiny_imagenet_annotations_name_image_and_class(tmp_path: Path, line: str, shown: str) -> None:
    make_tiny_imagenet(tmp_path)
    file = tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    file.write_text(file.read_text() + line)
    with pytest.raises(UserError, match=r"val_annotations\.txt") as caught:
        load("tiny_imagenet", tmp_path)
    assert shown in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1])
def test_tiny_imagenet_has_test_images_of_each_class(tmp_path: Path, kept: int) -> None:
    make_tiny_imagenet(tmp_path)
    file = tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(UserError, match=r"val_annotations|n01"):
        load("tiny_imagenet", tmp_path)


# the data sets that torchvision reads


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST's files: magic number with type and rank, sizes, bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def make_mnist(root: Path, folder: str = "MNIST") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Five training and three test images in torchvision's layout."""
    parts = {}
    for part, prefix, count in (("train", "train", 5), ("test", "t10k", 3)):
        images, labels = random_images(count, 28, 28, seed=count), np.arange(count)[::-1] + 1
        write_idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
        parts[part] = images, labels
    return parts


@pytest.mark.parametrize(
    ("name", "folder", "third", "flips"),
    [("mnist", "MNIST", "2", False), ("fashion_mnist", "FashionMNIST", "Pullover", True)],
)
def test_mnist_is_read_from_its_files(tmp_path: Path, name: str, folder: str, third: str, flips: bool) -> None:
    parts = make_mnist(tmp_path, folder)
    dataset = load(name, tmp_path)
    assert dataset.shape == (1, 28, 28)
    for part, (images, labels) in ((dataset.train, parts["train"]), (dataset.test, parts["test"])):
        assert torch.equal(part.images, torch.from_numpy(images)[:, None])
        assert part.labels.tolist() == labels.tolist()
    assert len(dataset.class_names) == 10
    assert dataset.class_names[2].startswith(third)
    assert ("flip" in dataset.augmentations) is flips


@pytest.mark.parametrize("damage", ["empty", "half", "header", "junk"])
def test_damaged_mnist_files_are_refused(tmp_path: Path, damage: str) -> None:
    make_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    whole = file.read_bytes()
    file.write_bytes(
        {"empty": b"", "half": whole[:2000], "header": whole[:9], "junk": b"<html>not found</html>"}[damage]
    )
    with pytest.raises(UserError, match=r"stream\.dataset: 'mnist'"):
        load("mnist", tmp_path)


def test_mnist_with_fewer_labels_than_images_is_refused(tmp_path: Path) -> None:
    make_mnist(tmp_path)
    write_idx(tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", np.array([1, 2]))
    with pytest.raises(UserError, match=r"stream\.dataset: 'mnist'"):
        load("mnist", tmp_path)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_svhn_is_read_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_list = {}
    parts = {}
    for part, count in (("train", 6), ("test", 4)):
        images, labels = random_images(count, 32, 32, 3, seed=count), np.arange(10, 10 - count, -1)
        file = tmp_path / f"{part}_32x32.mat"
        scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]})
        split_list[part] = ["http://nowhere", file.name, md5(file)]
        parts[part] = images, [0, *range(9, 10 - count, -1)]  # the files call the digit 0 class 10
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
    dataset = load("svhn", tmp_path)
    assert dataset.shape == (3, 32, 32)
    assert dataset.class_names == tuple("0123456789")
    assert "flip" not in dataset.augmentations
    for part, (images, labels) in ((dataset.train, parts["train"]), (dataset.test, parts["test"])):
        assert torch.equal(part.images, torch.from_numpy(images).permute(0, 3, 1, 2))
        assert part.labels.tolist() == labels


@pytest.mark.parametrize(
    ("name", "class_name", "folder", "files", "meta", "label_key", "names_key"),
    [
        (
            "cifar10",
            "CIFAR10",
            "cifar-10-batches-py",
            ("data_batch_1", "test_batch"),
            "batches.meta",
            "labels",
            "label_names",
        ),
        ("cifar100", "CIFAR100", "cifar-100-python", ("train", "test"), "meta", "fine_labels", "fine_label_names"),
    ],
)
def test_cifar_is_read_from_its_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    class_name: str,
    folder: str,
    files: tuple[str, str],
    meta: str,
    label_key: str,
    names_key: str,
) -> None:
    base = tmp_path / folder
    base.mkdir()
    factory = getattr(torchvision.datasets, class_name)
    parts = {}
    for attribute, file, count in (("train_list", files[0], 5), ("test_list", files[1], 3)):
        images, labels = random_images(count, 3, 32, 32, seed=count), [(3 * i) % 7 for i in range(count)]
        (base / file).write_bytes(pickle.dumps({"data": images.reshape(count, -1), label_key: labels}))
        monkeypatch.setattr(factory, attribute, [[file, md5(base / file)]])
        parts[attribute] = images, labels
    names = [f"class {i}" for i in range(7)]
    (base / meta).write_bytes(pickle.dumps({names_key: names}))
    monkeypatch.setattr(factory, "meta", {"filename": meta, "key": names_key, "md5": md5(base / meta)})
    dataset = load(name, tmp_path)
    assert dataset.name == name
    assert dataset.shape == (3, 32, 32)
    assert dataset.class_names == tuple(names)
    for part, (images, labels) in ((dataset.train, parts["train_list"]), (dataset.test, parts["test_list"])):
        assert torch.equal(part.images, torch.from_numpy(images))
        assert part.labels.tolist() == labels


MISSING = [
    ("mnist", "MNIST/raw"),
    ("fashion_mnist", "FashionMNIST/raw"),
    ("svhn", "train_32x32.mat"),
    ("cifar10", "cifar-10-batches-py"),
    ("cifar100", "cifar-100-python"),
]


@pytest.mark.parametrize(("name", "layout"), MISSING)
def test_a_data_set_that_is_not_there_says_what_to_put_where(tmp_path: Path, name: str, layout: str) -> None:
    with pytest.raises(UserError) as caught:
        load(name, tmp_path / "data")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for text in ("stream.dataset", repr(name), str(tmp_path / "data"), "no network here", layout, "--data-root"):
        assert text in message
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_data_root_that_is_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(UserError, match=rf"stream\.dataset: '{name}'"):
        load(name, tmp_path / "data")


def test_the_data_root_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IID_CL_DATA", str(tmp_path / "mine"))
    parts = make_mnist(tmp_path / "mine")
    assert default_data_root() == tmp_path / "mine"
    assert torch.equal(load("mnist").train.images[:, 0], torch.from_numpy(parts["train"][0]))


def test_a_named_data_root_precedes_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IID_CL_DATA", str(tmp_path / "other"))
    make_mnist(tmp_path / "mine")
    assert len(load("mnist", tmp_path / "mine").train) == 5
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("value", [None, ""])
def test_the_data_root_is_the_users_cache_otherwise(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("IID_CL_DATA")
    if value is not None:
        monkeypatch.setenv("IID_CL_DATA", value)
    assert default_data_root() == Path.home() / ".cache" / "iid-cl"


def test_a_part_of_a_data_set_is_loaded() -> None:
    whole = load("digits")
    config = StreamConfig(dataset="digits", first_classes=4, train_limit=7, test_limit=3)
    dataset = load_dataset(config, None)
    assert dataset.train.labels.bincount().tolist() == [7] * 4
    assert dataset.test.labels.bincount().tolist() == [3] * 4
    assert dataset.class_names == tuple("0123")
    everything = {image.numpy().tobytes() for image in whole.test.images}
    assert {image.numpy().tobytes() for image in dataset.test.images} <= everything


def test_limits_hold_on_both_sides_of_a_validation_split() -> None:
    config = StreamConfig(dataset="digits", validation=0.5, train_limit=7, test_limit=3)
    dataset, split = (
        load_dataset(config, None, 1),
        load_dataset(StreamConfig(dataset="digits", validation=0.5), None, 1),
    )
    assert dataset.train.labels.bincount().tolist() == [7] * 10
    assert dataset.test.labels.bincount().tolist() == [3] * 10
    for part, whole in ((dataset.train, split.train), (dataset.test, split.test)):
        stored = {image.numpy().tobytes() for image in whole.images}
        assert {image.numpy().tobytes() for image in part.images} <= stored


def test_the_first_classes_of_image_files_are_all_that_is_decoded(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path)
    whole = load("tiny_imagenet", tmp_path)
    with pytest.raises(UserError, match=r"first_classes: 3 is more than the 2 classes of 'tiny_imagenet'"):
        load_dataset(StreamConfig(dataset="tiny_imagenet", first_classes=3), tmp_path)
    for file in (tmp_path / "tiny-imagenet-200" / "train" / "n02").rglob("*.*"):
        file.write_bytes(b"no image")
    dataset = load_dataset(StreamConfig(dataset="tiny_imagenet", first_classes=1), tmp_path)
    assert dataset.class_names == ("n01",)
    assert torch.equal(dataset.train.images, whole.train.of_classes([0]).images)
    assert torch.equal(dataset.test.images, whole.test.of_classes([0]).images)
