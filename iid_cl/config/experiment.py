"""The typed configuration: every key once, with its default, unit and meaning.

Imports neither torch nor Avalanche, so that commands which only look at a configuration answer at once.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from iid_cl.budget import Budget
from iid_cl.config.base import Batch, Bytes, Few, Fraction, Name, Positive, Rate, Section, Seed, Weight
from iid_cl.config.distill import DistillConfig, NetworkConfig

Dataset = Literal["digits", "mnist", "fashion_mnist", "svhn", "cifar10", "cifar100", "tiny_imagenet", "image_folder"]
Method = Literal[
    "none",
    "reservoir",
    "random",
    "herding",
    "k_centre",
    "closest",
    "distilled",
    "hybrid",
    "auto",
    "cumulative",
    "joint",
]
REAL_METHODS = ("random", "herding", "k_centre", "closest")
DISTILLED_METHODS = ("distilled", "hybrid", "auto")
MOST_CELLS = 5000  # of a comparison
WITHOUT_MEMORY: tuple[Method, ...] = ("none", "joint", "cumulative")  # the bounds


class StreamConfig(Section):
    """Which data arrives in which order."""

    dataset: Dataset = Field(default="digits", description="Name of the data set.")
    experiences: Positive = Field(default=5, description="Number of experiences the classes are split into.")
    classes: list[list[int]] | None = Field(
        default=None, description="Explicit lists of class indices, one per experience; overrides `experiences`."
    )
    order_seed: Seed | None = Field(default=None, description="Seed of the class order; null follows the run's `seed`.")
    first_classes: Positive | None = Field(
        default=None, description="Use only the data set's first so many classes; null uses all."
    )
    train_limit: Positive | None = Field(
        default=None, description="At most so many training images per class, for quick trials; null uses all."
    )
    test_limit: Positive | None = Field(
        default=None, description="At most so many images per class to evaluate on, for quick trials; null uses all."
    )
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="Side in pixels that image files are resized to; null keeps their own size."
    )
    validation: Fraction = Field(
        default=0.0,
        description="Fraction of each class's training images held out and evaluated on instead of the "
        "test set; use it whenever something is chosen.",
    )


class TrainConfig(Section):
    """How the continual learner trains."""

    mode: Literal["replay", "memory_only"] = Field(
        default="replay",
        description="replay: one network trains on, each mini-batch joins current data and memory; "
        "memory_only: after each experience a fresh network is trained on the memory alone.",
    )
    epochs: Positive = Field(default=10, description="Passes over each experience's real data.")
    memory_epochs: Positive = Field(
        default=300, description="Passes over the memory after each experience, in memory_only mode."
    )
    networks: Few = Field(
        default=1,
        description="Networks trained on each experience's memory in memory_only mode, each from weights of its own; "
        "accuracies are their mean.",
    )
    memory_updates: Positive | None = Field(
        default=None,
        description="Updates after each experience in memory_only mode, whatever the memory's size; null: "
        "`memory_epochs` passes. `iid-cl compare` sets it alike for all memories of a budget.",
    )
    batch_size: Batch = Field(default=64, description="Images of the current data per mini-batch.")
    memory_batch_size: Batch | None = Field(
        default=None, description="Memory images per mini-batch in replay mode; null takes `batch_size`."
    )
    lr: Rate = Field(default=0.01, description="Learning rate of SGD.")
    momentum: Fraction = Field(default=0.9, description="Momentum of SGD.")
    weight_decay: Weight = Field(default=5e-4, description="Weight decay of SGD.")
    lr_drop: bool = Field(
        default=True, description="Multiply the learning rate by 0.1 after half of each experience's epochs."
    )
    augment: bool = Field(
        default=True, description="Augment training images, real ones and memory alike, one transformation per image."
    )

    @model_validator(mode="after")
    def _networks_share_a_memory(self) -> "TrainConfig":
        """In replay the memory is made between trainings of one network."""
        if self.networks > 1 and self.mode != "memory_only":
            raise ValueError(f"networks: {self.networks} means nothing to {self.mode!r}; leave it out")
        return self


class MemoryConfig(Section):
    """What is kept of past classes. Budgets exclude each other; the bytes of images count their labels."""

    method: Method = Field(
        default="auto",
        description="auto (distilled, hybrid or real images, whole or as JPEG: what wins on held-out images of the "
        "first experience); distilled; hybrid (a `share` of distilled images, the others herded); real images of each "
        "class by random, herding, k_centre or closest to the mean; reservoir (real images of all classes alike); as "
        "the bounds, none (no memory), cumulative (one network trained on all data so far in each experience) and "
        "joint (all data at once).",
    )
    ipc: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        default=None,
        description="Budget: the bytes of so many full-size images per class. null: 10 where no other budget is given.",
    )
    mem_size: Positive | None = Field(
        default=None, description="Budget: the bytes of so many full-size images in total; older classes shrink."
    )
    mem_bytes: Bytes | None = Field(default=None, description="Budget: bytes in total; older classes shrink.")
    class_bytes: Bytes | None = Field(default=None, description="Budget: bytes per class.")
    soft_labels: bool = Field(
        default=False,
        description="Store class probabilities with each image of a distilled or hybrid memory, averaged over the "
        "networks that `distill.cc` describes; budgets in bytes charge them, and so does JPEG.",
    )
    share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.5, description="Share of distilled images in a hybrid memory; the others are herded."
    )
    downscale: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="Store real images at 1 / downscale of their side; more of them fit."
    )
    jpeg: Annotated[int, Field(ge=1, le=95)] | None = Field(
        default=None,
        description="Store images as JPEG of this quality; more of them fit. Distilled ones are stored at full size "
        "(`distill.partition` 1).",
    )
    shrink: Literal["cut", "nested", "redistil"] = Field(
        default="redistil",
        description="Where a fixed total shrinks older distilled classes: cut keeps the first images, nested the "
        "first in herding's order, redistil condenses fewer out of all of them, which takes longer and keeps more. "
        "Images with soft labels, and memories that hold real images, are cut in any case.",
    )

    @model_validator(mode="after")
    def _own_keys(self) -> "MemoryConfig":
        """A key that the method would ignore is a mistake, and so are two budgets."""
        budgets = [key for key in ("ipc", "mem_size", "mem_bytes", "class_bytes") if getattr(self, key) is not None]
        if len(budgets) > 1:
            raise ValueError(f"{budgets[1]}: {getattr(self, budgets[1])} contradicts {budgets[0]}; set one to null")
        owners = {
            "soft_labels": ("distilled", "hybrid"),
            "share": ("hybrid",),
            "downscale": REAL_METHODS,
            "jpeg": (*REAL_METHODS, "distilled", "hybrid"),
            "shrink": DISTILLED_METHODS,
        }
        for key, methods in owners.items():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default and self.method not in methods:
                shown = str(value).lower() if isinstance(value, bool) else value
                way_out = f"leave it out, or set method to {' or '.join(methods)}"
                raise ValueError(f"{key}: {shown} means nothing to {self.method!r}; {way_out}")
        if self.jpeg is not None and self.downscale > 1:
            raise ValueError(f"jpeg: {self.jpeg} contradicts downscale: {self.downscale}; leave one out")
        return self

    @property
    def budget(self) -> Budget:
        """The budget in force."""
        none = self.mem_size is None and self.mem_bytes is None and self.class_bytes is None
        ipc = 10 if self.ipc is None and none else self.ipc
        return Budget(ipc=ipc, mem_size=self.mem_size, mem_bytes=self.mem_bytes, class_bytes=self.class_bytes)


class EvaluateConfig(Section):
    """The train-from-scratch protocol that judges a memory file."""

    network: NetworkConfig = Field(default_factory=lambda: NetworkConfig(), description="Network trained.")
    epochs: Positive = Field(default=1000, description="Epochs on the memory.")
    batch_size: Batch = Field(default=256, description="Images per mini-batch.")
    networks: Few = Field(default=5, description="Number of networks trained, each from its own seed.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Format of the networks' passes in training. auto: bfloat16 on a GPU that has it and, compiled, on "
        "a CPU that has it.",
    )
    compile: bool | None = Field(
        default=None,
        description="Compile these passes, which takes up to a minute; null: on a GPU, where it pays; never on a CPU.",
    )
    transfer: list[NetworkConfig] = Field(
        default_factory=list, description="Further architectures to train, compared with `network`.", max_length=20
    )


class CheckpointConfig(Section):
    """How a run keeps what it has done, to go on after an interruption. It is always saved after an experience, too."""

    every: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds from one save to the next inside training and distillation; more where saving would take "
        "over 2 % of the time.",
    )


class CompareMethod(Section):
    """A method of a comparison that the shipped table does not name."""

    name: Name = Field(description="What tables and files call it.")
    set: dict[str, Any] = Field(description="Dotted keys and values, as with --set.")


class CompareBudgets(Section):
    """Budgets of a comparison; one key only, null for all: the memory's own."""

    ipc: list[Positive] | None = Field(
        default=None, description="Full-size images per class.", min_length=1, max_length=100
    )
    mem_size: list[Positive] | None = Field(default=None, description="Images in total.", min_length=1, max_length=100)
    mem_bytes: list[Bytes] | None = Field(default=None, description="Bytes in total.", min_length=1, max_length=100)
    class_bytes: list[Bytes] | None = Field(default=None, description="Bytes per class.", min_length=1, max_length=100)

    @model_validator(mode="after")
    def _one_kind(self) -> "CompareBudgets":
        """Budgets of two kinds have no common axis."""
        given = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"budgets of one kind only, not of {' and '.join(given)}")
        return self


