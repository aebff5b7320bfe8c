"""Memory methods: how a class is condensed, whatever trains on the memory."""
