import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from iid_cl.errors import UserError
from iid_cl.evaluate.model import load_model, save_model
from iid_cl.report.classified import show_classified
from tests.evaluate.test_model import model
from tests.methods.helpers import noise


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", model())
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(noise(3)):
        Image.fromarray(image[0].numpy()).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path


def test_each_picture_has_its_class(run: Path) -> None:
    out = io.StringIO()
    show_classified(run, [run / "pictures", run / "pictures" / "1.png"], Console(file=out, width=200))
    probabilities = load_model(run).probabilities(noise(3))
    lines = [line for line in out.getvalue().splitlines() if ".png" in line]
    rows = [line.split() for line in lines]
    assert [Path(picture).name for picture, _, _ in rows] == ["0.png", "1.png", "2.png", "1.png"]
    for (_, name, probability), row in zip(rows, probabilities[torch.tensor([0, 1, 2, 1])], strict=True):
        assert name == ("cat", "dog", "owl")[int(row.argmax())]
        assert probability == f"{float(row.max()):.1%}"


@pytest.mark.parametrize(("what", "says"), [("missing.png", "no such picture"), ("empty", "holds no pictures")])
def test_what_is_no_picture_is_refused(run: Path, what: str, says: str) -> None:
    (run / "empty").mkdir()
    with pytest.raises(UserError, match=says):
        show_classified(run, [run / what], Console(file=io.StringIO()))
