"""What a person sees while a command works: lines, a live view, events; and signals."""
