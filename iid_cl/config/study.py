"""The YAML file of a study: a base configuration, its variants, and the x-axis."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from iid_cl.config.base import Few, Line, Name, Number, Positive, Section
from iid_cl.config.distill import NetworkConfig

Overrides = dict[str, Any]

MOST_CASES = 1000


class VariantConfig(Section):
    """A memory to judge: the base configuration with some keys changed."""

    name: Line = Field(description="Name in the table and in the figure.")
    set: Overrides = Field(default_factory=dict, description="Dotted keys and their values, as with --set.")


class SweepConfig(Section):
    """A key that takes several values, each with every variant."""

    key: str = Field(description="Dotted key, e.g. memory.ipc.")
    values: list[Number] = Field(description="Numbers that the key takes.", min_length=1)


class ScatterConfig(Section):
    """A t-SNE plot of real and stored images in the feature space of a trained network."""

    network: NetworkConfig = Field(
        default_factory=lambda: NetworkConfig(name="resnet18"), description="Network trained on the real images."
    )
    epochs: Positive = Field(default=5, description="Passes of its training over the images.")
    classes: Positive = Field(default=10, description="Number of classes shown, from the first.")
    real: Positive = Field(default=100, description="Real images shown per class.")
    perplexity: float = Field(default=30.0, gt=1.0, allow_inf_nan=False, description="Perplexity of t-SNE.")


class RangeConfig(Section):
    """The numbers that a search may give a key: whole ones if both ends are whole."""

    low: Number = Field(description="Smallest value.")
    high: Number = Field(description="Largest value.")
    log: bool = Field(default=False, description="Draw evenly on a logarithmic scale; `low` is positive.")

    @model_validator(mode="after")
    def _ends(self) -> "RangeConfig":
        """Two ends that Optuna can draw between."""
        if not -1e300 < self.low < self.high < 1e300:
            raise ValueError(f"low ({self.low:g}) must lie below high ({self.high:g}), and both must be finite")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be positive on a logarithmic scale, not {self.low:g}")
        return self


Choices = Annotated[list[StrictBool | Number | Line | None], Field(min_length=1, max_length=100)]
Searched = Annotated[
    Annotated[RangeConfig, Tag("<range>")] | Annotated[Choices, Tag("<choices>")],
    Discriminator(lambda value: "<choices>" if isinstance(value, list) else "<range>"),
]
DATA_KEYS = ("stream", "seed", "name", "device", "compare", "baselines", "loggers", "checkpoint")  # no search changes


class StudyConfig(Section):
    """A study."""

    name: Name = Field(description="Name of the study.")
    title: Line = Field(description="Title of the figure.")
    base: Overrides = Field(
        default_factory=dict,
        description="Keys of a configuration, shared by all variants. `memory.method` is distilled by default.",
    )
    variants: list[VariantConfig] = Field(default_factory=list, description="The memories compared.")
    sweep: SweepConfig | None = Field(default=None, description="A key that varies along the x-axis.")
    iterations: list[Annotated[int, Field(ge=0, le=10**9)]] | None = Field(
        default=None,
        description="Judge the memory at these iterations of one distillation; 0 is its start.",
        min_length=1,
    )
    scatter: ScatterConfig | None = Field(default=None, description="Plot features instead of measuring accuracy.")
    search: dict[str, Searched] | None = Field(
        default=None,
        description="Dotted keys that `iid-cl study --search` tries: {low, high, log}, or a list of choices.",
        min_length=1,
    )
    trials: Few = Field(default=20, description="Number of combinations that a search tries.")
    seeds: Few = Field(default=3, description="Number of seeds, counted up from the configuration's `seed`.")

    @model_validator(mode="after")
    def _one_axis(self) -> "StudyConfig":
        """Something to do, at most one x-axis, a bounded number of cases, and distinct names."""
        if not self.variants and self.search is None:
            raise ValueError("variants: a study has variants, a search, or both; name at least one variant")
        fixed = next((key for key in self.search or () if key.split(".")[0] in DATA_KEYS), None)
        if fixed is not None:
            raise ValueError(
                f"search: {fixed!r} decides what trials are judged on, so no search may change it; set it in base"
            )
        if sum(axis is not None for axis in (self.sweep, self.iterations, self.scatter)) > 1:
            raise ValueError("a study has one of sweep, iterations and scatter, not several")
        cases = len(self.variants) * (1 if self.sweep is None else len(self.sweep.values))
        if cases > MOST_CASES:
            raise ValueError(f"a study of {cases} cases is too large; use at most {MOST_CASES}")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants: two of {names} have the same name")
        return self
