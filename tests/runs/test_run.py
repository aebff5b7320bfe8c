"""Whole runs in miniature: what they measure, what they leave behind, and that a seed repeats them."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch.utils.data import DataLoader

from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config
from iid_cl.data.classes import Classes
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.files import load_memory
from iid_cl.memory.space import Space
from iid_cl.methods.base import Scene
from iid_cl.methods.distilled import Distilled
from iid_cl.methods.real import Real
from iid_cl.records.directory import RunDirectory
from iid_cl.runs.run import run
from tests.runs.helpers import BYTES_PER_IMAGE, CLASSES, miniature

BASELINES = ["herding", "none", "joint"]


class Finished:
    """A finished run: its configuration, its directory and what was printed."""

    def __init__(self, config: Config, path: Path, printed: str) -> None:
        self.config, self.path, self.printed = config, path, printed

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.path / "run.json").read_text())

    def result(self, method: str, seed: int = 0) -> dict[str, Any]:
        (found,) = [r for r in self.summary["results"] if (r["method"], r["seed"]) == (method, seed)]
        return found


def finish(out: Path, config: Config) -> Finished:
    printed = io.StringIO()
    assert run(config, None, out, Console(file=printed, width=110)) == out
    return Finished(config, out, printed.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A replay run of the distilled memory with baselines."""
    return finish(tmp_path_factory.mktemp("runs") / "mini", miniature(baselines=BASELINES))


def test_images_counted_by_hand() -> None:
    """scikit-learn's digits hold 178, 182, 183 and 179 zeros, ones, threes and sevens; a quarter is tested on."""
    counts = load_dataset(miniature().stream, None).test.labels.bincount()
    assert [int(counts[c]) for c in (0, 1, 3, 7)] == [45, 46, 46, 45]


SIZES = [46 + 46, 45 + 45]  # test images of 3 and 1, of 0 and 7


def weighted(row: list[float], sizes: list[int]) -> float:
    return float(np.average(row, weights=sizes[: len(row)]))


def test_a_run_leaves_its_files(finished: Finished) -> None:
    names = {path.name for path in finished.path.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "run.json", "log.txt", "memory.safetensors", "memory.png"} <= names
    assert [name for name in names if name.startswith(".")] == [".lock"]  # no temporary files


def test_the_configuration_is_kept(finished: Finished) -> None:
    assert load_config(str(finished.path / "config.yaml")) == finished.config


def test_metrics_have_a_line_per_method_and_experience(finished: Finished) -> None:
    found = [(m["method"], m["experience"], m["classes"]) for m in finished.metrics]
    sequential = [(m, t, CLASSES[t]) for m in ("distilled", "herding", "none") for t in (0, 1)]
    assert found == [*sequential, ("joint", 1, [3, 1, 0, 7])]
    assert {m["seed"] for m in finished.metrics} == {0}


def test_accuracies_are_shares_of_the_experiences_test_images(finished: Finished) -> None:
    for line in finished.metrics:
        assert len(line["accuracy_each"]) == line["experience"] + 1
        for accuracy, size in zip(line["accuracy_each"], SIZES, strict=False):
            assert 0 <= accuracy <= 1
            assert accuracy * size == pytest.approx(round(accuracy * size), abs=1e-6)


def test_accuracy_seen_is_over_all_test_images_seen(finished: Finished) -> None:
    for line in finished.metrics:
        assert line["accuracy_seen"] == pytest.approx(weighted(line["accuracy_each"], SIZES))


def test_metrics_say_what_the_memory_holds(finished: Finished) -> None:
    for line in finished.metrics:
        classes = 2 * (line["experience"] + 1) if line["method"] in ("distilled", "herding") else 0
        assert line["memory_bytes"] == classes * BYTES_PER_IMAGE


@pytest.mark.parametrize("method", ["distilled", "herding", "none", "joint"])
def test_results_agree_with_the_metrics(finished: Finished, method: str) -> None:
    lines = [m for m in finished.metrics if m["method"] == method]
    result = finished.result(method)
    assert result["matrix"] == [m["accuracy_each"] for m in lines]
    assert result["class_order"] == CLASSES
    assert (result["mode"], result["seed"]) == ("replay", 0)
    assert result["memory_bytes"] == lines[-1]["memory_bytes"]
    assert result["memory_images"] * BYTES_PER_IMAGE == result["memory_bytes"]
    assert result["final_accuracy"] == pytest.approx(lines[-1]["accuracy_seen"])


