"""Features of real and stored images in the plane: which images, under which network."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from iid_cl.config.reading import parse_config
from iid_cl.config.study import StudyConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.nets import Network
from iid_cl.studies import scatter as module
from iid_cl.studies.rows import Point
from iid_cl.studies.scatter import run_scatter
from tests.studies.helpers import FILES, SMALL, drawn, study, table

SCATTER: dict[str, Any] = {"network": SMALL, "epochs": 1, "classes": 3, "real": 8}
VARIANTS = [{"name": "random"}, {"name": "grid", "set": {"memory.method": "distilled", "distill.partition": 2}}]


def scattered(**changes: Any) -> StudyConfig:
    """Two stored images a class, in a grid eight, beside eight real ones of three classes."""
    return study(scatter={**SCATTER, **changes.pop("scatter", {})}, **{"variants": VARIANTS, **changes})


class Finished:
    """A finished scatter: its points, its directory and what was printed."""

    def __init__(self, study: StudyConfig, path: Path) -> None:
        printed = io.StringIO()
        assert study.scatter is not None
        self.points = run_scatter(study, study.scatter, None, path, Console(file=printed, width=150))
        self.study, self.path, self.printed = study, path, printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(scattered(), tmp_path_factory.mktemp("studies") / "features")


def test_every_class_has_its_real_and_its_stored_points(finished: Finished) -> None:
    counts = Counter((p.variant, p.label, p.stored) for p in finished.points)
    for variant, stored_images in (("random", 2), ("grid", 8)):
        for label in range(3):
            assert counts[variant, label, False] == 8
            assert counts[variant, label, True] == stored_images
    assert len(finished.points) == 3 * (8 + 2) + 3 * (8 + 8)


def test_points_differ_and_are_numbers(finished: Finished) -> None:
    for variant in ("random", "grid"):
        places = np.array([(p.x, p.y) for p in finished.points if p.variant == variant])
        assert np.isfinite(places).all()
        assert len(np.unique(places, axis=0)) > 20


def test_the_table_holds_the_points(finished: Finished) -> None:
    rows = table(finished.path / "study.csv")
    assert list(rows[0]) == ["variant", "label", "stored", "x", "y"]
    kinds = {"True": True, "False": False}
    found = [Point(r["variant"], int(r["label"]), kinds[r["stored"]], float(r["x"]), float(r["y"])) for r in rows]
    assert found == finished.points


def test_a_scatter_leaves_its_files(finished: Finished) -> None:
    names = {path.name for path in finished.path.iterdir()}
    assert names == FILES
    summary = json.loads((finished.path / "study.json").read_text())
    assert StudyConfig.model_validate(summary["study"]) == finished.study
    assert {"command", "commit", "versions", "machine", "device"} <= set(summary)
    drawn(finished.path / "study.png")
    assert finished.printed.endswith(f"Everything is in {finished.path}\n")
    assert "1,347 real images" in finished.printed  # three quarters of 1,797


def test_a_seed_repeats_a_scatter_and_another_does_not(finished: Finished, tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    again = Finished(finished.study, tmp_path / "again")
    assert again.points == finished.points
    assert (again.path / "study.csv").read_bytes() == (finished.path / "study.csv").read_bytes()
    other = Finished(scattered(dotted={"seed": 1}), tmp_path / "other")
    assert [p.label for p in other.points] == [p.label for p in finished.points]
    assert other.points != finished.points


class FirstTwo:
    """Stands for t-SNE: the first two features, doubled."""

    calls: list[tuple[dict[str, Any], np.ndarray]]

    def __init__(self, **options: Any) -> None:
        self.options = options

    def fit_transform(self, features: np.ndarray) -> np.ndarray:
        self.calls.append((self.options, features))
        return 2 * features[:, :2]


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> type[FirstTwo]:
    FirstTwo.calls = []
    monkeypatch.setattr("sklearn.manifold.TSNE", FirstTwo)
    return FirstTwo


def test_all_images_are_seen_by_one_trained_network(
    plane: type[FirstTwo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[Network] = []
    train = module.train_networks

    def record(classes: Any, config: Any, *rest: Any) -> Any:
        assert (config.trainings, config.epochs, config.network.width) == (1, 1, 4)
        assert sum(map(len, classes.images.values())) == 1347
        pool = train(classes, config, *rest)
        networks.extend(one.network for one in pool)
        return pool

    monkeypatch.setattr(module, "train_networks", record)
    done = Finished(scattered(), tmp_path / "features")
    (network,) = networks
    dataset = load_dataset(parse_config({"stream": {"dataset": "digits"}}, "test").stream, None)
    real = torch.cat([dataset.train.by_class()[label][:8] for label in range(3)])
    expected = network.features(dataset.normalization.apply(real)).detach().numpy()
    assert len(plane.calls) == 2
    for variant, (_, features) in zip(("random", "grid"), plane.calls, strict=True):
        np.testing.assert_allclose(features[:24], expected, rtol=1e-4, atol=1e-5)
        here = [p for p in done.points if p.variant == variant]
        np.testing.assert_allclose([(p.x, p.y) for p in here], 2 * features[:, :2], atol=6e-5)
        assert [p.stored for p in here] == [False] * 24 + [True] * (len(here) - 24)
    # what is stored at random are training images, so their features are those of training images
    everything = network.features(dataset.normalization.apply(dataset.train.images)).detach()
    stored = torch.from_numpy(plane.calls[0][1][24:])
    assert torch.cdist(stored, everything, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 1e-3


@pytest.mark.parametrize(
    ("asked", "given"),
    [(30.0, (30 - 1) / 3), (5.0, 5.0), (2, 2)],  # 30 points of the first variant
)
def test_the_perplexity_fits_the_number_of_points(
    plane: type[FirstTwo], tmp_path: Path, asked: float, given: float
) -> None:
    Finished(scattered(scatter={"perplexity": asked}, variants=VARIANTS[:1]), tmp_path / "features")
    ((options, features),) = plane.calls
    assert len(features) == 30
    assert options["perplexity"] == pytest.approx(given)


def test_more_classes_and_images_than_there_are(plane: type[FirstTwo], tmp_path: Path) -> None:
    done = Finished(scattered(scatter={"classes": 50, "real": 1000}, variants=VARIANTS[:1]), tmp_path / "features")
    assert sum(p.stored for p in done.points) == 20
    assert sum(not p.stored for p in done.points) == 1347
    assert {p.label for p in done.points} == set(range(10))


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"scatter": {"network": {"depth": 4}}}, r"^scatter\.network\.depth: 4 "),
        ({"scatter": {"network": {"name": "resnet18"}}}, r"^scatter\.network\.norm: 'instance' "),
        ({"dotted": {"memory.ipc": None, "memory.mem_size": 9}}, r"^memory\.mem_size: 9 has no room"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_found_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], shown: str
) -> None:
    with pytest.raises(UserError, match=shown):
        Finished(scattered(**changes), tmp_path / "features")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files already"):
        Finished(scattered(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("method", ["none", "joint"])
def test_methods_without_images_are_refused(plane: type[FirstTwo], tmp_path: Path, method: str) -> None:
    with pytest.raises(UserError, match=rf"memory\.method '{method}' belongs to a stream"):
        Finished(scattered(variants=[{"name": "a", "set": {"memory.method": method}}]), tmp_path / "features")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keys", [{"seed": 1}, {"stream.validation": 0.25}, {"stream.order_seed": 3}], ids=str)
def test_variants_share_one_stream_and_one_seed(plane: type[FirstTwo], tmp_path: Path, keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^study mini: variants of a scatter share one stream and seed; "):
        Finished(scattered(variants=[{"name": "a"}, {"name": "b", "set": keys}]), tmp_path / "features")
    assert list(tmp_path.iterdir()) == []
    done = Finished(scattered(variants=[{"name": "a", "set": keys}, {"name": "b", "set": keys}]), tmp_path / "features")
    assert {point.variant for point in done.points} == {"a", "b"}
