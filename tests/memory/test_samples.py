"""A memory's images as a PyTorch data set."""

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import ToPILImage

from iid_cl.data.images import LabelledImages
from iid_cl.errors import UserError
from iid_cl.memory.samples import MemorySamples

# grey levels 0, 1, ..., 255 as images of one pixel, each with its level modulo 3 as label
LEVELS = LabelledImages(torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(256) % 3)


def test_a_sample_is_a_float_image_and_a_number() -> None:
    image, label = MemorySamples(LEVELS)[51]
    assert image.dtype == torch.float32
    assert image.shape == (1, 1, 1)
    assert image.item() == pytest.approx(0.2)  # 51 / 255
    assert (label, type(label)) == (0, int)


@pytest.mark.parametrize("index", [slice(1, 3), [1, 2], torch.tensor([1, 2])], ids=str)
def test_several_samples_are_tensors(index: object) -> None:
    images, labels = MemorySamples(LEVELS)[index]
    assert (images.flatten() * 255).round().tolist() == [1, 2]
    assert labels.tolist() == [1, 2]


def test_a_pil_transform_sees_every_level_as_it_was() -> None:
    samples = MemorySamples(LEVELS, lambda image: torch.tensor(ToPILImage()(image).getpixel((0, 0))))
    assert samples[:][0].tolist() == list(range(256))


def test_a_loader_reads_it() -> None:
    batches = list(DataLoader(MemorySamples(LEVELS, torch.neg), batch_size=100))
    assert [len(y) for _, y in batches] == [100, 100, 56]
    assert batches[2][0].min().item() == -1


def test_draws_are_uniform_and_repeat_only_when_all_came() -> None:
    samples = MemorySamples(LabelledImages(LEVELS.images[:4], LEVELS.labels[:4]))
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4)
    for _ in range(2000):
        levels = (samples.draw(2, generator)[0].flatten() * 255).round().long()
        assert len(set(levels.tolist())) == 2
        counts[levels] += 1
    assert (counts - 1000).abs().max() < 4 * (2000 * 0.5 * 0.5) ** 0.5  # four standard deviations of a half's count
    six = (samples.draw(6, generator)[0].flatten() * 255).round().long()
    assert sorted(six[:4].tolist()) == [0, 1, 2, 3]
    assert len(set(six[4:].tolist())) == 2


def test_an_empty_draw_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a batch of 0 from a memory of 256 images"):
        MemorySamples(LEVELS).draw(0, torch.Generator())
