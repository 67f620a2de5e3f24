"""Training: a corpus and settings in, reports and checkpoints out."""

from chargen.training.loop import Report, Trainer
from chargen.training.session import Session, start

__all__ = ["Report", "Session", "Trainer", "start"]
