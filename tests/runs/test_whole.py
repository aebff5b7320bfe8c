"""Memories of whole data sets: condensed, written with where they come from, and judged."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import Config, EvaluateConfig
from iid_cl.config.reading import parse_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import Judgement
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.memory.jpeg import JpegSet
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.runs import whole as module
from iid_cl.runs.whole import condense_dataset, evaluate_memory

METHODS = ["distilled", "herding", "random"]
SMALL = "convnet (width 8, depth 2)"  # the miniature's network, as it is printed


def miniature(method: str = "random", ipc: int = 2, **sections: Any) -> Config:
    """A condensation and a judgement of a second."""
    small = {"width": 8, "depth": 2}
    off = {"weight": 0.0}
    values: dict[str, Any] = {
        "stream": {"dataset": "digits"},
        "model": small,
        "memory": {"method": method, "ipc": ipc},
        "distill": {
            "iterations": 3,
            "real_batch": 8,
            "embedder": small,
            "cc": {**off, "epochs": 1, "network": small},
            "cm": off,
        },
        "evaluate": {"network": small, "epochs": 2, "networks": 2},
        "device": "cpu",
    }
    return parse_config({**values, **sections}, "miniature")


def condense(out: Path, config: Config, data_root: Path | None = None) -> str:
    printed = io.StringIO()
    condense_dataset(config, data_root, out, Console(file=printed, width=200))
    return printed.getvalue()


def evaluate_all(path: Path, config: Config, data_root: Path | None = None) -> tuple[list[Judgement], str]:
    printed = io.StringIO()
    judgements = evaluate_memory(path, config, data_root, Console(file=printed, width=200))
    return judgements, printed.getvalue()


def evaluate(path: Path, config: Config, data_root: Path | None = None) -> tuple[list[float], str]:
    """The accuracies of the only architecture, which is the one asked for."""
    (judgement,), printed = evaluate_all(path, config, data_root)
    assert judgement.network == config.evaluate.network
    return judgement.accuracies, printed


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


@pytest.mark.parametrize("method", METHODS)
def test_a_memory_is_judged_by_networks_trained_on_it(out: Path, method: str) -> None:
    condense(out, miniature(method))
    accuracies, printed = evaluate(out, miniature())
    assert len(accuracies) == 2
    for number, accuracy in enumerate(accuracies, start=1):
        assert accuracy * 450 == pytest.approx(round(accuracy * 450), abs=1e-3)  # a share of the test images
        assert f"{SMALL} {number}: {100 * accuracy:.1f} %" in printed
    mean, spread = 50 * sum(accuracies), 100 * abs(accuracies[0] - accuracies[1]) / 2**0.5
    assert f"{SMALL}: accuracy {mean:.1f} ± {spread:.1f} %" in printed
    assert f"2 networks ({SMALL}), 2 epochs each" in printed
    assert "450 test images" in printed


def test_a_memory_of_many_real_images_teaches_the_digits(out: Path) -> None:
    condense(out, miniature("random", ipc=60))
    judge = {"network": {"width": 16, "depth": 2}, "epochs": 12, "networks": 1, "batch_size": 32, "lr": 0.1}
    (accuracy,), _ = evaluate(out, miniature(evaluate=judge))
    assert accuracy > 0.7


def test_judging_follows_its_own_seed(out: Path) -> None:
    condense(out, miniature(seed=1))
    first, again, other = (evaluate(out, miniature(seed=seed))[0] for seed in (2, 2, 3))
    assert first == again
    assert first != other


def test_judging_takes_the_memorys_data_set_and_split(out: Path) -> None:
    config = miniature(stream={"dataset": "digits", "validation": 0.25}, seed=9)
    condense(out, config)
    held = len(load_dataset(config.stream, None, 9).test)
    assert held != 450
    accuracies, printed = evaluate(out, miniature(stream={"dataset": "mnist"}))
    assert f"{held} held-out training images" in printed
    assert all(accuracy * held == pytest.approx(round(accuracy * held), abs=1e-3) for accuracy in accuracies)


def test_judging_never_sees_an_image_the_memory_was_made_of(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = miniature(stream={"dataset": "digits", "validation": 0.25}, seed=9)
    condense(out, config)
    seen = []

    def judge(
        memory: ExemplarSet, test: LabelledImages, judged: EvaluateConfig, *args: Any, **kwargs: Any
    ) -> list[Judgement]:
        seen.append(test)
        return [Judgement(judged.network, [0.5])]

    monkeypatch.setattr("iid_cl.runs.whole.judge", judge)
    evaluate(out, miniature(seed=2))
    held_out = load_dataset(config.stream, None, seed=9).test
    assert torch.equal(seen[0].images, held_out.images)
    assert torch.equal(seen[0].labels, held_out.labels)


def test_further_architectures_are_judged_and_printed(out: Path) -> None:
    condense(out, miniature())
    small, mlp = {"width": 8, "depth": 2}, {"name": "mlp"}
    judge = {"network": mlp, "epochs": 2, "networks": 2, "transfer": [small, {"name": "alexnet", "norm": "group"}]}
    judgements, printed = evaluate_all(out, miniature(evaluate=judge))
    assert [one.network.name for one in judgements] == ["mlp", "convnet", "alexnet"]
    assert judgements[1].accuracies == evaluate(out, miniature())[0]
    head, *lines = printed.splitlines()
    alexnet = "alexnet (norm group)"
    assert f"20 images, 1,320 bytes; 2 networks (mlp, {SMALL}, {alexnet}), 2 epochs each, 450 test images" in head
    assert [line.split(":")[0].strip() for line in lines] == [
        *(f"{name} {number}" for name in ("mlp", SMALL, alexnet) for number in (1, 2)),
        *("mlp", SMALL, alexnet),
    ]
    for line, accuracy in zip(lines, [value for one in judgements for value in one.accuracies], strict=False):
        assert line.endswith(f": {100 * accuracy:.1f} %")


def test_the_drop_of_further_architectures_counted_by_hand(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Judgement(NetworkConfig(width=8, depth=2), [0.5, 0.7]),  # mean 60, deviations of 10 each: 14.1
        Judgement(NetworkConfig(name="mlp"), [0.4, 0.5]),
        Judgement(NetworkConfig(name="alexnet"), [0.578, 0.578]),
        Judgement(NetworkConfig(width=256, norm="batch"), [0.65, 0.65]),
        Judgement(NetworkConfig(name="vgg11"), [0.6, 0.6]),
    ]
    monkeypatch.setattr("iid_cl.runs.whole.judge", lambda *args, **kwargs: found)
    judgements, printed = evaluate_all(stored(out), miniature())
    assert judgements == found
    assert printed.splitlines()[1:] == [
        f"{SMALL}: accuracy 60.0 ± 14.1 %",
        f"mlp: accuracy 45.0 ± 7.1 %, 15.0 points below {SMALL}",
        f"alexnet: accuracy 57.8 ± 0.0 %, 2.2 points below {SMALL}",
        f"convnet (width 256, norm batch): accuracy 65.0 ± 0.0 %, 5.0 points above {SMALL}",
        f"vgg11: accuracy 60.0 ± 0.0 %, 0.0 points below {SMALL}",
    ]


@pytest.mark.parametrize(
    ("network", "shown"),
    [({"depth": 4}, r"depth: 4 "), ({"name": "lenet"}, r"name: 'lenet' "), ({"name": "resnet18"}, "norm: 'instance' ")],
    ids=str,
)
def test_a_further_architecture_that_does_not_fit_is_named(out: Path, network: dict[str, Any], shown: str) -> None:
    judge = {"network": {"width": 8, "depth": 2}, "transfer": [{"name": "mlp"}, network]}
    with pytest.raises(UserError, match=rf"^evaluate\.transfer\.1\.{shown}"):
        evaluate(stored(out), miniature(evaluate=judge))


def image_folder(root: Path, value: int, names: tuple[str, ...] = ("a", "b")) -> Path:
    for part in ("train", "test"):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for i in range(2):
                Image.new("L", (8, 8), value + i).save(root / part / name / f"{i}.png")
    return root


def test_a_memory_of_an_image_folder_is_judged_on_its_folder(tmp_path: Path, out: Path) -> None:
    root = image_folder(tmp_path / "images", 50)
    condense(out, miniature(ipc=1, stream={"dataset": "image_folder"}), root)
    accuracies, printed = evaluate(out, miniature(), root)
    assert accuracies == [0.5, 0.5]  # all images are alike, so one of the two classes is right
    assert "4 test images" in printed


def test_a_memory_of_other_classes_is_refused(tmp_path: Path, out: Path) -> None:
    condense(out, miniature(ipc=1, stream={"dataset": "image_folder"}), image_folder(tmp_path / "one", 50))
    other = image_folder(tmp_path / "two", 50, ("a", "c"))
    with pytest.raises(UserError, match=r"m\.safetensors: was made from other classes"):
        evaluate(out, miniature(), other)


def stored(path: Path, **changes: Any) -> Path:
    """A memory of one black zero, its metadata changed."""
    metadata = {"stream": {"dataset": "digits"}, "seed": 0, "class_names": list("0123456789"), **changes}
    save_memory(path, ExemplarSet.from_classes({0: torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}), metadata)
    return path


def test_a_memory_of_one_class_is_judged_on_that_class(out: Path) -> None:
    accuracies, _ = evaluate(stored(out), miniature())
    assert accuracies == [1.0, 1.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": None},
        {"stream": {"dataset": "digitz"}},
        {"stream": {"dataset": "digits", "colour": 1}},
        {"seed": None},
        {"seed": "one"},
        {"class_names": None},
        {"class_names": 10},
        {"class_names": ["zero"]},
    ],
    ids=str,
)
def test_a_memory_that_does_not_say_where_it_comes_from_is_refused(out: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=re.escape(str(out))):
        evaluate(stored(out, **changes), miniature())


def test_a_memory_of_a_run_is_refused_with_a_reason(out: Path) -> None:
    save_memory(out, ExemplarSet.from_classes({0: torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}), {"method": "random"})
    with pytest.raises(UserError, match="does not say which data set"):
        evaluate(out, miniature())


def test_a_memory_seen_in_another_normalisation_is_refused(out: Path) -> None:
    digits = {"mean": [0.3053], "std": [0.376]}
    evaluate(stored(out, **digits), miniature())
    with pytest.raises(UserError, match=r"m\.safetensors: was made for another normalisation"):
        evaluate(stored(out, **{**digits, "std": [0.5]}), miniature())


def test_soft_labels_of_a_class_that_is_not_there_are_refused(out: Path) -> None:
    metadata = {"stream": {"dataset": "digits"}, "seed": 0, "class_names": list("0123456789")}
    memory = ExemplarSet.from_classes({c: torch.zeros(1, 1, 8, 8, dtype=torch.uint8) for c in (0, 1)})
    rows = torch.full((2, 2), 0.5)
    save_memory(out, memory.with_soft_labels(rows, (0, 1)), metadata)
    evaluate(out, miniature())
    save_memory(out, memory.with_soft_labels(rows, (0, 9)), metadata)
    with pytest.raises(UserError, match="soft labels name a class that it does not hold"):
        evaluate(out, miniature())


def test_a_distilled_memory_is_made_for_jpeg_and_stored_so(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg(iterations: int) -> Config:
        config = miniature("distilled")
        memory = config.memory.model_copy(update={"ipc": 30, "jpeg": 95})
        distill = config.distill.model_copy(update={"iterations": iterations})
        return config.model_copy(update={"memory": memory, "distill": distill})

    formats, distil = [], module.distill_each
    monkeypatch.setattr(
        module, "distill_each", lambda *rest, **named: (formats.append(named["as_stored"]), distil(*rest, **named))[1]
    )
    real = load_dataset(jpeg(0).stream, None, 0).train.by_class()
    for iterations in (0, 3):
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
