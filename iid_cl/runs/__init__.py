"""One run: training, evaluation, checkpoints and the audit of memories."""
