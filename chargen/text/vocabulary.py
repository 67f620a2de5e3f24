"""Characters to ids and back."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from chargen.errors import ChargenError

Unknown = Literal["error", "skip"]

CODE_POINTS = 0x110000  # Unicode's code space
FIRST_SURROGATE, LAST_SURROGATE = 0xD800, 0xDFFF  # halves of characters, in UTF-16 alone
BLOCK = 2**18  # characters that are looked up together: what that takes stays in the caches


class UnknownCharacterError(ChargenError):
    """A character that the vocabulary does not hold, and where it stands."""

    def __init__(self, character: str, position: int) -> None:
        self.character = character
        self.position = position
        super().__init__(
            f"character {character!r} (U+{ord(character):04X}) at position {position} "
            "is not in the vocabulary: leave it out, or use a model whose corpus has it"
        )


def code_points(text: str) -> np.ndarray:
    """The Unicode code points of ``text``: ``(len(text),)`` unsigned integers.

    Text within Latin-1 takes one byte a character here, the rest four.
    """
    try:
        return np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    except UnicodeEncodeError:
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class CharacterSet:
    """The distinct characters of a text that is read piece by piece."""

    def __init__(self) -> None:
        self._points = np.zeros(CODE_POINTS, dtype=bool)

    def add(self, text: str) -> None:
        """Read on."""
        for start in range(0, len(text), BLOCK):
            points = code_points(text[start : start + BLOCK])
            if not self._points.take(points).all():  # to look costs less than to write
                self._points[points] = True

    def vocabulary(self) -> Vocabulary:
        """Of all that was read; `ValueError` where that is nothing."""
        return Vocabulary("".join(map(chr, np.flatnonzero(self._points))))


class Vocabulary:
    """The sorted distinct characters of a corpus; character ``v`` has id ``v``.

    ``characters`` must be sorted by code point and hold no character twice, which makes a
    vocabulary a function of the set of characters alone, and no surrogate, which no text in UTF-8
    has; anything else is a ``ValueError``.
    """

    def __init__(self, characters: str) -> None:
        if not characters:
            raise ValueError("a vocabulary holds at least one character")
        points = code_points(characters)
        if len(points) > 1 and not (points[1:] > points[:-1]).all():
            raise ValueError("a vocabulary's characters are sorted and distinct")
        if ((points >= FIRST_SURROGATE) & (points <= LAST_SURROGATE)).any():
            raise ValueError("a vocabulary holds no surrogates")
        self.characters = characters
        self._points = points
        # One entry a code point up to the largest known; V, one past the last id, means unknown.
        self._ids = np.full(int(points[-1]) + 1, len(points), dtype=np.min_scalar_type(len(points)))
        self._ids[points] = np.arange(len(points))

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The vocabulary of ``text``, which must not be empty."""
        seen = CharacterSet()
        seen.add(text)
        return seen.vocabulary()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned integers that hold V, in which `encode` gives ids."""
        return self._ids.dtype

    @property
    def opening(self) -> np.ndarray:
        """What a text begins after where nothing is said of it, ``(1,)`` ids: a line feed, else a
        space, else the first character."""
        return self.encode(next((c for c in "\n " if c in self), self.characters[0]))

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: str) -> bool:
        return len(character) == 1 and character in self.characters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    def encode(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """The ids of ``text``: ``(len(text),)`` of `dtype`.

        A character that is not in the vocabulary raises ``UnknownCharacterError``, or is left
        out with ``unknown="skip"``.
        """
        if unknown not in ("error", "skip"):
            raise ValueError(f"unknown is {unknown!r}, it must be 'error' or 'skip'")
        ids = np.empty(len(text), dtype=self.dtype)
        written = 0
        for start in range(0, len(text), BLOCK):
            block = text[start : start + BLOCK]
            points = code_points(block)
            # `take` with clipping reads beyond the table as its last entry.
            found = self._ids.take(points, mode="clip")
            if points.max() >= len(self._ids) or found.max() >= len(self):
                known = (points < len(self._ids)) & (found < len(self))
                if unknown == "error":
                    position = int(known.argmin())
                    raise UnknownCharacterError(block[position], start + position)
                found = found[known]
            ids[written : written + len(found)] = found
            written += len(found)
        return ids[:written]

    def encode_typed(self, name: str, text: str, unknown: Unknown | None = None) -> np.ndarray:
        """`encode` for what a user typed, which a `ChargenError` calls by ``name``.

        ``unknown`` is None where the user has no say in it.
        """
        try:
            return self.encode(text, unknown or "error")
        except UnknownCharacterError as error:
            skipping = ", or give --unknown skip" if unknown else ""
            raise ChargenError(
                f"{name}: character {error.character!r} at position {error.position} is not in "
                f"the model's vocabulary; leave it out{skipping}"
            ) from None

    def decode(self, ids: np.ndarray) -> str:
        """The text of ``ids``, ``(T,)`` integers in 0 .. V-1, else an ``IndexError``."""
        ids = np.asarray(ids, dtype=np.int64)
        if ids.size and ids.min() < 0:
            raise IndexError(f"id {ids.min()} is negative")
        return self._points[ids].astype("<u4").tobytes().decode("utf-32-le")
