"""Files on the disk: replaced whole or not at all, read only where they are what they seem."""

from __future__ import annotations

import os
from pathlib import Path

from chargen.errors import ChargenError


def write_file(path: Path, data: bytes) -> None:
    """Replace a file so that a crash at any moment leaves the old one or the new one, whole."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened to be synced
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def cannot_write(path: Path, error: OSError) -> ChargenError:
    """What the user is told of a file that the system would not write."""
    return ChargenError(f"{path}: cannot be written ({error.strerror or error})")
