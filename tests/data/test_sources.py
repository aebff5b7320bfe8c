"""Data sets by address: the same images as in a folder, and what is refused."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from rich.console import Console
from safetensors.torch import load_file

from iid_cl.config.experiment import StreamConfig
from iid_cl.config.reading import load_config
from iid_cl.data.available import missing_files, require
from iid_cl.data.datasets import load_dataset
from iid_cl.data.fingerprint import fingerprint
from iid_cl.data.images import ImageDataset
from iid_cl.data.mapped import Mapped
from iid_cl.errors import UserError
from iid_cl.runs.run import run

NAMES = ("ant", "bee")
COUNTS = {"train": 3, "test": 2}  # images of each class


def pixels(part: str, label: int, number: int) -> np.ndarray[Any, Any]:
    """A colour image (6, 6, 3)."""
    seed = 100 * label + 10 * number + (part == "test")
    return np.random.default_rng(seed).integers(256, size=(6, 6, 3), dtype=np.uint8)


def samples(part: str) -> list[tuple[np.ndarray[Any, Any], int]]:
    """Images and labels in an order that mixes the classes."""
    return [(pixels(part, label, number), label) for number in range(COUNTS[part]) for label in (1, 0)]


def png(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def load(dataset: str, root: Path | None, **options: Any) -> ImageDataset:
    return load_dataset(StreamConfig(dataset=dataset, **options), root)


def in_folder(root: Path) -> str:
    for part, count in COUNTS.items():
        for label, name in enumerate(NAMES):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                (root / part / name / f"{number}.png").write_bytes(png(pixels(part, label, number)))
    return "image_folder"


def in_npz(root: Path, save: Callable[..., None] = np.savez) -> str:
    """Channels last and labels (N, 1), as MedMNIST has them."""
    arrays: dict[str, Any] = {"class_names": np.array(NAMES)}
    for part in COUNTS:
        arrays[f"{part}_images"] = np.stack([image for image, _ in samples(part)])
        arrays[f"{part}_labels"] = np.array([[label] for _, label in samples(part)])
    save(root / "set.npz", **arrays)
    return "npz:set.npz"


def in_small_npz(root: Path) -> str:
    return in_npz(root, np.savez_compressed)


def table(part: str, text_labels: bool = False) -> pyarrow.Table:
    rows = [
        {"image": {"bytes": png(image), "path": None}, "label": NAMES[label] if text_labels else label}
        for image, label in samples(part)
    ]
    return pyarrow.Table.from_pylist(rows)


def in_parquet(root: Path) -> str:
    (root / "data").mkdir()
    for part in COUNTS:
        parquet.write_table(table(part, text_labels=True), root / "data" / f"{part}-00000-of-00001.parquet")
    return "parquet:data"


PROGRAM = """
import numpy as np
from torch.utils.data import Dataset
from tests.data.test_sources import NAMES, samples

class Pairs(Dataset):
    def __init__(self, part): self.samples = samples(part)
    def __len__(self): return len(self.samples)
    def __getitem__(self, index): return np.moveaxis(self.samples[index][0], -1, 0), self.samples[index][1]

def load(): return {"train": Pairs("train"), "test": Pairs("test"), "class_names": NAMES}
def load_mapped():
    parts = {}
    for part in ("train", "test"):
        np.save(f"{part}.npy", [np.moveaxis(image, -1, 0) for image, _ in samples(part)])
        parts[part] = np.load(f"{part}.npy", mmap_mode="r"), [label for _, label in samples(part)]
    return {**parts, "class_names": NAMES}
