"""The configuration of networks and of the distillation: every key once, with its default, unit and meaning."""

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from iid_cl.config.base import Batch, Few, Fraction, Line, Positive, Rate, Section, Weight, read_exponent
from iid_cl.config.networks import NAMES, NetworkName, info_of, is_address
from iid_cl.config.objectives import OBJECTIVE_INFO, SAYS, ObjectiveName, partitions_in_words

FEW, MANY = 4, 32  # images of a class: the more there are, the nearer their mean is to the real one from the start

Augmentation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]


class NetworkConfig(Section):
    """A network. Width and depth belong to the ConvNet; an MLP and LeNet have no norm.

    >>> NetworkConfig(width=64).label
    'convnet (width 64)'
    >>> NetworkConfig(name="timm:resnet18.a1_in1k", weights="hub", freeze="features").pretrained
    True
    """

    name: NetworkName = Field(default="convnet", description=f"Architecture: {NAMES}.")
    width: Annotated[int, Field(ge=1, le=2048)] = Field(default=128, description="Channels of each ConvNet block.")
    depth: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None,
        description="Number of ConvNet blocks, each halving the image's side; null: until about 4 pixels a side are "
        "left, as published (3 for 28 or 32 pixels, 4 for 64, 1 for 8).",
    )
    norm: Literal["instance", "group", "batch", "none"] = Field(default="instance", description="Normalisation.")
    weights: Line = Field(
        default="none",
        description="Trained weights of all but the head: none; hub, those that a library publishes; or a file "
        "(safetensors, .pt, .pth), or a finished run's directory.",
    )
    freeze: Literal["none", "features"] = Field(
        default="none", description="none: everything trains; features: only the head trains, on trained weights."
    )
    resize: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        default=None,
        description="Side in pixels that a library's network enlarges its images to; null: it takes them as they are.",
    )

    @model_validator(mode="after")
    def _own_keys(self) -> "NetworkConfig":
        """A key that the architecture would ignore is a mistake."""
        for key in sorted(set(NetworkConfig.model_fields) - {"name", *info_of(self.name).keys}):
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(f"{key}: {value!r} means nothing to {self.name!r}; leave it out")
        if self.weights == "hub" and not is_address(self.name):
            raise ValueError(f"weights: 'hub' has none for {self.name!r}; name a file, or a run's directory")
        if self.freeze == "features" and not self.pretrained:
            raise ValueError("freeze: 'features' would keep random weights; set weights, too")
        return self

    @property
    def pretrained(self) -> bool:
        """Whether all but the head has trained weights."""
        return self.weights != "none"

    def blocks(self, height: int, width: int) -> int:
        """The depth in force on images of this size; by default 3 for 32x32, 4 for 64x64 (DC, ICLR 2021)."""
        return self.depth if self.depth is not None else max(1, round(math.log2(min(height, width) / 4)))

    @property
    def label(self) -> str:
        """The architecture with what differs from its defaults, e.g. ``convnet (width 64)``."""
        fields = NetworkConfig.model_fields
        odd = [f"{key} {getattr(self, key)}" for key in fields if getattr(self, key) != fields[key].default]
        odd = [text for text in odd if not text.startswith("name ")]
        return f"{self.name} ({', '.join(odd)})" if odd else self.name


class EmbedderConfig(NetworkConfig):
    """The embedding network: randomly initialised and normalising per sample, or with trained weights.

    >>> EmbedderConfig(depth=2).blocks(32, 32), EmbedderConfig().width
    (2, 32)
    """

    width: Annotated[int, Field(ge=1, le=2048)] = Field(
        default=32, description="Channels of each ConvNet block (published: 128)."
    )

    @model_validator(mode="after")
    def _separates_images(self) -> "EmbedderConfig":
        """Refuses random weights where they cannot be drawn anew, and a norm that would mix classes."""
        if not self.pretrained and is_address(self.name):
            raise ValueError(f"weights: an embedder {self.name!r} needs trained ones; set hub, or name a file")
        if not self.pretrained and self.norm == "batch":
            raise ValueError(
                "norm: 'batch' would mix the classes in an embedder of random weights; use 'instance' or 'group'"
            )
        return self


class CentralizationConfig(Section):
    """Class centralization (CC) and the trained networks it needs."""

    weight: Weight = Field(
        default=0.0, description="Weight lambda_CC, e.g. 0.005; 0 leaves the term out and trains no networks for it."
    )
    form: Literal["quadratic", "exponential"] = Field(
        default="quadratic",
        description="With d the squared distance to the class mean: quadratic, the sum of d; exponential, the sum "
        "of max(0, exp(d) - beta), which leaves images alone that are close enough.",
    )
    beta: Annotated[float, Field(ge=1.0, allow_inf_nan=False), BeforeValidator(read_exponent)] = Field(
        default=2.0, description="beta of the exponential form, 1 or more."
    )
    network: NetworkConfig = Field(
        default_factory=lambda: NetworkConfig(),
        description="Network trained on the current experience's real images.",
    )
    trainings: Few = Field(default=2, description="Independent trainings per experience.")
    epochs: Positive = Field(default=10, description="Epochs of each training.")
    snapshots: Few = Field(default=5, description="Snapshots kept along each training, evenly spaced.")


