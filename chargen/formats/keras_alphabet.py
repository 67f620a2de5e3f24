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
        try:
            values = decode_json(read_file(path).encode(), ENTRIES)
            if isinstance(values, dict):
                by_id = all(isinstance(value, str) for value in values.values())
                known = {int(k) if by_id else v: v if by_id else k for k, v in values.items()}
                if len(known) < len(values) or set(known) != set(range(len(values))):
                    raise ValueError("its ids are not 0, 1, 2 and so on")
                values = [known[id_] for id_ in range(len(values))]
        except (ValueError, TypeError) as error:
            raise ChargenError(
                f"{path}: not an alphabet ({reason(error)}); give a JSON list of characters, or a "
                "map from each to its id"
            ) from None
        return cls((*[None] * reserved, *values), str(path))

    @classmethod
    def of_text(cls, path: Path, reserved: int = 0) -> Alphabet:
        """Number the sorted characters of a text, after ``reserved`` ids."""
        return cls((*[None] * reserved, *sorted(set(read_file(path)))), str(path))

    def arranged(self, size: int) -> tuple[Vocabulary, np.ndarray, list[str]]:
        """Return the vocabulary, the model's id of each character ``(V,)``, and notes.

        Raises:
            ChargenError: The alphabet does not fit a model with ``size`` ids.
        """
        entries = self.entries
        if len(entries) != size:
            rest = size - len(entries)
            way_out = "give the alphabet that it was trained with"
            if rest > 0:
                way_out += f", or --reserved {rest} if the first {rest} stand for no character"
            raise ChargenError(
                f"{self.source}: {len(entries)} entries, the model has {size} ids; {way_out}"
            )
        known = {one: id_ for id_, one in enumerate(entries) if one and _is_character(one)}
        if not known:
            raise ChargenError(f"{self.source}: no entry is one character; give its alphabet")
        left_out = [id_ for id_, one in enumerate(entries) if not (one and one in known)]
        if len(known) + len(left_out) < size:
            twice = next(one for one in known if entries.count(one) > 1)
            raise ChargenError(f"{self.source}: {twice!r} comes twice; each character has one id")
        notes = []
        if left_out:
            told = [f"{n} ({entries[n]!r})" if entries[n] else str(n) for n in left_out[:SHOWN]]
            more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
            notes = [
                f"left out ids that stand for no character: {', '.join(told)}{more}; their "
                "probability is shared among the characters"
            ]
        characters = "".join(sorted(known))
        ids = np.array([known[character] for character in characters])
        return Vocabulary(characters), ids, notes


def _is_character(entry: str) -> bool:
    """Return True for one character that is not half of a surrogate pair."""
    return len(entry) == 1 and not FIRST_SURROGATE <= ord(entry) <= LAST_SURROGATE