def broken(): raise RuntimeError("no such camera")
def nothing(): return 5
"""


def in_python(root: Path) -> str:
    (root / "reach_made_up.py").write_text(PROGRAM)
    return "python:reach_made_up:load"


def in_mapped_array(root: Path) -> str:
    in_python(root)
    return "python:reach_made_up:load_mapped"


def in_hub_folder(root: Path) -> str:
    """As ``save_to_disk`` leaves it: arrow files."""
    import datasets

    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=list(NAMES))})
    datasets.disable_progress_bars()
    parts = {}
    for part in COUNTS:
        images = [Image.fromarray(image) for image, _ in samples(part)]
        labels = [label for _, label in samples(part)]
        parts[part] = datasets.Dataset.from_dict({"img": images, "fine_label": labels}, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(root / "saved"))
    return "hf:saved"


def in_hub_download(root: Path) -> str:
    """As a download of the hub leaves it: a folder of parquet."""
    in_parquet(root)
    return "hf:data"


MAKERS = [in_npz, in_small_npz, in_parquet, in_python, in_mapped_array, in_hub_folder, in_hub_download]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("cache", ["never", "always"])
@pytest.mark.parametrize("make", [in_folder, *MAKERS])
def test_the_same_data_as_in_a_folder(make: Callable[[Path], str], cache: str, in_tmp_path: Path) -> None:
    """Whatever the kind, and whether the images stay on disk."""
    roots = in_tmp_path / "folder", in_tmp_path / "other"
    for root in roots:
        root.mkdir()
    expected, found = load(in_folder(roots[0]), roots[0]), load(make(roots[1]), roots[1], cache=cache)
    assert fingerprint(found) == fingerprint(expected)  # images, labels, order and names
    assert (found.normalization, found.augmentations) == (expected.normalization, expected.augmentations)
    on_disk = cache == "always" and make not in (in_small_npz, in_python)
    assert isinstance(found.train.images, Mapped) == isinstance(found.test.images, Mapped) == on_disk


def test_pictures_are_resized_as_in_a_folder(tmp_path: Path) -> None:
    expected = load(in_folder(tmp_path), tmp_path, image_size=4)
    assert torch.equal(load(in_parquet(tmp_path), tmp_path, image_size=4).train.images, expected.train.images)


def test_a_path_is_relative_to_the_working_folder(in_tmp_path: Path) -> None:
    assert len(load(in_npz(in_tmp_path), None).train) == 6


def test_kerass_names_and_grey_images(tmp_path: Path) -> None:
    grey = np.arange(4 * 5 * 5, dtype=np.uint8).reshape(4, 5, 5)
    np.savez(tmp_path / "k.npz", x_train=grey, y_train=[1, 0, 1, 0], x_test=grey[:2], y_test=[0, 1])
    dataset = load("npz:k.npz", tmp_path)
    assert dataset.shape == (1, 5, 5)
    assert dataset.class_names == ("0", "1")
    assert torch.equal(dataset.train.images[:, 0], torch.from_numpy(grey[[1, 3, 0, 2]]))


def test_columns_and_parts_can_be_named(tmp_path: Path) -> None:
    for part, file in (("train", "all"), ("test", "few")):
        parquet.write_table(table(part).rename_columns(["picture", "kind"]), tmp_path / f"{file}.parquet")
    address = "parquet:.?image=picture&label=kind&train=all.parquet&test=few.parquet"
    assert len(load(address, tmp_path).test) == 4


def npz(root: Path, **arrays: Any) -> str:
    np.savez(root / "bad.npz", **arrays)
    return "npz:bad.npz"


def a_program_in_npz(root: Path) -> str:
    bad = np.array([Harmful()], dtype=object)
    return npz(root, train_images=bad, train_labels=bad, test_images=bad, test_labels=bad)


class Harmful:
    def __reduce__(self) -> Any:
        return (Path("harmed").touch, ())


def no_npz(root: Path) -> str:
    (root / "bad.npz").write_bytes(b"no archive")
    return "npz:bad.npz"


def gaps(root: Path) -> str:
    images = np.zeros((2, 4, 4), np.uint8)
    return npz(root, x_train=images, y_train=[0, 2], x_test=images, y_test=[0, 2])


def unknown_test_class(root: Path) -> str:
    images = np.zeros((2, 4, 4), np.uint8)
    return npz(root, x_train=images, y_train=[0, 1], x_test=images, y_test=[0, 5])


def with_program(name: str) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        in_python(root)
        return f"python:reach_made_up:{name}"

    return make


REFUSED = [
    (lambda root: "npz:none.npz", r"none\.npz: no such file; a relative path begins at --data-root"),
    (no_npz, r"bad\.npz: is no readable \.npz file"),
    (lambda root: npz(root, a=np.zeros(2)), r"has the arrays a; name them train_images"),
    (a_program_in_npz, r"bad\.npz: is no readable \.npz file of plain arrays \(Object arrays"),
    (gaps, "class 1 has no training images; number the classes"),
    (unknown_test_class, "its test images name class 5"),
    (with_program("broken"), r"cannot be loaded \(RuntimeError: no such camera\)"),
    (with_program("missing"), r"cannot be loaded \(AttributeError"),
    (with_program("nothing"), r"returned 5; return \(train, test\)"),
    (lambda root: "python:no_such_module:load", r"cannot be loaded \(ModuleNotFoundError"),
    (lambda root: "parquet:none", "none: no such folder"),
    (lambda root: "parquet:.", r"has no train\*\.parquet; name the files with \?train=PATTERN"),
    (lambda root: "parquet:.?images=x", "has no option 'images'; use image, label, train, test, config"),
    (lambda root: f"{in_parquet(root)}?label=kind", r"has the columns image, label; name that of the labels with"),
    (lambda root: f"{in_hub_folder(root)}?test=exam", r"has the parts train, test; name the test part with \?test="),
    (lambda root: "hf:nobody/nothing", r"'hf:nobody/nothing' cannot be loaded \("),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(make: Callable[[Path], str], said: str, in_tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load(make(in_tmp_path), in_tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("harmed").exists()


def test_a_size_for_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^stream\.image_size: 4 has no effect on 'npz:set\.npz'"):
        load(in_npz(tmp_path), tmp_path, image_size=4)


def test_an_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.errors.find_spec", lambda name: None)
    for address in ("hf:x", "parquet:x"):
        with pytest.raises(UserError, match=r"which is not installed; run pip install 'iid-cl\[hf\]'"):
            load(address, tmp_path)


@pytest.mark.parametrize("name", ["digitz", "npz", "npz:", "zip:x", "hf"])
def test_an_unknown_name_or_kind_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no data set has this name; .*or an address that begins with hf:"):
        StreamConfig(dataset=name)


def test_check_knows_addresses() -> None:
    assert missing_files("npz:x.npz", None) == []
    require("hf:x", None)


# --- CIFAR's layouts

BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


def cifar(count: int, seed: int) -> tuple[np.ndarray[Any, Any], list[int]]:
    data = np.random.default_rng(seed).integers(256, size=(count, 3072), dtype=np.uint8)
    return data, [(3 * number + seed) % 10 for number in range(count)]


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("text", [str, str.encode], ids=["text", "bytes"])
def test_cifar_10_from_pickles_of_any_protocol(protocol: int, text: Callable[[str], Any], tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate([*BATCHES, "test_batch"]):
        data, labels = cifar(2, seed)
        (folder / name).write_bytes(pickle.dumps({text("data"): data, text("labels"): labels}, protocol))
    dataset = load("cifar10", tmp_path)
    expected = np.concatenate([cifar(2, seed)[0] for seed in range(5)]).reshape(-1, 3, 32, 32)
    assert torch.equal(dataset.train.images, torch.from_numpy(expected))
    assert dataset.test.labels.tolist() == cifar(2, 5)[1]
    assert dataset.class_names[:2] == ("airplane", "automobile")
    assert dataset.normalization.mean == (0.4914, 0.4822, 0.4465)


def test_cifar_10_from_binary_files(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate([*BATCHES, "test_batch"]):
        data, labels = cifar(2, seed)
        rows = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, data, strict=True))
        (folder / f"{name}.bin").write_bytes(rows)
    dataset = load("cifar10", tmp_path)
    assert torch.equal(dataset.test.images, torch.from_numpy(cifar(2, 5)[0].reshape(-1, 3, 32, 32)))
    assert dataset.train.labels.tolist() == [label for seed in range(5) for label in cifar(2, seed)[1]]
    assert missing_files("cifar10", tmp_path) == []
    (folder / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(UserError, match=r"test_batch\.bin: has 5 bytes, which are no rows of 3073"):
        load("cifar10", tmp_path)


def test_cifar_100_from_binary_files_takes_the_fine_label(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for seed, name in enumerate(["train", "test"]):
        data, labels = cifar(3, seed)
        rows = b"".join(bytes([19, 90 + label]) + row.tobytes() for label, row in zip(labels, data, strict=True))
        (folder / f"{name}.bin").write_bytes(rows)
    (folder / "fine_label_names.txt").write_text("\n".join(f"kind{number}" for number in range(100)) + "\n")
    dataset = load("cifar100", tmp_path)
    assert dataset.train.labels.tolist() == [90 + label for label in cifar(3, 0)[1]]
    assert dataset.class_names[99] == "kind99"


def test_cifar_10_from_folders_of_pictures(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("airplane", "automobile"):
            (tmp_path / "cifar10" / part / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (1, 2, 3)).save(tmp_path / "cifar10" / part / name / "0.png")
    dataset = load("cifar10", tmp_path)
    assert dataset.train.labels.tolist() == [0, 1]
    assert dataset.train.images[0, :, 0, 0].tolist() == [1, 2, 3]


class HarmfulBatch:
    def __reduce__(self) -> Any:
        return (exec, ("open('harmed', 'w')",))


@pytest.mark.parametrize("bad", [HarmfulBatch(), {"data": np.array([HarmfulBatch()])}, [1], {"data": 5}], ids=range(4))
def test_a_pickle_that_could_run_something_is_refused(bad: Any, in_tmp_path: Path) -> None:
    folder = in_tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*BATCHES, "test_batch"]:
        (folder / name).write_bytes(pickle.dumps(bad))
    with pytest.raises(UserError, match=r"data_batch_1: (is damaged or no file of CIFAR|holds data and not)"):
        load("cifar10", in_tmp_path)
    assert not Path("harmed").exists()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_same_run_as_from_a_folder(device: str, tmp_path: Path) -> None:
    """The learner's accuracies and the memory's bytes are those of the same images in memory from a folder."""
    keys = [
        "stream.experiences=2", "model.width=4", "model.depth=1", "train.epochs=1", "train.batch_size=4",
        "memory.method=hybrid", "memory.ipc=2", "distill.iterations=2", "distill.real_batch=2", "distill.cc.weight=0.1",
        "distill.embedder.width=4", "distill.embedder.depth=1", "distill.cc.network.width=4", "baselines=[closest]",
        "distill.cc.network.depth=1", "distill.cc.epochs=1", "distill.cc.trainings=1", f"device={device}", "seed=3",
        "deterministic=true",
    ]  # fmt: skip
    found = []
    for number, (make, cache) in enumerate([(in_folder, "never"), (in_folder, "always"), (in_parquet, "always"),
                                            (in_python, "auto"), (in_npz, "auto")]):  # fmt: skip
        root = tmp_path / str(number)
        root.mkdir()
        config = load_config("split_digits.yaml", [f"stream.dataset={make(root)}", f"stream.cache={cache}", *keys])
        out = run(config, root, tmp_path / f"run-{number}", Console(file=io.StringIO()))
        summary = json.loads((out / "run.json").read_text())
        memories = [load_file(out / f"{name}.safetensors") for name in ("memory", "memory-closest")]
        tensors = [{name: tensor.tolist() for name, tensor in memory.items()} for memory in memories]
        found.append(([result["matrix"] for result in summary["results"]], summary["data"], tensors))
    assert all(each == found[0] for each in found[1:])
