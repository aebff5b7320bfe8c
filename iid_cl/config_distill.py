"""The former place of :mod:`iid_cl.config.distill`, which scripts may still name."""

from iid_cl.config.distill import (
    CentralizationConfig,
    CovarianceConfig,
    DistillConfig,
    EmbedderConfig,
    NetworkConfig,
    QueueConfig,
)

__all__ = [
    "CentralizationConfig",
    "CovarianceConfig",
    "DistillConfig",
    "EmbedderConfig",
    "NetworkConfig",
    "QueueConfig",
]
