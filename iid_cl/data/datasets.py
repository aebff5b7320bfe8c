"""Loading the named data sets of :data:`iid_cl.config.datasets.DATASETS` as uint8 tensors."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch

from iid_cl.config.datasets import DATASETS, SOURCES, DatasetInfo, info_of
from iid_cl.config.experiment import DomainConfig, StreamConfig
from iid_cl.data.folders import list_class_folders, load_files, some_names, unread_files
from iid_cl.data.images import (
    ALL_AUGMENTATIONS,
    GREY,
    IMAGENET,
    ImageDataset,
    LabelledImages,
    Normalization,
    first_classes,
    limit_images,
    validation_split,
)
from iid_cl.data.places import cache_folder, default_data_root
from iid_cl.data.remarks import reading_remarks
from iid_cl.errors import UserError
from iid_cl.seeding import make_generator

DIGITS = tuple("0123456789")


def load_dataset(config: StreamConfig, data_root: Path | None, seed: int = 0) -> ImageDataset:
    """Loads the configured data set, reduced by ``first_classes``, ``validation`` and the limits, if they are set.

    Args:
        config: names the data set.
        data_root: folder of the data sets (of the images themselves for ``image_folder``); None takes
            :func:`default_data_root`, or the working folder for an address such as ``npz:images.npz``.
        seed: draws the validation split.

    Raises:
        UserError: the data set is missing and cannot be downloaded, or its files are unusable.
    """
    if config.domains is not None:
        from iid_cl.data.domains import join_domains  # torchvision takes a second

        parts = [(part, _domain(config, part, data_root, seed)) for part in config.parts]
        return join_domains(parts, config.image_size)
    info = info_of(config.dataset)
    if config.image_size is not None and not info.resized:
        kinds = (*DATASETS.values(), *SOURCES.values())
        names = ", ".join(sorted(other.name for other in kinds if other.resized))
        raise UserError(
            f"stream.image_size: {config.image_size} has no effect on {config.dataset!r}; it applies to {names} only."
        )
    here = Path() if info.name in SOURCES else default_data_root()
    root = data_root if data_root is not None else here
    module, _, function = info.loader.partition(":")
    dataset: ImageDataset = getattr(import_module(module), function)(root, config, info)
    if config.first_classes is not None:
        dataset = first_classes(dataset, config.first_classes)
    if config.validation > 0:
        dataset = validation_split(dataset, config.validation, make_generator(seed, "validation"))
    if config.train_limit is not None or config.test_limit is not None:
        dataset = limit_images(dataset, config.train_limit, config.test_limit)
    return dataset


def _domain(config: StreamConfig, part: DomainConfig, data_root: Path | None, seed: int) -> ImageDataset:
    size = config.image_size if info_of(part.dataset).resized else None  # others are resized afterwards
    alone = config.model_copy(update={"dataset": part.dataset, "domains": None, "image_size": size})
    return load_dataset(alone, data_root, seed)


def load_torchvision(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """A torchvision data set."""
    from torchvision import datasets

    parts = {}
    for part in ("train", "test"):
        split = {"split": part} if info.split else {"train": part == "train"}
        try:
            source = _present_or_downloaded(partial(getattr(datasets, info.source), root, **split), root, info)
            parts[part] = _as_tensors(source)
        except (ValueError, OSError, EOFError, KeyError, TypeError, AssertionError) as error:
            raise UserError(
                f"stream.dataset: {info.name!r} in {root} is damaged ({' '.join(str(error).split())}); "
                f"remove its files to download them again, or put {info.layout} there anew."
            ) from None
    names = tuple(str(name) for name in getattr(source, "classes", DIGITS))
    normalization = Normalization(info.mean, info.std)
    return ImageDataset(info.name, parts["train"], parts["test"], names, normalization, augmentations(info))


def augmentations(info: DatasetInfo) -> tuple[str, ...]:
    """The transformations that suit a data set."""
    return ALL_AUGMENTATIONS if info.flips else tuple(name for name in ALL_AUGMENTATIONS if name != "flip")


def _present_or_downloaded(factory: Callable[..., Any], root: Path, info: DatasetInfo) -> Any:
    try:
        return factory(download=False)
    except RuntimeError:
        pass  # torchvision: the files are missing or incomplete
    try:
        root.mkdir(parents=True, exist_ok=True)
        return factory(download=True)
    except (URLError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"stream.dataset: {info.name!r} is not in {root} and could not be downloaded ({reason}); put {info.layout} "
            "there, or name another folder with --data-root or IID_CL_DATA."
        ) from None


def _as_tensors(part: Any) -> LabelledImages:
    """torchvision's arrays as (N, C, H, W), wherever their channels are."""
    images = torch.as_tensor(np.asarray(part.data))
    labels = torch.as_tensor(np.asarray(part.labels if hasattr(part, "labels") else part.targets))
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    try:
        return LabelledImages(images.contiguous(), labels)
    except UserError as error:  # of files, not of what the user gave
        raise ValueError(str(error)) from None


