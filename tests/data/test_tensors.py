import torch

from iid_cl.data.tensors import TensorImages

IMAGES = torch.arange(3 * 4, dtype=torch.uint8).view(3, 1, 2, 2)


def test_a_sample_is_an_image_and_a_number() -> None:
    data = TensorImages(IMAGES, torch.tensor([5, 0, 5]))
    assert len(data) == 3
    assert data.targets == [5, 0, 5]
    image, label = data[1]
    assert image.tolist() == [[[4, 5], [6, 7]]]
    assert (label, type(label)) == (0, int)


def test_labels_may_be_tensors_and_say_something_else_than_the_targets() -> None:
    data = TensorImages(IMAGES, torch.tensor([15, 20, 35]), targets=[5, 0, 5], tensor_labels=True)
    assert data.targets == [5, 0, 5]
    label = data[2][1]
    assert isinstance(label, torch.Tensor)
    assert label.shape == ()
    assert label == 35
