"""The terminal: lines, a live view, events; and signals."""
