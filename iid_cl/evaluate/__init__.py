"""Judging: a memory by training on it from scratch, a continual run by its accuracy matrix."""
