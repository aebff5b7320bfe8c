"""The typed configuration. Imports neither torch nor Avalanche, so commands that only look at one answer at once."""

from iid_cl.config.distill import DistillConfig, EmbedderConfig, NetworkConfig
from iid_cl.config.experiment import (
    CompareConfig,
    Config,
    EvaluateConfig,
    MemoryConfig,
    StreamConfig,
    TrainConfig,
)

__all__ = [
    "CompareConfig",
    "Config",
    "DistillConfig",
    "EmbedderConfig",
    "EvaluateConfig",
    "MemoryConfig",
    "NetworkConfig",
    "StreamConfig",
    "TrainConfig",
]
