"""Digests of the contents of images and data sets."""

import hashlib

import torch
from torch import Tensor

from iid_cl.data.images import ImageDataset
from iid_cl.data.mapped import chunks

DIGEST_BYTES = 16  # two different images have equal digests with probability 2**-128


def digests(images: Tensor) -> list[bytes]:
    """BLAKE2b digest of each image's bytes, of uint8 images (N, C, H, W)."""
    return [digest for chunk in chunks(images) for digest in _digests(chunk)] if len(images) else []


def _digests(images: Tensor) -> list[bytes]:
    size, data = images[0].numel(), _bytes(images)
    return [
        hashlib.blake2b(data[start : start + size], digest_size=DIGEST_BYTES).digest()
        for start in range(0, len(images) * size, size)
    ]


def fingerprint(dataset: ImageDataset) -> str:
    """SHA-256, as 64 hexadecimal digits, of the whole data set.

    It covers the images, labels and shapes of both parts, in their order, and the class names.
    """
    digest = hashlib.sha256()
    for part in (dataset.train, dataset.test):
        digest.update(f"{tuple(part.images.shape)} ".encode())
        for chunk in chunks(part.images):
            digest.update(_bytes(chunk))
        digest.update(_bytes(part.labels.to(torch.int64)))
    for name in dataset.class_names:
        text = name.encode("utf-8", "surrogateescape")
        digest.update(f"{len(text)} ".encode() + text)
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    """A tensor's values in order, without a copy if it is contiguous."""
    return tensor.detach().cpu().contiguous().numpy().reshape(-1).data.cast("B")
