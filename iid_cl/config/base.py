"""What all sections of a configuration are made of: their base and the types of their values."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from iid_cl.errors import is_printable


def read_exponent(value: Any) -> Any:
    """YAML 1.1 takes 1e-4 for text because it has no dot; a person means the number."""
    if isinstance(value, str) and re.fullmatch(r"\d+[eE][+-]?\d+", value):
        return float(value)
    return value


def check_printable(value: str) -> str:
    """Text that reaches terminals and pictures has no control characters and line breaks."""
    if not is_printable(value):
        raise ValueError("it holds a line break or a control character")
    return value


# Upper bounds refuse what could only end in an overflow or in exhausted memory.
Positive = Annotated[int, Field(ge=1, le=10**9)]
Few = Annotated[int, Field(ge=1, le=1000)]  # things that are kept side by side, such as networks
Bytes = Annotated[int, Field(ge=1, le=10**12)]
Batch = Annotated[int, Field(ge=1, le=2**16)]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(check_printable)
]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # of files, too
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0), BeforeValidator(read_exponent)]
Number = Annotated[int | float, BeforeValidator(read_exponent)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False), BeforeValidator(read_exponent)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False), BeforeValidator(read_exponent)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
