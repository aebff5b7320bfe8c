"""What can be said before a run starts: whether it fits, what it would do, how long it would take."""
