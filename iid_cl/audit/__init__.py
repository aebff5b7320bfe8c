"""Checks that a run's memories hold what they claim."""
