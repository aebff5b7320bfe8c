"""A memory as a data set of the hub, read back by the hub's own library."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.memory.hub import export_hf


def images(count: int, channels: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(channels)
    return torch.randint(256, (count, channels, 8, 8), dtype=torch.uint8, generator=draws)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the hub's library about its own
def test_the_hubs_library_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    datasets.disable_progress_bars()
    memory = ExemplarSet.from_classes({1: images(2, 3), 4: images(1, 3)}, {"seed": 5}, partition=2)
    memory = memory.with_soft_labels(torch.tensor([[0.1, 0.9]]).repeat(12, 1), [1, 4])
    names = ["a", "b", "c", "d", "e: f"]
    save_memory(tmp_path / "m.safetensors", memory, {"class_names": names, "stream": {"dataset": "odd | set"}})
    assert export_hf(tmp_path / "m.safetensors", tmp_path / "out") == 12  # four parts each
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == ["b", "e: f"]
    assert rows["label"] == [0] * 8 + [1] * 4
    decoded = memory.decoded().images.permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(np.asarray(row["image"]), pixels) for row, pixels in zip(rows, decoded, strict=True))
    assert rows[0]["soft_label"] == pytest.approx([0.1, 0.9])
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["size_categories"] == ["n<1K"]
    assert front["task_categories"] == ["image-classification"]


def test_grey_pictures_and_what_is_refused(tmp_path: Path) -> None:
    from pyarrow import parquet

    save_memory(tmp_path / "grey.safetensors", ExemplarSet.from_classes({0: images(1, 1)}))
    assert export_hf(tmp_path / "grey.safetensors", tmp_path / "out") == 1
    (file,) = (tmp_path / "out" / "data").iterdir()
    (row,) = parquet.read_table(file).to_pylist()
    assert row["image"]["bytes"].startswith(b"\x89PNG")
    with pytest.raises(UserError, match="out: holds files already"):
        export_hf(tmp_path / "grey.safetensors", tmp_path / "out")
    save_memory(tmp_path / "two.safetensors", ExemplarSet.from_classes({0: images(1, 2)}))
    with pytest.raises(UserError, match="has images of 2 channels; pictures hold 1 or 3"):
        export_hf(tmp_path / "two.safetensors", tmp_path / "new")
    assert not (tmp_path / "new").exists()
