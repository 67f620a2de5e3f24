"""The public Python API; the command line calls the same functions."""

from chargen.api.measuring import probe, score
from chargen.api.model import TrainedModel
from chargen.api.training import load, train
from chargen.predictors.ngram import BASELINE_ORDER

__all__ = ["BASELINE_ORDER", "TrainedModel", "load", "probe", "score", "train"]
