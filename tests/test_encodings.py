"""Encodings, files that are no text, and what a folder holds beside its texts."""

import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from chargen.datasets.download import ENTRIES
from chargen.errors import ChargenError
from chargen.text.decoding import decode_blocks

GERMAN = "Der schöne Fluß fließt – „über“ Größe und Mühe, viel Lärm um nichts. " * 20
SIZES = ["--units", "2", "--steps", "1"]

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-32-be"])
def test_a_byte_order_mark_is_read_as_certain(cli, encoding):
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    Path("x.txt").write_bytes((mark + GERMAN).encode(encoding))
    for options in ([], ["--encoding", "cp1251"]):
        found = json.loads(cli(["corpora", "stats", "x.txt", "--json", *options]).out)
        assert (found["chars"], found["alphabet"]) == (len(GERMAN), "".join(sorted(set(GERMAN))))


@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [
        (GERMAN, "cp1252", "cp1252"),
        ("He said “hello” – it’s fine. " * 20, "cp1252", "cp1252"),
        ("été à Noël, où l’œuvre coûte 5 € " * 20, "cp1252", "cp1252"),
        ("un café déjà vu, naïve " * 20, "latin-1", "cp1252"),
        ("Он сказал, что не придёт завтра. " * 20, "cp1251", "cp1251"),
        ("他说今天的天气很好，我们去公园。" * 20, "gb18030", "gb18030"),
        (GERMAN, "utf-16-le", "utf-16-le"),
        ("a red fox ran by\n" * 30, "utf-16-be", "utf-16-be"),
    ],
)
def test_the_named_guess_reads_the_text(cli, error, text, encoding, guess):
    Path("x.txt").write_bytes(text.encode(encoding))
    err = error(["corpora", "stats", "x.txt"])
    confidence = err.split(f"probably {guess} (")[1].split("% confidence)")[0]
    assert 1 <= int(confidence) <= 99
    assert f": give --encoding {guess}\n" in err
    found = json.loads(cli(["corpora", "stats", "x.txt", "--json", "--encoding", guess]).out)
    assert found["alphabet"] == "".join(sorted(set(text)))


def test_the_encoding_is_kept_with_the_run(cli):
    Path("x.txt").write_bytes(GERMAN.encode("cp1252"))
    cli(["train", "x.txt", "--encoding", "windows-1252", *SIZES])
    record = json.loads(Path("runs/x/run.json").read_text())
    assert (record["corpus"]["encoding"], record["corpus"]["chars"]) == ("cp1252", len(GERMAN))
    shutil.rmtree("runs/.corpora")
    cli(["evaluate", "runs/x", "x.txt"])  # reads the text again
    cli(["train", "x.txt", "--resume", "--steps", "2"])
    Path("copy.txt").write_bytes((GERMAN * 9).encode("cp1252"))
    for name in ("evaluate", "score"):
        cli([name, "runs/x", "copy.txt", "--encoding", "cp1252"])
    err = cli(["train", "x.txt", "--resume", "--encoding", "utf-8"], 2).err
    assert "--encoding utf-8: the run in runs/x uses cp1252" in err


def test_other_bytes_are_refused_with_a_remedy(error):
    for data, message in {
        (GERMAN.encode() * 9)[:-100] + b"\xff ": "almost all of it is UTF-8: repair this place",
        b"\x83\x8f\x01\xfe\xd8" * 50: "its encoding is not recognized: convert it to UTF-8",
        b"abc\0def" * 9: "NUL byte at offset 3, so this is not plain UTF-8 text; its encoding",
    }.items():
        Path("x.txt").write_bytes(data)
        assert message in error(["corpora", "stats", "x.txt"])
    for name in ("klingon", "rot13", "base64", "idna"):
        err = error(["corpora", "stats", "x.txt", "--encoding", name])
        assert f"--encoding {name}: no such encoding; give a name such as cp1252" in err
    # A command without the option names iconv.
    with pytest.raises(ChargenError, match="iconv -f cp1252 -t UTF-8"):
        list(decode_blocks([GERMAN.encode("cp1252")], "prompt"))


