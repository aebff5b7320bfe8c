"""Memories judged by networks trained on them alone."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import EvaluateConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import Judgement
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from tests.runs.memories import METHODS, SMALL, condense, evaluate, evaluate_all, image_folder, miniature


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "memories" / "m.safetensors"


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
    condense(out, miniature("random", ipc=30))
    judge = {"network": {"width": 16, "depth": 2}, "epochs": 30, "networks": 1, "batch_size": 16}
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

    monkeypatch.setattr("iid_cl.runs.judge.judge", judge)
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
    monkeypatch.setattr("iid_cl.runs.judge.judge", lambda *args, **kwargs: found)
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
    accuracies, printed = evaluate(stored(out), miniature())
    assert accuracies == [1.0, 1.0]
    assert "epochs each, 45 test images of 1 class\n" in printed  # of the 450 of ten classes


def test_classes_without_a_test_image_are_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_dataset(miniature().stream, None)
    without = dataclasses.replace(digits, test=digits.test.of_classes(range(1, 10)))
    monkeypatch.setattr("iid_cl.runs.judge.load_dataset", lambda *_: without)
    with pytest.raises(UserError, match=r"m\.safetensors: 'digits' holds no test image of its classes; name another"):
        evaluate(stored(out), miniature())


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
