"""A memory as a data set of the Hugging Face hub: parquet with pictures and classes, and a card."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from iid_cl.errors import UserError, need, printable
from iid_cl.memory.card import NAME, NO_PHOTOGRAPHS, facts, title
from iid_cl.memory.exemplars import Exemplars
from iid_cl.memory.export import ABOUT, about_memory, class_names, new_folder
from iid_cl.memory.files import load_memory

PARQUET = Path("data") / "train-00000-of-00001.parquet"
SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6))


def export_hf(path: Path, folder: Path) -> int:
    """Writes the decoded images of a memory as a data set that ``datasets.load_dataset(folder)`` reads.

    Its columns are ``image``, ``label`` and, where the memory has them, ``soft_label``: probabilities of all classes.
    The card says how the images were made. The folder appears whole or not at all.

    Raises:
        UserError: pyarrow is missing, the memory is unusable, or the folder is not empty or cannot be written.
    """
    need("pyarrow", "iid-cl export --to hf", "hf")
    memory = load_memory(path)
    if memory.shape[0] not in (1, 3):
        raise UserError(f"{path}: has images of {memory.shape[0]} channels; pictures hold 1 or 3.")
    names = class_names(memory)
    with new_folder(folder) as temporary:
        (temporary / PARQUET).parent.mkdir()
        _write_parquet(temporary / PARQUET, memory, list(names.values()))
        about = about_memory(path, memory, names, dict.fromkeys(names, ""), True)
        for entry in about["classes"]:
            del entry["folder"]
        (temporary / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        (temporary / NAME).write_text(_card(memory, about), encoding="utf-8", errors="backslashreplace")
    return len(memory) * memory.partition**2


def _write_parquet(file: Path, memory: Exemplars, names: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    data = memory.decoded()
    place = {label: number for number, label in enumerate(memory.classes)}  # class indices without gaps
    columns: dict[str, Any] = {
        "image": pa.array(
            [{"bytes": _png(image.permute(1, 2, 0).numpy()), "path": None} for image in data.images],
            pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        ),
        "label": pa.array([place[label] for label in data.labels.tolist()], pa.int64()),
    }
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": [printable(name) for name in names], "_type": "ClassLabel"},
    }
    if memory.soft_labels is not None:
        largest = max(memory.classes[-1], int(memory.soft_labels.columns.max()))
        rows = memory.targets(largest + 1)[:, memory.classes].tolist()
        columns["soft_label"] = pa.array(rows, pa.list_(pa.float32()))
        features["soft_label"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    parquet.write_table(pa.table(columns).replace_schema_metadata(about), file)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def _card(memory: Exemplars, about: dict[str, Any]) -> str:
    images = sum(entry["images"] for entry in about["classes"])
    front = {
        "pretty_name": title(memory, about),
        "tags": ["dataset-distillation", "continual-learning", "iid-cl"],
        "task_categories": ["image-classification"],
        "size_categories": [next((name for name, most in SIZES if images < most), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
            "---",
            "",
            f"# {title(memory, about)}",
            "",
            "Images that stand for a larger data set, made by iid-cl. `memory.json` has every setting.",
            "",
            *facts(memory, about),
            "",
            "```python",
            "from datasets import load_dataset",
            "",
            'images = load_dataset(".", split="train")  # this folder, or its name on the hub',
            "```",
            "",
            NO_PHOTOGRAPHS,
            "",
        ]
    )
