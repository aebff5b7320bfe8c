"""What a run stores: results, recordings, directories, provenance, checkpoints."""