def load_tiny_imagenet(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """Tiny ImageNet in its archive's layout; the labelled validation images are the test set."""
    base = root / "tiny-imagenet-200"
    ids_file, val_file = base / "wnids.txt", base / "val" / "val_annotations.txt"
    for file in (ids_file, val_file):
        if not file.is_file():
            raise UserError(
                f"stream.dataset: 'tiny_imagenet' needs {file}; unpack tiny-imagenet-200.zip into {root}, or "
                "name another folder with --data-root or IID_CL_DATA."
            )
    try:
        ids = sorted(ids_file.read_text(encoding="utf-8").split())
        lines = val_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"stream.dataset: 'tiny_imagenet' in {root} is damaged ({error}); unpack it again.") from None
    _, train_files = list_class_folders(base / "train", ids)
    test_files: dict[str, list[Path]] = {name: [] for name in ids}
    for row in (line.split("\t")[:2] for line in lines if line.strip()):
        if len(row) != 2 or row[1] not in ids or Path(row[0]).name != row[0]:
            raise UserError(f"{val_file}: the line {row!r} does not name an image and a class of wnids.txt.")
        test_files[row[1]].append(base / "val" / "images" / row[0])
    for name, files in test_files.items():
        if not files:
            raise UserError(f"{val_file}: names no image of class {name!r}; unpack the archive again.")
    return _from_files(info.name, ids, train_files, list(test_files.values()), config, root)


def load_image_folder(root: Path, config: StreamConfig, info: DatasetInfo) -> ImageDataset:
    """The user's images, in train/CLASS and test/CLASS; its remarks name the files that are not read."""
    names, train_files = list_class_folders(root / "train")
    _, test_files = list_class_folders(root / "test", names)
    dataset = _from_files(info.name, names, train_files, test_files, config, root)
    unread = [path for part in ("train", "test") for path in unread_files(root / part, dataset.class_names)]
    if not unread:
        return dataset
    remark = f"files not read: {some_names(root, unread)}; they are hidden, or no images of a kind that is read here"
    return replace(dataset, remarks=(remark, *dataset.remarks))


def _from_files(
    name: str,
    class_names: list[str],
    train: list[list[Path]],
    test: list[list[Path]],
    config: StreamConfig,
    root: Path,
) -> ImageDataset:
    first = slice(config.first_classes)  # no further class is decoded
    parts = [load_files(files[first], config.image_size, cache_folder(), config.cache) for files in (train, test)]
    shape, test_shape = (tuple(part.images.shape[1:]) for part in parts)
    if shape != test_shape:
        raise UserError(
            f"stream.dataset: {name!r} has training images of shape {shape} but test images of shape {test_shape}; "
            "set stream.image_size, or convert them."
        )
    normalization = GREY if shape[0] == 1 else IMAGENET
    paths = [[path for members in files[first] for path in members] for files in (train, test)]
    return ImageDataset(
        name,
        LabelledImages(parts[0].images, parts[0].labels),
        LabelledImages(parts[1].images, parts[1].labels),
        tuple(class_names[first]),
        normalization,
        ALL_AUGMENTATIONS,
        reading_remarks(root, list(zip(parts, paths, strict=True))),
    )
