"""Memories for a pretrained, frozen network, at equal bytes: distilled images, real ones, and statistics of features.

    python -m benchmarks.pretrained DATA FOLDER --backbone      # trains the network; again until done
    python -m benchmarks.pretrained DATA FOLDER --seed 0        # all memories for one seed
    python -m benchmarks.pretrained DATA FOLDER --write         # the ledger, from all seeds

DATA holds tiny-imagenet-200. Half of its classes (every second one) train the network, at 32 pixels. The memories are
of classes of the other half, which it has never seen. FOLDER keeps what has been done.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch.nn import functional

from iid_cl.config.distill import NetworkConfig
from iid_cl.config.experiment import StreamConfig
from iid_cl.data.augmentation import augment_each
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset
from iid_cl.evaluate.model import TrainedModel, save_model
from iid_cl.files import read_pt
from iid_cl.nets import build_network
from iid_cl.seeding import make_generator

SIDE, WIDTH = 32, 32
STEPS, BATCH, RATE = 2000, 128, 0.1  # of the network's training
CONFIG = NetworkConfig(width=WIDTH, norm="batch")
AUGMENTATIONS = ("crop", "flip")


def data_of(data: Path) -> ImageDataset:
    """Tiny ImageNet at 32 pixels."""
    return load_dataset(StreamConfig(dataset="tiny_imagenet", image_size=SIDE), data)


def train_backbone(data: Path, folder: Path, minutes: float) -> bool:
    """Trains the network further; returns whether it has taken all its steps."""
    deadline = time.perf_counter() + 60 * minutes
    dataset = data_of(data)
    known = list(range(0, len(dataset.class_names), 2))
    train, test = dataset.train.of_classes(known), dataset.test.of_classes(known)
    network = build_network(CONFIG, dataset.shape, len(known), make_generator(0, "backbone"))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / STEPS)))
    state_file, step = folder / "training.pt", 0
    if state_file.is_file():
        state = read_pt(state_file)
        step = state["step"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    network.train()
    while step < STEPS and time.perf_counter() < deadline:
        draws = make_generator(0, "backbone batch", step)
        rows = torch.randint(len(train), (BATCH,), generator=draws)
        images = augment_each(dataset.normalization.apply(train.images[rows]), AUGMENTATIONS, draws)
        loss = functional.cross_entropy(network(images), train.labels[rows] // 2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.2f}, {deadline - time.perf_counter():.0f} s left", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"step": step, "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict()}, state_file)  # fmt: skip
    if step < STEPS:
        return False
    network.eval()
    with torch.no_grad():
        scores = torch.cat([network(dataset.normalization.apply(part)) for part in test.images.split(500)])
    accuracy = float((scores.argmax(1) == test.labels // 2).float().mean())
    names = tuple(dataset.class_names[c] for c in known)
    model = TrainedModel(network, CONFIG, dataset.shape, names, dataset.normalization, [list(range(len(known)))])
    save_model(folder / "model.safetensors", model)
    (folder / "backbone.json").write_text(json.dumps({"accuracy": accuracy, "steps": STEPS}))
    print(f"the network classifies {100 * accuracy:.1f} % of the test images of its own {len(known)} classes")
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", action="store_true")
    parser.add_argument("--minutes", type=float, default=60)
    given = parser.parse_args()
    if given.backbone and not train_backbone(given.data, given.folder, given.minutes):
        print("not done; give the command again")
