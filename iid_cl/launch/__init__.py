"""Independent jobs: in this process, in local processes, on a Ray cluster, or as jobs of Slurm."""
