"""Interactive sampling: a user and a model alternate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.sampling.engine import PlainLoop
from chargen.sampling.sampler import Sampler
from chargen.sampling.stopping import Stop, Stopping, stops_of
from chargen.settings import SamplingSettings, from_options
from chargen.text.vocabulary import Unknown

LINE_END = "\n"


class Conversation:
    """One text of the user's lines and the model's answers, all of them in the model's state.

    ``stop`` and ``settings`` are those of `Sampler.stream`. Without ``stop`` an answer ends with
    its line: at the first line feed after another character, which is part of the answer.
    """

    def __init__(self, sampler: Sampler, seed: int = 0, stop: Stop = (), **settings: Any) -> None:
        chosen = from_options(SamplingSettings, settings)
        if chosen.beam is not None:
            raise ChargenError("--beam: a beam search writes whole texts, not answers")
        self._sampler = sampler
        self._stops = stops_of(stop, sampler.vocabulary)
        self._settings = chosen
        self._loop = PlainLoop(sampler.engine, chosen, 1)
        self._generator = np.random.default_rng(seed)
        self._begun = False

    def hear(self, text: str, unknown: Unknown = "error") -> int:
        """Read a line of the user; return how many characters ``unknown="skip"`` left out."""
        ids = self._sampler.vocabulary.encode_typed("your line", text, unknown)
        self._read(ids)
        return len(text) - len(ids)

    def answer(self, length: int) -> Iterator[str]:
        """Write at most ``length`` characters, which count as written once they are consumed."""
        if not self._begun:
            self._read(self._sampler.start_ids(self._settings, self._generator))
        stopping, line_begun = Stopping(self._stops), False
        for _ in range(length):
            with self._sampler.named_errors():
                (id_,) = next(self._loop.write(1, self._generator))
            character = self._sampler.vocabulary.characters[id_]
            yield stopping.read(character)
            if stopping.ended or (line_begun and not self._stops and character == LINE_END):
                return
            line_begun = line_begun or character != LINE_END
        yield stopping.rest()

    def _read(self, ids: np.ndarray) -> None:
        self._loop.read(np.atleast_2d(ids))
        self._begun = self._begun or ids.size > 0