@pytest.mark.parametrize("method", ["distilled", "herding", "none"])
def test_averages_over_the_sequence(finished: Finished, method: str) -> None:
    result = finished.result(method)
    (first,), second = result["matrix"]
    assert result["average_accuracy"] == pytest.approx((first + weighted(second, SIZES)) / 2)
    assert result["forgetting"] == pytest.approx(first - second[0])
    assert result["backward_transfer"] == pytest.approx(second[0] - first)
    assert result["final_task_accuracy"] == pytest.approx(sum(second) / 2)
    assert result["test_sizes"] == SIZES
    before, after = [line for line in finished.metrics if line["method"] == method]
    assert [before[key] for key in ("average_accuracy", "forgetting", "backward_transfer")] == [first, None, None]
    for key in ("average_accuracy", "forgetting", "backward_transfer"):
        assert after[key] == result[key]
    assert after["accuracy_tasks"] == result["final_task_accuracy"]


@pytest.mark.parametrize("method", ["distilled", *BASELINES])
def test_accuracies_of_classes_add_up_to_those_of_their_experiences(finished: Finished, method: str) -> None:
    counts = {3: 46, 1: 46, 0: 45, 7: 45}
    result = finished.result(method)
    lines = [line for line in finished.metrics if line["method"] == method]
    assert [line["accuracy_classes"] for line in lines] == result["class_accuracies"]
    for line in lines:
        groups = CLASSES[: line["experience"] + 1]
        assert sorted(map(int, line["accuracy_classes"])) == sorted(c for group in groups for c in group)
        for group, accuracy, size in zip(groups, line["accuracy_each"], SIZES, strict=False):
            right = [line["accuracy_classes"][str(c)] * counts[c] for c in group]
            assert right == pytest.approx([round(share) for share in right])
            assert sum(right) / size == pytest.approx(accuracy)


def test_joint_training_has_no_sequence(finished: Finished) -> None:
    result = finished.result("joint")
    assert [len(row) for row in result["matrix"]] == [2]
    assert result["average_accuracy"] is None
    assert result["forgetting"] is None
    assert result["backward_transfer"] is None
    assert result["final_task_accuracy"] == pytest.approx(sum(result["matrix"][0]) / 2)


def test_joint_training_sees_all_classes(tmp_path: Path) -> None:
    config = miniature(memory={"method": "joint"}, train={"epochs": 12, "lr": 0.05})
    result = finish(tmp_path / "joint", config).result("joint")
    assert min(result["matrix"][0]) > 0.5  # far above the quarter of a guess, on either pair of classes


@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_cumulative_training_keeps_all_data(tmp_path: Path, mode: str) -> None:
    config = miniature(
        memory={"method": "cumulative"}, baselines=["none"], train={"mode": mode, "epochs": 12, "lr": 0.05}
    )
    done = finish(tmp_path / mode, config)
    result, without = done.result("cumulative"), done.result("none")
    assert [len(row) for row in result["matrix"]] == [1, 2]
    assert min(result["matrix"][1]) > 0.5  # far above the quarter of a guess, on either pair of classes
    assert without["matrix"][1][0] < 0.1  # which training on the last pair alone cannot
    assert result["matrix"][0] == without["matrix"][0]
    assert result["forgetting"] < without["forgetting"]
    assert (result["memory_bytes"], result["condense_seconds"]) == (0, 0)
    assert not list(done.path.glob("memory*.safetensors"))


def test_seconds_add_up(finished: Finished) -> None:
    for result in finished.summary["results"]:
        parts = result["condense_seconds"], result["train_seconds"]
        assert min(parts) >= 0
        assert sum(parts) <= result["total_seconds"]
        assert (result["condense_seconds"] > 0) is (result["memory_images"] > 0)


def test_the_summary_says_where_it_comes_from(finished: Finished) -> None:
    assert torch.__version__.startswith(finished.summary["versions"]["torch"])
    assert {"command", "commit", "versions", "machine", "device"} <= set(finished.summary)
    assert finished.summary["device"] == "cpu"


