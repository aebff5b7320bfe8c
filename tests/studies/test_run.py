"""Studies in miniature: each row is a network trained as the case says, and is kept as soon as it is there."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.reading import parse_config, with_overrides
from iid_cl.config.study import StudyConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.distill import distill
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import judge
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.memory.selection import select_random
from iid_cl.runs import whole as memories
from iid_cl.runs.judge import evaluate_memory
from iid_cl.seeding import make_generator
from iid_cl.studies import run as module
from iid_cl.studies.figures import COLOURS
from iid_cl.studies.rows import Row
from iid_cl.studies.run import run_study
from tests.studies.helpers import BASE, FILES, drawn, shows, study, table

COLUMNS = [
    *("variant", "x", "seed", "architecture", "network", "accuracy"),
    *("images", "bytes", "condense_seconds", "evaluate_seconds"),
]
BYTES_PER_IMAGE = 8 * 8 + 2  # one grey channel, and a 16-bit label
CPU = torch.device("cpu")
CONVNET = "convnet (width 4, depth 1)"  # that of the base
QUICK: dict[str, Any] = {"evaluate.epochs": 1, "evaluate.networks": 1, "memory.ipc": 1}


def random_images(images_by_class: dict[int, torch.Tensor], count: int, generator: torch.Generator) -> Any:
    """The images that the method `random` keeps."""
    return {
        label: images[select_random(images, count, torch.ones(len(images)), generator)]
        for label, images in images_by_class.items()
    }


class Finished:
    """A finished study: its rows, its directory and what was printed."""

    def __init__(self, study: StudyConfig, path: Path, **options: Any) -> None:
        printed = io.StringIO()
        self.rows = run_study(study, None, path, Console(file=printed, width=150), **options)
        self.study, self.path, self.printed = study, path, printed.getvalue()

    @property
    def accuracies(self) -> list[float]:
        return [row.accuracy for row in self.rows]


def key(row: Row) -> tuple[Any, ...]:
    return row.variant, row.x, row.seed, row.architecture, row.network


def without_seconds(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(*key(row), row.accuracy, row.images, row.bytes) for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two variants along a sweep with a further architecture and two seeds, memories kept."""
    swept = study(
        {"seed": 5, "evaluate.transfer": [{"name": "mlp"}]},
        variants=[{"name": "random"}, {"name": "DM [a]", "set": {"memory.method": "distilled"}}],
        sweep={"key": "memory.ipc", "values": [3, 1]},
        title="[bold]The $title$",
        seeds=2,
    )
    return Finished(swept, tmp_path_factory.mktemp("studies") / "swept", keep_memories=True)


