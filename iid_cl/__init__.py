"""Continual learning whose memory is distilled.

Importing this package is cheap: torch and Avalanche load with the modules that use them
(:mod:`iid_cl.distill`, :mod:`iid_cl.strategies`).
"""

__version__ = "0.1.0"
