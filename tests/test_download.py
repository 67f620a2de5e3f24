"""Downloads from a local server that breaks off, lies, stalls and redirects."""

import fcntl
import hashlib
import io
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import zipfile
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chargen.cli import main
from chargen.datasets import catalogue, download
from chargen.datasets.catalogue import ENTRIES, Entry
from chargen.errors import ChargenError

LOOPBACK = ("127.0.0.1",)


class Server(ThreadingHTTPServer):
    """A server that answers by calling ``way`` and records the path and Range of requests."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__((*LOOPBACK, 0), Handler)
        self.data, self.way, self.asked = data, Handler.honest, []
        self.over = threading.Event()  # ends stalled answers

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/text"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        with suppress(ConnectionError):  # the client may not wait
            self.server.way(self)

    @property
    def begin(self):
        said = self.headers.get("Range")
        return int(said.removeprefix("bytes=").rstrip("-")) if said else 0

    def head(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def part(self, begin, cut=None):
        """Send the file from ``begin``, or ``cut`` bytes of it, and close the connection."""
        data = self.server.data
        said = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        self.head(206 if begin else 200, len(data) - begin, **said)
        self.wfile.write(data[begin:][:cut])

    def honest(self):
        self.part(self.begin)

    def cutting(self):
        self.part(self.begin, 100_000)

    def deaf(self):
        """Ignore Range."""
        self.part(0)

    def cutting_deaf(self):
        self.part(0, 100_000)

    def silent(self):
        self.part(self.begin, 0)

    def stalling(self):
        self.part(self.begin, max(0, 70_000 - self.begin))
        self.wfile.flush()
        self.server.over.wait()

    def never_answering(self):
        """Answer after any timeout."""
        self.server.over.wait(3)
        self.honest()

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(self.server.data[self.begin :])
            while True:
                self.wfile.write(b"more and more " * 1000)
        except OSError:
            self.server.over.set()

    def short(self):
        self.head(200, 1000)
        self.wfile.write(self.server.data[:1000])

    def elsewhere(self):
        """Send the last ten bytes for any range."""
        last = len(self.server.data) - 10
        self.head(206, 10, Content_Range=f"bytes {last}-{last + 9}/{last + 10}")
        self.wfile.write(self.server.data[-10:])

    def beyond(self):
        self.head(416, 0)

    def gone(self):
        self.head(404, 0)

    def packed(self):
        self.head(200, 3, Content_Encoding="gzip")
        self.wfile.write(b"zip")

    def babbling(self):
        self.wfile.write(b"220 this is no web server\r\n")

    def moved(self, to):
        if self.path == "/there":
            self.honest()
        else:
            self.head(302, 0, Location=to)


TEXT = "".join(f"line {n} of a text that is fetched\n" for n in range(9000)).encode()
OTHER = TEXT.replace(b"fetched", b"forged!")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def entry_at(url, data=TEXT, **more):
    return Entry("tiny", "for a test", "none", url, len(data), sha256(data), **more)


@pytest.fixture
def server(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
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


def part_of(out):
    return out.with_name(out.name + ".part")


def fetch(server, out, way=Handler.honest, **more):
    server.way = way
    options = {"timeout": 5.0, "plain": LOOPBACK} | more
    return download.fetch(entry_at(server.url), out, **options)


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
    assert server.asked == [("/text", None)]
    for mine in (b"mine", OTHER):
        out.write_bytes(mine)
        with pytest.raises(ChargenError, match="exists and is not tiny"):
            fetch(server, out)
        assert (out.read_bytes(), len(server.asked)) == (mine, 1)


def test_a_broken_connection_is_resumed(server, out):
    assert fetch(server, out, Handler.cutting)
    assert out.read_bytes() == TEXT
    begins = [f"bytes={n}-" for n in range(100_000, len(TEXT), 100_000)]
    assert server.asked == [("/text", begin) for begin in [None, *begins]]


def test_a_download_without_progress_ends_and_the_next_call_resumes(server, out):
    message = refused(server, out, Handler.cutting_deaf)
    assert f"stopped at 100,000 of {len(TEXT):,} bytes" in message
    assert "the same command resumes" in message
    assert part_of(out).read_bytes() == TEXT[:100_000]
    server.asked.clear()
    assert "stopped at 100,000" in refused(server, out, Handler.silent)
    assert len(server.asked) == 1
    assert fetch(server, out)
    assert server.asked[1:] == [("/text", "bytes=100000-")]
    assert (out.read_bytes(), part_of(out).exists()) == (TEXT, False)


def test_a_server_that_ignores_range_costs_nothing_received(server, out):
    part_of(out).write_bytes(TEXT[:150_000])
    assert "stopped at 150,000" in refused(server, out, Handler.cutting_deaf)
    assert part_of(out).read_bytes() == TEXT[:150_000]
    assert fetch(server, out, Handler.deaf)
    assert out.read_bytes() == TEXT


def test_the_number_of_connections_is_limited(server, out, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 3)
    message = refused(server, out, lambda handler: handler.part(handler.begin, 1))
    assert (len(server.asked), "stopped at 3 of" in message) == (3, True)


@pytest.mark.parametrize(
    ("part", "data"), [(b"", OTHER), (TEXT[:5000], OTHER), (b"x" + TEXT[1:5000], TEXT)]
)
def test_a_download_of_other_bytes_is_removed(server, out, part, data):
    part_of(out).write_bytes(part)
    server.data = data
    message = refused(server, out, Handler.honest)
    assert f"instead of {sha256(TEXT)[:12]}…, so it is not tiny" in message
    assert "starts over" in message
    assert list(out.parent.iterdir()) == []
    server.data = TEXT
    assert fetch(server, out)
    assert server.asked[-1] == ("/text", None)


def test_sizes_are_checked(server, out):
    part_of(out).write_bytes(TEXT + b"and more")
    assert fetch(server, out)
    assert server.asked == [("/text", None)]
    out.unlink()
    assert fetch(server, out, Handler.endless)
    assert out.read_bytes() == TEXT
    assert server.over.wait(5)  # the connection is closed
    out.unlink()
    assert f"stopped at 1,000 of {len(TEXT):,}" in refused(server, out, Handler.short)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (Handler.elsewhere, "the server sent another range"),
        (Handler.beyond, "the file is shorter than the part received"),
        (Handler.packed, "the answer is compressed"),
    ],
)
def test_a_useless_answer_starts_over(server, out, way, message):
    part_of(out).write_bytes(TEXT[:5000])
    assert message in refused(server, out, way)
    assert fetch(server, out)
    assert server.asked[-1] == ("/text", None)


def test_a_stalled_connection_is_closed_and_resumed(server, out):
    def first(handler):
        handler.stalling() if len(server.asked) == 1 else handler.honest()

    assert "stopped at 70,000 of" in refused(server, out, Handler.stalling, timeout=0.2)
    part_of(out).unlink()
    message = refused(server, out, Handler.never_answering, timeout=0.2)
    assert "nothing received (no byte in 0.2 s)" in message
    server.asked.clear()
    assert fetch(server, out, first, timeout=0.5)
    assert server.asked == [("/text", None), ("/text", "bytes=70000-")]


def test_refusals_and_other_servers_are_one_line(server, out):
    message = refused(server, out, Handler.gone)
    assert "the server answers 404 Not Found" in message
    assert "--from" in message
    assert "nothing received" in refused(server, out, Handler.babbling)
    with socket.socket() as unused:
        unused.bind((*LOOPBACK, 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/text"
    with pytest.raises(ChargenError) as caught:
        download.fetch(entry_at(url), out, plain=LOOPBACK)
    message = str(caught.value)
    assert message.startswith(f"{url}: nothing received (no network or no such server: ")
    assert "download it by hand and pass it with --from" in message
    assert list(out.parent.iterdir()) == []


def test_redirections_must_stay_on_https(server, out):
    there = server.url.replace("text", "there")
    assert fetch(server, out, lambda handler: handler.moved(there))
    assert server.asked == [("/text", None), ("/there", None)]
    out.unlink()
    for to in (there.replace("127.0.0.1", "localhost"), "ftp://127.0.0.1/x"):
        message = refused(server, out, lambda handler, to=to: handler.moved(to))
        assert f"{to}: not HTTPS" in message
    for to in (server.url, "file:///etc/passwd"):
        message = refused(server, out, lambda handler, to=to: handler.moved(to))
        assert "the server answers 302" in message
    server.asked.clear()
    assert "not HTTPS" in refused(server, out, Handler.honest, plain=())
    assert server.asked == []
    assert all(entry.url.startswith("https://") for entry in ENTRIES.values())


def test_the_proxy_of_the_environment_is_used(server, out, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/text"))
    entry = entry_at("http://corpora.invalid/text")
    assert download.fetch(entry, out, plain=("corpora.invalid",))
    assert server.asked == [("http://corpora.invalid/text", None)]
    assert out.read_bytes() == TEXT


def test_a_full_disk_is_a_user_error(server, out, monkeypatch):
    def full(path, mode):
        if mode == "ab":
            raise OSError(28, "No space left on device")
        return open(path, mode)

    monkeypatch.setattr(Path, "open", full)
    assert "No space left on device" in refused(server, out, Handler.honest)


def test_a_second_process_is_refused(server, out):
    def second(handler):
        messages.append(refused(server, out, Handler.honest))
        handler.honest()

    messages = []
    assert fetch(server, out, second)
    assert messages == [f"{out}: another process downloads it; wait for it"]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_an_archive_is_decompressed_and_verified(server, out):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", TEXT)
    server.data, server.way = packed.getvalue(), Handler.cutting
    inner = {"member": "inner", "text_bytes": len(TEXT), "text_sha256": sha256(TEXT)}
    entry = entry_at(server.url, server.data, **inner)
    assert download.fetch(entry, out, plain=LOOPBACK)
    assert out.read_bytes() == TEXT
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert not download.fetch(entry, out)
    out.unlink()
    wrong = entry_at(server.url, server.data, **inner | {"text_sha256": sha256(OTHER)})
    with pytest.raises(ChargenError, match="decompresses to another text"):
        download.fetch(wrong, out, plain=LOOPBACK)
    assert not out.exists()


def test_a_file_of_the_user_is_verified_and_kept(server, out, tmp_path):
    own = tmp_path / "own"
    own.write_bytes(TEXT)
    assert fetch(server, out, source=own)
    assert out.read_bytes() == own.read_bytes() == TEXT
    out.unlink()
    own.write_bytes(OTHER)
    assert str(own) in refused(server, out, Handler.honest, source=own)
    assert own.read_bytes() == OTHER
    assert "no such file" in refused(server, out, Handler.honest, source=tmp_path / "none")
    assert server.asked == []


def test_the_command_downloads_and_names_the_next_one(server, out, monkeypatch, capsys):
    monkeypatch.setitem(catalogue.ENTRIES, "tiny", entry_at(server.url))
    monkeypatch.setattr(download, "fetch", partial(download.fetch, plain=LOOPBACK))
    assert main(["corpora", "fetch", "tiny"]) == 0
    shown, err = capsys.readouterr()
    assert shown == f"tiny.txt: {len(TEXT):,} bytes, none\n"
    assert err == "Next: chargen train tiny.txt\n"
    assert out.read_bytes() == TEXT
    assert main(["corpora", "fetch", "tiny", "--out", "tiny.txt"]) == 0
    assert "exists already" in capsys.readouterr().out
    server.way = Handler.never_answering
    assert main(["corpora", "fetch", "tiny", "--out", "b.txt", "--timeout", "0.1"]) == 2
    shown, err = capsys.readouterr()
    assert (shown, err.count("\n"), "no byte in 0.1 s" in err) == ("", 1, True)
    assert main(["corpora", "fetch", "tiny", "--out", "none/b.txt"]) == 2


def test_the_catalogue_is_listed_and_an_unknown_name_refused(out, capsys):
    assert main(["corpora", "list"]) == 0
    shown = capsys.readouterr().out
    for entry in ENTRIES.values():
        for value in (entry.name, entry.licence, entry.url, f"{entry.bytes:,}"):
            assert value in shown
    assert main(["corpora", "fetch", "no\x1b"]) == 2
    err = capsys.readouterr().err
    assert r"no corpus 'no\x1b' to download; choose from tinyshakespeare, en" in err


PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
from functools import partial
from pathlib import Path
from chargen.cli import main
from chargen.datasets import catalogue, download
url, size, digest = sys.argv[1:]
catalogue.ENTRIES["tiny"] = catalogue.Entry("tiny", "", "none", url, int(size), digest)
download.fetch = partial(download.fetch, plain=("127.0.0.1",))
sys.exit(main(["corpora", "fetch", "tiny"]))
"""


