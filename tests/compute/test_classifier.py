"""The training loop against softmax regression in NumPy, and what it draws from its generator."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from iid_cl.compute.classifier import Training, accuracy, predict, train_classifier
from iid_cl.config.distill import NetworkConfig
from iid_cl.nets import Network, build_network

TRAINING = fields(Training)


class Linear(Network):
    """Softmax regression: the pixels are the features."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.classifier = nn.Linear(inputs, classes)
        self.seen = []

    def embed(self, images):
        self.seen.append(images.detach().clone())
        return images


def data(count=12, classes=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 2, 2, generator=generator)
    return images, torch.arange(count) % classes


def linear(seed=1):
    network = Linear(4, 3)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return network


def train(network, images, labels, seed=2, **options):
    values = {"epochs": 3, "batch_size": 5, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    training = Training(**values | {field.name: options.pop(field.name) for field in TRAINING if field.name in options})
    generator = torch.Generator().manual_seed(seed)
    train_classifier(network, images, labels, training, generator=generator, **{"augmentations": ()} | options)


def regression(network, images, labels, rates, momentum=0.9, weight_decay=0.01):
    """Gradient descent on the mean cross-entropy of all images at once, one step per rate."""
    weight, bias = (p.detach().double().numpy().copy() for p in (network.classifier.weight, network.classifier.bias))
    x = images.double().flatten(1).numpy()
    y = labels.double().numpy() if labels.ndim == 2 else np.eye(3)[labels.numpy()]
    speeds = [0, 0]
    for rate in rates:
        scores = x @ weight.T + bias
        shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        errors = (shares - y) / len(x)
        for i, (values, gradient) in enumerate(((weight, errors.T @ x), (bias, errors.sum(0)))):
            speeds[i] = momentum * speeds[i] + gradient + weight_decay * values
            values -= rate * speeds[i]
    return weight, bias


def assert_trained_as(network, expected):
    for parameter, values in zip((network.classifier.weight, network.classifier.bias), expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), values, rtol=1e-4, atol=1e-5)


def test_steps_are_sgd_on_cross_entropy():
    images, labels = data()
    network = linear()
    expected = regression(network, images, labels, [0.1] * 4)
    train(network, images, labels, epochs=4, batch_size=12, lr_drop=False)
    assert_trained_as(network, expected)


def shares():
    """Class probabilities of the twelve images, none of them certain."""
    rows = torch.rand(12, 3, generator=torch.Generator().manual_seed(4)) + 0.1
    return rows / rows.sum(1, keepdim=True)


def test_class_probabilities_are_targets_of_the_cross_entropy():
    images, labels = data()
    network, hard = linear(), linear()
    expected = regression(network, images, shares(), [0.1] * 4)
    train(network, images, shares(), epochs=4, batch_size=12, lr_drop=False)
    train(hard, images, labels, epochs=4, batch_size=12, lr_drop=False)
    assert_trained_as(network, expected)
    assert not torch.allclose(network.classifier.weight, hard.classifier.weight, atol=1e-3)


def test_certain_probabilities_are_labels():
    images, labels = data()
    soft, hard = linear(), linear()
    train(soft, images, torch.eye(3)[labels], batch_size=5)
    train(hard, images, labels, batch_size=5)
    torch.testing.assert_close(soft.classifier.weight, hard.classifier.weight)


def test_class_probabilities_travel_with_their_images():
    images = torch.eye(4).view(4, 1, 2, 2)
    wanted = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1], [0.1, 0.1, 0.1, 0.7], [0.3, 0.5, 0.1, 0.1]])
    network = Linear(4, 4)
    train(network, images, wanted, epochs=400, batch_size=2, weight_decay=0.0, lr=0.5)
    torch.testing.assert_close(network(images).softmax(1).detach(), wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("epochs", "rates"),
    [(1, [0.1]), (2, [0.1, 0.01]), (4, [0.1, 0.1, 0.01, 0.01]), (6, [0.1] * 3 + [0.01] * 3)],
    ids=["1", "2", "4", "6"],
)
def test_learning_rate_falls_to_a_tenth_half_way(epochs, rates):
    images, labels = data()
    network = linear()
    expected = regression(network, images, labels, rates)
    train(network, images, labels, epochs=epochs, batch_size=12)
    assert_trained_as(network, expected)


def test_momentum_and_weight_decay_are_those_given():
    images, labels = data()
    network = linear()
    expected = regression(network, images, labels, [0.1] * 3, momentum=0.5, weight_decay=0.2)
    train(network, images, labels, batch_size=12, momentum=0.5, weight_decay=0.2, lr_drop=False)
    assert_trained_as(network, expected)


def batches(network):
    return [batch.flatten(1) for batch in network.seen]


def test_every_epoch_shows_every_image_once():
    images, labels = data()
    network = linear()
    train(network, images, labels, epochs=3, batch_size=5)
    assert [len(batch) for batch in batches(network)] == [5, 5, 2] * 3
    for epoch in range(3):
        shown = torch.cat(batches(network)[3 * epoch : 3 * epoch + 3])
        assert sorted(shown.tolist()) == sorted(images.flatten(1).tolist())


