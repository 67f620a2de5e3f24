"""Sampling: a model and a prompt to an iterator of characters."""

from chargen.sampling.choice import choose
from chargen.sampling.generate import generate
from chargen.sampling.writer import Writer

__all__ = ["Writer", "choose", "generate"]
