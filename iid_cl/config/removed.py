"""Keys and values that are gone: an older configuration that names one is told why, and what to do."""

LEAVE_OUT = "leave it out"

REMOVED: dict[str, tuple[str, str]] = {
    "distill.sampling": ("representative batches gained nothing (docs/performance.md)", LEAVE_OUT),
    "distill.steps_per_draw": (
        "several steps per draw cost more accuracy than a smaller distill.real_batch (docs/performance.md)",
        LEAVE_OUT,
    ),
    "distill.early_stopping": ("stopping early cost a point of accuracy (docs/performance.md)", LEAVE_OUT),
    "distill.characteristic": ("1,024 frequencies and equal shares are constants", LEAVE_OUT),
    "distill.cc.alpha": ("the exponential form has an alpha of 1", "leave it out, and vary distill.cc.beta"),
    "distill.queue.size": ("the queue holds 100 networks, as published", LEAVE_OUT),
    "distill.queue.every": ("a fresh network joins every 30 iterations, as published", LEAVE_OUT),
    **{
        f"{section}.{key}": (f"one {key} holds for distilling and judging alike", f"set {key} at the top level")
        for section in ("distill", "evaluate")
        for key in ("precision", "compile")
    },
    "activation": ("ConvNets have ReLU, as published", LEAVE_OUT),
    "pooling": ("ConvNets pool by the mean, as published", LEAVE_OUT),
    **{
        f"evaluate.{key}": (f"networks are judged with a {name} of {value}, as published", LEAVE_OUT)
        for key, name, value in (
            ("lr", "learning rate", 0.01),
            ("momentum", "momentum", 0.9),
            ("weight_decay", "weight decay", 5e-4),
        )
    },
}
"""Why each key is gone, and the way out. One without a section stood in several."""

REMOVED_VALUES: dict[tuple[str, str], tuple[str, str]] = {
    ("memory.shrink", "nested"): ("redistil was ahead of it (docs/results.md)", "use redistil, or cut"),
}
"""The same for values of keys that are still there."""


def removal(key: str) -> str | None:
    """The sentence on an unknown dotted key; None unless it is one that is gone."""
    found = next((gone for gone in REMOVED if f".{key}".endswith(f".{gone}")), None)
    if found is None:
        return None
    why, way_out = REMOVED[found]
    return f"{key}: is gone: {why}; {way_out}."


def removed_value(key: str, value: object) -> str | None:
    """The sentence on a value that its key does not accept; None unless it is one that is gone."""
    if not isinstance(value, str) or (key, value) not in REMOVED_VALUES:
        return None
    why, way_out = REMOVED_VALUES[key, value]
    return f"{key}: {value!r} is gone: {why}; {way_out}."