def test_every_epoch_has_its_own_order():
    images, labels = data()
    network = linear()
    train(network, images, labels, epochs=2, batch_size=12)
    first, second = batches(network)
    assert not torch.equal(first, second)
    assert not torch.equal(first, images.flatten(1))


def test_weighted_images_are_shown_as_they_weigh():
    """An epoch still shows twelve images, on average 6, 3 and 3 times those that weigh 2, 1 and 1, and no other."""
    images, labels = data()
    network = linear()
    weights = torch.zeros(12, dtype=torch.float64)
    weights[[4, 7, 9]] = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    train(network, images, labels, epochs=200, batch_size=5, weights=weights)
    assert [len(batch) for batch in batches(network)] == [5, 5, 2] * 200
    shown = Counter(tuple(image) for batch in batches(network) for image in batch.tolist())
    counts = [shown.pop(tuple(images[row].flatten().tolist())) for row in (4, 7, 9)]
    assert not shown
    # binomial: standard deviations of 24.5, 21.2 and 21.2
    np.testing.assert_allclose(counts, [1200, 600, 600], atol=100)


def test_a_step_on_weighted_images_is_one_on_those_drawn():
    """With all the weight on one image, it is descent on that image alone."""
    images, labels = data()
    network, alone = linear(), linear()
    weights = torch.zeros(12)
    weights[8] = 3.0
    expected = regression(network, images[8:9], labels[8:9], [0.1, 0.1])
    train(network, images, labels, epochs=2, batch_size=12, lr_drop=False, weights=weights)
    train(alone, images[8:9], labels[8:9], epochs=2, batch_size=1, lr_drop=False)
    assert_trained_as(network, expected)
    assert_trained_as(alone, expected)


def test_labels_travel_with_their_images():
    images = torch.eye(4).view(4, 1, 2, 2)
    network = Linear(4, 4)
    train(network, images, torch.tensor([2, 0, 3, 1]), epochs=60, batch_size=2, weight_decay=0.0)
    assert network(images).argmax(1).tolist() == [2, 0, 3, 1]


def test_a_seed_repeats_and_another_does_not():
    images, labels = data()
    results = []
    for seed in (5, 5, 6):
        network = linear()
        train(network, images, labels, seed=seed, augmentations=("color", "crop"))
        results.append(network.classifier.weight.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_global_randomness_is_untouched():
    images, labels = data()
    network = linear()
    before = torch.get_rng_state()
    train(network, images, labels, augmentations=("color", "crop"))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_augmented_for_the_network_only():
    images, labels = data()
    before, network = images.clone(), linear()
    train(network, images, labels, epochs=1, batch_size=12, augmentations=("color",))
    assert torch.equal(images, before)
    shown = batches(network)[0]
    originals = images.flatten(1)
    assert torch.cdist(shown, originals).min(1).values.min() > 1e-4


def test_after_epoch_is_told_the_epochs_done():
    images, labels = data()
    network, calls = linear(), []
    train(network, images, labels, epochs=3, after_epoch=lambda epoch: calls.append((epoch, len(network.seen))))
    assert calls == [(1, 3), (2, 6), (3, 9)]


def test_network_trains_in_training_mode():
    images, labels = data()
    network, modes = linear().eval(), []
    train(network, images, labels, after_epoch=lambda epoch: modes.append(network.training))
    assert modes == [True] * 3


def test_predict_scores_batch_by_batch_in_evaluation_mode():
    images, _ = data(11)
    network = linear().train()
    scores = list(predict(network, images, batch_size=4))
    assert [len(batch) for batch in scores] == [4, 4, 3]
    assert not network.training
    assert not any(batch.requires_grad for batch in scores)
    weight, bias = (p.detach().double().numpy() for p in (network.classifier.weight, network.classifier.bias))
    expected = images.flatten(1).double().numpy() @ weight.T + bias
    np.testing.assert_allclose(torch.cat(scores).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_batch_norm_statistics_rest_while_predicting():
    config = NetworkConfig(name="convnet", width=4, depth=1, norm="batch")
    network = build_network(config, (1, 4, 4), 2, torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    list(predict(network, torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) + 3))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_accuracy_by_hand():
    network = Linear(2, 2)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.eye(2))
        network.classifier.bias.zero_()
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0], [1.0, 5.0]]).view(4, 1, 1, 2)  # 0, 1, 0, 1
    assert accuracy(network, images, torch.tensor([0, 1, 1, 1])) == 0.75


def test_accuracy_over_several_batches_weighs_images_equally():
    network = Linear(2, 2)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.eye(2))
        network.classifier.bias.zero_()
    images = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(600, 1, 1, 2)
    labels = torch.zeros(600, dtype=torch.long)
    labels[-30:] = 1  # wrong, all in the last batch
    assert accuracy(network, images, labels) == pytest.approx(0.95)
