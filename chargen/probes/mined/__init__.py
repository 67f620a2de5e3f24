"""Natural dependencies found in held-out text."""
