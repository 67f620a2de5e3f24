"""A trained model as it writes: a prompt to an iterator of characters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, NoNumbersError
from chargen.runs import Run
from chargen.sampling.engine import Engine
from chargen.settings import SamplingSettings, from_json
from chargen.text.vocabulary import Unknown, Vocabulary


class Writer:
    """Weights and the characters that they know."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, path: Path) -> None:
        self.engine = engine
        self.vocabulary = vocabulary
        self.path = path  # of the run

    @classmethod
    def of(cls, run: Run) -> Writer:
        """The best weights of a run; `ChargenError` where they do not fit it."""
        model, vocabulary = run.description.model, run.description.vocabulary
        weights = run.weights()
        try:
            return cls(Engine(model, weights, len(vocabulary)), vocabulary, run.path)
        except ChargenError as error:
            raise ChargenError(f"{run.path}: {error}") from None

    def stream(
        self,
        prompt: str = "",
        length: int = 1000,
        count: int = 1,
        seed: int = 0,
        unknown: Unknown = "error",
        **settings: Any,
    ) -> Iterator[list[str]]:
        """Write ``length`` characters after ``prompt``, ``count`` texts at once.

        Yields the next character of each text as soon as it is chosen. ``settings`` are those of
        `SamplingSettings`: temperature, top_k, top_p. A prompt's character that the vocabulary
        lacks is a `ChargenError`, or left out with ``unknown="skip"``. Where the model predicts no
        numbers, a `ChargenError` follows what was written before.
        """
        chosen = from_json(SamplingSettings, settings)
        ids = self.vocabulary.encode_typed("prompt", prompt, unknown)
        ids = ids if len(ids) else first_prompt(self.vocabulary)
        rows = self.engine.write(ids, length, chosen, np.random.default_rng(seed), count)
        return self._decoded(rows)

    def _decoded(self, rows: Iterator[np.ndarray]) -> Iterator[list[str]]:
        try:
            for row in rows:
                yield list(self.vocabulary.decode(row))
        except NoNumbersError as error:
            raise ChargenError(f"{self.path}: {error}") from None


def first_prompt(vocabulary: Vocabulary) -> np.ndarray:
    """What a text begins after where no prompt is given, ``(1,)``: a line feed, else a space,
    else the vocabulary's first character."""
    return vocabulary.encode(next((c for c in "\n " if c in vocabulary), vocabulary.characters[0]))