class CompareConfig(Section):
    """What `iid-cl compare` runs."""

    methods: list[str | CompareMethod] = Field(
        default=["none", "random", "herding", "distilled"],
        description="Methods of `memory.method`, variants of them (random_half, herding_half, random_jpeg, "
        "herding_jpeg, distilled_half, distilled_jpeg), or your own: a `name` and dotted keys to `set`.",
        min_length=1,
        max_length=100,
    )
    modes: list[Literal["replay", "memory_only"]] | None = Field(
        default=None, description="Modes of training; null: `train.mode`.", min_length=1, max_length=2
    )
    budgets: CompareBudgets = Field(default_factory=lambda: CompareBudgets(), description="Budgets.")
    seeds: Few = Field(default=3, description="Number of seeds, counted up from `seed`.")
    baseline: str | None = Field(
        default=None,
        description="Method that the others are compared with, seed by seed; null: herding if it is among them, "
        "else the first one with a memory.",
    )

    @model_validator(mode="after")
    def _not_too_many(self) -> "CompareConfig":
        """Each cell is a run; so many would never end."""
        budgets = max(len(getattr(self.budgets, key) or [None]) for key in CompareBudgets.model_fields)
        cells = len(self.methods) * len(self.modes or [None]) * budgets * self.seeds
        if cells > MOST_CELLS:
            raise ValueError(f"{cells} runs are too many to compare; use fewer seeds, methods or budgets")
        return self


