"""A study as a YAML file: a base configuration, variants of it, and what is measured along which axis."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from iid_cl.config.base import Few, Line, Name, Number, Positive, Section
from iid_cl.config.distill import NetworkConfig

Overrides = dict[str, Any]

MOST_CASES = 1000


class VariantConfig(Section):
    """One memory to judge: the base configuration with some keys set."""

    name: Line = Field(description="What the table and the figure call it.")
    set: Overrides = Field(default_factory=dict, description="Dotted keys and values, as with --set.")


class SweepConfig(Section):
    """A key that takes several values; every variant is made with each."""

    key: str = Field(description="Dotted key, e.g. memory.ipc.")
    values: list[Number] = Field(description="Its values, numbers.", min_length=1)


class ScatterConfig(Section):
    """A t-SNE of real and stored images in the feature space of a trained network."""

    network: NetworkConfig = Field(
        default_factory=lambda: NetworkConfig(name="resnet18"), description="Network trained on the real images."
    )
    epochs: Positive = Field(default=5, description="Its passes over the training images.")
    classes: Positive = Field(default=10, description="Classes shown, the first ones.")
    real: Positive = Field(default=100, description="Real images per class.")
    perplexity: float = Field(default=30.0, gt=1.0, allow_inf_nan=False, description="Perplexity of t-SNE.")


class StudyConfig(Section):
    """A whole study."""

    name: Name = Field(description="Name of the study.")
    title: Line = Field(description="Title of the figure.")
    base: Overrides = Field(
        default_factory=dict,
        description="Keys of a configuration, shared by all variants; without `memory.method` it is distilled.",
    )
    variants: list[VariantConfig] = Field(description="What is compared.", min_length=1)
    sweep: SweepConfig | None = Field(default=None, description="A key varied along the x-axis.")
    iterations: list[Annotated[int, Field(ge=0, le=10**9)]] | None = Field(
        default=None,
        description="Judge the memory at these iterations of one distillation; 0 stands for its start.",
        min_length=1,
    )
    scatter: ScatterConfig | None = Field(default=None, description="Show features instead of judging by accuracy.")
    seeds: Few = Field(default=3, description="Number of seeds, counted up from the configuration's.")

    @model_validator(mode="after")
    def _one_axis(self) -> "StudyConfig":
        """One x-axis at most, and names that differ."""
        if sum(axis is not None for axis in (self.sweep, self.iterations, self.scatter)) > 1:
            raise ValueError("a study has one of sweep, iterations and scatter, not several")
        cases = len(self.variants) * (1 if self.sweep is None else len(self.sweep.values))
        if cases > MOST_CASES:
            raise ValueError(f"a study of {cases} cases is too large; use at most {MOST_CASES}")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants: two of {names} have the same name")
        return self
