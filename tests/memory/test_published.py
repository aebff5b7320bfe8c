"""Distilled sets in the field's files: each layout, what is refused, and the way back."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from iid_cl.cli import main
from iid_cl.data.images import Normalization
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.memory.published import export_pt, read_published, to_memory

COLOUR = Normalization((0.5, 0.25, 0.0), (0.5, 0.25, 1.0))


def pixels() -> torch.Tensor:
    """Four images, (4, 3, 4, 4)."""
    return torch.randint(256, (4, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalised() -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (COLOUR.mean, COLOUR.std))
    return (pixels() / 255 - mean) / std


LABELS = torch.tensor([5, 2, 5, 2])


def write(folder: Path, layout: str) -> Path:
    """A file as the named method's program leaves it."""
    if layout == "DM":  # with NumPy's numbers, as evaluations leave them
        sets = [[torch.zeros(1, 3, 4, 4), torch.zeros(1, dtype=torch.int64)], [normalised(), LABELS]]
        torch.save({"data": sets, "accs_all_exps": {"ConvNet": [np.float64(0.5), 0.25]}}, folder / "res_DM.pt")
        return folder / "res_DM.pt"
    if layout == "MTT":
        torch.save(normalised().requires_grad_(), folder / "images_best.pt")
        torch.save(LABELS, folder / "labels_best.pt")
        return folder / "images_best.pt"
    torch.save([pixels() / 255, LABELS], folder / "data_20000.pt")
    return folder / "data_20000.pt"


@pytest.mark.parametrize("layout", ["DM", "MTT", "NCFM"])
def test_each_layout_gives_the_same_memory(tmp_path: Path, layout: str) -> None:
    images, labels = read_published(write(tmp_path, layout), number=1 if layout == "DM" else 0)
    memory = to_memory(images, labels, COLOUR, partition=2, metadata={"seed": 3})
    assert memory.labels.tolist() == [2, 2, 5, 5]
    assert torch.equal(memory.images, pixels()[[1, 3, 0, 2]])
    assert memory.metadata == {"seed": 3, "clipped": 0.0}
    assert len(memory.decoded()) == 16


def test_a_memory_goes_out_and_comes_back(tmp_path: Path) -> None:
    memory = to_memory(pixels(), LABELS, COLOUR)
    save_memory(tmp_path / "m.safetensors", memory, {"mean": list(COLOUR.mean), "std": list(COLOUR.std)})
    assert export_pt(tmp_path / "m.safetensors", tmp_path / "out.pt") == 4
    images, labels = read_published(tmp_path / "out.pt")
    torch.testing.assert_close(images, normalised()[[1, 3, 0, 2]])
    assert labels.tolist() == [2, 2, 5, 5]
    with pytest.raises(UserError, match=r"out\.pt: exists already; "):
        export_pt(tmp_path / "m.safetensors", tmp_path / "out.pt")
    save_memory(tmp_path / "bare.safetensors", memory)
    with pytest.raises(UserError, match="does not say how its data set is normalised"):
        export_pt(tmp_path / "bare.safetensors", tmp_path / "other.pt")


class Evil:
    """Unpickling it would end the tests."""

    def __reduce__(self) -> tuple[object, ...]:
        return (sys.exit, ())


