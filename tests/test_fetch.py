"""Texts from the network, from a server on loopback that cuts, lies, stalls and sends elsewhere."""

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
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from loopback import LOOPBACK, Handler, Server

from chargen.cli import main
from chargen.datasets import catalogue, download
from chargen.datasets.catalogue import ENTRIES, Entry
from chargen.errors import ChargenError

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
    """What is said of a fetch that fails, in one line."""
    with pytest.raises(ChargenError) as caught:
        fetch(server, out, way, **more)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


def test_a_text_is_fetched_whole_and_only_once(server, out):
    seen = []
    assert fetch(server, out, progress=lambda done, of: seen.append((done, of)))
    assert out.read_bytes() == TEXT
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert seen == sorted(seen)
    assert seen[-1] == (len(TEXT), len(TEXT))
    assert not fetch(server, out)
    assert server.asked == [("/text", None)]


@pytest.mark.parametrize("mine", [b"mine", OTHER])
def test_what_another_file_holds_stays(server, out, mine):
    out.write_bytes(mine)
    with pytest.raises(ChargenError, match="exists and is not tiny"):
        fetch(server, out)
    assert (out.read_bytes(), server.asked) == (mine, [])


def test_a_connection_that_breaks_is_made_again_from_there(server, out):
    assert fetch(server, out, Handler.cutting)
    assert out.read_bytes() == TEXT
    begins = [f"bytes={n}-" for n in range(100_000, len(TEXT), 100_000)]
    assert server.asked == [("/text", begin) for begin in [None, *begins]]


def test_what_brings_nothing_more_ends_and_the_next_try_goes_on(server, out):
    fetch_first = partial(refused, server, out)
    said = fetch_first(Handler.cutting_deaf)
    assert f"stopped at 100,000 of {len(TEXT):,} bytes" in said
    assert "the same command resumes" in said
    assert part_of(out).read_bytes() == TEXT[:100_000]
    server.asked.clear()
    assert "stopped at 100,000" in fetch_first(Handler.silent)
    assert len(server.asked) == 1
    server.asked.clear()
    assert fetch(server, out)
    assert server.asked == [("/text", "bytes=100000-")]
    assert (out.read_bytes(), part_of(out).exists()) == (TEXT, False)


def test_a_server_that_ignores_range_costs_nothing_that_is_there(server, out):
    part_of(out).write_bytes(TEXT[:150_000])
    assert "stopped at 150,000" in refused(server, out, Handler.cutting_deaf)
    assert part_of(out).read_bytes() == TEXT[:150_000]
    assert fetch(server, out, Handler.deaf)
    assert out.read_bytes() == TEXT


def test_one_that_cuts_at_every_byte_is_not_asked_for_ever(server, out, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 3)
    said = refused(server, out, lambda handler: handler.part(handler.begin, 1))
    assert (len(server.asked), "stopped at 3 of" in said) == (3, True)


@pytest.mark.parametrize("before", [0, 5000])
def test_other_bytes_are_removed_and_the_next_try_begins_anew(server, out, before):
    part_of(out).write_bytes(TEXT[:before])
    server.data = OTHER
    said = refused(server, out, Handler.honest)
    assert f"SHA-256 {sha256(OTHER)[:12]}… instead of" in said or before
    assert "starts over" in said
    assert list(out.parent.iterdir()) == []
    server.data = TEXT
    assert fetch(server, out)
    assert server.asked[-1] == ("/text", None)


def test_a_damaged_part_is_found(server, out):
    part_of(out).write_bytes(b"x" + TEXT[1:5000])
    assert "so it is not tiny" in refused(server, out, Handler.honest)
    assert fetch(server, out)


def test_a_part_that_is_too_long_is_begun_anew(server, out):
    part_of(out).write_bytes(TEXT + b"and more")
    assert fetch(server, out)
    assert server.asked == [("/text", None)]


def test_an_endless_answer_is_left_at_the_known_size(server, out):
    assert fetch(server, out, Handler.endless)
    assert out.read_bytes() == TEXT
    assert server.over.wait(5)  # nobody listens any more


def test_too_little_is_told(server, out):
    assert f"stopped at 1,000 of {len(TEXT):,}" in refused(server, out, Handler.short)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Handler.elsewhere, "the server sent another range"),
        (Handler.beyond, "the file is shorter than the part received"),
        (Handler.packed, "the answer is compressed"),
    ],
)
def test_an_answer_that_fits_nothing_begins_anew(server, out, way, said):
    part_of(out).write_bytes(TEXT[:5000])
    assert said in refused(server, out, way)
    assert fetch(server, out)
    assert server.asked[-1] == ("/text", None)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Handler.stalling, "stopped at 70,000 of"),
        (Handler.never_answering, "nothing received (no byte in 0.2 s)"),
    ],
)
def test_one_that_stalls_is_given_up(server, out, way, said):
    assert said in refused(server, out, way, timeout=0.2)


def test_what_came_before_a_stall_is_kept(server, out):
    def first(handler):
        handler.stalling() if len(server.asked) == 1 else handler.honest()

    assert fetch(server, out, first, timeout=2)
    assert server.asked == [("/text", None), ("/text", "bytes=70000-")]


def test_a_refusal_and_what_is_no_web_server_are_told(server, out):
    said = refused(server, out, Handler.gone)
    assert "the server answers 404 Not Found" in said
    assert "--from" in said
    assert "nothing received" in refused(server, out, Handler.babbling)


