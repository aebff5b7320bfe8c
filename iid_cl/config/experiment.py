"""The typed configuration: every key once, with its default, unit and meaning."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from iid_cl.budget import KEYS, Budget
from iid_cl.config.base import (
    Batch,
    Bytes,
    CacheMode,
    Few,
    Fraction,
    Name,
    Positive,
    Precision,
    Rate,
    Section,
    Seed,
    Weight,
)
from iid_cl.config.datasets import NAMES, DatasetName
from iid_cl.config.distill import DistillConfig, NetworkConfig
from iid_cl.config.methods import METHODS, MethodName, described, owners

MOST_CELLS = 5000  # of a comparison


def _methods(key: str) -> str:
    return f"Methods: {', '.join(owners(key))}."  # the end of a description


class DomainConfig(Section):
    """A data set of a domain-incremental stream, as it is or changed.

    >>> DomainConfig(dataset="mnist", rotate=90).label
    'mnist rotated by 90'
    """

    dataset: DatasetName = Field(description=f"Data set: {NAMES}.")
    rotate: Annotated[float, Field(ge=0, lt=360)] = Field(
        default=0.0, description="Degrees that images are turned by, counterclockwise; corners become black."
    )
    invert: bool = Field(default=False, description="Exchange black and white.")
    permute: Seed | None = Field(
        default=None, description="Seed of a fixed permutation of the pixels; null leaves them where they are."
    )

    @property
    def label(self) -> str:
        """For people."""
        changes = [
            *([f"rotated by {self.rotate:g}"] if self.rotate else []),
            *(["inverted"] if self.invert else []),
            *([f"permuted by {self.permute}"] if self.permute is not None else []),
        ]
        return " ".join([self.dataset, ", ".join(changes)]).rstrip()


def _named(value: Any) -> Any:
    """A data set's name alone stands for its section."""
    return {"dataset": value} if isinstance(value, str) else value


Domain = Annotated[DomainConfig, BeforeValidator(_named, json_schema_input_type=DatasetName | DomainConfig)]


class StreamConfig(Section):
    """Which data arrives, and in which order.

    >>> StreamConfig(dataset="mnist", classes=[[0, 1], [2, 3]], train_limit=100).train_limit
    100
    """

    dataset: DatasetName = Field(default="digits", description=f"Data set: {NAMES}.")
    domains: list[Domain] | None = Field(
        default=None,
        description="Data sets with the same classes, in place of `dataset`: all classes of each are an experience. "
        "A name or address, or a `dataset` with `rotate`, `invert` or `permute`.",
        min_length=2,
        max_length=100,
    )
    experiences: Positive = Field(default=5, description="Number of experiences that the classes are split into.")
    classes: list[list[int]] | None = Field(
        default=None,
        description="Class indices of each experience; overrides `experiences`. The images of a class that comes back "
        "are shared out among its experiences.",
    )
    increment: Positive | None = Field(
        default=None, description="Classes of each experience, in place of `experiences`; the last takes the rest."
    )
    initial: Positive | None = Field(
        default=None, description="Classes of the first experience, with `increment`; null: `increment` of them."
    )
    order_seed: Seed | None = Field(
        default=None, description="Seed of the class order, a permutation by NumPy; null takes the run's `seed`."
    )
    first_classes: Positive | None = Field(default=None, description="Use only the first N classes; null uses all.")
    train_limit: Positive | None = Field(
        default=None, description="Maximum number of training images per class, for quick trials; null uses all."
    )
    test_limit: Positive | None = Field(
        default=None, description="Maximum number of evaluation images per class, for quick trials; null uses all."
    )
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="Side in pixels that image files are resized to; null keeps their size."
    )
    cache: CacheMode = Field(
        default="auto",
        description="Whether decoded images of folders, parquet files and the hub stay in a file on disk and are read "
        "as they are needed. auto: where they would take more than a quarter of the memory available.",
    )
    validation: Fraction = Field(
        default=0.0,
        description="Fraction of each class's training images to hold out and evaluate on, in place of the test set. "
        "Use it whenever you choose something by accuracy.",
    )

    @model_validator(mode="after")
    def _one_split(self) -> "StreamConfig":
        """Refuses an ``initial`` that means nothing."""
        if self.initial is not None and self.increment is None:
            raise ValueError(f"initial: {self.initial} needs an increment; set stream.increment, too")
        if self.increment is not None and self.classes is not None:
            raise ValueError(f"increment: {self.increment} contradicts classes; leave one out")
        if self.domains is not None:
            for key in ("dataset", "classes", "increment"):
                value = getattr(self, key)
                if value != type(self).model_fields[key].default:
                    raise ValueError(f"{key}: {value} contradicts domains; leave one out")
        return self

    @property
    def parts(self) -> list[DomainConfig]:
        """The data sets that the stream is made of."""
        return self.domains if self.domains is not None else [DomainConfig(dataset=self.dataset)]

    @property
    def programs(self) -> list[str]:
        """Addresses of Python functions, which run when the data are loaded."""
        return [part.dataset for part in self.parts if part.dataset.startswith("python:")]

    @property
    def label(self) -> str:
        """Its data, for people."""
        return self.dataset if self.domains is None else ", ".join(part.label for part in self.parts)


