"""What programs give as images and labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

from iid_cl.data.given import labelled
from iid_cl.data.images import LabelledImages
from iid_cl.data.mapped import Mapped
from iid_cl.errors import UserError

IMAGES = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).view(2, 3, 2, 2)  # two images of twelve values each
LABELS = [5, 1]


class Pairs(Dataset[Any]):
    """Samples by index only; any index is answered, as by data sets that count on their length."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index % len(self.samples)]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(IMAGES, LABELS, strict=True))


def pictures() -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in IMAGES]


GIVEN = {
    "tensor": lambda: (IMAGES, LABELS),
    "floats": lambda: (IMAGES.double() / 255, torch.tensor(LABELS)),
    "array": lambda: (IMAGES.numpy(), np.array(LABELS)),
    "tensors": lambda: (list(IMAGES), LABELS),
    "pictures": lambda: (pictures(), LABELS),
    "labelled images": lambda: (LabelledImages(IMAGES, torch.tensor(LABELS)), None),
    "tensor data set": lambda: (TensorDataset(IMAGES, torch.tensor(LABELS)), None),
    "data set of pictures": lambda: (Pairs(list(zip(pictures(), LABELS, strict=True))), None),
    "data set of floats": lambda: (Pairs([(ToTensor()(p), np.int64(y)) for p, y in zip(pictures(), LABELS)]), None),  # noqa: B905
    "data set of three": lambda: (Pairs([[x, y, "more"] for x, y in zip(IMAGES, LABELS, strict=True)]), None),
    "iterable": lambda: (Stream(), None),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_all_kinds_are_the_same_images(kind: str) -> None:
    found = labelled(*GIVEN[kind]())
    assert torch.equal(found.images, IMAGES)
    assert found.labels.tolist() == LABELS


def test_a_data_set_of_torchvision() -> None:
    found = labelled(FakeData(size=3, image_size=(3, 4, 4), num_classes=4))
    assert found.images.shape == (3, 3, 4, 4)


def test_grey_and_transparent_pictures() -> None:
    grey = [Image.new("L", (3, 2), 9), Image.new("1", (3, 2), 1)]
    assert labelled(grey, [0, 0]).images[:, 0, 0, 0].tolist() == [9, 255]
    assert labelled([Image.new("RGBA", (1, 1), (0, 0, 0, 0))], [0]).images.flatten().tolist() == [255] * 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((IMAGES,), "^labels: are missing; give images and labels, or a data set"),
        ((LabelledImages(IMAGES, torch.tensor(LABELS)), LABELS), "^labels: are given, but the images bring theirs"),
        ((Pairs([]),), "^images: the data set holds no samples"),
        ((Pairs([IMAGES[0]]),), "^images: sample 0 of the data set is a Tensor"),
        ((Pairs([{"image": IMAGES[0], "label": 1}]),), "^images: sample 0 of the data set is a dict"),
        ((Pairs([(IMAGES[0], 1), (IMAGES[0], "cat")]),), "^labels: that of sample 1 is a str; give a class index"),
        ((Pairs([(IMAGES[0], True)]),), "^labels: that of sample 0 is a bool"),
        ((Pairs([(IMAGES[0], 0.5)]),), "^labels: that of sample 0 is a float"),
        ((Pairs([(torch.tensor([[[-2.1, 2.6]]]), 0)]),), r"^images: has floats between -2\.1 and 2\.6"),
        (([Image.new("L", (2, 2)), Image.new("RGB", (2, 2))], [0, 0]), "^images: has images of"),
        ((IMAGES, [0]), r"^labels: are of shape \(1,\) for 2 images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        labelled(*given)


def test_bytes_that_numpy_has_mapped_stay_on_disk(tmp_path: Path) -> None:
    """Those that run backwards are read."""
    images = torch.randint(256, (6, 3, 4, 4), dtype=torch.uint8)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    given = labelled(mapped, range(6)).images
    assert isinstance(given, Mapped)
    assert torch.equal(given.read(), images)
    turned = labelled(mapped[::-1], range(6)).images
    assert torch.equal(turned, images.flip(0))
    assert not isinstance(turned, Mapped)
    with pytest.raises(UserError, match=r"^images: are of shape \(6, 8, 8, 3\), with their channels last"):
        labelled(np.repeat(np.repeat(mapped, 2, 2), 2, 3).transpose(0, 2, 3, 1), range(6))
    with pytest.raises(UserError, match=r"^images: are of shape \(6, 3, 4\) and not"):
        labelled(mapped[..., 0], range(6))
