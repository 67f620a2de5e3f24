"""``chargen sample --interactive``."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from chargen.cli.terminal import put, say
from chargen.errors import ChargenError
from chargen.render.text import counted, visible_line
from chargen.sampling.interactive import LINE_END, Conversation
from chargen.sampling.sampler import Sampler
from chargen.text.vocabulary import Unknown

PROMPT = "> "
HELP = "Type a line, and the model continues it. Ctrl-C stops the text, Ctrl-D exits."


def converse(
    sampler: Sampler, prompt: str, seed: int, length: int, unknown: Unknown, **options: Any
) -> None:
    """Continue ``prompt``, then each line from the terminal until its end.

    The line history is kept in memory.
    """
    conversation = Conversation(sampler, seed, **options)
    with contextlib.suppress(ImportError):  # some systems have no line editing
        import readline  # noqa: F401
    say(HELP, err=True)
    if prompt:
        _turn(conversation, prompt, length, unknown)
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            put(LINE_END)
            return
        except KeyboardInterrupt:
            put(LINE_END)
            continue
        except UnicodeDecodeError as error:
            say(f"chargen: invalid text at byte {error.start}; use {error.encoding}", err=True)
            continue
        _turn(conversation, line, length, unknown)


def check_terminal() -> None:
    """Raise a `ChargenError` without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ChargenError(
            "--interactive: standard input and output must be a terminal; give --prompt or "
            "--prompt-file instead"
        )


def _turn(conversation: Conversation, line: str, length: int, unknown: Unknown) -> None:
    last = LINE_END
    with _interrupts() as interrupted:
        try:
            left_out = conversation.hear(line, unknown)
        except ChargenError as error:
            say(f"chargen: {visible_line(error.message)}", err=True)
            return
        if left_out:
            say(f"left out {counted(left_out, 'character')} outside the vocabulary", err=True)
        for piece in conversation.answer(length):
            put(piece)
            last = piece or last
            if interrupted:
                break
    if interrupted or not last.endswith(LINE_END):  # a terminal shows Ctrl-C as ^C
        put(LINE_END)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C, so that it acts between two characters and the state stays consistent."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = signal.signal(signal.SIGINT, catch)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)
