"""The typed configuration: every key once, with its default, unit and meaning.

Reads YAML, merges ``--set`` overrides and turns every mistake into one sentence. Imports neither
torch nor Avalanche, so that commands which only look at a configuration answer at once.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from iid_cl.errors import UserError

Dataset = Literal["digits", "mnist", "fashion_mnist", "svhn", "cifar10", "cifar100", "tiny_imagenet", "image_folder"]
Method = Literal["none", "random", "herding", "distilled", "joint"]
Augmentation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]


def _read_exponent(value: Any) -> Any:
    """YAML 1.1 takes 1e-4 for text because it has no dot; a person means the number."""
    if isinstance(value, str) and re.fullmatch(r"\d+[eE][+-]?\d+", value):
        return float(value)
    return value


Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0), BeforeValidator(_read_exponent)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False), BeforeValidator(_read_exponent)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False), BeforeValidator(_read_exponent)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StreamConfig(Section):
    """Which data arrives in which order."""

    dataset: Dataset = Field("digits", description="Name of the data set.")
    experiences: Positive = Field(5, description="Number of experiences the classes are split into.")
    classes: list[list[int]] | None = Field(
        None, description="Explicit lists of class indices, one per experience; overrides `experiences`."
    )
    order_seed: Seed | None = Field(None, description="Seed of the class order; null follows the run's `seed`.")
    image_size: Positive | None = Field(
        None, description="Side in pixels that image files are resized to; null keeps their own size."
    )
    validation: Fraction = Field(
        0.0,
        description="Fraction of each class's training images held out and evaluated on instead of the "
        "test set; use it whenever something is chosen.",
    )


class NetworkConfig(Section):
    """A network; width and depth belong to the ConvNet."""

    name: Literal["convnet", "resnet18"] = Field("convnet", description="Architecture.")
    width: Positive = Field(128, description="Channels of each ConvNet block.")
    depth: Positive = Field(3, description="Number of ConvNet blocks, each halving the image's side.")
    norm: Literal["instance", "group", "batch", "none"] = Field("instance", description="Normalisation.")


class TrainConfig(Section):
    """How the continual learner trains."""

    mode: Literal["replay", "memory_only"] = Field(
        "replay",
        description="replay: one network trains on, each mini-batch joins current data and memory; "
        "memory_only: after each experience a fresh network is trained on the memory alone.",
    )
    epochs: Positive = Field(10, description="Passes over each experience's real data.")
    memory_epochs: Positive = Field(
        300, description="Passes over the memory after each experience, in memory_only mode."
    )
    batch_size: Positive = Field(64, description="Images of the current data per mini-batch.")
    memory_batch_size: Positive | None = Field(
        None, description="Memory images per mini-batch in replay mode; null takes `batch_size`."
    )
    lr: Rate = Field(0.01, description="Learning rate of SGD.")
    momentum: Fraction = Field(0.9, description="Momentum of SGD.")
    weight_decay: Weight = Field(5e-4, description="Weight decay of SGD.")
    lr_drop: bool = Field(True, description="Multiply the learning rate by 0.1 after half of each experience's epochs.")
    augment: bool = Field(
        True, description="Augment training images, real ones and memory alike, one transformation per image."
    )


class MemoryConfig(Section):
    """What is kept of past classes."""

    method: Method = Field(
        "distilled",
        description="distilled; random or herding (real images); none (no memory) and joint (all data at "
        "once) as the bounds.",
    )
    ipc: Positive = Field(10, description="Images stored per class.")


class EmbedderConfig(NetworkConfig):
    """The randomly initialised embedding network; it must normalise per sample."""

    norm: Literal["instance", "group", "none"] = Field("instance", description="Normalisation per sample.")


class CentralizationConfig(Section):
    """Class centralization (CC) and the trained networks it needs."""

    weight: Weight = Field(0.0, description="Weight lambda_CC; 0 leaves the term out.")
    network: NetworkConfig = Field(
        default_factory=lambda: NetworkConfig(),
        description="Network trained on the current experience's real images.",
    )
    trainings: Positive = Field(2, description="Independent trainings per experience.")
    epochs: Positive = Field(10, description="Epochs of each training.")
    snapshots: Positive = Field(5, description="Snapshots kept along each training, evenly spaced.")


class CovarianceConfig(Section):
    """Covariance matching (CM)."""

    weight: Weight = Field(0.0, description="Weight lambda_CM; 0 leaves the term out.")


class DistillConfig(Section):
    """How a class is condensed."""

    objective: Literal["dm"] = Field("dm", description="Matching base: dm (distribution matching).")
    iterations: Positive = Field(1000, description="Steps on the synthetic images.")
    real_batch: Annotated[int, Field(ge=2)] = Field(256, description="Real images per class and iteration.")
    lr: Rate = Field(0.05, description="Learning rate of SGD on the images, in the unit of `scale`.")
    lr_schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="cosine: the rate falls to 0 over the iterations; constant: as published."
    )
    momentum: Fraction = Field(0.5, description="Momentum of SGD on the images.")
    augment: list[Augmentation] | None = Field(
        None,
        description="Siamese augmentations, one drawn per class and iteration; null takes the data set's.",
    )
    scale: Literal["relative", "published"] = Field(
        "relative",
        description="Unit of the losses. relative: the real features' spread and covariance norm, per image and "
        "pixel, so that one learning rate and one set of weights hold across networks, images per class and "
        "data sets. published: plain sums, whose settings (lr 1, cc 0.05, cm 0.01) are tied to the paper's networks.",
    )
    embedder: EmbedderConfig = Field(
        default_factory=lambda: EmbedderConfig(), description="Embedding network, drawn anew each iteration."
    )
    cc: CentralizationConfig = Field(
        default_factory=lambda: CentralizationConfig(), description="Class centralization."
    )
    cm: CovarianceConfig = Field(default_factory=lambda: CovarianceConfig(), description="Covariance matching.")


class EvaluateConfig(Section):
    """The train-from-scratch protocol that judges a memory file."""

    network: NetworkConfig = Field(default_factory=lambda: NetworkConfig(), description="Network trained.")
    epochs: Positive = Field(1000, description="Epochs on the memory.")
    batch_size: Positive = Field(256, description="Images per mini-batch.")
    lr: Rate = Field(0.01, description="Learning rate of SGD, x0.1 half way.")
    momentum: Fraction = Field(0.9, description="Momentum of SGD.")
    weight_decay: Weight = Field(5e-4, description="Weight decay of SGD.")
    networks: Positive = Field(5, description="Number of networks trained, each from its own seed.")


class Config(Section):
    """A whole experiment."""

    name: str = Field("run", description="Name of the experiment.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
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
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    seed: Seed = Field(0, description="Seed of every random draw.")

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


def load_config(source: str | None, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file, or a shipped configuration by name, and applies ``key=value`` overrides.

    Without a source the overrides apply to the defaults.

    Raises:
        UserError: no such file, not YAML, an unknown key, a value of the wrong type or out of range.
    """
    values = {} if source is None else _read_yaml(source)
    for override in overrides:
        _apply(values, override)
    return parse_config(values, "configuration" if source is None else source)