def test_the_memory_is_kept(finished: Finished) -> None:
    memory = load_memory(finished.path / "memory.safetensors")
    assert memory.labels.tolist() == [0, 1, 3, 7]
    assert memory.images.shape == (4, 1, 8, 8)
    assert memory.nbytes == finished.result("distilled")["memory_bytes"] == 4 * BYTES_PER_IMAGE
    assert memory.metadata["method"] == "distilled"


def test_a_baselines_memory_is_kept_beside(finished: Finished) -> None:
    memories = [load_memory(path) for path in finished.path.glob("memory*.safetensors")]
    assert sorted(memory.metadata["method"] for memory in memories) == ["distilled", "herding"]


def test_herded_images_are_training_images_of_their_class(finished: Finished) -> None:
    dataset = load_dataset(finished.config.stream, None)
    (memory,) = [
        memory
        for memory in map(load_memory, finished.path.glob("memory*.safetensors"))
        if memory.metadata["method"] == "herding"
    ]
    for label, images in memory.by_class().items():
        real = dataset.train.images[dataset.train.labels == label]
        assert any(torch.equal(images[0], image) for image in real)


def test_the_picture_opens(finished: Finished) -> None:
    with Image.open(finished.path / "memory.png") as picture:
        picture.load()
        assert picture.format == "PNG"


def test_the_log_holds_what_was_printed(finished: Finished) -> None:
    log = (finished.path / "log.txt").read_text()
    assert "\x1b" not in log
    lines = [line for line in finished.printed.splitlines() if not line.startswith("Everything")]
    assert f"The report is {finished.path}/report.html" in lines
    # the folders of this machine are left out
    assert log.splitlines() == [line.replace(f"{finished.path}/", "…/") for line in lines]
    assert sum("seen classes" in line for line in lines) == len(finished.metrics)


def test_the_table_names_every_method(finished: Finished) -> None:
    for method in ("distilled", *BASELINES):
        assert re.search(rf"^ *{method} +\d", finished.printed, re.MULTILINE)


def test_a_run_that_is_no_terminal_prints_no_escape_codes(finished: Finished) -> None:
    assert "\x1b" not in finished.printed


@pytest.mark.parametrize("name", ["[bold]run", "run[/red]", "x" * 150], ids=["markup", "closing markup", "long"])
def test_a_run_names_its_directory_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    printed = finish(out, miniature(memory={"method": "none"}, train={"epochs": 1})).printed
    assert f"Everything is in {out}\n" in printed


def test_a_forced_terminal_does_not_colour_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    finish(tmp_path / "run", miniature(memory={"method": "none"}, train={"epochs": 1}))
    assert "\x1b" not in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("method", ["distilled", "random", "herding"])
@pytest.mark.parametrize("mode", ["replay", "memory_only"])
def test_a_seed_repeats_a_run_bit_for_bit(tmp_path: Path, method: str, mode: str) -> None:
    config = miniature(memory={"method": method}, train={"mode": mode}, seed=11)
    first = finish(tmp_path / "first", config)
    np.random.seed(99)
    torch.manual_seed(99)
    second = finish(tmp_path / "second", config)
    assert (first.path / "memory.safetensors").read_bytes() == (second.path / "memory.safetensors").read_bytes()
    assert first.result(method, 11)["matrix"] == second.result(method, 11)["matrix"]


@pytest.mark.parametrize("method", ["distilled", "random"])
def test_another_seed_makes_another_memory(tmp_path: Path, method: str) -> None:
    images = []
    for seed in (1, 2):
        path = finish(tmp_path / str(seed), miniature(memory={"method": method}, seed=seed)).path
        images.append(load_memory(path / "memory.safetensors").images)
    assert not torch.equal(*images)


def test_a_run_leaves_global_randomness_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    finish(tmp_path / "run", miniature(memory={"method": "random"}))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[union-attr]


def test_a_method_alone_is_the_method_among_others(finished: Finished, tmp_path: Path) -> None:
    alone = finish(tmp_path / "alone", miniature(memory={"method": "herding"}))
    assert alone.result("herding")["matrix"] == finished.result("herding")["matrix"]


def test_a_method_named_twice_runs_once(tmp_path: Path) -> None:
    config = miniature(memory={"method": "random"}, baselines=["random", "none", "none"], train={"epochs": 1})
    results = finish(tmp_path / "run", config).summary["results"]
    assert [result["method"] for result in results] == ["random", "none"]


