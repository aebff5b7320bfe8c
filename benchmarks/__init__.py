"""Speed and quality measurements; each writes its figures to ``results/``."""
