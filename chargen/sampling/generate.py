"""Writing: predict, choose, feed the choice back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chargen.predictors import NextCharPredictor
from chargen.sampling.choice import choose, prompts, recent_of, remembered
from chargen.settings import SamplingSettings


def generate(
    predictor: NextCharPredictor,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int = 1,
) -> Iterator[np.ndarray]:
    """Write ``length`` characters after ``prompt``, ``count`` texts side by side.

    ``prompt`` is ids, ``(T,)`` for all or ``(N, T)`` for each, T > 0; it warms the state and is not
    repeated in what comes out.
    Yields the next character of each text, ``(count,)`` ids, as soon as it is chosen.
    """
    inputs = prompts(prompt, count)
    if inputs.shape[1] == 0:
        raise ValueError("a prompt holds one character at least")
    state, recent = None, recent_of(inputs, settings)
    for _ in range(length):
        log_probs, state = predictor.advance(inputs, state)
        chosen = choose(log_probs[:, -1], settings, generator, recent)
        recent = remembered(recent, chosen)
        yield chosen
        inputs = chosen[:, None]
