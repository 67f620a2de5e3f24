"""A trained model as it writes: a prompt to an iterator of characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, NoNumbersError
from chargen.runs import Run
from chargen.sampling.beam import NOTHING, search
from chargen.sampling.engine import Engine
from chargen.sampling.stopping import Stop, stopped, stops_of
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
        stop: Stop = (),
        **settings: Any,
    ) -> Iterator[list[str]]:
        """Write ``length`` characters after ``prompt``, ``count`` texts at once.

        Yields the next character of each text as soon as it is chosen. ``settings`` are those of
        `SamplingSettings`: temperature, top_k, top_p, min_p, repetition_penalty, or beam, which
        yields once the ``count`` likeliest texts are found, in that order. A prompt's character
        that the vocabulary lacks is a `ChargenError`, or left out with ``unknown="skip"``. Where
        the model predicts no numbers, a `ChargenError` follows what was written before.

        A text ends where ``stop`` would stand, or any of several, which is left out; what may be
        its beginning is held back, so that a piece may then be empty or hold several characters.
        """
        chosen = from_json(SamplingSettings, settings)
        stops = stops_of(stop, self.vocabulary)
        ids = self.vocabulary.encode_typed("prompt", prompt, unknown)
        ids = ids if len(ids) else self.vocabulary.opening
        if chosen.beam is None:
            rows = self.engine.write(ids, length, chosen, np.random.default_rng(seed), count)
            texts = self._decoded(rows, self.vocabulary.decode)
        elif count > chosen.beam:
            raise ChargenError(f"--count {count}: more than a beam of {chosen.beam}; raise --beam")
        else:
            found = self._searched(ids, length, chosen.beam, count, stops)
            texts = self._decoded(found, self._decode_ended)
        return stopped(texts, stops, count) if stops else texts

    def _searched(
        self, ids: np.ndarray, length: int, beam: int, count: int, stops: tuple[str, ...]
    ) -> Iterator[np.ndarray]:
        encoded = [self.vocabulary.encode(stop) for stop in stops]
        # The search sees what came of it.
        read = np.errstate(over="ignore", invalid="ignore")(self.engine.read)
        start = self.engine.initial_state(1)
        yield from search(read, start, ids, length, beam, count, encoded)

    def _decode_ended(self, row: np.ndarray) -> list[str]:
        return ["" if id_ == NOTHING else self.vocabulary.characters[id_] for id_ in row]

    def _decoded(
        self, rows: Iterator[np.ndarray], decode: Callable[[np.ndarray], Iterable[str]]
    ) -> Iterator[list[str]]:
        try:
            for row in rows:
                yield list(decode(row))
        except NoNumbersError as error:
            raise ChargenError(f"{self.path}: {error}") from None
