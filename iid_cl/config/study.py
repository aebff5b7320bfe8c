"""The YAML file of a study: a base configuration, its variants, and the x-axis."""

from typing import Annotated, Any

from pydantic import Field, model_validator

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


class StudyConfig(Section):
    """A study."""

    name: Name = Field(description="Name of the study.")
    title: Line = Field(description="Title of the figure.")
    base: Overrides = Field(
        default_factory=dict,
        description="Keys of a configuration, shared by all variants. `memory.method` is distilled by default.",
    )
    variants: list[VariantConfig] = Field(description="The memories compared.", min_length=1)
    sweep: SweepConfig | None = Field(default=None, description="A key that varies along the x-axis.")
    iterations: list[Annotated[int, Field(ge=0, le=10**9)]] | None = Field(
        default=None,
        description="Judge the memory at these iterations of one distillation; 0 is its start.",
        min_length=1,
    )
    scatter: ScatterConfig | None = Field(default=None, description="Plot features instead of measuring accuracy.")
    seeds: Few = Field(default=3, description="Number of seeds, counted up from the configuration's `seed`.")

    @model_validator(mode="after")
    def _one_axis(self) -> "StudyConfig":
        """At most one x-axis, a bounded number of cases, and distinct names."""
        if sum(axis is not None for axis in (self.sweep, self.iterations, self.scatter)) > 1:
            raise ValueError("a study has one of sweep, iterations and scatter, not several")
        cases = len(self.variants) * (1 if self.sweep is None else len(self.sweep.values))
        if cases > MOST_CASES:
            raise ValueError(f"a study of {cases} cases is too large; use at most {MOST_CASES}")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants: two of {names} have the same name")
        return self
