"""The file of a run's card, ``README.md`` in its directory. Imports no torch.

The last line holds a SHA-256 of the lines above it: a card that a user wrote or edited is kept.
"""

import hashlib
import re
from pathlib import Path

from chargen.errors import ChargenError
from chargen.files import read_bytes, remove_files, write_file

CARD = "README.md"
LARGEST_CARD = 2**20  # bytes
SEAL = "\n<!-- written by chargen, SHA-256 {} -->\n"
SEALED = re.compile(SEAL.format("([0-9a-f]{64})") + r"\Z")


def write_card(path: Path, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_file(path / CARD, (text + SEAL.format(digest)).encode())


def own_card(path: Path) -> str | None:
    """Return the text of a card above its seal; None if there is none that chargen wrote."""
    try:
        text = read_bytes(path / CARD, LARGEST_CARD).decode()
    except (OSError, ValueError, ChargenError):
        return None
    found = SEALED.search(text)
    text = text[: found.start()] if found else ""
    return text if found and found[1] == hashlib.sha256(text.encode()).hexdigest() else None


def remove_card(path: Path) -> None:
    """Remove the card of a run directory unless a user wrote or edited it."""
    if own_card(path) is not None:
        remove_files(path, CARD)
