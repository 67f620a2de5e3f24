"""Stop strings, which end a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chargen.errors import ChargenError
from chargen.text.vocabulary import Vocabulary

Stop = str | Sequence[str]
"""One or several strings that end a text as soon as the model has written one of them."""

Stops = Mapping[str, bool]
"""Stop strings, longest first, and whether a text keeps the one that ends it."""


def stops_of(vocabulary: Vocabulary, stop: Stop = (), stop_after: Stop = ()) -> Stops:
    """Return the stops; raise `ChargenError` for one that could never be written."""
    stops: dict[str, bool] = {}
    for flag, given in {"--stop": stop, "--stop-after": stop_after}.items():
        for text in (given,) if isinstance(given, str) else given:
            stops[text] = flag == "--stop-after"
            if not text:
                raise ChargenError(f"{flag} '': empty, give some text")
            for position, character in enumerate(text):
                if character not in vocabulary:
                    raise ChargenError(
                        f"{flag} {text!r}: character {character!r} at position {position} is not "
                        "in the model's vocabulary, so it would never be written; leave it out"
                    )
    return {text: stops[text] for text in sorted(stops, key=len, reverse=True)}


class Stopping:
    """A filter that ends a text at the first stop.

    A possible beginning of a stop is buffered until the text decides. If several stops end at the
    same character, the longest counts; a stop does not begin before the first character read.
    """

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self.held = ""
        self.ended = False

    def read(self, character: str) -> str:
        """Return the characters that are certain after this one; none after the end."""
        if self.ended:
            return ""
        text = self.held + character
        for stop, keeps in self._stops.items():
            if text.endswith(stop):
                self.held, self.ended = "", True
                return text if keeps else text.removesuffix(stop)
        begins = 0
        while begins < len(text) and not any(
            stop.startswith(text[begins:]) for stop in self._stops
        ):
            begins += 1
        self.held = text[begins:]
        return text[:begins]


def stopped(rows: Iterable[list[str]], stops: Stops, count: int) -> Iterator[list[str]]:
    """Apply `Stopping` to rows of the next characters of ``count`` texts until all ended."""
    texts = [Stopping(stops) for _ in range(count)]
    for row in rows:
        yield [text.read(character) for text, character in zip(texts, row, strict=True)]
        if all(text.ended for text in texts):
            return
    yield [text.held for text in texts]
