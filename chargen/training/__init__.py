"""Training: a corpus and settings in, reports and checkpoints out."""

from chargen.training.loop import Report, Trainer
from chargen.training.session import TrainingSession, start

__all__ = ["Report", "Trainer", "TrainingSession", "start"]