@pytest.mark.parametrize("method", ["distilled", "random", "herding"])
def test_memory_only_trains_on_the_memory(tmp_path: Path, method: str) -> None:
    config = miniature(
        memory={"method": method, "ipc": 10}, train={"mode": "memory_only", "memory_epochs": 15, "lr": 0.1}
    )
    done = finish(tmp_path / "run", config)
    result = done.result(method)
    assert result["mode"] == "memory_only"
    assert result["memory_bytes"] == 40 * BYTES_PER_IMAGE
    assert [len(row) for row in result["matrix"]] == [1, 2]
    assert min(result["matrix"][1]) > 0.3  # both pairs of classes at once, which training on the last pair cannot
    assert load_memory(done.path / "memory.safetensors").labels.bincount().tolist() == [10, 10, 0, 10, 0, 0, 0, 10]


@pytest.mark.parametrize("method", ["distilled", "herding"])
def test_several_networks_are_trained_on_one_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    condensed = []
    kind = Real if method == "herding" else Distilled
    condense = kind.condense

    def counted(self: Any, arrived: Classes, space: Space, scene: Scene) -> Exemplars:
        condensed.append(sorted(arrived.images))
        return condense(self, arrived, space, scene)

    monkeypatch.setattr(kind, "condense", counted)
    done = []
    for networks in (1, 3):
        train = {"mode": "memory_only", "memory_epochs": 8, "lr": 0.1, "networks": networks}
        done.append(finish(tmp_path / str(networks), miniature(memory={"method": method, "ipc": 4}, train=train)))
    assert condensed == 2 * [[1, 3], [0, 7]]  # once per experience, whatever the number of networks
    one, three = (each.result(method) for each in done)
    first, *others = three["network_matrices"]
    assert one["network_matrices"] == [one["matrix"]] == [first]
    assert all([len(row) for row in other] == [1, 2] for other in others)
    assert first != others[0] != others[1] != first
    assert np.array(three["matrix"][1]) == pytest.approx(np.mean([m[1] for m in three["network_matrices"]], axis=0))
    finals = [weighted(matrix[1], SIZES) for matrix in three["network_matrices"]]
    assert three["final_accuracy"] == pytest.approx(np.mean(finals))
    assert min(min(matrix[1]) for matrix in others) > 0.3  # later networks see the memory's old classes, too
    for one_line, group in zip(done[1].metrics, CLASSES, strict=True):
        assert one_line["accuracy_each"] == three["matrix"][one_line["experience"]]
        assert one_line["classes"] == group
    memories = [(each.path / "memory.safetensors").read_bytes() for each in done]
    assert memories[0] == memories[1]


def test_bounds_have_as_many_networks(tmp_path: Path) -> None:
    train = {"mode": "memory_only", "epochs": 1, "networks": 2}
    result = finish(tmp_path / "run", miniature(memory={"method": "none"}, train=train)).result("none")
    first, second = result["network_matrices"]
    assert first != second
    assert result["matrix"][0] == pytest.approx([(first[0][0] + second[0][0]) / 2])


def test_a_part_of_a_data_set_is_named_in_the_headline(tmp_path: Path) -> None:
    stream = {"classes": None, "experiences": 2, "first_classes": 5, "train_limit": 20, "test_limit": 10}
    done = finish(tmp_path / "run", miniature(stream=stream, memory={"method": "none"}, train={"epochs": 1}))
    headline = (
        "mini: digits, first 5 classes, at most 20 training and 10 evaluation images per class, 100 training and 50 "
    )
    assert done.printed.startswith(headline)
    result = done.result("none")
    assert sorted(c for group in result["class_order"] for c in group) == [0, 1, 2, 3, 4]
    assert result["class_order"][0] == np.random.RandomState(0).permutation(5)[:3].tolist()
    assert result["test_sizes"] == [30, 20]


