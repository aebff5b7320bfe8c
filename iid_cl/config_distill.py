"""Old import path of :mod:`iid_cl.config.distill`, kept for users' scripts."""

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
