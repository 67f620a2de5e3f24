"""A run for other programs. Imports no torch."""
