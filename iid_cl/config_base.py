"""What all sections of a configuration are made of: their base and the types of their values."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def read_exponent(value: Any) -> Any:
    """YAML 1.1 takes 1e-4 for text because it has no dot; a person means the number."""
    if isinstance(value, str) and re.fullmatch(r"\d+[eE][+-]?\d+", value):
        return float(value)
    return value


Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0), BeforeValidator(read_exponent)]
Number = Annotated[int | float, BeforeValidator(read_exponent)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False), BeforeValidator(read_exponent)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False), BeforeValidator(read_exponent)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
