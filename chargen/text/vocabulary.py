"""The vocabulary: characters to ids and back."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from chargen.errors import ChargenError

Unknown = Literal["error", "skip"]

CODE_POINTS = 0x110000  # size of Unicode
PLACEHOLDER = "\ufffd"  # stands for every dropped character
FIRST_SURROGATE, LAST_SURROGATE = 0xD800, 0xDFFF


class UnknownCharacterError(ChargenError):
    """A text has a character that is not in the vocabulary."""

    def __init__(self, character: str, position: int) -> None:
        self.character = character
        self.position = position
        super().__init__(
            f"character {character!r} (U+{ord(character):04X}) at position {position} "
            "is not in the vocabulary; leave it out, or use a model whose corpus has it"
        )


def code_points(text: str) -> np.ndarray:
    """Return the code points of a text, ``(len(text),)`` uint8 for Latin-1, else uint32."""
    try:
        return np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    except UnicodeEncodeError:
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class CharacterSet:
    """The distinct characters of a text that is read in blocks."""

    def __init__(self) -> None:
        self._points = np.zeros(CODE_POINTS, dtype=bool)
        self._ascii = b""  # the known characters of ASCII

    def add(self, data: bytes) -> None:
        """Add the characters of the next block, given in UTF-8."""
        # Removing known characters is much faster than looking them up.
        rest = data.translate(None, self._ascii)
        if rest:
            self._points[code_points(rest.decode("utf-8", "surrogatepass"))] = True
            self._ascii = self._points[:128].nonzero()[0].astype(np.uint8).tobytes()

    def vocabulary(self) -> "Vocabulary":
        """Return the vocabulary of all blocks; `ValueError` if there was no character."""
        return Vocabulary("".join(map(chr, np.flatnonzero(self._points))))


def add_counts(counts: np.ndarray, text: str) -> None:
    """Add the number of each character of ``text`` to ``counts`` ``(CODE_POINTS,)``."""
    found = np.bincount(code_points(text))
    counts[: len(found)] += found


def rare_characters(blocks: Iterable[str], fewest: int) -> tuple[str, int]:
    """Return the characters that occur less than ``fewest`` times, and how often in all."""
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    for text in blocks:
        add_counts(counts, text)
    rare = np.flatnonzero((counts > 0) & (counts < fewest))
    return "".join(map(chr, rare)), int(counts[rare].sum())


class Vocabulary:
    """The distinct characters of a corpus, sorted; the character at index ``v`` has id ``v``.

    The sorted characters ``dropped`` are encoded as `PLACEHOLDER`. `ValueError` if there are no
    characters, or if they are not sorted, not distinct or not valid.
    """

    def __init__(self, characters: str, dropped: str = "") -> None:
        if not characters:
            raise ValueError("a vocabulary holds at least one character")
        for text in (characters, dropped):
            points = code_points(text)
            if not (points[1:] > points[:-1]).all():
                raise ValueError("a vocabulary's characters are sorted and distinct")
            if ((points >= FIRST_SURROGATE) & (points <= LAST_SURROGATE)).any():
                raise ValueError("a vocabulary holds no surrogates")
        if dropped and (PLACEHOLDER not in characters or set(characters) & set(dropped)):
            raise ValueError(f"dropped characters need the placeholder {PLACEHOLDER!r} and no id")
        self.characters = characters
        self.dropped = dropped
        points = self._points = code_points(characters)
        # One entry per code point up to the one after the largest known; V means unknown.
        size = max(map(ord, (characters[-1], *dropped[-1:]))) + 2
        self._ids = np.full(size, len(points), dtype=np.min_scalar_type(len(points)))
        self._ids[points] = np.arange(len(points))
        if dropped:
            self._ids[code_points(dropped)] = characters.index(PLACEHOLDER)

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """Return the vocabulary of a text, which must not be empty."""
        return cls("".join(sorted(set(text))))

    def without(self, dropped: str) -> "Vocabulary":
        """Return the vocabulary in which `PLACEHOLDER` stands for the characters ``dropped``."""
        kept = set(self.characters) - set(dropped) | set(PLACEHOLDER if dropped else "")
        return Vocabulary("".join(sorted(kept)), "".join(sorted({*self.dropped, *dropped} - kept)))

    def __or__(self, other: "Vocabulary") -> "Vocabulary":
        """Return the vocabulary of both; only characters that neither has are dropped."""
        known = {*self.characters, *other.characters}
        dropped = {*self.dropped, *other.dropped} - known
        return Vocabulary("".join(sorted(known)), "".join(sorted(dropped)))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned integer that holds V."""
        return self._ids.dtype

    @property
    def opening(self) -> np.ndarray:
        """The default context of text, ``(1,)``: a line feed, a space or the first character."""
        return self.encode(next((c for c in "\n " if c in self), self.characters[0]))

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: str) -> bool:
        return len(character) == 1 and character in self.characters

    def __eq__(self, other: object) -> bool:
        own = (self.characters, self.dropped)
        return isinstance(other, Vocabulary) and own == (other.characters, other.dropped)

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r}{self.dropped and f', {self.dropped!r}'})"

    def encode(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """Return the ids of a text, ``(len(text),)``; skip or refuse unknown characters."""
        if unknown not in ("error", "skip"):
            raise ValueError(f"unknown={unknown!r}: must be 'error' or 'skip'")
        # Clipping maps code points beyond the table to its last entry, which is unknown.
        ids = self._ids.take(code_points(text), mode="clip")
        known = ids < len(self)
        if known.all():
            return ids
        if unknown == "error":
            position = int(known.argmin())
            raise UnknownCharacterError(text[position], position)
        return ids[known]

    def encode_typed(self, name: str, text: str, unknown: Unknown | None = None) -> np.ndarray:
        """Encode user input called ``name``; `ChargenError` names an unknown character."""
        try:
            return self.encode(text, unknown or "error")
        except UnknownCharacterError as error:
            skipping = ", or give --unknown skip" if unknown else ""
            raise ChargenError(
                f"{name}: character {error.character!r} at position {error.position} is not in "
                f"the model's vocabulary; leave it out{skipping}"
            ) from None

    def known(self, text: str) -> str:
        """Return a text without the characters that `encode` does not know."""
        unknown = set(text) - {*self.characters, *self.dropped}
        return text.translate(dict.fromkeys(map(ord, unknown)))

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ``ids``, ``(T,)`` integers; `IndexError` outside 0 .. V-1."""
        ids = np.asarray(ids, dtype=np.int64)
        if ids.size and ids.min() < 0:
            raise IndexError(f"id {ids.min()} is negative")
        return self._points[ids].astype("<u4").tobytes().decode("utf-32-le")
