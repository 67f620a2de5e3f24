"""The characters that a Keras model's ids stand for, when the model does not store them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.files import decode_json, reason
from chargen.text.sources import read_file
from chargen.text.vocabulary import FIRST_SURROGATE, LAST_SURROGATE, Vocabulary

SHOWN = 5  # ids in a note


@dataclass(frozen=True)
class Alphabet:
    """The entry of each id from 0 on; None or several characters stand for no character."""

    entries: tuple[str | None, ...]
    source: str  # for error messages

    @classmethod
    def of_json(cls, path: Path, reserved: int = 0) -> Alphabet:
        """Read a JSON list of characters, or a map between characters and ids, in one direction.

        ``reserved`` ids without a character come first.
        """
        text = read_file(path)
        try:
            entries = _entries(decode_json(text.encode(), Any))
        except (ValueError, TypeError) as error:
            raise ChargenError(
                f"{path}: not an alphabet ({reason(error)}); give a JSON list of characters, or a "
                "map from each to its id"
            ) from None
        return cls((None,) * reserved + entries, str(path))

    @classmethod
    def of_text(cls, path: Path, reserved: int = 0) -> Alphabet:
        """Number the sorted characters of a text, after ``reserved`` ids."""
        return cls((None,) * reserved + tuple(sorted(set(read_file(path)))), str(path))

    def arranged(self, size: int) -> tuple[Vocabulary, np.ndarray, list[str]]:
        """Return the vocabulary, the model's id of each character ``(V,)``, and notes.

        Raises:
            ChargenError: The alphabet does not fit a model with ``size`` ids.
        """
        if len(self.entries) != size:
            rest = size - len(self.entries)
            way_out = "give the alphabet that it was trained with"
            if rest > 0:
                way_out += f", or --reserved {rest} if the first {rest} stand for no character"
            raise ChargenError(
                f"{self.source}: {len(self.entries)} entries, the model has {size} ids; {way_out}"
            )
        known = {id_: entry for id_, entry in enumerate(self.entries) if _is_character(entry)}
        if not known:
            raise ChargenError(f"{self.source}: no entry is one character; give its alphabet")
        ids = sorted(known, key=lambda id_: str(known[id_]))
        characters = "".join(str(known[id_]) for id_ in ids)
        if len(set(characters)) < len(characters):
            twice = next(one for one in characters if characters.count(one) > 1)
            raise ChargenError(f"{self.source}: {twice!r} comes twice; each character has one id")
        return Vocabulary(characters), np.array(ids), self._left_out(known)

    def _left_out(self, known: dict[int, str | None]) -> list[str]:
        odd = [id_ for id_ in range(len(self.entries)) if id_ not in known]
        if not odd:
            return []
        told = ", ".join(
            f"{id_} ({self.entries[id_]!r})" if self.entries[id_] else str(id_)
            for id_ in odd[:SHOWN]
        )
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        return [
            f"left out ids that stand for no character: {told}{more}; their probability is shared "
            "among the characters"
        ]


def _is_character(entry: str | None) -> bool:
    """Return True for one character that is not half of a surrogate pair."""
    return (
        entry is not None
        and len(entry) == 1
        and not (FIRST_SURROGATE <= ord(entry) <= LAST_SURROGATE)
    )


def _entries(values: Any) -> tuple[str | None, ...]:
    if isinstance(values, dict):
        by_id = all(isinstance(value, str) for value in values.values())
        pairs = [(int(key), value) if by_id else (value, key) for key, value in values.items()]
        if sorted(number for number, _ in pairs) != list(range(len(pairs))):
            raise ValueError("its ids are not 0, 1, 2 and so on")
        values = [text for _, text in sorted(pairs)]
    if not isinstance(values, list):
        raise ValueError("neither a list nor a map")
    if not all(entry is None or isinstance(entry, str) for entry in values):
        raise ValueError("an entry is not text")
    return tuple(values)
