"""Sampling: a predictor and a prompt to an iterator of characters."""

from chargen.sampling.choice import choose
from chargen.sampling.generate import generate

__all__ = ["choose", "generate"]
