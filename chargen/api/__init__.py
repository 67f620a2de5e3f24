"""The public Python API; the command line calls the same functions."""

from chargen.api.measuring import probe, score
from chargen.api.model import BASELINE_ORDER, TrainedModel
from chargen.api.training import load, train

__all__ = ["BASELINE_ORDER", "TrainedModel", "load", "probe", "score", "train"]
