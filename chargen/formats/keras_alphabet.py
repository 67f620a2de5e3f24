"""Which character each id of a model stands for, when the model does not say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.files import parse_json, reason
from chargen.text.sources import read_file
from chargen.text.vocabulary import FIRST_SURROGATE, LAST_SURROGATE, Vocabulary

SHOWN = 5  # ids that stand for no character and are named


@dataclass(frozen=True)
class Alphabet:
    """What the ids from 0 on stand for; None, or more than one character: for no character."""

    entries: tuple[str | None, ...]
    source: str  # what a message calls it

    @classmethod
    def of_json(cls, path: Path, reserved: int = 0) -> Alphabet:
        """A list of characters, or a map from characters to ids or from ids to characters.

        Of the model's ids the first ``reserved`` come before them, and stand for none.
        """
        text = read_file(path)
        try:
            # Outside of strings JSON is ASCII; inside, each character may be escaped.
            data = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
            entries = _entries(parse_json(data.encode("ascii")))
        except (ValueError, TypeError) as error:
            raise ChargenError(
                f"{path}: no alphabet ({reason(error)}); give a JSON list of characters, or a map "
                "from each to its id"
            ) from None
        return cls((None,) * reserved + entries, str(path))

    @classmethod
    def of_text(cls, path: Path, reserved: int = 0) -> Alphabet:
        """The characters of a text, sorted, as tutorials number them, after ``reserved`` ids."""
        return cls((None,) * reserved + tuple(sorted(set(read_file(path)))), str(path))

    def arranged(self, size: int) -> tuple[Vocabulary, np.ndarray, list[str]]:
        """The vocabulary, the model's id of each of its characters ``(V,)``, and what is left out.

        ``size`` is how many ids the model has. `ChargenError` where the two do not fit.
        """
        if len(self.entries) != size:
            rest = size - len(self.entries)
            way_out = "give the alphabet that it was trained with"
            if rest > 0:
                way_out += f", or --reserved {rest} if the first {rest} stand for no character"
            raise ChargenError(
                f"{self.source}: {len(self.entries)} entries, the model has {size} ids; {way_out}"
            )
        ids = [number for number, entry in enumerate(self.entries) if _is_character(entry)]
        if not ids:
            raise ChargenError(f"{self.source}: no entry is one character; give its alphabet")
        ids.sort(key=lambda number: str(self.entries[number]))
        characters = "".join(str(self.entries[number]) for number in ids)
        if len(set(characters)) < len(characters):
            twice = next(one for one in characters if characters.count(one) > 1)
            raise ChargenError(f"{self.source}: {twice!r} comes twice; each character has one id")
        return Vocabulary(characters), np.array(ids), self._left_out(set(ids))

    def _left_out(self, kept: set[int]) -> list[str]:
        """What its user should be told of ids that stand for no character."""
        odd = [number for number in range(len(self.entries)) if number not in kept]
        if not odd:
            return []
        told = ", ".join(
            str(number) + (f" ({self.entries[number]!r})" if self.entries[number] else "")
            for number in odd[:SHOWN]
        )
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        return [
            f"left out, for no character: id {told}{more}; the other characters share what it "
            "predicts of them"
        ]


def _is_character(entry: str | None) -> bool:
    """Whether it is one, and no half of a pair in UTF-16."""
    single = entry is not None and len(entry) == 1
    return single and not FIRST_SURROGATE <= ord(str(entry)) <= LAST_SURROGATE


def _entries(values: Any) -> tuple[str | None, ...]:
    if isinstance(values, dict):
        by_id = all(isinstance(value, str) for value in values.values())
        pairs = [(int(key), value) if by_id else (value, key) for key, value in values.items()]
        if sorted(number for number, _ in pairs) != list(range(len(pairs))):
            raise ValueError("its ids are not 0, 1, 2 and so on")
        values = [text for _, text in sorted(pairs)]
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError("neither a list nor a map")
    if not all(entry is None or isinstance(entry, str) for entry in values):
        raise ValueError("an entry is no text")
    return tuple(values)
