"""Downloads from a local server that breaks off, lies, stalls and redirects."""

import hashlib
import io
import re
import threading
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chargen.datasets import download
from chargen.datasets.download import ENTRIES, Entry
from chargen.errors import ChargenError

TEXT = "".join(f"line {n} of a text that is fetched\n" for n in range(9000)).encode()
OTHER = TEXT.replace(b"fetched", b"forged!")
PART = Path("tiny.txt.part")


class Server(ThreadingHTTPServer):
    """A server that answers by calling ``way`` and records the path and first byte of requests."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/text"
        self.data, self.asked = data, []
        self.over = threading.Event()  # ends stalled answers


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.server.asked.append((self.path, self.begin))
        with suppress(ConnectionError):  # the client may not wait
            self.server.way(self)

    def head(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def part(self, begin, cut=None):
        """Send the file from ``begin``, or ``cut`` bytes of it, and close the connection."""
        data = self.server.data
        headers = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        self.head(206 if begin else 200, len(data) - begin, **headers)
        self.wfile.write(data[begin:][:cut])


def sending(cut=None, ranges=True):
    return lambda handler: handler.part(handler.begin if ranges else 0, cut)


honest, cutting, ignoring_range = sending(), sending(100_000), sending(100_000, ranges=False)


def stalling(handler):
    handler.part(handler.begin, max(0, 70_000 - handler.begin))
    handler.wfile.flush()
    handler.server.over.wait()


def never_answering(handler):
    handler.server.over.wait(3)


def refusing(status):
    return lambda handler: handler.head(status, 0)


def moved(handler):
    there = handler.server.url.replace("text", "there")
    honest(handler) if handler.path == "/there" else handler.head(302, 0, Location=there)


def entry_at(url, data=TEXT, member=""):
    sums = [hashlib.sha256(some).hexdigest() for some in (data, TEXT)]
    return Entry("for a test", "none", url, len(data), sums[0], len(TEXT), sums[1], member)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "SCHEME", "http://")
    with Server(TEXT) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.over.set()
        one.shutdown()
        thread.join()


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tiny.txt"


def fetch(server, out, way=honest, **more):
    server.way = way
    return download.fetch(entry_at(server.url), out, **{"timeout": 5.0} | more)


def refused(server, out, way, **more):
    """Return the one-line message of a download that fails."""
    with pytest.raises(ChargenError) as caught:
        fetch(server, out, way, **more)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


def test_a_text_is_downloaded_completely_and_once(server, out):
    seen = []
    assert fetch(server, out, progress=lambda done, total: seen.append((done, total)))
    assert out.read_bytes() == TEXT
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert seen == sorted(seen)
    assert seen[-1] == (len(TEXT), len(TEXT))
    assert not fetch(server, out)
    for mine in (b"mine", OTHER):
        out.write_bytes(mine)
        with pytest.raises(ChargenError, match="exists and is another text"):
            fetch(server, out)
        assert (out.read_bytes(), server.asked) == (mine, [("/text", 0)])


def test_a_broken_connection_is_resumed(server, out):
    assert fetch(server, out, cutting)
    assert out.read_bytes() == TEXT
    assert server.asked == [("/text", begin) for begin in range(0, len(TEXT), 100_000)]


def test_a_download_ends_without_progress(server, out):
    message = refused(server, out, ignoring_range)
    assert f"stopped at 100,000 of {len(TEXT):,} bytes" in message
    assert "the same command resumes" in message
    assert PART.read_bytes() == TEXT[:100_000]
    server.asked.clear()
    assert fetch(server, out)
    assert (out.read_bytes(), PART.exists()) == (TEXT, False)
    assert server.asked == [("/text", 100_000)]


@pytest.mark.parametrize(
    ("begun", "data"),
    [(b"", OTHER), (TEXT[:5000], OTHER), (b"x" + TEXT[1:5000], TEXT), (TEXT + b"more", TEXT)],
)
def test_a_download_of_other_bytes_is_removed(server, out, begun, data):
    PART.write_bytes(begun)
    server.data = data
    message = refused(server, out, honest)
    assert f"instead of {entry_at('').sha256[:12]}…, so it is not the file at" in message
    assert list(out.parent.iterdir()) == []


def test_a_stalled_connection_is_closed_and_resumed(server, out):
    assert "stopped at 70,000 of" in refused(server, out, stalling, timeout=0.2)
    PART.unlink()
    message = refused(server, out, never_answering, timeout=0.2)
    assert "nothing received (no data for 0.2 s)" in message
    assert fetch(server, out, lambda it: (honest if it.begin else stalling)(it), timeout=0.5)
    assert server.asked[-1] == ("/text", 70_000)


def test_refusals_are_one_line_and_leave_nothing(server, out):
    assert "the server answers 404 Not Found; download the" in refused(server, out, refusing(404))
    message = refused(server, out, lambda handler: handler.wfile.write(b"220 no web server\r\n"))
    assert "nothing received (220 no web server); the same command" in message
    PART.write_bytes(TEXT[:5000])
    assert "the server answers 416" in refused(server, out, refusing(416))  # starts over
    server.url = "http://127.0.0.1:1/text"
    assert "nothing received (Connection refused)" in refused(server, out, honest)
    assert list(out.parent.iterdir()) == []


def test_redirections_must_stay_on_https(server, out, monkeypatch):
    assert fetch(server, out, moved)
    assert server.asked == [("/text", 0), ("/there", 0)]
    out.unlink()

    def leaving(handler):
        monkeypatch.setattr(download, "SCHEME", "https://")
        moved(handler)

    assert "/there: not HTTPS" in refused(server, out, leaving)
    server.asked.clear()
    assert "/text: not HTTPS" in refused(server, out, honest)
    assert server.asked == []
    assert all(entry.url.startswith("https://") for entry in ENTRIES.values())


def test_an_archive_is_decompressed(server, out):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", TEXT)
    server.data, server.way = packed.getvalue(), cutting
    entry = entry_at(server.url, server.data, "inner")
    assert download.fetch(entry, out)
    assert out.read_bytes() == TEXT
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert not download.fetch(entry, out)


def test_a_file_of_the_user_is_verified_and_kept(server, out, tmp_path):
    own = tmp_path / "own"
    own.write_bytes(OTHER)
    assert str(own) in refused(server, out, honest, source=own)
    assert "none: cannot be read" in refused(server, out, honest, source=tmp_path / "none")
    own.write_bytes(TEXT)
    assert fetch(server, out, source=own)
    assert (own.read_bytes(), server.asked) == (TEXT, [])


def test_the_command_downloads_and_names_the_next_one(server, out, monkeypatch, cli):
    monkeypatch.setitem(ENTRIES, "tiny", entry_at(server.url))
    server.way = honest
    shown, err = cli(["corpora", "fetch", "tiny"])
    assert shown == f"tiny.txt: {len(TEXT):,} bytes, none\n"
    assert err == "Next: chargen train tiny.txt\n"  # no progress bar: this is no terminal
    assert out.read_bytes() == TEXT
    assert "exists already" in cli(["corpora", "fetch", "tiny", "--out", "tiny.txt"]).out
    server.way = never_answering
    shown, err = cli(["corpora", "fetch", "tiny", "--out", "b.txt", "--timeout", "0.1"], 2)
    assert (shown, err.count("\n"), "no data for 0.1 s" in err) == ("", 1, True)


def test_the_catalogue_is_listed_and_an_unknown_name_refused(out, cli):
    shown = cli(["corpora", "list"]).out
    for name, entry in ENTRIES.items():
        for value in (name, entry.licence, entry.url, f"{entry.bytes:,}"):
            assert value in shown
    err = cli(["corpora", "fetch", "no\x1b"], 2).err
    assert r"no corpus 'no\x1b' to download; choose from tinyshakespeare, en" in err


def test_nothing_else_uses_the_network():
    network = re.compile(
        r"^\s*(?:from|import) (?:urllib\.(?:request|error)|http|ssl|requests)\b", re.M
    )
    files = Path(download.__file__).parents[1].rglob("*.py")
    assert [path.name for path in files if network.search(path.read_text())] == ["download.py"]