def test_validation_is_what_a_run_is_judged_by(tmp_path: Path) -> None:
    config = miniature(memory={"method": "none"}, stream={"validation": 0.5}, train={"epochs": 1})
    done = finish(tmp_path / "run", config)
    held = load_dataset(config.stream, None, config.seed).test.labels.bincount()
    sizes = [int(held[group].sum()) for group in CLASSES]
    assert sizes != SIZES
    for line in done.metrics:
        assert line["accuracy_seen"] == pytest.approx(weighted(line["accuracy_each"], sizes))
        for accuracy, size in zip(line["accuracy_each"], sizes, strict=False):
            assert accuracy * size == pytest.approx(round(accuracy * size), abs=1e-6)


def test_each_class_may_be_an_experience_and_all_may_be_one(tmp_path: Path) -> None:
    for classes in ([[4], [2], [9]], [[4, 2, 9]]):
        config = miniature(memory={"method": "random"}, stream={"classes": classes}, train={"epochs": 1})
        result = finish(tmp_path / str(len(classes)), config).result("random")
        assert [len(row) for row in result["matrix"]] == list(range(1, len(classes) + 1))
        assert result["memory_images"] == 3
        assert result["class_order"] == classes
        assert (result["forgetting"] is None) is (result["backward_transfer"] is None) is (len(classes) == 1)


def test_a_uniform_sample_may_leave_a_class_out(tmp_path: Path) -> None:
    config = miniature(memory={"method": "reservoir"}, train={"epochs": 1}, seed=3)
    done = finish(tmp_path / "run", config)
    memory = load_memory(done.path / "memory.safetensors")
    assert (len(memory), len(memory.classes) < 4) == (4, True)  # four classes are seen
    weight = 4 * BYTES_PER_IMAGE
    assert done.summary["checks"]["reservoir"]["bytes"] == {"bytes": weight, "charged": weight, "allowed": weight}


def test_runs_of_one_name_have_directories_of_their_own(in_tmp_path: Path) -> None:
    config = miniature(memory={"method": "none"}, train={"epochs": 1})
    paths = [run(config, None, None, Console(file=io.StringIO())) for _ in range(2)]
    assert paths == [Path("runs/mini"), Path("runs/mini-2")]
    assert all((path / "run.json").is_file() for path in paths)


def test_a_run_that_fails_closes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = []

    class Recorded(RunDirectory):
        def __init__(self, path: Path, *, again: bool = False) -> None:
            super().__init__(path, again=again)
            logs.append(self.log)

    def fail(*args: object, **kwargs: object) -> None:
        raise UserError("something is wrong.")

    monkeypatch.setattr("iid_cl.runs.run.RunDirectory", Recorded)
    monkeypatch.setattr("iid_cl.runs.run.run_method", fail)
    with pytest.raises(UserError, match="something is wrong"):
        run(miniature(memory={"method": "none"}), None, tmp_path / "run", Console(file=io.StringIO()))
    closed = [log.closed for log in logs]
    for log in logs:
        log.close()
    assert closed == [True]


@pytest.mark.parametrize(
    ("method", "mode"),
    [("random", "replay"), ("distilled", "memory_only"), ("joint", "replay"), ("none", "replay")],
)
def test_no_run_waits_for_a_data_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, mode: str
) -> None:
    def refuse(loader: Any) -> None:
        raise AssertionError(f"{loader} was asked for mini-batches")

    monkeypatch.setattr(DataLoader, "__iter__", refuse)
    finished = finish(tmp_path / "run", miniature(memory={"method": method}, train={"mode": mode}))
    assert 0 <= finished.result(method)["final_accuracy"] <= 1


def test_a_runs_memory_says_what_it_was_made_from(finished: Finished) -> None:
    metadata = load_memory(finished.path / "memory.safetensors").metadata
    assert metadata["class_names"] == list("0123456789")
    assert metadata["stream"]["classes"] == CLASSES
    assert (metadata["stream"]["dataset"], metadata["seed"]) == ("digits", 0)


def test_a_run_says_once_what_the_data_set_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = replace(load_dataset(miniature().stream, None), remarks=("files not read: 1 (train/a/x.heic)",))
    monkeypatch.setattr("iid_cl.runs.run.load_dataset", lambda *given: noted)

    def stop(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("iid_cl.runs.run.run_method", stop)
    printed = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run(miniature(baselines=["none"]), None, tmp_path / "run", Console(file=printed, width=110))
    assert printed.getvalue().count("note: files not read: 1 (train/a/x.heic)") == 1
    assert (tmp_path / "run" / "log.txt").read_text().count("note: ") == 1
