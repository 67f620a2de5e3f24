"""Interactive sampling: its state, and the command at a real terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
from networks import sampler

import chargen
from chargen.cli.interactive import Conversation
from chargen.render.text import visible

GREEDY = {"temperature": 0}
# Makes the given terminal its controlling terminal, so that keys can interrupt it.
OWNING = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
WAITING = 30  # seconds until a failure


def answer(conversation, length=200):
    return "".join(conversation.answer(length))


def streamed(prompt, length, seed=0, **options):
    return "".join(row[0] for row in sampler().stream(prompt, length, seed=seed, **options))


@pytest.mark.parametrize(("prompt", "stop"), [("ab", "ea"), ("ab", "\n"), ("", "ea")])
def test_answer_equals_a_sample(prompt, stop):
    conversation = Conversation(sampler(), 3, stop)
    assert conversation.hear(prompt) == 0
    assert answer(conversation) == streamed(prompt, 200, 3, stop=stop)


@pytest.mark.parametrize("settings", [GREEDY, GREEDY | {"repetition_penalty": 1.5}], ids=str)
def test_state_includes_all_lines_and_answers_as_far_as_they_were_read(settings):
    conversation = Conversation(sampler(), 0, "\n" * 99, **settings)
    text = ""
    for line in ("ab", "", "cdj"):
        conversation.hear(line)
        pieces = conversation.answer(20)
        reply = "".join(next(pieces) for _ in range(7))
        text += line
        assert reply == streamed(text, 7, stop="\n" * 99, **settings)
        text += reply


def test_answer_ends_with_its_line():
    beginning = [seed for seed in range(60) if streamed("ab", 1, seed) == "\n"]
    for seed in (0, 1, *beginning[:2]):
        conversation = Conversation(sampler(), seed)
        conversation.hear("ab")
        reply, whole = answer(conversation, 40), streamed("ab", 40, seed)
        assert reply == re.match(r"\n*[^\n]*\n?", whole)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "cat.txt").write_text("the cat sat on the mat.\n" * 60 + "\x1b" * 60)
    sizes = {"units": (16,), "timesteps": 16, "batch_size": 4, "steps": 200}
    chargen.train(home / "cat.txt", home / "runs" / "cat", **sizes)
    return home


class Terminal:
    """A command at a pseudo-terminal."""

    def __init__(self, home, *arguments):
        self._own, its = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNING, "-m", "chargen", "sample", "-i", *arguments],
            cwd=home, stdin=its, stdout=its, stderr=its, start_new_session=True,
            env=os.environ | {"TERM": "dumb"},
        )  # fmt: skip
        os.close(its)
        self.seen = ""

    def until(self, text, times=1):
        """Wait for ``text`` and return the output since the last call."""
        end = time.monotonic() + WAITING
        while self.seen.count(text) < times and time.monotonic() < end:
            if select.select([self._own], [], [], 0.1)[0]:
                self.seen += os.read(self._own, 65536).decode().replace("\r\n", "\n")
        assert self.seen.count(text) >= times, self.seen
        shown, self.seen = self.seen, ""
        return shown

    def type(self, keys):
        os.write(self._own, keys.encode())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        os.close(self._own)


def test_lines_at_a_terminal(home):
    with Terminal(home, "--length", "30", "--temperature", "0") as terminal:
        assert "Ctrl-D exits" in terminal.until("> ")
        terminal.type("the cat\n")
        rows = chargen.load(home / "runs" / "cat").stream("the cat", 30, temperature=0)
        written = re.match(r"\n*[^\n]*", "".join(row[0] for row in rows))[0]
        assert terminal.until("\n> ") == f"the cat\n{visible(written)}\n> "
        terminal.type("the Cat\n")
        assert "your line: character 'C' at position 4 is not in" in terminal.until("\n> ")
        terminal.type("the mat")
        terminal.until("the mat")
        time.sleep(0.3)  # a signal right after the prompt is lost
        terminal.type("\x03")
        terminal.until("\n> ")
        terminal.type("\x1b[A\x1b[A\n")  # arrow up, twice
        shown = terminal.until("\n> ")
        assert ("cat\n" in shown, "is not in" in shown) == (True, False)
        terminal.type("\x04")
        assert terminal.process.wait(WAITING) == 0


def test_ctrl_c_stops_the_line_alone(home):
    forever = ["--length", "100000000", "--stop", "\x1b" * 9, "--unknown", "skip"]
    with Terminal(home, *forever, "--temperature", "3") as terminal:
        terminal.until("> ")
        terminal.type("Quoth\n")
        assert "left out 2 characters outside the vocabulary" in terminal.until("\\x1b", 3)
        terminal.type("\x03")
        terminal.until("\n> ")
        terminal.type("the cat\n")
        assert "\x1b" not in terminal.until("\\x1b", 3)
        terminal.type("\x03")
        terminal.until("\n> ")
        terminal.type("\x04")
        assert terminal.process.wait(WAITING) == 0
