"""Results to terminal tables and pictures."""
