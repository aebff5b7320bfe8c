"""The typed configuration. Imports neither torch nor Avalanche, so that commands without training start fast."""

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
