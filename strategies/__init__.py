"""The Avalanche side: distilled memories as storage policies, plugins and strategies."""

from . import installed  # noqa: F401  # isort: skip
from .buffers import MemoryBuffer
from .checkpoint import load, save
from .class_accuracy import ClassAccuracyPlugin
from .fast_step import FastStepPlugin
from .in_memory import InMemoryPlugin
from .memory_only import MemoryOnly, MemoryOnlyPlugin
from .named import (
    AutoBuffer,
    DistilledBuffer,
    HerdingBuffer,
    HybridBuffer,
    RandomBuffer,
    RealBuffer,
    ReservoirBuffer,
)
from .replay import DistilledReplay, DistilledReplayPlugin, MemoryReplayPlugin
from .soft_labels import SoftLabelPlugin
from .views import TaskLabelled

__all__ = [
    "AutoBuffer",
    "ClassAccuracyPlugin",
    "DistilledBuffer",
    "DistilledReplay",
    "DistilledReplayPlugin",
    "FastStepPlugin",
    "HerdingBuffer",
    "HybridBuffer",
    "InMemoryPlugin",
    "MemoryBuffer",
    "MemoryOnly",
    "MemoryOnlyPlugin",
    "MemoryReplayPlugin",
    "RandomBuffer",
    "RealBuffer",
    "ReservoirBuffer",
    "SoftLabelPlugin",
    "TaskLabelled",
    "load",
    "save",
]