class TrainConfig(Section):
    """How the continual learner trains.

    >>> TrainConfig(mode="memory_only", networks=5).memory_epochs
    300
    """

    mode: Literal["replay", "memory_only"] = Field(
        default="replay",
        description="replay: one network learns all experiences; each mini-batch joins current data and memory. "
        "memory_only: after each experience a new network is trained on the memory alone.",
    )
    epochs: Positive = Field(default=10, description="Passes over each experience's real data.")
    memory_epochs: Positive = Field(
        default=300, description="Passes over the memory per experience, in memory_only mode."
    )
    networks: Few = Field(
        default=1,
        description="Number of networks trained on each experience's memory in memory_only mode, with independent "
        "initial weights; accuracies are their mean.",
    )
    memory_updates: Positive | None = Field(
        default=None,
        description="Updates after each experience in memory_only mode, whatever the size of the memory; null: "
        "`memory_epochs` passes. `iid-cl compare` sets one number for all memories of a budget.",
    )
    batch_size: Batch = Field(default=64, description="Images of the current data per mini-batch.")
    memory_batch_size: Batch | None = Field(
        default=None, description="Memory images per mini-batch in replay mode; null takes `batch_size`."
    )
    lr: Rate = Field(default=0.01, description="Learning rate of SGD.")
    momentum: Fraction = Field(default=0.9, description="Momentum of SGD.")
    weight_decay: Weight = Field(default=5e-4, description="Weight decay of SGD.")
    lr_drop: bool = Field(default=True, description="Multiply `lr` by 0.1 after half of each experience's epochs.")
    augment: bool = Field(default=True, description="Augment each real and stored image by one random transformation.")

    @model_validator(mode="after")
    def _networks_share_a_memory(self) -> "TrainConfig":
        """In replay mode each memory depends on the network trained before it, so there is one network."""
        if self.networks > 1 and self.mode != "memory_only":
            raise ValueError(f"networks: {self.networks} means nothing to {self.mode!r}; leave it out")
        return self


