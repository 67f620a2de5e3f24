"""Well-known texts that are downloaded over HTTPS, resumed and checked by SHA-256."""

import hashlib
import zipfile
from pathlib import Path

from msgspec import Struct

from chargen import __version__
from chargen.datasets.bundled import resource
from chargen.errors import ChargenError
from chargen.files import Progress, cannot_read, decode_json, new_file, reason

SCHEME = "https://"
BLOCK = 2**16  # bytes


class Entry(Struct, frozen=True):
    """A text and its download: the text itself, or a ZIP archive that contains it."""

    purpose: str
    licence: str
    url: str
    bytes: int  # of the file
    sha256: str  # of the file
    size: int  # of the text, in bytes
    text_sha256: str
    member: str = ""  # name of the text in the archive; "": the file is the text


ENTRIES = decode_json(resource("downloads.json").encode(), dict[str, Entry])


def fetch(
    entry: Entry,
    out: Path,
    source: Path | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 30.0,
) -> bool:
    """Write the text of an entry to ``out``; return False if it is there already.

    An incomplete download is kept in ``out`` + ``.part`` and resumed by the next call. ``source``
    is the entry's file if it was downloaded by other means; ``timeout`` is in seconds.
    """
    if out.exists():
        if _sha256(out) == entry.text_sha256:
            return False
        raise ChargenError(f"{out}: exists and is another text; give another --out")
    part = source or out.with_name(f"{out.name}.part")
    if source is None:
        _download(entry, part, progress, timeout)
    if (found := _sha256(part)) != entry.sha256:
        if source is None:
            part.unlink()
        raise ChargenError(
            f"{part}: SHA-256 {found[:12]}… instead of {entry.sha256[:12]}…, so it is not the file "
            f"at {entry.url}; download it again"
        )
    with part.open("rb") as raw, new_file(out) as write:
        text = zipfile.ZipFile(raw).open(entry.member) if entry.member else raw  # noqa: SIM115
        while block := text.read(BLOCK):
            write(block)
    if source is None:
        part.unlink()
    return True


def _download(entry: Entry, part: Path, progress: Progress, timeout: float) -> None:
    have, before, why = _size(part), -1, ""
    while before < have < entry.bytes:
        before, why = have, _receive(entry, part, progress, timeout)
        have = _size(part)
    if have < entry.bytes:
        how = f"stopped at {have:,} of {entry.bytes:,} bytes" if have else "nothing received"
        advice = "the same command resumes, or pass the file with --from"
        raise ChargenError(f"{entry.url}: {how} ({why}); {advice}")


def _receive(entry: Entry, part: Path, progress: Progress, timeout: float) -> str:
    """Append what one connection receives to ``part``; return why it ended."""
    from http.client import REQUESTED_RANGE_NOT_SATISFIABLE, HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, build_opener

    _check_https(entry.url)
    have = _size(part)
    headers = {"User-Agent": f"chargen/{__version__}", "Range": f"bytes={have}-"}
    try:
        with build_opener().open(Request(entry.url, headers=headers), timeout=timeout) as answer:
            _check_https(answer.url)  # after redirections
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the server ignores Range
            with part.open("ab" if have else "wb") as file:
                while data := answer.read1(min(BLOCK, entry.bytes - have)):
                    have += len(data)
                    file.write(data)
                    file.flush()
                    progress(have, entry.bytes)
        return "the server closed the connection"
    except HTTPError as error:
        error.close()
        if error.code == REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
        raise ChargenError(
            f"{entry.url}: the server answers {error.code} {reason(error.reason)}; download the "
            "file elsewhere and pass it with --from"
        ) from None
    except (HTTPException, OSError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            return f"no data for {timeout:g} s"
        return reason(getattr(cause, "strerror", None) or cause)


def _check_https(url: str) -> None:
    if not url.startswith(SCHEME):
        raise ChargenError(f"{url}: not HTTPS, so it could be changed in transit; not downloaded")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise cannot_read(path, error) from error
