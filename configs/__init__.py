"""The experiments that ship with the package, as YAML."""