@pytest.fixture(scope="module")
def along(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A distillation judged along the way."""
    judged = study({"memory.method": "distilled", "distill.iterations": 6}, variants=[{"name": "DM"}])
    judged = judged.model_copy(update={"iterations": [0, 2, 6]})
    return Finished(judged, tmp_path_factory.mktemp("studies") / "along")


def test_every_case_seed_architecture_and_network_has_a_row(finished: Finished) -> None:
    assert [key(row) for row in finished.rows] == [
        (variant, x, seed, architecture, network)
        for seed in (5, 6)
        for variant in ("random", "DM [a]")
        for x in (3, 1)
        for architecture in (CONVNET, "mlp")
        for network in (1, 2)
    ]


def test_images_and_bytes_counted_by_hand(finished: Finished) -> None:
    for row in finished.rows:
        assert row.images == {3: 30, 1: 10}[row.x]  # type: ignore[index]
        assert row.bytes == row.images * BYTES_PER_IMAGE


def test_accuracies_are_shares_of_the_test_images(finished: Finished) -> None:
    for row in finished.rows:
        assert 0 <= row.accuracy <= 1
        assert row.accuracy * 450 == pytest.approx(round(row.accuracy * 450), abs=1e-3)
    assert len(set(finished.accuracies)) > 8  # they are not all the same


def test_the_table_holds_the_rows(finished: Finished) -> None:
    found = table(finished.path / "study.csv")
    assert [list(row) for row in found] == [COLUMNS] * 32
    for line, row in zip(found, finished.rows, strict=True):
        assert line["variant"] == row.variant
        assert line["architecture"] == row.architecture
        for name in ("x", "seed", "network", "accuracy", "images", "bytes", "condense_seconds", "evaluate_seconds"):
            assert float(line[name]) == getattr(row, name)
        assert min(row.condense_seconds, row.evaluate_seconds) >= 0


def test_the_summary_holds_the_study_the_rows_and_where_they_come_from(finished: Finished) -> None:
    summary = json.loads((finished.path / "study.json").read_text())
    assert StudyConfig.model_validate(summary["study"]) == finished.study
    assert {"command", "commit", "versions", "machine", "device"} <= set(summary)
    assert [Row(**row) for row in summary["rows"]] == finished.rows
    text = [{name: "" if value is None else str(value) for name, value in row.items()} for row in summary["rows"]]
    assert text == table(finished.path / "study.csv")


def test_the_figure_shows_the_variants(finished: Finished) -> None:
    found = drawn(finished.path / "study.png")
    assert shows(found, COLOURS[0])
    assert shows(found, COLOURS[1])
    assert not shows(found, COLOURS[2])


def test_what_was_printed(finished: Finished) -> None:
    assert "[bold]The $title$" in finished.printed
    assert finished.printed.endswith(f"Everything is in {finished.path}\n")
    for start in (f"random at 3, seed 5, {CONVNET}: ", "DM [a] at 1, seed 6, mlp: "):
        assert start in finished.printed
        assert start in (finished.path / "log.txt").read_text()
    mean = 50 * sum(row.accuracy for row in finished.rows[2:4])
    assert f"random at 3, seed 5, mlp: {mean:.1f} %" in finished.printed
    assert "\x1b" not in finished.printed


def test_a_row_is_what_its_configuration_gives(finished: Finished) -> None:
    dataset = load_dataset(parse_config(BASE, "test").stream, None)
    chosen = random_images(dataset.train.by_class(), 3, make_generator(6, "memory", 0))
    config = parse_config(with_overrides(BASE, [("evaluate.transfer", [{"name": "mlp"}])]), "test")
    expected = judge(
        ExemplarSet.from_classes(chosen), dataset.test, config.evaluate,
        normalization=dataset.normalization, augmentations=dataset.augmentations, seed=6, device=CPU,
    )  # fmt: skip
    for judgement in expected:
        rows = [r for r in finished.rows if key(r)[:4] == ("random", 3, 6, judgement.network.label)]
        assert len(rows) == 2
        assert [row.accuracy for row in rows] == judgement.accuracies


def test_kept_memories_are_those_of_the_first_seed(finished: Finished) -> None:
    paths = sorted(finished.path.glob("*.safetensors"))
    assert len(paths) == 4
    assert [path.with_suffix(".png").is_file() for path in paths] == [True] * 4
    kept = [load_memory(path) for path in paths]
    assert sorted(len(memory) for memory in kept) == [10, 10, 30, 30]
    dataset = load_dataset(parse_config(BASE, "test").stream, None)
    for count in (3, 1):
        expected = ExemplarSet.from_classes(
            random_images(dataset.train.by_class(), count, make_generator(5, "memory", 0))
        )
        assert sum(torch.equal(memory.images, expected.images) for memory in kept if len(memory) == 10 * count) == 1


def test_memories_are_kept_on_request_only(along: Finished) -> None:
    assert {path.name for path in along.path.iterdir()} == FILES
    assert f"The report is {along.path / 'report.html'}" in along.printed
    began = json.loads((along.path / "begun.json").read_text())["started"]
    assert f"{began[:10]} {began[11:19]} UTC" in (along.path / "report.html").read_text()


def test_equal_seeds_give_equal_rows(finished: Finished, tmp_path: Path) -> None:
    torch.manual_seed(99)
    again = Finished(finished.study, tmp_path / "again")
    assert without_seconds(again.rows) == without_seconds(finished.rows)
    later = finished.study.model_copy(update={"base": {**finished.study.base, "seed": 6}, "seeds": 1})
    assert without_seconds(Finished(later, tmp_path / "later").rows) == without_seconds(finished.rows[16:])


def test_iterations_are_the_axis(along: Finished) -> None:
    assert [key(row) for row in along.rows] == [
        ("DM", float(iteration), 0, CONVNET, network) for iteration in (0, 2, 6) for network in (1, 2)
    ]
    assert [row["x"] for row in table(along.path / "study.csv")] == ["0.0", "0.0", "2.0", "2.0", "6.0", "6.0"]
    assert {row.images for row in along.rows} == {20}
    times = [row.condense_seconds for row in along.rows[::2]]
    assert times == sorted(times)
    drawn(along.path / "study.png")


@pytest.mark.parametrize(("iteration", "of"), [(0, 0), (6, 6)])
def test_the_ends_of_the_iterations_are_memories_of_their_own(
    along: Finished, tmp_path: Path, iteration: int, of: int
) -> None:
    alone = study({"memory.method": "distilled", "distill.iterations": of}, variants=[{"name": "DM"}])
    rows = [row for row in along.rows if row.x == iteration]
    assert [row.accuracy for row in rows] == Finished(alone, tmp_path / "alone").accuracies


def test_memories_along_the_way_are_the_distillations_snapshots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen, snapshots = [], {}

    def record(memory: ExemplarSet, *args: Any, **options: Any) -> Any:
        seen.append(memory)
        return judge(memory, *args, **options)

    monkeypatch.setattr(module, "judge", record)
    keys = {"memory.method": "distilled", "distill.iterations": 4, "distill.lr": 0.5, "evaluate.networks": 1}
    done = Finished(study(keys, variants=[{"name": "DM"}], iterations=[4, 1]), tmp_path / "along")
    assert [row.x for row in done.rows] == [1.0, 4.0]
    config = parse_config(with_overrides(BASE, keys.items()), "test")
    dataset = load_dataset(config.stream, None)
    distill(
        dataset.train.by_class(), config.distill,
        ipc=2, generator=make_generator(0, "memory", 0), device=CPU, normalization=dataset.normalization,
        augmentations=dataset.augmentations, on_snapshot=snapshots.__setitem__, snapshots=(1, 4),
    )  # fmt: skip
    assert torch.equal(seen[0].images, snapshots[1].images)
    assert torch.equal(seen[1].images, snapshots[4].images)
    assert not torch.equal(seen[0].images, seen[1].images)


def test_soft_labels_and_partitions_are_judged_and_charged(tmp_path: Path) -> None:
    variants = [
        {"name": "soft", "set": {"memory.soft_labels": True}},
        {"name": "grid", "set": {"distill.partition": 2}},
    ]
    distilled = study({**QUICK, "memory.method": "distilled"}, variants=variants)
    done = Finished(distilled, tmp_path / "study", keep_memories=True)
    soft, grid = done.rows
    # ten probabilities of half a byte with each image, and which classes they stand for, of each class
    assert (soft.images, soft.bytes) == (10, 10 * BYTES_PER_IMAGE + 10 * 5 + 10 * 10 * 2)
    assert (grid.images, grid.bytes) == (10, 10 * BYTES_PER_IMAGE)
    paths = [next(done.path.glob(f"memory-*-{name}.safetensors")) for name in ("soft", "grid")]
    assert load_memory(paths[0]).soft_labels is not None
    assert load_memory(paths[1]).partition == 2


def test_a_study_that_fails_keeps_the_rows_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, out = [], tmp_path / "study"

    def make(*args: Any, **options: Any) -> ExemplarSet:
        before.append([row["variant"] for row in table(out / "study.csv")])
        if len(before) == 3:
            raise UserError("the third one is wrong.")
        return memories.whole_memory(*args, **options)

    monkeypatch.setattr(module, "whole_memory", make)
    with pytest.raises(UserError, match="the third one is wrong"):
        Finished(study(variants=[{"name": name} for name in "abc"]), out)
    assert before == [[], ["a", "a"], ["a", "a", "b", "b"]]  # on disk by the time the next one is made
    rows = table(out / "study.csv")
    assert [(row["variant"], row["network"]) for row in rows] == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    assert all(list(row) == COLUMNS and None not in row.values() for row in rows)
    assert not (out / "study.json").exists()


def test_seeds_draw_their_own_validation_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = []

    def record(memory: ExemplarSet, test: Any, *args: Any, **options: Any) -> Any:
        tests.append(test.images)
        return judge(memory, test, *args, **options)

    monkeypatch.setattr(module, "judge", record)
    held_out = study({"stream.validation": 0.25, "evaluate.networks": 1}, variants=[{"name": "a"}], seeds=2)
    Finished(held_out, tmp_path / "study")
    for seed, found in enumerate(tests):
        expected = load_dataset(parse_config(held_out.base, "test").stream, None, seed).test.images
        assert torch.equal(found, expected)
    assert not torch.equal(*tests)


def test_variants_with_seeds_of_their_own_have_their_own_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = []

    def record(memory: ExemplarSet, test: Any, *args: Any, **options: Any) -> Any:
        tests.append(test.images)
        return judge(memory, test, *args, **options)

    monkeypatch.setattr(module, "judge", record)
    held_out = {**QUICK, "stream.validation": 0.25}
    variants = [{"name": "a"}, {"name": "b", "set": {"seed": 7}}]
    done = Finished(study(held_out, variants=variants, seeds=2), tmp_path / "study")
    assert [row.seed for row in done.rows] == [0, 7, 1, 8]
    stream = parse_config(with_overrides(BASE, held_out.items()), "test").stream
    for seed, found in zip((0, 7, 1, 8), tests, strict=True):
        assert torch.equal(found, load_dataset(stream, None, seed).test.images)


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"memory.ipc": None, "memory.mem_size": 9}, r"^memory\.mem_size: 9 has no room"),
        ({"memory.method": "distilled", "distill.embedder.depth": 4}, r"distill\.embedder\.depth: 4 "),
        ({"memory.ipc": 0}, r"study mini, variant 'b': memory\.ipc: 0 "),
    ],
    ids=str,
)
def test_a_variant_that_does_not_fit_is_found_before_anything_is_written(
    tmp_path: Path, keys: dict[str, Any], shown: str
) -> None:
    with pytest.raises(UserError, match=shown):
        Finished(study(variants=[{"name": "a"}, {"name": "b", "set": keys}]), tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({"evaluate.network.depth": 4}, r"^evaluate\.network\.depth: 4 "),
        ({"evaluate.transfer": [{"name": "mlp"}, {"name": "lenet"}]}, r"^evaluate\.transfer\.1\.name: 'lenet' "),
    ],
    ids=str,
)
def test_a_judge_that_does_not_fit_is_found_before_anything_is_written(
    tmp_path: Path, keys: dict[str, Any], shown: str
) -> None:
    with pytest.raises(UserError, match=shown):
        Finished(study(keys), tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files already"):
        Finished(study(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_studies_of_one_name_have_directories_of_their_own(in_tmp_path: Path) -> None:
    quick = study(QUICK, variants=[{"name": "a"}])
    for _ in range(2):
        run_study(quick, None, None, Console(file=io.StringIO()))
    assert (in_tmp_path / "runs/mini/study.csv").is_file()
    assert (in_tmp_path / "runs/mini-2/study.csv").is_file()


def test_each_variant_has_the_data_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def record(memory: ExemplarSet, test: Any, *args: Any, **options: Any) -> Any:
        sizes.append(len(test))
        return judge(memory, test, *args, **options)

    monkeypatch.setattr(module, "judge", record)
    halves = [{"name": "all"}, {"name": "held out", "set": {"stream.validation": 0.5}}]
    Finished(study(QUICK, variants=halves), tmp_path / "study")
    assert sizes[0] == 450
    assert sizes[1] == len(load_dataset(parse_config({"stream": {"validation": 0.5}}, "test").stream, None, 0).test)


@pytest.mark.parametrize("method", ["none", "joint"])
def test_methods_without_images_are_refused(tmp_path: Path, method: str) -> None:
    with pytest.raises(UserError, match=rf"memory\.method '{method}' belongs to a stream"):
        Finished(study(QUICK, variants=[{"name": "a", "set": {"memory.method": method}}]), tmp_path / "study")


@pytest.mark.parametrize(
    ("keys", "iterations"),
    [
        ({"memory.method": "distilled"}, [0, 2, 50]),
        ({"memory.method": "distilled"}, [-1]),
        ({"memory.method": "distilled"}, []),
        ({"memory.method": "random"}, [0, 2]),
    ],
    ids=str,
)
def test_iterations_that_never_come_are_refused(tmp_path: Path, keys: dict[str, Any], iterations: list[int]) -> None:
    with pytest.raises(UserError, match="iterations"):
        Finished(study({**QUICK, **keys}, variants=[{"name": "a"}], iterations=iterations), tmp_path / "study")


def test_memories_along_the_way_have_their_soft_labels(tmp_path: Path) -> None:
    soft = study(
        {**QUICK, "memory.method": "distilled", "memory.soft_labels": True}, variants=[{"name": "a"}], iterations=[2]
    )
    done = Finished(soft, tmp_path / "study", keep_memories=True)
    (row,) = done.rows
    assert row.bytes == 10 * BYTES_PER_IMAGE + 250
    (path,) = done.path.glob("*.safetensors")
    assert load_memory(path).soft_labels is not None
    assert load_memory(path).nbytes == row.bytes


@pytest.mark.parametrize(
    "keys",
    [{"iterations": [0, 2]}, {"variants": [{"name": "a+b"}, {"name": "a-b", "set": {"memory.ipc": 2}}]}],
    ids=["iterations", "signs"],
)
def test_every_kept_memory_has_a_file_of_its_own(tmp_path: Path, keys: dict[str, Any]) -> None:
    kept = study({**QUICK, "memory.method": "distilled"}, **{"variants": [{"name": "a"}], **keys})
    done = Finished(kept, tmp_path / "study", keep_memories=True)
    kept_files = sorted(path.name for path in done.path.glob("*.safetensors"))
    assert len(kept_files) == len(list(done.path.glob("memory-*.png"))) == 2
    assert all(re.fullmatch(r"memory-\d+-a(-[b\d])?\.safetensors", name) for name in kept_files)


@pytest.mark.parametrize(
    "keys",
    [
        {"variants": [{"name": "random", "set": {"memory.method": "random", "stream.validation": 0.25}}]},
        {"iterations": [0, 2]},
        {"variants": [{"name": "soft", "set": {"memory.soft_labels": True}}]},
    ],
    ids=["validation", "iterations", "soft labels"],
)
def test_a_kept_memory_is_judged_by_evaluate_as_by_the_study(tmp_path: Path, keys: dict[str, Any]) -> None:
    base = {"memory.method": "distilled", "evaluate.networks": 2, "evaluate.transfer": [{"name": "mlp"}], "seed": 3}
    kept = study(base, **{"variants": [{"name": "DM"}], **keys})
    done = Finished(kept, tmp_path / "study", keep_memories=True)
    paths = sorted(done.path.glob("*.safetensors"), key=lambda path: int(path.name.split("-")[1]))
    assert len(paths) == len(done.rows) // 4
    config = parse_config(with_overrides(BASE, base.items()), "test")
    for number, path in enumerate(paths):
        judgements = evaluate_memory(path, config, None, Console(file=io.StringIO()))
        found = [value for judgement in judgements for value in judgement.accuracies]
        assert found == done.accuracies[4 * number : 4 * number + 4]
        metadata = load_memory(path).metadata
        assert (metadata["seed"], metadata["ipc"]) == (3, 2)


def test_variants_judged_by_different_architectures_are_refused(tmp_path: Path) -> None:
    variants = [{"name": "a"}, {"name": "b", "set": {"evaluate.network": {"name": "mlp"}}}]
    with pytest.raises(UserError, match=r"variant 'b': is judged on other architectures than 'a'"):
        Finished(study(QUICK, variants=variants), tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_two_networks_of_one_architecture_are_told_apart(tmp_path: Path) -> None:
    keys = {**QUICK, "evaluate.transfer": [NetworkConfig(width=8, depth=2).model_dump()]}
    rows = Finished(study(keys, variants=[{"name": "a"}]), tmp_path / "study").rows
    assert [row.architecture for row in rows] == [CONVNET, "convnet (width 8, depth 2)"]


def test_seeds_beyond_the_last_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="seed"):
        Finished(study({**QUICK, "seed": 2**32 - 1}, variants=[{"name": "a"}], seeds=2), tmp_path / "study")


@pytest.mark.parametrize(
    "keys", [{"distill.partition": 3}, {"memory.soft_labels": True, "distill.cc.network.depth": 4}], ids=str
)
def test_what_the_distillation_cannot_do_is_found_before_anything_is_written(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"^distill\.(partition|cc\.network)"):
        Finished(study({**QUICK, "memory.method": "distilled", **keys}, variants=[{"name": "a"}]), tmp_path / "study")
    assert list(tmp_path.iterdir()) == []