def zipped(*names):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(*(name.split("=") if "=" in name else (name, "text " * 50)))
    return data.getvalue()


KINDS = {
    "a PDF document": [b"%PDF-1.4\n" + b"1 0 obj << /Type /Page >> endobj\n" * 99],
    "a document of Microsoft Office": [
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        zipped("[Content_Types].xml", "word/document.xml"),
    ],
    "an EPUB book": [zipped("mimetype=application/epub+zip", "a.html")],
    "an OpenDocument file": [zipped("mimetype=application/vnd.oasis.opendocument.text")],
    "a ZIP archive": [zipped("a.txt")],
    "an archive": [b"x" * 257 + b"ustar\x0000", b"BZh91AY&SY", b"\xfd7zXZ\0"],
    "compressed with gzip": [gzip.compress(b"text")],
    "an image": [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a\1\1"],
    "a sound file": [b"ID3\x04\0", b"\xff\xfb\x90d", b"OggS\0"],
    "a program": [b"\x7fELF\2\1\1\0", b"MZ\x90\0\3"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["", "latin-1"])
def test_a_file_that_is_no_text_is_named(kind, encoding):
    for data in KINDS[kind]:
        with pytest.raises(ChargenError, match=f"^x.txt: {kind}, not a text file; "):
            list(decode_blocks([data], "x.txt", encoding))


def test_texts_that_begin_like_other_files_are_read():
    for text in ("MZ is a country code. " * 9, "PK and BZh and ID3 " * 9, "GIF8 %PDF " * 9):
        assert "".join(decode_blocks([text.encode()], "x")) == text


FOX = "a red fox ran by\n" * 30
LEFT = (
    ".ipynb_checkpoints/t-checkpoint.txt", ".git/a.txt", "__MACOSX/a.txt", ".hidden.txt",
    "._a.txt", "~$a.txt", "#a.txt#", "a.txt~", ".a.txt.swp", "Thumbs.db", "desktop.ini",
)  # fmt: skip


def write(*names, text=FOX):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def test_what_editors_leave_behind_is_skipped_and_counted(cli):
    write("p/a.txt", *(f"p/deep/{name}" for name in LEFT))
    write("p/deep/b.txt", "p/deep/#1 hit.txt", text=FOX.upper())
    write("p/.DS_Store", "p/notes.md", "p/cover.png")
    err = cli(["train", "p", *SIZES]).err
    assert [line for line in err.splitlines() if line.startswith("note:")] == [
        "note: read 3 files; skipped 12 hidden or temporary, 1 *.md, 1 *.png",
        "note: identical files: p/deep/#1 hit.txt and p/deep/b.txt",
    ]
    assert json.loads(Path("runs/p/run.json").read_text())["corpus"]["chars"] == 3 * len(FOX)
    assert "read 3 files; skipped 12 hidden" in cli(["corpora", "stats", "p"]).err
    write("one.txt", ".own.txt")  # a file that is named is read
    assert "note: read" not in cli(["train", "one.txt", *SIZES]).err
    cli(["train", ".own.txt", *SIZES])


def test_a_folder_without_texts_says_what_is_there(error):
    write("my notes/a.md", "my notes/b.md", "my notes/x/c.png", "my notes/.d.txt")
    err = error(["train", "my notes"])
    assert "no *.txt file in this folder or below it, but 2 *.md, 1 *.png" in err
    assert "name the files: chargen train 'my notes'/*.md\n" in err
    write("empty/.a.txt")
    assert error(["train", "empty"]).endswith("no *.txt file in this folder or below it\n")


def test_an_address_is_no_corpus(error):
    assert "run chargen corpora fetch enwik8" in error(["train", ENTRIES["enwik8"].url])
    assert "download it first" in error(["train", "http://localhost/a.txt"])
