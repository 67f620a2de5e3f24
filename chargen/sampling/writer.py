"""A trained model as it writes: a prompt to an iterator of characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, NoNumbersError
from chargen.runs.directory import Run
from chargen.sampling.beam import NOTHING, search
from chargen.sampling.beginning import MOST, led_in
from chargen.sampling.engine import Engine
from chargen.sampling.stopping import Stop, stopped, stops_of
from chargen.settings import SAMPLE_CHARS, SamplingSettings, from_options
from chargen.text.vocabulary import Unknown, Vocabulary


class Writer:
    """Weights and the characters that they know.

    With ``leads_in`` a text that is given no prompt begins after one that was written unseen.
    """

    def __init__(
        self, engine: Engine, vocabulary: Vocabulary, path: Path, *, leads_in: bool = False
    ) -> None:
        self.engine = engine
        self.vocabulary = vocabulary
        self.path = path  # of the run
        self._leads_in = leads_in

    @classmethod
    def of(cls, run: Run, weights: Mapping[str, np.ndarray] | None = None) -> Writer:
        """The best weights of a run, or others; `ChargenError` where they do not fit it."""
        description = run.description
        vocabulary = description.vocabulary
        weights = run.weights() if weights is None else weights
        try:
            engine = Engine(description.model, weights, len(vocabulary))
        except ChargenError as error:
            raise ChargenError(f"{run.path}: {error}") from None
        return cls(engine, vocabulary, run.path, leads_in=not description.begins_at_zeros)

    def stream(
        self,
        prompt: str = "",
        length: int = SAMPLE_CHARS,
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
        chosen = from_options(SamplingSettings, settings)
        stops = stops_of(stop, self.vocabulary)
        ids = self.vocabulary.encode_typed("prompt", prompt, unknown)
        if chosen.beam is None:
            rows = self._drawn(ids, length, chosen, np.random.default_rng(seed), count)
            texts = self._decoded(rows, self.vocabulary.decode)
        elif count > chosen.beam:
            raise ChargenError(f"--count {count}: more than a beam of {chosen.beam}; raise --beam")
        else:
            ids = ids if len(ids) else self.vocabulary.opening
            found = self._searched(ids, length, chosen.beam, count, stops)
            texts = self._decoded(found, self._decode_ended)
        return stopped(texts, stops, count) if stops else texts

    def beginning(
        self, settings: SamplingSettings, generator: np.random.Generator, count: int = 1
    ) -> np.ndarray:
        """What ``count`` texts without a prompt go on from, ``(N, T)`` ids or, alike, ``(T,)``.

        Where nothing is drawn by chance it is a line feed at a state of zeros in any case.
        `ChargenError` where the model predicts no numbers.
        """
        opening = self.vocabulary.opening
        if not self._leads_in or settings.temperature == 0:
            return opening
        # Its own numbers: how many of them a form draws that is not asked on is its own affair.
        own = np.random.default_rng(generator.integers(2**63))
        rows = self.engine.write(opening, MOST, settings, own, count)
        with self.told():
            return led_in(rows, int(opening[0]))

    @contextmanager
    def told(self) -> Iterator[None]:
        """What raises `NoNumbersError` raises a `ChargenError` that names the run."""
        try:
            yield
        except NoNumbersError as error:
            raise ChargenError(f"{self.path}: {error}") from None

    def _drawn(
        self,
        ids: np.ndarray,
        length: int,
        settings: SamplingSettings,
        generator: np.random.Generator,
        count: int,
    ) -> Iterator[np.ndarray]:
        if not len(ids):
            ids = self.beginning(settings, generator, count)
        yield from self.engine.write(ids, length, settings, generator, count)

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
        with self.told():
            for row in rows:
                yield list(decode(row))
