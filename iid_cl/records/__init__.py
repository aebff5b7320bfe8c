"""What runs leave behind: results, recordings, directories, provenance, checkpoints."""
