"""Download texts of the catalogue over HTTPS; downloads are resumable and checked by SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from chargen import __version__
from chargen.datasets.catalogue import Entry
from chargen.errors import ChargenError
from chargen.files import Progress, cannot_write, new_file, reason

SCHEMES = ("https",)
BLOCK = 2**16  # bytes
TRIES = 50  # connections per download, each with received data


def fetch(
    entry: Entry,
    out: Path,
    source: Path | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 30.0,
) -> bool:
    """Write the text of a catalogue entry to ``out``; return False if it is there already.

    An incomplete download is kept in ``out`` + ``.part`` and resumed by the next call. ``source``
    is the entry's file if it was downloaded by other means. A connection is closed after
    ``timeout`` seconds without a byte.

    Raises:
        ChargenError: The text cannot be downloaded or written, or has another SHA-256.
    """
    if out.exists():
        if out.is_file() and _size(out) == entry.size and _sha256(out) == entry.digest:
            return False
        raise ChargenError(f"{out}: exists and is not {entry.name}; give another --out")
    if source is not None:
        if not source.is_file():
            raise ChargenError(f"{source}: no such file; download it from {entry.url}")
        if (found := _sha256(source)) != entry.sha256:
            raise ChargenError(f"{source}: SHA-256 {found[:12]}… instead of {entry.sha256[:12]}…")
        _extract(entry, source, out)
        return True
    part = out.with_name(f"{out.name}.part")
    lock = Path(f"{part}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                _download(entry, part, progress, timeout)
                _extract(entry, part, out)
                part.unlink()
            finally:
                with suppress(OSError):  # Windows removes it later
                    lock.unlink()
    except Timeout:
        raise ChargenError(f"{out}: another process downloads it; wait for it") from None
    except OSError as error:
        raise cannot_write(out, error) from error
    return True


def _download(entry: Entry, part: Path, progress: Progress, timeout: float) -> None:
    """Download to ``part``, reconnecting as long as each connection receives something."""
    if _size(part) > entry.bytes:
        part.unlink()
    have, why = _size(part), ""
    for _ in range(TRIES):
        before = have
        if have < entry.bytes:
            why = _receive(entry, part, progress, timeout)
        if (have := _size(part)) <= before:
            break
    if have < entry.bytes:
        how = f"stopped at {have:,} of {entry.bytes:,} bytes" if have else "nothing received"
        advice = "the same command resumes, or pass the file with --from"
        raise ChargenError(f"{entry.url}: {how} ({why}); {advice}")
    if (found := _sha256(part)) != entry.sha256:
        part.unlink()
        raise ChargenError(
            f"{entry.url}: SHA-256 {found[:12]}… instead of {entry.sha256[:12]}…, so it is not "
            f"{entry.name}; removed, the same command starts over"
        )


def _receive(entry: Entry, part: Path, progress: Progress, timeout: float) -> str:
    """Append what one connection receives to ``part``; return why it ended."""
    _check_https(entry.url)
    have = _size(part)
    headers = {"User-Agent": f"chargen/{__version__}", "Range": f"bytes={have}-"}
    request = urllib.request.Request(entry.url, headers=headers)
    try:
        opener = urllib.request.build_opener(_HttpsRedirects)
        with opener.open(request, timeout=timeout) as answer:
            said = answer.headers.get("Content-Range", "bytes 0-")  # none: Range was ignored
            if not said.startswith(f"bytes {have}-"):
                part.unlink()
                have = 0
                if not said.startswith("bytes 0-"):
                    return "the server sent another range"
            while data := answer.read1(min(BLOCK, entry.bytes - have)):
                try:
                    with part.open("ab") as file:
                        file.write(data)
                except OSError as error:
                    raise cannot_write(part, error) from error
                have += len(data)
                progress(have, entry.bytes)
        return "the server closed the connection"
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        raise ChargenError(
            f"{entry.url}: the server answers {error.code} {reason(error.reason)}; download the "
            "file elsewhere and pass it with --from"
        ) from None
    except (http.client.HTTPException, OSError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            return f"no byte in {timeout:g} s"
        return reason(getattr(cause, "strerror", None) or cause)


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to HTTPS only."""

    def redirect_request(self, req: Any, fp: Any, *args: Any) -> urllib.request.Request | None:
        try:
            _check_https(args[-1])
        except ChargenError:
            fp.close()
            raise
        return super().redirect_request(req, fp, *args)


def _check_https(url: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise ChargenError(f"{url}: not HTTPS, so it could be changed in transit; not downloaded")


def _extract(entry: Entry, file: Path, out: Path) -> None:
    """Write the text in a verified file, compressed or not, to ``out``."""
    digest = hashlib.sha256()
    with file.open("rb") as raw, new_file(out) as write:
        text = zipfile.ZipFile(raw).open(entry.member) if entry.member else raw  # noqa: SIM115
        while block := text.read(BLOCK):
            digest.update(block)
            write(block)
        if digest.hexdigest() != entry.digest:
            raise ChargenError(f"{file}: decompresses to another text than {entry.name}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise ChargenError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
