"""Models that instruments can measure: protocols, adapters, a check, and the n-gram baseline."""

from chargen.predictors.adapters import from_function, from_onnx, from_torch
from chargen.predictors.check import check
from chargen.predictors.ngram import BackoffNgram
from chargen.predictors.protocol import Model, NextCharPredictor, PredictorError, State, TextScorer
from chargen.predictors.token_model import from_transformers, load_transformers

__all__ = [
    "BackoffNgram", "Model", "NextCharPredictor", "PredictorError", "State", "TextScorer", "check",
    "from_function", "from_onnx", "from_torch", "from_transformers", "load_transformers",
]  # fmt: skip
