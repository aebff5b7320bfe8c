"""Independent jobs: here, in local processes, or on a Ray cluster."""
