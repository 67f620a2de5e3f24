"""Catalogue of well-known texts that are downloaded: addresses, licences and hashes."""

from __future__ import annotations

from dataclasses import dataclass

from chargen.errors import ChargenError

WIKIPEDIA = "GFDL and CC BY-SA 3.0 (the authors of Wikipedia)"


@dataclass(frozen=True)
class Entry:
    """A text and its download: the text itself, or a ZIP archive that contains it."""

    name: str
    purpose: str
    licence: str
    url: str
    bytes: int  # of the file
    sha256: str  # of the file
    member: str = ""  # name of the text in the archive; "": the file is the text
    text_bytes: int = 0  # of the text in the archive
    text_sha256: str = ""

    @property
    def size(self) -> int:
        """The size of the text in bytes."""
        return self.text_bytes or self.bytes

    @property
    def digest(self) -> str:
        """The SHA-256 of the text."""
        return self.text_sha256 or self.sha256


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "tinyshakespeare",
            "parts of Shakespeare's plays, the benchmark of many published losses",
            "public domain",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            1_115_394,
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
        Entry(
            "enwik8",
            "the first 100 million bytes of the English Wikipedia of 3 March 2006, with its XML",
            WIKIPEDIA,
            "https://mattmahoney.net/dc/enwik8.zip",
            36_445_475,
            "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
            "enwik8",
            100_000_000,
            "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        ),
        Entry(
            "text8",
            "English Wikipedia reduced to the letters a to z and spaces, 100 million characters",
            WIKIPEDIA,
            "https://mattmahoney.net/dc/text8.zip",
            31_344_016,
            "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            "text8",
            100_000_000,
            "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
        ),
    )
}


def entry(name: str) -> Entry:
    """Return the entry of this name."""
    if name not in ENTRIES:
        raise ChargenError(f"no corpus {name!r} to download; choose from {', '.join(ENTRIES)}")
    return ENTRIES[name]