def test_what_holds_no_set_is_one_sentence(tmp_path: Path) -> None:
    good = write(tmp_path, "DM")
    torch.save(pixels(), tmp_path / "images_7.pt")
    torch.save([1, 2], tmp_path / "numbers.pt")
    torch.save([normalised(), LABELS[:2]], tmp_path / "few.pt")
    torch.save([normalised(), LABELS + 0.5], tmp_path / "soft.pt")
    torch.save([normalised() * float("nan"), LABELS], tmp_path / "nan.pt")
    torch.save({"accs": 3}, tmp_path / "no.pt")
    (tmp_path / "idm.pkl").write_bytes(pickle.dumps((normalised(), LABELS)))
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    save_file({"images": normalised()}, tmp_path / "other.safetensors")
    for name, message in {
        "images_7.pt": "holds images alone; their labels belong beside them",
        "numbers.pt": r"its images are 'int'; they must be a tensor \(N, C, H, W\)",
        "few.pt": r"its labels are a tensor \(2,\); they must be class indices \(4,\)",
        "soft.pt": "its labels are no class indices",
        "nan.pt": "its images hold NaN or infinite numbers",
        "no.pt": "holds no distilled set of a known layout",
        "idm.pkl": "can be read safely",
        "evil.pt": "can be read safely",
        "other.safetensors": "holds no distilled set",
        "gone.pt": "no such file",
    }.items():
        with pytest.raises(UserError, match=rf"{name}: .*{message}"):
            read_published(tmp_path / name)
    with pytest.raises(UserError, match="holds 2 sets, so there is no number 2; count from 0"):
        read_published(good, number=2)
    with pytest.raises(UserError, match=r"partition: .* does not divide"):
        to_memory(pixels(), LABELS, COLOUR, partition=3)
    with pytest.raises(UserError, match="3 channels do not fit a mean of 2 numbers"):
        to_memory(normalised(), LABELS, Normalization((0.5, 0.5), (1.0, 1.0)))


def test_a_set_is_imported_shown_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands; with the scores of DD-Ranking, whose parts are printed."""
    monkeypatch.chdir(tmp_path)
    dark_and_bright = torch.stack([torch.full((1, 8, 8), value) for value in (0.1, 0.9)])
    torch.save([dark_and_bright, torch.tensor([3, 7])], "ours.pt")

    def say(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["iid-cl", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return printed.out

    assert say("import", "ours.pt", "--dataset", "digits", "-o", "m.safetensors") == (
        "m.safetensors: 2 images of 2 classes, 132 bytes\n"
    )
    assert load_memory("m.safetensors").metadata["method"] == "imported from ours.pt"
    small = ["--set", "evaluate.epochs=1", "--set", "evaluate.networks=1", "--set", "evaluate.network.width=4"]
    lines = say("evaluate", "m.safetensors", "--ranking", "--json", *small).splitlines()
    (ranking,) = [entry for entry in map(json.loads, lines) if entry["event"] == "ranking"]
    alpha = (ranking["distilled"] - ranking["random"]) / 2 - (ranking["real"] - ranking["distilled"]) / 2
    expected = (np.exp(alpha) - np.exp(-1)) / (np.exp(1) - np.exp(-1))
    assert ranking["label_robust"] == pytest.approx(expected)
    beta = (ranking["distilled"] - ranking["random"] + ranking["distilled_plain"] - ranking["random_plain"]) / 2
    assert ranking["augmentation_robust"] == pytest.approx((np.exp(beta) - np.exp(-1)) / (np.exp(1) - np.exp(-1)))
    monkeypatch.setattr(sys, "argv", ["iid-cl", "import", "ours.pt", "--dataset", "mnits", "-o", "n.safetensors"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--dataset 'mnits': no data set has this name; perhaps 'mnist' is meant" in capsys.readouterr().err


def test_random_images_of_soft_labels_are_refused(tmp_path: Path) -> None:
    from iid_cl.config.experiment import StreamConfig
    from iid_cl.data.datasets import load_dataset
    from iid_cl.runs.ranked import check_rankable

    digits = load_dataset(StreamConfig(), None)
    hard = ExemplarSet.from_classes({3: torch.zeros(200, 1, 8, 8, dtype=torch.uint8)})
    with pytest.raises(UserError, match="--ranking: the memory has 200 images of class 3 and the data set 1"):
        check_rankable(hard, digits)
    soft = hard.with_soft_labels(torch.ones(200, 1), [3])
    with pytest.raises(UserError, match="--ranking: random images would need soft labels"):
        check_rankable(soft, digits)
