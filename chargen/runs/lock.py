"""The lock that lets one process train in a run directory. Imports no torch."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from chargen.errors import ChargenError
from chargen.files import cannot_write, make_folder, read_bytes

LOCK, HOLDER = ".lock", ".held-by"


@contextmanager
def lock(path: Path, remedy: str = "wait for it or give another --out") -> Iterator[None]:
    """Hold the lock on a directory, which is created; `ChargenError` if another process does."""
    make_folder(path)
    # The holder has a separate file: some versions of filelock truncate the locked file.
    file, holder = FileLock(path / LOCK), path / HOLDER
    try:
        file.acquire(timeout=0)
    except Timeout:
        found = _holder(holder)
        who = f" (process {found[0]}, since {found[1]})" if found else ""
        raise ChargenError(f"{path}: another process is training in it{who}; {remedy}") from None
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with suppress(OSError):  # only informative
            holder.unlink(missing_ok=True)
            with holder.open("x", encoding="ascii") as text:
                text.write(f"{os.getpid()} {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        file.release()


def _holder(file: Path) -> tuple[int, str] | None:
    try:
        match = re.fullmatch(rb"(\d{1,9}) ([\d :-]{19})", read_bytes(file, 40))
    except (ChargenError, OSError):
        return None
    return (int(match[1]), match[2].decode()) if match else None


def is_held(path: Path) -> bool:
    """Return whether a live process trains in a run directory, without taking the lock."""
    found = _holder(path / HOLDER)
    try:
        if found and os.name == "posix":  # os.kill ends the process on Windows
            os.kill(found[0], 0)
    except OSError as error:  # or else the process belongs to another user
        return not isinstance(error, ProcessLookupError)
    return found is not None