def program(server, **options):
    arguments = [server.url, str(len(TEXT)), sha256(TEXT)]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], **options)


def test_ctrl_c_keeps_the_part(server, out):
    server.way = Handler.stalling
    running = program(server, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while not server.asked:
        time.sleep(0.01)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert err.splitlines()[0] == b"interrupted; the same command resumes the download"
    assert part_of(out).read_bytes() == TEXT[:70_000]
    server.asked.clear()
    assert fetch(server, out)
    assert server.asked == [("/text", "bytes=70000-")]


def test_the_progress_bar_is_shown_only_on_a_terminal(server, out):
    ran = program(server, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    told, err = ran.communicate(timeout=20)
    assert (told.count(b"\n"), err) == (1, b"Next: chargen train tiny.txt\n")
    out.unlink()
    own, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    ran = program(server, stderr=its, stdout=subprocess.DEVNULL)
    os.close(its)
    shown = b""
    try:
        while piece := os.read(own, 65536):
            shown += piece
    except OSError:  # Linux reports the closed end like this
        pass
    os.close(own)
    assert ran.wait(timeout=20) == 0
    assert b"tiny: " in shown
    assert b"%|" in shown


def test_no_network_module_is_imported_before_a_download():
    program = (
        "import sys, chargen, chargen.cli; "
        "sys.exit(str({'urllib.request', 'http.client', 'ssl', 'socket'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == "set()\n"