class MemoryConfig(Section):
    """What is kept of past classes. At most one budget is set; the bytes of images include their labels.

    >>> MemoryConfig(method="herding", mem_bytes=50_000).budget.pair
    ('mem_bytes', 50000)
    >>> MemoryConfig().budget.pair
    ('ipc', 10)
    """

    method: MethodName = Field(default="auto", description=f"What is kept: {described()}.")
    ipc: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        default=None,
        description="Budget: the bytes of this many full-size images per class; null: 10, if no other budget is set.",
    )
    mem_size: Positive | None = Field(
        default=None, description="Budget: the bytes of this many full-size images in total; older classes shrink."
    )
    mem_bytes: Bytes | None = Field(default=None, description="Budget: bytes in total; older classes shrink.")
    class_bytes: Bytes | None = Field(default=None, description="Budget: bytes per class.")
    soft_labels: bool = Field(
        default=False,
        description="Store class probabilities with each image, averaged over the networks of `distill.cc`. They count "
        f"towards budgets in bytes, and always with `jpeg`. {_methods('soft_labels')}",
    )
    share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.5, description=f"Share of synthetic images; the rest are herded real ones. {_methods('share')}"
    )
    downscale: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1,
        description=f"Store images at 1 / downscale of their side, so that more fit. {_methods('downscale')}",
    )
    jpeg: Annotated[int, Field(ge=1, le=95)] | None = Field(
        default=None,
        description="Store images as JPEG of this quality, so that more fit. Synthetic images need "
        f"`distill.partition: 1`. {_methods('jpeg')}",
    )
    dct: Literal["auto"] | Annotated[float, Field(ge=1.0, le=4096.0)] | None = Field(
        default=None,
        description="Store images as cosine coefficients in steps of this many grey levels, with an entropy code of "
        "their own: more of them fit than with `jpeg` at the same error. auto: the step that suits the bytes and "
        "the images' variance. The step becomes finer where bytes are left. Synthetic images need "
        f"`distill.partition: 1`. {_methods('dct')}",
    )
    shrink: Literal["cut", "redistil"] = Field(
        default="redistil",
        description="How older classes shrink under a fixed total. cut: the first images stay. redistil: fewer images "
        "are distilled from all stored ones, which takes longer and keeps more. Memories with soft labels or real "
        f"images are always cut. {_methods('shrink')}",
    )

    @model_validator(mode="after")
    def _own_keys(self) -> "MemoryConfig":
        """Refuses a key that the method would ignore, and two budgets."""
        budgets = [key for key in KEYS if getattr(self, key) is not None]
        if len(budgets) > 1:
            raise ValueError(f"{budgets[1]}: {getattr(self, budgets[1])} contradicts {budgets[0]}; set one to null")
        for key in (key for key in type(self).model_fields if owners(key)):
            value = getattr(self, key)
            if value != type(self).model_fields[key].default and self.method not in owners(key):
                text = str(value).lower() if isinstance(value, bool) else value
                way_out = f"leave it out, or set method to {' or '.join(owners(key))}"
                raise ValueError(f"{key}: {text} means nothing to {self.method!r}; {way_out}")
        forms = {"downscale": self.downscale > 1, "jpeg": self.jpeg is not None, "dct": self.dct is not None}
        chosen = [key for key, is_set in forms.items() if is_set]
        if len(chosen) > 1:
            first, second = ((key, getattr(self, key)) for key in reversed(chosen[:2]))
            raise ValueError(f"{first[0]}: {first[1]} contradicts {second[0]}: {second[1]}; leave one out")
        return self

    @property
    def budget(self) -> Budget:
        """The budget in force."""
        amounts = {key: getattr(self, key) for key in KEYS if getattr(self, key) is not None}
        return Budget(**(amounts or {"ipc": 10}))


class EvaluateConfig(Section):
    """The train-from-scratch protocol that judges a memory file.

    >>> EvaluateConfig(epochs=300).networks
    5
    """

    network: NetworkConfig = Field(default_factory=lambda: NetworkConfig(), description="Network trained.")
    epochs: Positive = Field(default=1000, description="Epochs on the memory.")
    batch_size: Batch = Field(default=256, description="Images per mini-batch.")
    networks: Few = Field(default=5, description="Number of networks trained, each from its own seed.")
    transfer: list[NetworkConfig] = Field(
        default_factory=list, description="Further architectures to train, compared with `network`.", max_length=20
    )


class CheckpointConfig(Section):
    """How often a run saves its progress, to resume after an interruption. It also saves after each experience."""

    every: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds between two saves during training and distillation; longer if saving would take more than "
        "2 % of the time.",
    )


class CompareMethod(Section):
    """A method that the user defines for a comparison."""

    name: Name = Field(description="Name in tables and files.")
    set: dict[str, Any] = Field(description="Dotted keys and their values, as with --set.")


class CompareBudgets(Section):
    """Budgets of a comparison, under one key only; without any, the `memory` section's budget."""

    ipc: list[Positive] | None = Field(default=None, description="Images per class.", min_length=1, max_length=100)
    mem_size: list[Positive] | None = Field(default=None, description="Images in total.", min_length=1, max_length=100)
    mem_bytes: list[Bytes] | None = Field(default=None, description="Bytes in total.", min_length=1, max_length=100)
    class_bytes: list[Bytes] | None = Field(default=None, description="Bytes per class.", min_length=1, max_length=100)

    @model_validator(mode="after")
    def _one_kind(self) -> "CompareBudgets":
        """Refuses budgets of two kinds, which have no common axis."""
        keys = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(keys) > 1:
            raise ValueError(f"budgets of one kind only, not of {' and '.join(keys)}")
        return self