def test_a_redirection_is_followed_unless_it_gives_up_https(server, out):
    there = server.url.replace("text", "there")
    assert fetch(server, out, lambda handler: handler.moved(there))
    assert server.asked == [("/text", None), ("/there", None)]
    out.unlink()
    for to in (there.replace("127.0.0.1", "localhost"), "ftp://127.0.0.1/x"):
        said = refused(server, out, lambda handler, to=to: handler.moved(to))
        assert f"{to}: not HTTPS" in said
    for to in (server.url, "file:///etc/passwd"):
        said = refused(server, out, lambda handler, to=to: handler.moved(to))
        assert "the server answers 302" in said


def test_plain_http_is_refused_before_anybody_is_asked(server, out):
    assert "not HTTPS" in refused(server, out, Handler.honest, plain=())
    assert server.asked == []
    assert all(entry.url.startswith("https://") for entry in ENTRIES.values())


def test_a_proxy_of_the_environment_is_asked(server, out, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/text"))
    entry = entry_at("http://corpora.invalid/text")
    assert download.fetch(entry, out, plain=("corpora.invalid",))
    assert server.asked == [("http://corpora.invalid/text", None)]
    assert out.read_bytes() == TEXT


def test_without_a_network_one_line_names_the_way_out(server, out):
    with socket.socket() as unused:
        unused.bind((*LOOPBACK, 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/text"
    with pytest.raises(ChargenError) as caught:
        download.fetch(entry_at(url), out, plain=LOOPBACK)
    said = str(caught.value)
    assert said.startswith(f"{url}: nothing received (no network or no such server: ")
    assert "download it by hand and pass it with --from" in said
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_is_told(server, out, monkeypatch):
    def full(path, mode):
        if mode == "ab":
            raise OSError(28, "No space left on device")
        return open(path, mode)

    monkeypatch.setattr(Path, "open", full)
    assert "No space left on device" in refused(server, out, Handler.honest)


def test_two_at_a_time_are_kept_apart(server, out):
    def second(handler):
        said.append(refused(server, out, Handler.honest))
        handler.honest()

    said = []
    assert fetch(server, out, second)
    assert said == [f"{out}: another process downloads it; wait for it"]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def archive(text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("inner", text)
    return file.getvalue()


def test_an_archive_is_unpacked_and_what_is_in_it_checked(server, out):
    server.data = archive(TEXT)
    inner = {"member": "inner", "text_bytes": len(TEXT), "text_sha256": sha256(TEXT)}
    entry = entry_at(server.url, server.data, **inner)
    server.way = Handler.cutting
    assert download.fetch(entry, out, plain=LOOPBACK)
    assert out.read_bytes() == TEXT
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert not download.fetch(entry, out)
    out.unlink()
    wrong = entry_at(server.url, server.data, **inner | {"text_sha256": sha256(OTHER)})
    with pytest.raises(ChargenError, match="decompresses to another text"):
        download.fetch(wrong, out, plain=LOOPBACK)
    assert not out.exists()


def test_a_file_got_by_hand_is_checked_and_stays(server, out, tmp_path):
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


@contextmanager
def as_tiny(monkeypatch, server):
    """The command line's catalogue has the server's text, and plain HTTP will do."""
    monkeypatch.setitem(catalogue.ENTRIES, "tiny", entry_at(server.url))
    monkeypatch.setattr(download, "fetch", partial(download.fetch, plain=LOOPBACK))
    yield


def test_the_command_writes_and_says_what_comes_next(server, out, monkeypatch, capsys):
    with as_tiny(monkeypatch, server):
        assert main(["corpora", "fetch", "tiny"]) == 0
        told, err = capsys.readouterr()
        assert told == f"tiny.txt: {len(TEXT):,} bytes, none\n"
        assert err == "Next: chargen train tiny.txt\n"
        assert out.read_bytes() == TEXT
        assert main(["corpora", "fetch", "tiny", "--out", "tiny.txt"]) == 0
        assert "exists already" in capsys.readouterr().out
        server.way = Handler.never_answering
        assert main(["corpora", "fetch", "tiny", "--out", "b.txt", "--timeout", "0.1"]) == 2
        told, err = capsys.readouterr()
        assert (told, err.count("\n"), "no byte in 0.1 s" in err) == ("", 1, True)
        assert main(["corpora", "fetch", "tiny", "--out", "none/b.txt"]) == 2


def test_the_catalogue_is_listed_and_an_unknown_name_refused(out, capsys):
    assert main(["corpora", "list"]) == 0
    told = capsys.readouterr().out
    for entry in ENTRIES.values():
        assert entry.name in told
        assert entry.licence in told
        assert entry.url in told
        assert f"{entry.bytes:,}" in told
    assert main(["corpora", "fetch", "no\x1b"]) == 2
    assert (
        r"no corpus 'no\x1b' to download; choose from tinyshakespeare, en"
        in capsys.readouterr().err
    )


PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which the background ignores
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


def test_ctrl_c_keeps_what_came(server, out):
    server.way = Handler.stalling
    running = program(server, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while not server.asked:
        time.sleep(0.01)
    time.sleep(0.3)  # for what is on its way
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert err.splitlines()[0] == b"interrupted; the same command resumes the download"
    assert part_of(out).read_bytes() == TEXT[:70_000]
    server.asked.clear()
    assert fetch(server, out)
    assert server.asked == [("/text", "bytes=70000-")]


def test_the_bar_is_on_a_terminal_alone(server, out):
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
    except OSError:  # as Linux says that nobody holds the other end any more
        pass
    os.close(own)
    assert ran.wait(timeout=20) == 0
    assert b"tiny: " in shown
    assert b"%|" in shown


def test_the_network_is_left_alone_until_it_is_asked():
    program = (
        "import sys, chargen, chargen.cli; "
        "sys.exit(str({'urllib.request', 'http.client', 'ssl', 'socket'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == "set()\n"
