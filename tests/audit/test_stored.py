"""What is stored is compared with its sources and with the test images, in whatever form it is stored."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from iid_cl.audit.stored import Foreign, compare_stored, quality_of
from iid_cl.memory.dct import CodedClass, DctSet
from iid_cl.memory.dct_format import exact, quantise
from iid_cl.memory.exemplars import Exemplars, ExemplarSet
from iid_cl.memory.jpeg import JpegSet, encode
from iid_cl.memory.partition import join, reduce_bytes

SHAPE = (3, 16, 16)


def noise(count: int, seed: int) -> Tensor:
    return torch.randint(256, (count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


SOURCES = {0: noise(8, 1), 4: noise(8, 2)}
TEST = noise(5, 3)
OTHERS = noise(8, 4)  # in neither part


def whole(images: dict[int, Tensor]) -> Exemplars:
    return ExemplarSet.from_classes(images)


def halved(images: dict[int, Tensor]) -> Exemplars:
    """Four images at half their side in each stored image."""
    return ExemplarSet.from_classes({c: join(reduce_bytes(group, 2), 2) for c, group in images.items()}, partition=2)


def as_jpeg(images: dict[int, Tensor]) -> Exemplars:
    return JpegSet.from_classes({c: encode(group, 40) for c, group in images.items()}, SHAPE)


def as_coefficients(images: dict[int, Tensor]) -> Exemplars:
    """Each class has a step of its own."""
    coded = {c: CodedClass.of(quantise(exact(group), 20.0 + c), 20.0 + c) for c, group in images.items()}
    return DctSet.from_classes(coded, SHAPE)


FORMS = pytest.mark.parametrize("form", [whole, halved, as_jpeg, as_coefficients])
Form = Callable[[dict[int, Tensor]], Exemplars]


def compared(memory: Exemplars, *, real: bool, test: Tensor = TEST) -> dict[str, int]:
    return compare_stored(memory, test, SOURCES.__getitem__, real=real)


@FORMS
def test_real_images_are_found_among_their_sources(form: Form) -> None:
    memory = form({0: SOURCES[0][[6, 1, 2, 3]], 4: SOURCES[4][[0, 1, 0, 1]]})  # the last grid is filled up
    assert compared(memory, real=True) == {"images": 8, "among_sources": 8, "also_in_test": 0}


@FORMS
@pytest.mark.parametrize("real", [True, False])
def test_a_stored_test_image_is_found(form: Form, real: bool) -> None:
    memory = form({0: SOURCES[0][:4], 4: torch.cat([SOURCES[4][:2], TEST[[3]], SOURCES[4][[5]]])})
    with pytest.raises(Foreign) as caught:
        compared(memory, real=real)
    assert (caught.value.label, caught.value.number, caught.value.what) == (4, 2, "is test image 3")


@FORMS
def test_a_real_memory_holds_nothing_else(form: Form) -> None:
    memory = form({0: torch.cat([SOURCES[0][:3], OTHERS[:1]])})
    with pytest.raises(Foreign) as caught:
        compared(memory, real=True)
    assert (caught.value.number, caught.value.what) == (3, "is none of those that reached the memory")
    assert compared(memory, real=False) == {"images": 4, "among_sources": 0, "also_in_test": 0}


@FORMS
def test_an_image_of_another_class_is_no_source(form: Form) -> None:
    memory = form({0: SOURCES[0][:4], 4: SOURCES[0][4:]})
    with pytest.raises(Foreign) as caught:
        compared(memory, real=True)
    assert (caught.value.label, caught.value.number) == (4, 0)


@FORMS
@pytest.mark.parametrize("real", [True, False])
def test_a_copy_in_the_data_set_is_counted(form: Form, real: bool) -> None:
    memory = form({0: SOURCES[0][:4]})
    counts = compared(memory, real=real, test=torch.cat([TEST, SOURCES[0][[2]], SOURCES[4][[2]]]))
    assert counts == {"images": 4, "among_sources": 4 if real else 0, "also_in_test": 1}


def test_a_format_that_blurs_test_images_proves_nothing_of_synthetic_ones() -> None:
    """At quality 1 images that are nearly grey become the same file."""
    grey = torch.full((3, *SHAPE), 128, dtype=torch.uint8)
    test = grey + torch.arange(3, dtype=torch.uint8)[:, None, None, None]
    memory = JpegSet.from_classes({0: encode(grey[:1], 1)}, SHAPE)
    assert compared(memory, real=False, test=test)["also_in_test"] == 1
    with pytest.raises(Foreign):
        compared(memory, real=True, test=test)


def test_coarse_steps_that_blur_test_images_prove_nothing_of_synthetic_ones() -> None:
    grey = torch.full((3, *SHAPE), 128, dtype=torch.uint8)
    test = grey + torch.arange(3, dtype=torch.uint8)[:, None, None, None]
    memory = DctSet.from_classes({0: CodedClass.of(quantise(exact(grey[:1]), 200.0), 200.0)}, SHAPE)
    assert compared(memory, real=False, test=test)["also_in_test"] == 1
    with pytest.raises(Foreign):
        compared(memory, real=True, test=test)


def test_the_quality_is_read_from_the_header() -> None:
    for quality in (1, 25, 50, 95):
        memory = JpegSet.from_classes({0: encode(noise(1, 5), quality)}, SHAPE)
        assert quality_of(memory) == quality
    other = JpegSet.from_classes({0: [file.replace(b"JFIF", b"JFIX") for file in encode(noise(1, 5), 25)]}, SHAPE)
    assert quality_of(other) is None
