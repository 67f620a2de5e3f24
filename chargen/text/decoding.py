"""UTF-8 to text, in blocks: each byte is read, or refused with its name and its place."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

from chargen.errors import ChargenError

BOM = "\ufeff"


def decoded(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """UTF-8 in blocks, cut anywhere, to text in blocks, without a leading BOM.

    ``name`` is what a `ChargenError` calls it: for what is not UTF-8, for a NUL, and for nothing.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, bom, empty = 0, BOM, True
    for data in blocks:
        text = _decode(decoder, data, read, name, final=False)
        nul = data.find(0)
        if nul >= 0:
            raise ChargenError(
                f"{name}: a NUL byte at offset {read + nul}, so this is not plain UTF-8 text; "
                "convert it or leave it out"
            )
        read += len(data)
        if text:
            text, bom = text.removeprefix(bom), ""
        if text:
            empty = False
            yield text
    _decode(decoder, b"", read, name, final=True)
    if empty:
        raise ChargenError(f"{name}: empty, there is nothing to read; leave it out")


def _decode(
    decoder: codecs.IncrementalDecoder, data: bytes, read: int, name: str, *, final: bool
) -> str:
    waiting = len(decoder.getstate()[0])
    try:
        return decoder.decode(data, final)
    except UnicodeDecodeError as error:
        place = read - waiting + error.start
        raise ChargenError(
            f"{name}: not UTF-8 text, byte 0x{error.object[error.start]:02X} at offset {place}; "
            "convert it first, for example with iconv -f LATIN1 -t UTF-8"
        ) from None


def decode(data: bytes, name: str) -> str:
    """`decoded` for what is in memory."""
    return "".join(decoded([data], name))


def read_file(path: Path) -> str:
    """The text of one UTF-8 file; `ChargenError` where it is missing or no text."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise ChargenError(f"{path}: cannot be read ({error.strerror})") from error
