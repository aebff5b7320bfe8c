"""Memories of whole data sets: condensed, and written with where they come from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from iid_cl.config.experiment import Config
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.memory.files import load_memory
from iid_cl.memory.jpeg import JpegSet
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.methods import distilled as module
from tests.runs.memories import METHODS, condense, evaluate, miniature


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "memories" / "m.safetensors"


@pytest.mark.parametrize("method", METHODS)
def test_a_memory_holds_so_many_images_of_each_class(out: Path, method: str) -> None:
    printed = condense(out, miniature(method, ipc=3))
    memory = load_memory(out)
    assert memory.labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert memory.images.shape == (30, 1, 8, 8)
    for text in (str(out), "30 images of 10 classes", method, f"{30 * 66:,} bytes", str(out.with_suffix(".png"))):
        assert text in printed


@pytest.mark.parametrize("method", ["herding", "random"])
def test_chosen_images_are_distinct_training_images_of_their_class(out: Path, method: str) -> None:
    condense(out, miniature(method, ipc=5))
    train = load_dataset(miniature().stream, None).train.by_class()
    for label, images in load_memory(out).by_class().items():
        places = [(train[label] == image).flatten(1).all(1).nonzero().flatten().tolist() for image in images]
        assert all(places)
        assert len({place[0] for place in places}) == 5


def test_distilled_images_are_not_their_starting_points(out: Path) -> None:
    condense(out, miniature("distilled"))
    real = load_dataset(miniature().stream, None).train.images
    found = [bool((real == image).flatten(1).all(1).any()) for image in load_memory(out).images]
    assert not all(found)


@pytest.mark.parametrize("method", METHODS)
def test_a_memory_says_what_it_was_made_of(out: Path, method: str) -> None:
    config = miniature(method, stream={"dataset": "digits", "validation": 0.25}, seed=6)
    condense(out, config)
    metadata = load_memory(out).metadata
    assert metadata["stream"] == config.stream.model_dump(mode="json")
    assert metadata["class_names"] == list("0123456789")
    assert (metadata["method"], metadata["ipc"], metadata["seed"]) == (method, 2, 6)
    assert len(metadata["mean"]) == len(metadata["std"]) == 1
    assert metadata["provenance"]["device"] == "cpu"


def test_a_picture_lies_beside_the_memory(out: Path) -> None:
    condense(out, miniature())
    assert sorted(path.name for path in out.parent.iterdir()) == ["m.png", "m.safetensors"]
    with Image.open(out.with_suffix(".png")) as picture:
        picture.load()


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_repeats_a_memory(tmp_path: Path, method: str) -> None:
    memories = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        condense(tmp_path / f"{name}.safetensors", miniature(method, seed=seed))
        torch.manual_seed(1)
        memories.append(load_memory(tmp_path / f"{name}.safetensors").images)
    assert torch.equal(memories[0], memories[1])
    assert not torch.equal(memories[0], memories[2])


def test_a_memory_never_holds_a_held_out_image(out: Path) -> None:
    config = miniature("random", ipc=50, stream={"dataset": "digits", "validation": 0.5})
    condense(out, config)
    dataset = load_dataset(config.stream, None, config.seed)
    only_held_out = {i.numpy().tobytes() for i in dataset.test.images} - {
        i.numpy().tobytes() for i in dataset.train.images
    }
    assert only_held_out.isdisjoint(image.numpy().tobytes() for image in load_memory(out).images)


@pytest.mark.parametrize("method", METHODS)
def test_a_class_with_fewer_images_than_asked_keeps_what_it_has(out: Path, method: str) -> None:
    # the smallest class: 174 eights, of which a quarter, 43, are test images
    condense(out, miniature(method, ipc=133))
    counts = load_memory(out).labels.bincount().tolist()
    assert counts[8] == 131
    assert set(counts[:8] + counts[9:]) == {133}


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_without_room_for_every_class_is_refused(out: Path, method: str) -> None:
    memory = {"method": method, "mem_size": 9}
    with pytest.raises(UserError, match=r"memory\.mem_size: 9 has no room for one image of each of 10 classes"):
        condense(out, miniature(memory=memory))
    assert not out.parent.exists()


@pytest.mark.parametrize("method", ["none", "joint"])
def test_methods_without_images_are_refused(out: Path, method: str) -> None:
    with pytest.raises(UserError, match=rf"memory\.method: '{method}'"):
        condense(out, miniature(method))


@pytest.mark.parametrize("name", ["m", "m.pt", "m.safetensors.gz", "m.SAFETENSORS"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"--out: .*must end in \.safetensors"):
        condense(tmp_path / name, miniature())
    assert list(tmp_path.iterdir()) == []


def test_a_distilled_memory_is_made_for_jpeg_and_stored_so(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg(iterations: int) -> Config:
        config = miniature("distilled")
        memory = config.memory.model_copy(update={"ipc": 30, "jpeg": 95})
        distill = config.distill.model_copy(update={"iterations": iterations})
        return config.model_copy(update={"memory": memory, "distill": distill})

    formats, distil = [], module.distill_each
    monkeypatch.setattr(
        module, "distill_each", lambda job, watch: (formats.append(job.as_stored), distil(job, watch))[1]
    )
    real = load_dataset(jpeg(0).stream, None, 0).train.by_class()
    for iterations in (0, 3):
        for file in (out, out.with_suffix(".png")):
            file.unlink(missing_ok=True)
        condense(out, jpeg(iterations))
        memory = load_memory(out)
        assert isinstance(memory, JpegSet)
        assert memory.classes == list(range(10))
        assert 0.5 * 10 * 30 * 66 < memory.nbytes <= 10 * 30 * 66
        off = [
            float((image.int() - real[label].int()).abs().float().mean((1, 2, 3)).min())
            for label, images in memory.by_class().items()
            for image in images
        ]
        assert (max(off) < 6) == (iterations == 0)  # the real images they start as, but for what JPEG loses
    assert formats == [JpegFormat(95)] * 2
    accuracies, _ = evaluate(out, jpeg(3))
    assert len(accuracies) == 2


def test_it_says_what_the_data_set_says_of_itself(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = replace(load_dataset(miniature().stream, None), remarks=("files not read: 1 (train/a/x.heic)",))
    monkeypatch.setattr("iid_cl.runs.condense.load_dataset", lambda *given: noted)
    assert condense(out, miniature()).count("note: files not read: 1 (train/a/x.heic)") == 1
