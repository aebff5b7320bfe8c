"""The base class of all configuration sections, and the types of their values."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from iid_cl.errors import is_printable


def read_exponent(value: Any) -> Any:
    """Reads 1e-4 as a number: YAML 1.1 takes it for text because it has no dot."""
    if isinstance(value, str) and re.fullmatch(r"\d+[eE][+-]?\d+", value):
        return float(value)
    return value


def check_printable(value: str) -> str:
    """Refuses line breaks and control characters in text that reaches terminals and pictures."""
    if not is_printable(value):
        raise ValueError("it holds a line break or a control character")
    return value


# The upper bounds refuse values that could only end in an overflow or in exhausted memory.
Positive = Annotated[int, Field(ge=1, le=10**9)]
Few = Annotated[int, Field(ge=1, le=1000)]  # things held side by side, such as networks
Bytes = Annotated[int, Field(ge=1, le=10**12)]
Batch = Annotated[int, Field(ge=1, le=2**16)]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(check_printable)
]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # fit for a file
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0), BeforeValidator(read_exponent)]
Number = Annotated[int | float, BeforeValidator(read_exponent)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False), BeforeValidator(read_exponent)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False), BeforeValidator(read_exponent)]
Precision = Literal["auto", "float32", "bfloat16"]
CacheMode = Literal["auto", "always", "never"]


class Section(BaseModel):
    """A section of a configuration: immutable, refuses unknown keys, never converts types silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
