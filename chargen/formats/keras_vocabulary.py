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
ENTRIES: Any = list[str | None] | dict[str, str | int]


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
            entries = _entries(decode_json(text.encode(), ENTRIES))
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
        known = {one: id_ for id_, one in enumerate(self.entries) if one and _is_character(one)}
        left_out = [id_ for id_, one in enumerate(self.entries) if not (one and one in known)]
        if not known:
            raise ChargenError(f"{self.source}: no entry is one character; give its alphabet")
        if len(known) + len(left_out) < size:
            twice = next(one for one in known if self.entries.count(one) > 1)
            raise ChargenError(f"{self.source}: {twice!r} comes twice; each character has one id")
        characters = "".join(sorted(known))
        ids = np.array([known[character] for character in characters])
        return Vocabulary(characters), ids, self._notes(left_out)

    def _notes(self, left_out: list[int]) -> list[str]:
        if not left_out:
            return []
        shown = [(id_, self.entries[id_]) for id_ in left_out[:SHOWN]]
        told = ", ".join(f"{id_} ({entry!r})" if entry else str(id_) for id_, entry in shown)
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        return [
            f"left out ids that stand for no character: {told}{more}; their probability is shared "
            "among the characters"
        ]


def _is_character(entry: str) -> bool:
    """Return True for one character that is not half of a surrogate pair."""
    return len(entry) == 1 and not FIRST_SURROGATE <= ord(entry) <= LAST_SURROGATE


def _entries(values: list[str | None] | dict[str, Any]) -> tuple[str | None, ...]:
    if isinstance(values, list):
        return tuple(values)
    by_id = all(isinstance(value, str) for value in values.values())
    known = {int(k) if by_id else v: v if by_id else k for k, v in values.items()}
    if len(known) < len(values) or set(known) != set(range(len(values))):
        raise ValueError("its ids are not 0, 1, 2 and so on")
    return tuple(known[id_] for id_ in range(len(values)))
