"""Distil once, train anywhere: a distilled memory in plain PyTorch.

Needs torch and safetensors, nothing of iid-cl. Make a memory first:

    iid-cl distill digits --ipc 10 -o digits.safetensors
    python examples/train_anywhere.py digits.safetensors
"""

import argparse
import json

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional


def read(path):
    """Images (N, C, H, W) in [0, 1], labels (N,), and the metadata of a memory of whole images."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["iid_cl"])
        images = file.get_tensor("images").float() / 255
        labels = file.get_tensor("labels").long()
    grid = about["partition"]
    if grid > 1:  # a stored image is a grid of smaller ones, in rows
        count, channels, height, width = images.shape
        parts = images.reshape(count, channels, grid, height // grid, grid, width // grid)
        parts = parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height // grid, width // grid)
        images = functional.interpolate(parts, size=(height, width), mode="bilinear", align_corners=False)
        labels = labels.repeat_interleave(grid**2)
    return images, labels, about


def network(channels, classes):
    """A small convolutional network for images of any size."""
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1),
        nn.GroupNorm(8, 64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.GroupNorm(8, 128),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(512, classes),
    )


def main(path, epochs=300, seed=0):
    """Trains on the memory alone; returns the network, and what turns images in [0, 1] into its input."""
    torch.manual_seed(seed)
    images, labels, about = read(path)
    mean, std = (torch.tensor(about[key]).view(-1, 1, 1) for key in ("mean", "std"))

    def prepare(unit):
        return (unit - mean) / std

    model = network(images.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = functional.cross_entropy(model(prepare(images[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    print(f"{len(images)} images of {about['method']}, loss {loss:.3f} after {epochs} epochs")
    return model, prepare


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("memory", help="a memory file")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--out", default="model.safetensors", help="where the trained weights go")
    arguments = parser.parse_args()
    trained, _ = main(arguments.memory, arguments.epochs)
    save_file(trained.state_dict(), arguments.out)
