"""Gradient of a single loss with respect to earlier states."""
