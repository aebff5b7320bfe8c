"""Studies: one question about the method each, as a file of variants; one command gives a CSV and a figure."""
