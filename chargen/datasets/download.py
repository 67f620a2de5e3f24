"""Download texts of the catalogue over HTTPS; downloads are resumable and checked by SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from chargen import __version__
from chargen.datasets.catalogue import Entry
from chargen.errors import ChargenError
from chargen.files import Progress, cannot_write, new_file, reason

TIMEOUT = 30.0  # seconds without a byte
BLOCK = 2**16  # bytes
REDIRECTS = 5
TRIES = 50  # connections per download, each of which received something
PART = ".part"  # suffix of an incomplete download


class _RetryError(Exception):
    """A connection failed; ``discard`` if what was received before is useless."""

    def __init__(self, why: str, discard: bool = False) -> None:
        super().__init__(why)
        self.discard = discard


def fetch(
    entry: Entry,
    out: Path,
    source: Path | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = TIMEOUT,
    plain: tuple[str, ...] = (),
) -> bool:
    """Write the text of a catalogue entry to a file.

    An incomplete download is kept in ``out`` + ``.part`` and resumed by the next call. Proxies are
    those of the environment (``https_proxy``, ``no_proxy``).

    Args:
        entry: The text.
        out: The file to write; it is complete or does not exist.
        source: The entry's file, if it was downloaded by other means; nothing is downloaded then.
        progress: Called with the bytes downloaded and their total.
        timeout: Seconds without a byte after which a connection is closed.
        plain: Hosts that may be asked over HTTP, for tests.

    Returns:
        Whether the file was written; False if it is there already.

    Raises:
        ChargenError: The text cannot be downloaded or written, or has another SHA-256.
    """
    if out.exists():
        if out.is_file() and out.stat().st_size == entry.size and _sha256(out) == entry.digest:
            return False
        raise ChargenError(f"{out}: exists and is not {entry.name}; give another --out")
    if source is not None:
        if not source.is_file():
            raise ChargenError(f"{source}: no such file; download it from {entry.url}")
        if (found := _sha256(source)) != entry.sha256:
            raise ChargenError(f"{source}: SHA-256 {found[:12]}… instead of {entry.sha256[:12]}…")
        _extract(entry, source, out)
        return True
    part = out.with_name(out.name + PART)
    lock = FileLock(part.with_name(part.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ChargenError(f"{out}: another process downloads it; wait for it") from None
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        _download(entry, part, progress, timeout, plain)
        _extract(entry, part, out)
        part.unlink()
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
    return True


def _download(
    entry: Entry, part: Path, progress: Progress, timeout: float, plain: tuple[str, ...]
) -> None:
    """Download to ``part``, reconnecting as long as each connection receives something."""
    opener = urllib.request.build_opener(_HttpsRedirects(plain))
    _check_https(entry.url, plain)
    if _size(part) > entry.bytes:
        part.unlink()
    tries = 0
    while (have := _size(part)) < entry.bytes:
        why, tries = "the server closed the connection", tries + 1
        try:
            for data in _receive(opener, entry, have, timeout):
                with part.open("ab") as file:
                    file.write(data)
                    progress(file.tell(), entry.bytes)
        except _RetryError as error:
            why = str(error)
            if error.discard:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(part, error) from error
        if _size(part) <= have or tries == TRIES:
            raise ChargenError(f"{entry.url}: {_incomplete(_size(part), entry.bytes, why)}")
    if (found := _sha256(part)) != entry.sha256:
        part.unlink()
        raise ChargenError(
            f"{entry.url}: SHA-256 {found[:12]}… instead of {entry.sha256[:12]}…, so it is not "
            f"{entry.name}; removed, the same command starts over"
        )


def _incomplete(have: int, size: int, why: str) -> str:
    if have:
        return f"stopped at {have:,} of {size:,} bytes ({why}); the same command resumes"
    return f"nothing received ({why}); try again, or download it by hand and pass it with --from"


def _receive(
    opener: urllib.request.OpenerDirector, entry: Entry, have: int, timeout: float
) -> Iterator[bytes]:
    """Yield the bytes from index ``have`` on, as far as one connection brings them."""
    headers = {"User-Agent": f"chargen/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(entry.url, headers=headers)
    try:
        with opener.open(request, timeout=timeout) as answer:
            skip = _skipped(answer, have)
            while have < entry.bytes:
                data = answer.read1(min(BLOCK, entry.bytes - have + skip))
                if not data:
                    return
                data, skip = data[skip:], max(0, skip - len(data))
                have += len(data)
                if data:
                    yield data
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _RetryError("the file is shorter than the part received", True) from None
        raise ChargenError(
            f"{entry.url}: the server answers {error.code} {reason(error.reason)}; download the "
            "file elsewhere and pass it with --from"
        ) from None
    except (http.client.HTTPException, OSError) as error:
        raise _RetryError(_cause(error, timeout)) from None


def _skipped(answer: Any, have: int) -> int:
    """Return how many bytes of the answer are known; all of them if Range was ignored."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _RetryError("the answer is compressed", discard=True)
    if answer.status != http.client.PARTIAL_CONTENT:
        return have
    start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if not start or int(start[1]) > have:
        raise _RetryError("the server sent another range", discard=True)
    return have - int(start[1])


def _cause(error: Exception, timeout: float) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no byte in {timeout:g} s"
    text = getattr(cause, "strerror", None) or cause or type(cause).__name__
    return f"no network or no such server: {text}" if cause is not error else reason(text)


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to HTTPS only."""

    max_redirections = REDIRECTS

    def __init__(self, plain: tuple[str, ...]) -> None:
        self._plain = plain

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_https(newurl, self._plain)
        except ChargenError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_https(url: str, plain: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in plain):
        raise ChargenError(f"{url}: not HTTPS, so it could be changed in transit; not downloaded")


def _extract(entry: Entry, file: Path, out: Path) -> None:
    """Write the text in a verified file, compressed or not, to ``out``."""
    digest = hashlib.sha256()
    with _opened(entry, file) as text, new_file(out) as write:
        for block in iter(partial(text.read, BLOCK), b""):
            digest.update(block)
            write(block)
        if digest.hexdigest() != entry.digest:
            raise ChargenError(f"{file}: decompresses to another text than {entry.name}")


@contextmanager
def _opened(entry: Entry, file: Path) -> Iterator[IO[bytes]]:
    if entry.member:
        with zipfile.ZipFile(file) as archive, archive.open(entry.member) as packed:
            yield packed
    else:
        with file.open("rb") as plain:
            yield plain


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(partial(file.read, BLOCK), b""):
                digest.update(block)
    except OSError as error:
        raise ChargenError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
