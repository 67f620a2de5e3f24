"""Texts that end where something is written that was to end them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chargen.errors import ChargenError
from chargen.text.vocabulary import Vocabulary

Stop = str | Sequence[str]
"""What ends a text as soon as the model has written it: one text, or any of several."""


def stops_of(stop: Stop, vocabulary: Vocabulary) -> tuple[str, ...]:
    """What was given, the longest first; `ChargenError` for what no text could end with."""
    given = (stop,) if isinstance(stop, str) else tuple(stop)
    for text in given:
        if not text:
            raise ChargenError("--stop '': empty, give some text")
        for position, character in enumerate(text):
            if character not in vocabulary:
                raise ChargenError(
                    f"--stop {text!r}: character {character!r} at position {position} is not in "
                    "the model's vocabulary, so it would never be written; leave it out"
                )
    return tuple(sorted(given, key=len, reverse=True))


class Stopping:
    """Reads a text character by character and lets through what comes before a stop.

    What may be the beginning of a stop is held back until that is known. Of stops that end at one
    place the longest counts; what was there before the first character that is read never does.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.ended = False

    def read(self, character: str) -> str:
        """What is certain now; nothing any more once the text has ended."""
        if self.ended:
            return ""
        self._held += character
        for stop in self._stops:
            if self._held.endswith(stop):
                self.ended = True
                return self.rest()[: -len(stop)]
        begins = 0
        while begins < len(self._held) and not self._may_stop(self._held[begins:]):
            begins += 1
        certain, self._held = self._held[:begins], self._held[begins:]
        return certain

    def _may_stop(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)

    def rest(self) -> str:
        """What is held back, where nothing comes any more."""
        held, self._held = self._held, ""
        return held


def stopped(rows: Iterable[list[str]], stops: Sequence[str], count: int) -> Iterator[list[str]]:
    """Rows of the next characters of ``count`` texts, up to where each is to stop.

    A piece of a row may then be empty, or hold several characters. Nothing more is asked for once
    all texts have ended.
    """
    texts = [Stopping(stops) for _ in range(count)]
    for row in rows:
        yield [text.read(character) for text, character in zip(texts, row, strict=True)]
        if all(text.ended for text in texts):
            return
    yield [text.rest() for text in texts]
