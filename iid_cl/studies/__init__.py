"""Studies: a file of variants answers one question about the method; one command writes a CSV and a figure."""
