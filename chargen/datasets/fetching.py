"""A text of the catalogue, fetched, checked and given its name, all of it or nothing."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from chargen.datasets.catalogue import Entry
from chargen.datasets.download import TIMEOUT, download
from chargen.errors import ChargenError
from chargen.files import Progress, cannot_write, new_file, remove_files, rename_file

BLOCK = 2**20  # bytes that are hashed and written together
PART = ".part"  # what the file is called with before it is whole


def fetch(
    entry: Entry,
    out: Path,
    source: Path | None = None,
    progress: Progress = lambda done, of: None,
    timeout: float = TIMEOUT,
    plain: tuple[str, ...] = (),
) -> bool:
    """Write the text of ``entry`` to ``out``; returns whether it had to be written.

    ``source`` is its file where somebody has it already: nothing is fetched then. What is fetched
    lies in ``out`` + ``.part`` until it is whole, and the next call goes on with it; where its
    SHA-256 is another one it is removed, to begin anew. The rest is that of `download`.
    `ChargenError` for all that goes wrong; ``out`` is then not there.
    """
    if out.exists():
        if out.is_file() and out.stat().st_size == entry.size and _sha256(out) == entry.digest:
            return False
        raise ChargenError(f"{out}: exists already, and is not {entry.name}; give another --out")
    if source is not None:
        if not source.is_file():
            raise ChargenError(f"{source}: no such file; it is what {entry.url} gives")
        _place(entry, source, out, keep=True)
        return True
    part = out.with_name(out.name + PART)
    lock = FileLock(part.with_name(part.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ChargenError(f"{out}: another process is fetching it; wait for it") from None
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        download(entry.url, entry.bytes, part, progress, timeout, plain)
        _place(entry, part, out, keep=False)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
    return True


def _place(entry: Entry, file: Path, out: Path, keep: bool) -> None:
    """Check a whole file, and make it or what is packed in it ``out``."""
    found = _sha256(file)
    if found != entry.sha256:
        if keep:
            raise ChargenError(
                f"{file}: SHA-256 {found[:12]}…, {entry.sha256[:12]}… is {entry.name}"
            )
        remove_files(file.parent, file.name)
        raise ChargenError(
            f"{entry.url}: other bytes came than {entry.name} has (SHA-256 {found[:12]}…, not "
            f"{entry.sha256[:12]}…); removed, the same command begins anew"
        )
    if entry.member:
        _unpack(entry, file, out)
    elif keep:
        _copy(file, out)
    else:
        rename_file(file, out)
        return
    if not keep:
        remove_files(file.parent, file.name)


def _copy(file: Path, out: Path) -> None:
    with file.open("rb") as read, new_file(out) as write:
        for block in iter(partial(read.read, BLOCK), b""):
            write(block)


def _unpack(entry: Entry, file: Path, out: Path) -> None:
    """The archive is known to the bit, and what is in it is checked all the same."""
    digest = hashlib.sha256()
    with (
        zipfile.ZipFile(file) as archive,
        archive.open(entry.member) as packed,
        new_file(out) as write,
    ):
        for block in iter(partial(packed.read, BLOCK), b""):
            digest.update(block)
            write(block)
        if digest.hexdigest() != entry.digest:
            raise ChargenError(f"{file}: unpacks to another text than {entry.name}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            read: Callable[[], bytes] = partial(file.read, BLOCK)
            for block in iter(read, b""):
                digest.update(block)
    except OSError as error:
        raise ChargenError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
