"""Steps of SGD, and the recorded ones of a GPU against those that are not."""

import contextlib

import pytest
import torch
from torch.nn import functional

from iid_cl.compute import sgd_step as sgd
from iid_cl.compute.arithmetic import EAGER, Arithmetic
from iid_cl.compute.classifier import Training, train_classifier
from iid_cl.compute.sgd_step import SgdStep
from iid_cl.config.distill import NetworkConfig
from iid_cl.data.augmentation import augment, draw_each
from iid_cl.nets import build_network
from tests.compiling import quiet_compiler

NAMES = ("color", "crop", "cutout", "flip", "scale", "rotate")


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pictures(count=21, classes=3):
    images = torch.randn(count, 3, 8, 8, generator=seeded(0))
    labels = torch.arange(count) % classes
    return images + labels[:, None, None, None], labels


def network(device="cpu", norm="instance"):
    return build_network(NetworkConfig(width=8, depth=2, norm=norm), (3, 8, 8), 3, seeded(1), device)


def weights_of(trained):
    return torch.cat([value.detach().float().flatten().cpu() for value in trained.state_dict().values()])


def optimizer_of(trained, lr=0.05):
    return torch.optim.SGD(trained.parameters(), lr=lr, momentum=0.9, weight_decay=0.01)


def test_a_step_is_sgd_on_the_cross_entropy_of_augmented_images():
    images, labels = pictures()
    parameters = draw_each(len(images), NAMES, (8, 8), seeded(2), torch.device("cpu"))
    stepped, expected = network(), network()
    step, optimizer = SgdStep(stepped, optimizer_of(stepped), EAGER), optimizer_of(expected)
    for _ in range(2):
        scores = step(images, labels, parameters)
        wanted = expected(augment(images[:, None], parameters)[:, 0])
        torch.testing.assert_close(scores, wanted)
        assert not scores.requires_grad
        optimizer.zero_grad()
        functional.cross_entropy(wanted, labels).backward()
        optimizer.step()
    torch.testing.assert_close(weights_of(stepped), weights_of(expected))


class Stand:
    """Stands in for a CUDA graph, a stream, or the with-block of either, and notes what happens."""

    def __init__(self, notes, *rest, **options):
        self.notes, self.options = notes, options

    def __enter__(self):
        self.notes.append("record")

    def __exit__(self, *_):
        pass

    def replay(self):
        self.notes.append("replay")

    def pool(self):
        return self

    def wait_stream(self, other):
        pass


def test_a_step_is_recorded_when_it_has_settled_and_again_for_another_rate(monkeypatch):
    """Smaller batches are taken as they are, and what is replayed gets its batch first."""
    notes, one = [], network()
    optimizer = optimizer_of(one, lr=0.5)
    step = SgdStep(one, optimizer, EAGER)
    monkeypatch.setattr(step, "_records", True)
    monkeypatch.setattr(step, "_take", lambda given: notes.append(len(given[0])) or torch.zeros(len(given[0]), 3))
    for name in ("CUDAGraph", "graph", "Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *rest, **options: Stand(notes, *rest, **options))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: notes.append("clear"), raising=False)
    monkeypatch.setattr(sgd, "SETTLING", 2)
    images, labels = pictures(64)

    def taken(first, count):
        notes.clear()
        step(images[first : first + count], labels[first : first + count])
        return list(notes)

    assert taken(0, 8) == taken(8, 8) == [8]
    assert taken(16, 8) == ["clear", "record", 8, "clear", "replay"]
    assert taken(24, 8) == ["replay"]
    assert torch.equal(step._inputs[0], images[24:32])
    assert torch.equal(step._inputs[1], labels[24:32])
    assert taken(32, 5) == [5]
    assert taken(40, 8) == ["replay"]
    optimizer.param_groups[0]["lr"] = 0.05
    assert taken(48, 8) == ["clear", "record", 8, "clear", "replay"]
    assert taken(56, 8) == ["replay"]


def trained(monkeypatch, recorded, images, labels, *, norm="instance", compiled=False, epochs=8):
    """A network trained on a GPU; 21 images in batches of 8 leave a smaller one, and the rate falls half way."""
    if not recorded:
        monkeypatch.setattr(sgd, "SETTLING", 10**9)
    one = network("cuda", norm)
    train_classifier(
        one, images.to("cuda"), labels.to("cuda"), Training(epochs, 8, lr=0.05, weight_decay=0.01),
        augmentations=NAMES, generator=seeded(3), arithmetic=Arithmetic(torch.float32, compiled),
    )  # fmt: skip
    monkeypatch.undo()
    return weights_of(one)


@pytest.mark.gpu
@quiet_compiler
@pytest.mark.parametrize(("norm", "compiled"), [("instance", False), ("batch", False), ("instance", True)])
def test_recorded_steps_go_the_way_of_others(norm, compiled, monkeypatch):
    images, labels = pictures()
    whole, plain, start = (
        trained(monkeypatch, recorded, images, labels, norm=norm, compiled=compiled, epochs=epochs)
        for recorded, epochs in ((True, 8), (False, 8), (False, 0))
    )
    assert float((plain - start).norm()) > 0.5
    assert float((whole - plain).norm()) < 0.05 * float((plain - start).norm())


@pytest.mark.gpu
def test_recorded_steps_take_class_probabilities(monkeypatch):
    images, labels = pictures()
    soft = functional.one_hot(labels, 3) * 0.7 + 0.1
    whole, plain = (trained(monkeypatch, recorded, images, soft) for recorded in (True, False))
    assert float((whole - plain).norm()) < 0.02 * float(plain.norm())


@pytest.mark.gpu
def test_networks_take_recorded_steps_in_turn():
    """They share memory, and neither disturbs the other."""
    images, labels = (tensor.to("cuda") for tensor in pictures())

    def steps(count):
        found = [network("cuda") for _ in range(count)]
        each = [SgdStep(one, optimizer_of(one), EAGER) for one in found]
        scores = [step(images, labels) for _ in range(12) for step in each]
        return weights_of(found[0]), scores[-count].cpu()

    for alone, beside in zip(steps(1), steps(3), strict=True):
        torch.testing.assert_close(alone, beside, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_a_recorded_step_outlives_what_cublas_worked_in_before():
    """An earlier step's is freed with it, once PyTorch's compiler has forgotten it: then it is memory of nobody's."""
    images, labels = (tensor.to("cuda") for tensor in pictures())

    def steps(count, between=lambda: None):
        one = network("cuda")
        step = SgdStep(one, optimizer_of(one), EAGER)
        for _ in range(count):
            step(images, labels)
        between()
        for _ in range(count):
            step(images, labels)
        return weights_of(one)

    def forget():
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()

    expected = steps(6)
    torch.testing.assert_close(steps(6, forget), expected, rtol=1e-2, atol=1e-3)
