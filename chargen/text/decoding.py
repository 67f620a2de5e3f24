"""Bytes to text: byte order marks, encodings, and files that are no text."""

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from chargen.errors import ChargenError

HEAD = 512  # bytes that show what a file is
GUESSED = 2**16  # bytes that an encoding is guessed from
CLOSE = 0.02  # difference in disorder between encodings that are equally likely
DAMAGED = 0.1  # fraction of the other characters that may be wrong in damaged UTF-8
MARKED = ("utf-8", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
BOMS = {"\ufeff".encode(name): name for name in MARKED}  # UTF-32-LE's begins with UTF-16-LE's
EXPORT, LEAVE = "save its text as a plain text file first", "leave it out"
KINDS = (  # by first bytes, ZIP archives of documents before other ZIP archives
    (rb"%PDF-", "a PDF document", f"{EXPORT}, for example with pdftotext"),
    (rb"%!PS", "a PostScript document", EXPORT),
    (rb"\{\\rtf", "an RTF document", EXPORT),
    (rb"\xd0\xcf\x11\xe0", "a document of Microsoft Office", EXPORT),
    (rb"PK\x03\x04.*application/epub\+zip", "an EPUB book", EXPORT),
    (rb"PK\x03\x04.*application/vnd\.oasis\.opendocument", "an OpenDocument file", EXPORT),
    (rb"PK\x03\x04.*(word|xl|ppt)/", "a document of Microsoft Office", EXPORT),
    (rb"PK(\x03\x04|\x05\x06)", "a ZIP archive", "unpack it first"),
    (rb"7z\xbc\xaf|Rar!\x1a|\xfd7zXZ|BZh.1AY&SY|.{257}ustar", "an archive", "unpack it first"),
    (rb"\x1f\x8b", "compressed with gzip", "let its name end in .gz"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "let its name end in .zst"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*", "an image", LEAVE),
    (rb"ID3[\x02-\x04]|\xff[\xf2\xf3\xfb]|OggS|fLaC|RIFF....WAVE", "a sound file", LEAVE),
    (rb"....ftyp|RIFF....AVI |\x1aE\xdf\xa3", "a video", LEAVE),
    (rb"SQLite format 3\0", "an SQLite database", EXPORT),
    (rb"\x7fELF|MZ.{,62}\0|[\xfe\xcf\xce]\xfa\xed\xfe|\0asm", "a program", LEAVE),
    (rb"\x89HDF|\x93NUMPY|PAR1", "a file of numbers", LEAVE),
)
WESTERN = {
    "Danish", "Dutch", "English", "Finnish", "French", "German", "Italian", "Norwegian",
    "Portuguese", "Spanish", "Swedish", "Unknown",
}  # fmt: skip


def decode_blocks(blocks: Iterable[bytes], name: str, encoding: str | None = None) -> Iterator[str]:
    """Decode bytes that are cut into blocks anywhere, without a leading byte order mark.

    ``encoding`` is that of a file without a byte order mark: empty for UTF-8, None for UTF-8 where
    the user has no option for it. `ChargenError` if the bytes are a file of another kind or wrongly
    encoded, contain NUL or hold no character.
    """
    remaining, head = iter(blocks), b""
    while len(head) < HEAD and (data := next(remaining, b"")):
        head += data
    for pattern, kind, remedy in KINDS:
        if re.match(pattern, head, re.DOTALL):
            raise ChargenError(f"{name}: {kind}, not a text file; {remedy}")
    bom = next(filter(head.startswith, BOMS), b"")
    used = BOMS.get(bom) or encoding or "utf-8"
    decoder = codecs.getincrementaldecoder(used)()
    offset, empty = len(bom), True
    for data in chain([head[offset:]], remaining, [b""]):
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            wrong, place = error.object[error.start], offset - len(pending) + error.start
            raise ChargenError(
                f"{name}: not {used.upper()} text, byte 0x{wrong:02X} at offset {place}; "
                f"{_advice(pending + data, encoding)}"
            ) from None
        if "\0" in text:
            raise ChargenError(
                f"{name}: NUL byte at offset {offset + max(data.find(0), 0)}, so this is not plain "
                f"{used.upper()} text; {_advice(data, encoding)}"
            )
        offset += len(data)
        if text:
            empty = False
            yield text
    if empty:
        raise ChargenError(f"{name}: the file is empty; leave it out")


def check_encoding(name: str) -> str:
    """Return Python's name of an encoding of text; `ChargenError` if it is unknown."""
    try:
        known = codecs.lookup(name)
        b"a\n".decode(name, "replace")
        known.incrementaldecoder("strict").getstate()
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError):
        raise ChargenError(
            f"--encoding {name}: no such encoding; give a name such as cp1252, utf-16-le or gb18030"
        ) from None
    return known.name


def _guess(data: bytes) -> tuple[str, float] | None:
    """Guess the encoding of a text that is not UTF-8: its name and the confidence, if any."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(data[:GUESSED]))
    if not matches:
        return None
    best = matches[0]
    close = [match for match in matches if match.chaos <= best.chaos + CLOSE]
    # Windows-1252 is by far the most frequent of the encodings that cannot be distinguished.
    western = [match for match in close if "cp1252" in match.could_be_from_charset]
    chosen, name = best, best.encoding
    likely = not name.startswith("utf") and (western or best.language in WESTERN)
    if likely and "\ufffd" not in data.decode("cp1252", "replace"):
        chosen, name = (western or [best])[0], "cp1252"
    share = (chosen.coherence + 0.1) / sum(match.coherence + 0.1 for match in close)
    return name.replace("_", "-"), min(share * (1 - chosen.chaos), 0.99)


def _advice(data: bytes, encoding: str | None) -> str:
    text = data.decode("utf-8", "replace")
    wrong, other = text.count("\ufffd"), sum(char > "\x7f" for char in text)
    if not encoding and 0 < wrong <= DAMAGED * other:
        return "almost all of it is UTF-8: repair this place, or leave the file out"
    guess = _guess(data)
    if guess is None or (0 in data and not guess[0].startswith(("utf-16", "utf-32"))):
        return "its encoding is not recognized: convert it to UTF-8, or leave it out"
    name, confidence = guess
    remedy = f"give --encoding {name}" if encoding is not None else f"iconv -f {name} -t UTF-8"
    return f"probably {name} ({confidence:.0%} confidence): {remedy}"
