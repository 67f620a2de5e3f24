"""Models that instruments can measure: protocols, adapters, a check, and the n-gram baseline."""

from chargen.predictors.ngram import BackoffNgram
from chargen.predictors.protocol import (
    LimitedPredictor,
    NextCharPredictor,
    State,
    limited,
    select,
)

__all__ = [
    "BackoffNgram",
    "LimitedPredictor",
    "NextCharPredictor",
    "State",
    "limited",
    "select",
]
