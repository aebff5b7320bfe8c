"""The memory methods: the one table behind configuration, command line, documentation and schema.

Imports neither torch nor Avalanche. How a method condenses a class is in :mod:`iid_cl.methods`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class MethodInfo:
    """A memory method, or a bound that keeps no memory.

    Attributes:
        name: name in configurations and on the command line.
        says: what it keeps, in a few words.
        keys: keys of the `memory` section that belong to it, besides the budget.
        bound: it keeps no memory; it shows what is possible without one, or with all data.
        sees: data that the learner trains on in an experience: that experience's, all so far, or all at once.
        real: it stores real images, chosen by the selection rule of the same name.
        distils: it stores synthetic images.
        needs_features: it chooses real images by a network's features.
        stream_only: it needs a stream of experiences and cannot condense a whole data set.
    """

    name: str
    says: str
    keys: tuple[str, ...] = ()
    bound: bool = False
    sees: Literal["experience", "so_far", "all"] = "experience"
    real: bool = False
    distils: bool = False
    needs_features: bool = False
    stream_only: bool = False


_REAL = ("downscale", "jpeg", "dct")
_DISTILLED = ("soft_labels", "jpeg", "dct", "shrink")

_TABLE = (
    MethodInfo("none", "no memory, to show what forgetting costs", bound=True, stream_only=True),
    MethodInfo("reservoir", "real images, a uniform sample of all images seen", stream_only=True),
    MethodInfo("random", "real images, drawn at random within each class", _REAL, real=True),
    MethodInfo(
        "herding", "real images that together lie closest to the class mean", _REAL, real=True, needs_features=True
    ),
    MethodInfo("k_centre", "real images that cover the class", _REAL, real=True, needs_features=True),
    MethodInfo("closest", "the real images closest to the class mean", _REAL, real=True, needs_features=True),
    MethodInfo("distilled", "synthetic images of each class", _DISTILLED, distils=True),
    MethodInfo(
        "hybrid",
        "a `share` of synthetic images; the rest are herded real images",
        (*_DISTILLED, "share"),
        distils=True,
        needs_features=True,
        stream_only=True,
    ),
    MethodInfo(
        "auto",
        "synthetic images, or real ones where more than half of a class fits, in the form that holds most of them",
        ("soft_labels", "shrink"),
        distils=True,
        needs_features=True,
        stream_only=True,
    ),
    MethodInfo(
        "cumulative",
        "no memory; in each experience one network trains on all data so far",
        bound=True,
        sees="so_far",
        stream_only=True,
    ),
    MethodInfo("joint", "no memory; one network trains on all data at once", bound=True, sees="all", stream_only=True),
)

METHODS: dict[str, MethodInfo] = {info.name: info for info in _TABLE}

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]  # what a configuration accepts, and the schema lists


def owners(key: str) -> list[str]:
    """Names of the methods that use a key of the `memory` section."""
    return [info.name for info in METHODS.values() if key in info.keys]


def for_whole_data() -> list[str]:
    """Names of the methods that can condense a whole data set."""
    return [info.name for info in METHODS.values() if not info.stream_only]


def described() -> str:
    """All methods and what they keep, in one line."""
    return "; ".join(f"{info.name} ({info.says})" for info in METHODS.values())


def table() -> str:
    """All methods as a Markdown table for the documentation."""
    heads = ("`memory.method`", "keeps", "chooses by features", "its keys of `memory`", "`iid-cl distill`")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|"]
    for info in METHODS.values():
        keys = ", ".join(f"`{key}`" for key in info.keys)
        features, whole = ("yes" if flag else "" for flag in (info.needs_features, not info.stream_only))
        lines.append(f"| `{info.name}` | {info.says} | {features} | {keys} | {whole} |")
    return "\n".join(lines)
