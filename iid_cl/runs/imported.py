"""A published distilled set as a memory file, with what `iid-cl evaluate` needs to judge it."""

from pathlib import Path

from pydantic import ValidationError

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError, shown
from iid_cl.files import check_output
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.memory.published import read_published, to_memory


def import_memory(
    file: Path,
    name: str,
    data_root: Path | None,
    out: Path,
    partition: int = 1,
    number: int = 0,
    *,
    force: bool = False,
) -> ExemplarSet:
    """Reads a published set and writes it as a memory of its data set, which is loaded for its class names.

    Raises:
        UserError: the set cannot be read, does not belong to this data set, or ``out`` cannot be written.
    """
    check_output(out, force=force)
    images, labels = read_published(file, number)
    try:
        stream = StreamConfig(dataset=name, image_size=images.shape[2] if name == "tiny_imagenet" else None)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--dataset {shown(name)}: {reason}.") from None
    dataset = load_dataset(stream, data_root, 0)
    if tuple(images.shape[1:]) != dataset.shape or int(labels.max()) >= len(dataset.class_names):
        raise UserError(
            f"{file}: has images of shape {tuple(images.shape[1:])} and classes up to {int(labels.max())}; {name!r} "
            f"has {dataset.shape} and {len(dataset.class_names)} classes. Name the data set that it was distilled from."
        )
    metadata = {
        "stream": stream.model_dump(mode="json"),
        "class_names": list(dataset.class_names),
        "mean": list(dataset.normalization.mean),
        "std": list(dataset.normalization.std),
        "method": f"imported from {file.name}",
        "seed": 0,
    }
    memory = to_memory(images, labels, dataset.normalization, partition, metadata)
    save_memory(out, memory)
    return memory
