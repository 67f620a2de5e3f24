"""Interactive sampling: a user and a model alternate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.sampling.choice import append_recent, choose, recent_ids
from chargen.sampling.network import State
from chargen.sampling.sampler import Sampler
from chargen.sampling.stopping import Stop, Stopping, stops_of
from chargen.settings import SamplingSettings, from_options
from chargen.text.vocabulary import Unknown

LINE_END = "\n"


class Conversation:
    """One text of the user's lines and the model's answers, all of them in the model's state.

    The options are those of `Sampler.stream`. Without stops an answer ends with its line: at the
    first line feed after another character, which is part of the answer.
    """

    def __init__(
        self,
        sampler: Sampler,
        seed: int = 0,
        stop: Stop = (),
        stop_after: Stop = (),
        begin: bool | None = None,
        **settings: Any,
    ) -> None:
        self._settings = from_options(SamplingSettings, settings)
        if self._settings.beam is not None:
            raise ChargenError("--beam: a beam search writes whole texts, not answers")
        self._sampler = sampler
        self._stops = stops_of(sampler.vocabulary, stop, stop_after)
        self._generator = np.random.default_rng(seed)
        self._begin = begin
        self._state: State | None = None
        self._unread: np.ndarray = np.empty((1, 0), dtype=np.int64)  # not in the state yet
        self._recent = recent_ids(self._unread, self._settings)

    def hear(self, text: str, unknown: Unknown = "error") -> int:
        """Read a line of the user; return how many characters ``unknown="skip"`` left out."""
        ids = self._sampler.vocabulary.encode_typed("your line", text, unknown)
        if not self._unread.size and len(ids) and self._sampler.begins(text, self._begin):
            self._start()
        self._read(ids)
        return len(text) - len(ids)

    def answer(self, length: int) -> Iterator[str]:
        """Write at most ``length`` characters, which count as written once they are consumed."""
        if not self._unread.size:
            self._start()
        stopping, line_begun = Stopping(self._stops), False
        for _ in range(length):
            with self._sampler.named_errors():
                logits, state = self._sampler.engine.advance(self._unread, self._state)
                ids = choose(logits[:, -1], self._settings, self._generator, self._recent)
            self._state, self._unread = state, self._unread[:, :0]
            self._read(ids)
            character = self._sampler.vocabulary.characters[ids[0]]
            yield stopping.read(character)
            if stopping.ended or (line_begun and not self._stops and character == LINE_END):
                return
            line_begun = line_begun or character != LINE_END
        yield stopping.rest()

    def _start(self) -> None:
        self._read(self._sampler.start_ids(self._settings, self._generator))

    def _read(self, ids: np.ndarray) -> None:
        new = np.atleast_2d(ids).astype(np.int64)
        self._unread = np.concatenate([self._unread, new], axis=1)
        self._recent = append_recent(self._recent, new)