class Config(Section):
    """A whole experiment."""

    name: Name = Field(default="run", description="Name of the experiment.")
    stream: StreamConfig = Field(default_factory=lambda: StreamConfig(), description="The data stream.")
    model: NetworkConfig = Field(default_factory=lambda: NetworkConfig(), description="The learner's network.")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig(), description="The learner's training.")
    memory: MemoryConfig = Field(default_factory=lambda: MemoryConfig(), description="The memory.")
    distill: DistillConfig = Field(default_factory=lambda: DistillConfig(), description="The distillation.")
    evaluate: EvaluateConfig = Field(
        default_factory=lambda: EvaluateConfig(), description="The judgement of a memory file."
    )
    baselines: list[Method] = Field(
        default_factory=list,
        description="Methods that `iid-cl run` trains beside the memory's, with the same seed and bytes.",
    )
    loggers: list[Literal["tensorboard", "csv", "wandb"]] = Field(
        default_factory=list,
        description="Avalanche's loggers of `iid-cl run`, in the run directory: tensorboard, csv, and wandb (Weights & "
        "Biases), the only one that sends anything anywhere, and not with WANDB_MODE=offline.",
    )
    compare: CompareConfig = Field(default_factory=lambda: CompareConfig(), description="The comparison.")
    checkpoint: CheckpointConfig = Field(
        default_factory=lambda: CheckpointConfig(), description="How `iid-cl run` keeps what it has done."
    )
    device: str = Field(
        default="auto", description="auto, cpu, cuda or cuda:N.", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$"
    )
    seed: Seed = Field(default=0, description="Seed of every random draw.")
    deterministic: bool = Field(
        default=False,
        description="On a GPU, use algorithms that repeat where PyTorch has them, and say where it has none; they tend "
        "to be slower. A CPU repeats in any case.",
    )

    @model_validator(mode="after")
    def _explicit_classes(self) -> "Config":
        """Explicit classes: no experience empty, no class twice."""
        groups = self.stream.classes
        if groups is not None:
            flat = [c for group in groups for c in group]
            if not all(groups) or not flat or len(set(flat)) < len(flat) or min(flat) < 0:
                raise ValueError(
                    f"stream.classes: {groups} must be non-empty lists of distinct class indices, "
                    "each index from 0 and in one list only"
                )
        return self

    @model_validator(mode="after")
    def _whole_images_as_jpeg(self) -> "Config":
        """JPEG stores distilled images at full size."""
        factor = self.distill.factor
        distils = {"distilled", "hybrid"} & {self.memory.method, *self.baselines}
        if self.memory.jpeg is not None and distils and factor > 1:
            raise ValueError(
                f"memory.jpeg: {self.memory.jpeg} stores distilled images at full size, and distill.partition is "
                f"{factor} with {self.distill.objective}; set distill.partition: 1, or leave jpeg out"
            )
        return self
