"""The Avalanche side: distilled memories as storage policies, plugins and strategies."""

from .buffers import DistilledBuffer, HerdingBuffer, MemoryBuffer, RandomBuffer
from .class_accuracy import ClassAccuracyPlugin
from .in_memory import InMemoryPlugin
from .memory_only import MemoryOnly, MemoryOnlyPlugin
from .replay import DistilledReplay, DistilledReplayPlugin, MemoryReplayPlugin
from .soft_labels import SoftLabelPlugin

__all__ = [
    "ClassAccuracyPlugin",
    "DistilledBuffer",
    "DistilledReplay",
    "DistilledReplayPlugin",
    "HerdingBuffer",
    "InMemoryPlugin",
    "MemoryBuffer",
    "MemoryOnly",
    "MemoryOnlyPlugin",
    "MemoryReplayPlugin",
    "RandomBuffer",
    "SoftLabelPlugin",
]
