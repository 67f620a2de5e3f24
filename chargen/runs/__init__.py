"""Run directories: description, checkpoints, and the lock that protects them. Imports no torch."""