class CompareConfig(Section):
    """What `iid-cl compare` runs.

    >>> CompareConfig(methods=["herding", "distilled"], budgets={"ipc": [1, 10]}, seeds=5).budgets.ipc
    [1, 10]
    """

    methods: list[str | CompareMethod] = Field(
        default=["none", "random", "herding", "distilled"],
        description="Methods: names of `memory.method`, variants (random_half, herding_half, random_jpeg, "
        "herding_jpeg, random_dct, herding_dct, distilled_half, distilled_jpeg, distilled_dct), or your own methods, "
        "each with a `name` and keys to `set`.",
        min_length=1,
        max_length=100,
    )
    modes: list[Literal["replay", "memory_only"]] | None = Field(
        default=None, description="Modes of training; null takes `train.mode`.", min_length=1, max_length=2
    )
    budgets: CompareBudgets = Field(default_factory=lambda: CompareBudgets(), description="Budgets.")
    seeds: Few = Field(default=3, description="Number of seeds, counted up from `seed`.")
    baseline: str | None = Field(
        default=None,
        description="Method that all other methods are compared with, seed by seed; null: herding if it is compared, "
        "else the first method with a memory.",
    )

    @model_validator(mode="after")
    def _not_too_many(self) -> "CompareConfig":
        """Refuses comparisons that would never end: each cell is a run."""
        budgets = max(len(getattr(self.budgets, key) or [None]) for key in CompareBudgets.model_fields)
        cells = len(self.methods) * len(self.modes or [None]) * budgets * self.seeds
        if cells > MOST_CELLS:
            raise ValueError(f"{cells} runs are too many to compare; use fewer seeds, methods or budgets")
        return self


class Config(Section):
    """A whole experiment. :func:`iid_cl.config.reading.load_config` reads one from a YAML file.

    >>> Config(memory=MemoryConfig(method="herding", ipc=5), seed=1).memory.budget.pair
    ('ipc', 5)
    """

    name: Name = Field(default="run", description="Name of the experiment.")
    stream: StreamConfig = Field(default_factory=lambda: StreamConfig(), description="The data stream.")
    model: NetworkConfig = Field(default_factory=lambda: NetworkConfig(), description="The learner's network.")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig(), description="The learner's training.")
    memory: MemoryConfig = Field(default_factory=lambda: MemoryConfig(), description="The memory.")
    distill: DistillConfig = Field(default_factory=lambda: DistillConfig(), description="The distillation.")
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig(), description="Judging a memory file.")
    baselines: list[MethodName] = Field(
        default_factory=list,
        description="Further methods that `iid-cl run` trains and compares, with the same seed and bytes.",
    )
    loggers: list[Literal["tensorboard", "csv", "wandb"]] = Field(
        default_factory=list,
        description="Avalanche loggers that `iid-cl run` writes into the run directory. Only wandb (Weights & Biases) "
        "sends data to a server; with WANDB_MODE=offline it does not.",
    )
    compare: CompareConfig = Field(default_factory=lambda: CompareConfig(), description="The comparison.")
    checkpoint: CheckpointConfig = Field(default_factory=lambda: CheckpointConfig(), description="Saving of progress.")
    device: str = Field(
        default="auto", description="auto, cpu, cuda or cuda:N.", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$"
    )
    seed: Seed = Field(default=0, description="Seed of every random draw.")
    precision: Precision = Field(
        default="auto",
        description="Number format of the networks' passes in a distillation, in the trainings it needs, in the "
        "learner's training and in `iid-cl evaluate`; losses are float32. auto: bfloat16 on a GPU that has it, and on "
        "a CPU that has it once compiled.",
    )
    compile: bool | None = Field(
        default=None,
        description="Compile these passes, which takes up to a minute. null: a distillation where it is long enough to "
        "pay for it; a training on a GPU where it pays, and never on a CPU.",
    )
    deterministic: bool = Field(
        default=False,
        description="On a GPU, use PyTorch's deterministic algorithms, which tend to be slower, and warn if there is "
        "none. Runs on a CPU always repeat.",
    )

    @model_validator(mode="after")
    def _explicit_classes(self) -> "Config":
        """Refuses empty experiences, and classes that an experience repeats."""
        groups = self.stream.classes
        odd = [group for group in groups or [] if not group or len(set(group)) < len(group) or min(group) < 0]
        if odd or groups == []:
            raise ValueError(
                f"stream.classes: {groups} must be non-empty lists of distinct class indices, each 0 or more"
            )
        return self

    @model_validator(mode="after")
    def _whole_images_if_lossy(self) -> "Config":
        """Refuses a lossy format with a partition: it stores synthetic images at full size."""
        factor = self.distill.factor
        methods = [METHODS[name] for name in (self.memory.method, *self.baselines)]
        for key in ("jpeg", "dct"):
            value, distils = getattr(self.memory, key), any(info.distils and key in info.keys for info in methods)
            if value is not None and distils and factor > 1:
                raise ValueError(
                    f"memory.{key}: {value} stores distilled images at full size, and distill.partition is {factor} "
                    f"with {self.distill.objective}; set distill.partition: 1, or leave {key} out"
                )
        return self
