"""Training: a corpus and settings in, reports and checkpoints out."""
