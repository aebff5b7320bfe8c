"""Exemplar sets: what a memory holds, what it weighs, how it is chosen and how it is kept on disk."""
