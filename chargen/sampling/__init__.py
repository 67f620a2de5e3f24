"""Sampling: from a trained model and a prompt to an iterator of characters."""

from chargen.sampling.choice import choose, generate
from chargen.sampling.sampler import Sampler

__all__ = ["Sampler", "choose", "generate"]
