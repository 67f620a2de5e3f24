"""A file from the network whose SHA-256 is known: fetched in as many tries as it takes.

What came so far lies in a file beside the one that is wanted, and the next try goes on there. What
the server says of its file is not needed: only the bytes that are known are kept.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import Progress, reason, remove_files, write_end

TIMEOUT = 30.0  # seconds without a byte
AT_ONCE = 2**16  # bytes that are asked of the network together
BLOCK = 2**20  # bytes that are written together
REDIRECTS = 5
TRIES = 50  # of one download, each of which brought something


class _UnfinishedError(Exception):
    """A try that ended before its end."""


class _UselessError(Exception):
    """An answer that nothing can be kept of; what was there is removed, to begin anew."""


def download(
    url: str,
    size: int,
    part: Path,
    progress: Progress = lambda done, of: None,
    timeout: float = TIMEOUT,
    plain: tuple[str, ...] = (),
) -> None:
    """Have ``part`` hold the first ``size`` bytes of what lies at ``url``; go on where it ends.

    A broken connection is made again for as long as that brings bytes. Proxies are those of the
    environment (``https_proxy``, ``no_proxy``). Only HTTPS is spoken, after a redirection too, but
    for the hosts ``plain``. `ChargenError` where it cannot be had: what came is in ``part``.
    """
    opener = urllib.request.build_opener(_Redirects(plain))
    _check(url, plain)
    have = _bytes_of(part)
    if have > size:
        remove_files(part.parent, part.name)
        have = 0
    tries = 0
    while have < size:
        before, tries = have, tries + 1
        try:
            _fetch(opener, url, have, size, part, progress, timeout)
            why = "the server ended it"
        except _UnfinishedError as error:
            why = str(error)
        have = _bytes_of(part)
        if have < size and (have <= before or tries == TRIES):
            raise ChargenError(f"{url}: {_broken(have, size, why)}")


def _broken(have: int, size: int, why: str) -> str:
    """What became of a download that could not be ended, and what to do about it."""
    if have:
        return f"broke off at {have:,} of {size:,} bytes ({why}); the same command goes on there"
    return f"nothing came ({why}); try again, or get it by hand and name the file with --from"


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _fetch(
    opener: urllib.request.OpenerDirector,
    url: str,
    have: int,
    size: int,
    part: Path,
    progress: Progress,
    timeout: float,
) -> None:
    """One try: what comes is at the end of ``part`` even where it is cut or interrupted."""
    headers = {"User-Agent": f"chargen/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with _told_apart(url, part, timeout), opener.open(request, timeout=timeout) as answer:
        skip = _to_skip(answer, have)
        kept = bytearray()
        try:
            while have + len(kept) < size:
                data = answer.read1(min(AT_ONCE, size - have - len(kept) + skip))
                if not data:
                    return
                skipped = min(skip, len(data))
                skip -= skipped
                kept += data[skipped:]
                if len(kept) >= BLOCK:
                    have = _keep(part, have, kept)
                progress(have + len(kept), size)
        finally:
            _keep(part, have, kept)


def _keep(part: Path, have: int, kept: bytearray) -> int:
    """Write what came; returns how much is there then."""
    if kept:
        write_end(part, have, bytes(kept))
        have += len(kept)
        kept.clear()
    return have


def _to_skip(answer: Any, have: int) -> int:
    """How many of the bytes that follow are here already: all ``have`` where the server begins at
    the beginning, whatever was asked."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _UselessError("it comes packed, which was not asked for")
    if answer.status != http.client.PARTIAL_CONTENT:
        return have
    said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if not said or int(said[1]) > have:
        raise _UselessError("another part came than was asked for")
    return have - int(said[1])


@contextmanager
def _told_apart(url: str, part: Path, timeout: float) -> Iterator[None]:
    """What may be tried again as `_UnfinishedError`; a server's refusal as `ChargenError`."""
    try:
        yield
    except _UselessError as error:
        remove_files(part.parent, part.name)
        raise _UnfinishedError(str(error)) from None
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            remove_files(part.parent, part.name)
            raise _UnfinishedError("there is less of it than was fetched") from None
        raise ChargenError(
            f"{url}: the server answers {error.code} {reason(error.reason)}; get the file "
            "elsewhere and name it with --from"
        ) from None
    except (http.client.HTTPException, OSError) as error:
        raise _UnfinishedError(_reason(error, timeout)) from None


def _reason(error: Exception, timeout: float) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no byte in {timeout:g} s"
    said = getattr(cause, "strerror", None) or cause or type(cause).__name__
    return f"no network, or no such server: {said}" if cause is not error else reason(said)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where the server points, unless that gives up what HTTPS promises."""

    max_redirections = REDIRECTS

    def __init__(self, plain: tuple[str, ...]) -> None:
        self._check = partial(_check, plain=plain)

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            self._check(newurl)
        except ChargenError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str, plain: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in plain):
        raise ChargenError(f"{url}: not HTTPS, so anybody on the way could change it; not fetched")
