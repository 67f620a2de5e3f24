"""A text that somebody and a model write in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.sampling.engine import Steps
from chargen.sampling.stopping import Stop, Stopping, stops_of
from chargen.sampling.writer import Writer
from chargen.settings import SamplingSettings, from_options
from chargen.text.vocabulary import Unknown

LINE_END = "\n"


class Conversation:
    """All that was heard and written so far, remembered by the model as one text.

    ``stop`` and ``settings`` are those of `Writer.stream`. Without ``stop`` an answer ends with
    its line: a line feed is written and ends it once something else has been written before.
    """

    def __init__(self, writer: Writer, seed: int = 0, stop: Stop = (), **settings: Any) -> None:
        chosen = from_options(SamplingSettings, settings)
        if chosen.beam is not None:
            raise ChargenError("--beam: it looks for whole texts and writes no answers")
        self._writer = writer
        self._stops = stops_of(stop, writer.vocabulary)
        self._settings = chosen
        self._steps = Steps(writer.engine, chosen, 1)
        self._generator = np.random.default_rng(seed)
        self._begun = False

    def hear(self, text: str, unknown: Unknown = "error") -> int:
        """Read ``text``; returns how many characters were left out with ``unknown="skip"``.

        With ``"error"`` one that the vocabulary lacks is a `ChargenError`, and nothing is read.
        """
        ids = self._writer.vocabulary.encode_typed("your line", text, unknown)
        self._read(ids)
        return len(text) - len(ids)

    def answer(self, length: int) -> Iterator[str]:
        """Go on by ``length`` characters at most, piece by piece: see `Writer.stream`.

        What was written until nobody asked on is remembered. `ChargenError` where the model
        predicts no numbers.
        """
        if not self._begun:
            self._read(self._writer.beginning(self._settings, self._generator))
        stopping, line_begun = Stopping(self._stops), False
        for _ in range(length):
            character = self._next()
            yield stopping.read(character)
            if stopping.ended or (line_begun and not self._stops and character == LINE_END):
                return
            line_begun = line_begun or character != LINE_END
        yield stopping.rest()

    def _read(self, ids: np.ndarray) -> None:
        self._steps.read(ids)
        self._begun = self._begun or ids.size > 0

    def _next(self) -> str:
        with self._writer.told():
            return self._writer.vocabulary.decode(self._steps.write(self._generator))