def parse_config(values: dict[str, Any], source: str) -> Config:
    """Checks plain values against the typed configuration; ``source`` names them in errors.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error)}") from None


def shipped_configs() -> list[str]:
    """Names of the configurations that ship with the package."""
    return sorted(f.name for f in resources.files("iid_cl.configs").iterdir() if f.name.endswith(".yaml"))


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key given twice: the later one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, if its keys differ."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(source: str) -> dict[str, Any]:
    path = Path(source)
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
        elif path.name == source and source in shipped_configs():
            text = (resources.files("iid_cl.configs") / source).read_text(encoding="utf-8")
        else:
            raise UserError(
                f"{source}: no such file, and no shipped configuration of that name "
                f"(shipped: {', '.join(shipped_configs())})."
            )
        values = yaml.load(text, _UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read as a text file ({error}).") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{source}: is not valid YAML ({' '.join(str(error).split())}).") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{source}: holds a {type(values).__name__}; it must hold keys such as 'stream:'.")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r}: must read key=value, for example memory.ipc=5.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise UserError(f"--set {override!r}: the value {text!r} is not valid YAML.") from None
    *parents, last = key.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"--set {override!r}: {parent!r} is a value, not a section.")
        values = child
    values[last] = value


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's findings as one sentence with the full key and the value."""
    finding = error.errors()[0]
    key = ".".join(str(part) for part in finding["loc"])
    if finding["type"] == "extra_forbidden":
        same_name = [k for k in _keys(Config) if k.split(".")[-1] == key.split(".")[-1]]
        nearest = difflib.get_close_matches(key, same_name or list(_keys(Config)), n=1, cutoff=0.0)[0]
        return f"unknown key {key!r}; did you mean {nearest!r}?"
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "string_pattern_mismatch":
        message = {"device": "It must be auto, cpu, cuda or cuda:N"}.get(
            key, "It must consist of letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    if finding["type"] == "model_type":
        message = "It must hold keys of its own"
    if not key:
        return f"{message}."
    return f"{key}: {finding['input']!r} is not accepted: {message[0].lower()}{message[1:]}."


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys of a section, dotted."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
