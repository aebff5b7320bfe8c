"""Running experiments: one run, a comparison of several, their directories and where figures come from."""