class CovarianceConfig(Section):
    """Covariance matching (CM)."""

    weight: Weight = Field(default=0.3, description="Weight lambda_CM; 0 leaves the term out.")


class QueueConfig(Section):
    """The queue of embedders trained on the fly (IDM)."""

    networks: Few = Field(default=2, description="Networks trained in each iteration.")
    steps: Positive = Field(default=10, description="SGD steps of each of them.")
    batch_size: Batch = Field(default=256, description="Real images per such step.")
    cross_entropy: Weight = Field(
        default=0.01,
        description="Weight of the class-aware cross-entropy, times the network's training accuracy (in [0, 1]; in "
        "percent with the published scale, where 0.5 was published).",
    )


class DistillConfig(Section):
    """How a class is condensed.

    >>> DistillConfig(objective="idm").factor  # IDM stores grids of 2 x 2 images
    2
    """

    objective: ObjectiveName = Field(default="dm", description=f"Matching base: {SAYS}.")
    partition: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None,
        description="A stored image holds a grid of partition x partition smaller ones; "
        f"null: {partitions_in_words()}.",
    )
    iterations: Literal["auto"] | Annotated[int, Field(ge=0, le=10**9)] = Field(
        default="auto",
        description="Steps on the synthetic images; 0 stores the real images they start from. auto: 1000, or 300 "
        "from 4 images a class on, or 100 from 32 on; with idm and ncfm 1000.",
    )
    real_batch: Annotated[int, Field(ge=2, le=2**16)] = Field(
        default=128, description="Real images per class and iteration (published: 256)."
    )
    lr: Rate = Field(default=0.05, description="Learning rate of SGD on the images, in the unit of `scale`.")
    lr_schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="cosine: the rate falls to 0 over the iterations; constant: as published."
    )
    momentum: Fraction = Field(default=0.5, description="Momentum of SGD on the images.")
    retry: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="Where the images diverge, begin once more with `lr` times this; null: stop."
    )
    augment: list[Augmentation] | None = Field(
        default=None,
        description="Siamese augmentations, one drawn per class and iteration; null takes the data set's.",
    )
    scale: Literal["relative", "published"] = Field(
        default="relative",
        description="Unit of the losses. relative: the real features' spread and covariance norm, per image and "
        "pixel, so that one learning rate and one set of weights hold across networks, images per class and "
        "data sets. published: plain sums, whose settings (lr 1, cc 0.05, cm 0.01) are tied to the paper's networks.",
    )
    embedder: EmbedderConfig = Field(default_factory=lambda: EmbedderConfig(), description="Embedding network.")
    embedders: Literal["auto", "fresh", "queue"] = Field(
        default="auto",
        description="Where embedders come from. fresh: random weights in each iteration. queue: networks that train "
        "meanwhile on the experience's real images, with cross-entropy as a further term. auto: fresh with dm and lgm, "
        "a queue with idm and ncfm; memory.method auto takes a queue for coefficients of five classes or more.",
    )
    queue: QueueConfig = Field(
        default_factory=lambda: QueueConfig(), description="The queue of embedders, where there is one."
    )
    cc: CentralizationConfig = Field(
        default_factory=lambda: CentralizationConfig(), description="Class centralization."
    )
    cm: CovarianceConfig = Field(default_factory=lambda: CovarianceConfig(), description="Covariance matching.")

    @property
    def factor(self) -> int:
        """The partition in force: stored images are grids of factor x factor."""
        return self.partition if self.partition is not None else OBJECTIVE_INFO[self.objective].partition

    def length(self, ipc: int) -> int:
        """The iterations in force for ``ipc`` stored images of a class: more images need fewer (docs/results.md).

        >>> DistillConfig().length(10), DistillConfig().length(100), DistillConfig(iterations=7).length(10)
        (300, 100, 7)
        """
        if self.iterations != "auto":
            return self.iterations
        if self.embedder_source == OBJECTIVE_INFO[self.objective].embedders == "queue":
            return 1000
        shown = ipc * self.factor**2
        return 1000 if shown < FEW else 300 if shown < MANY else 100

    @property
    def embedder_source(self) -> Literal["fresh", "queue"]:
        """Where embedders come from: drawn afresh, or from a queue that is trained on the fly.

        An embedder with trained weights stays as it is: no queue, and like fresh ones it ties no classes together.
        """
        if self.embedder.pretrained:
            return "fresh"
        return OBJECTIVE_INFO[self.objective].embedders if self.embedders == "auto" else self.embedders
