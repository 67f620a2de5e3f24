"""``chargen sample --interactive``: a user and a model alternate."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chargen.cli.terminal import handled, put, say
from chargen.errors import ChargenError, named
from chargen.render.text import counted, visible_line
from chargen.sampling.choice import generate
from chargen.sampling.engine import State
from chargen.sampling.sampler import Sampler, Stop, stopped
from chargen.settings import RECENT, SamplingSettings, from_options
from chargen.text.vocabulary import Unknown

LINE_END = "\n"


class Conversation:
    """A text of the user's lines and the model's answers; the options are of `Sampler.stream`.

    Without stops an answer ends with its line: at the first line feed after another character.
    """

    def __init__(
        self,
        sampler: Sampler,
        seed: int = 0,
        stop: Stop = (),
        stop_after: Stop = (),
        begin: bool | None = None,
        **settings: Any,
    ) -> None:
        self._sampler, self._begin = sampler, begin
        self._settings = from_options(SamplingSettings, settings)
        self._stops = sampler.stops(stop, stop_after, in_document=False)
        self._generator = np.random.default_rng(seed)
        self._state: State | None = None
        self._text: np.ndarray = np.empty(0, dtype=np.int64)  # ids of its end
        self._unread = 0  # characters of it that the engine has not read

    def hear(self, text: str, unknown: Unknown = "error") -> int:
        """Add a line of the user; return how many characters ``unknown="skip"`` left out."""
        ids = self._sampler.vocabulary.encode_typed("your line", text, unknown)
        if not len(self._text) and len(ids) and self._sampler.begins(text, self._begin):
            self._start()
        self._add(ids)
        return len(text) - len(ids)

    def answer(self, length: int) -> Iterator[str]:
        """Write at most ``length`` characters, which count as written once they are consumed."""
        return (piece for (piece,) in stopped(self._written(length), self._stops, 1))

    def _written(self, length: int) -> Iterator[list[str]]:
        self._start()
        line_begun, sampling = False, (length, self._settings, self._generator)
        with named(self._sampler.path):
            for ids in generate(self._advance, self._text, *sampling):
                self._add(ids)
                character = self._sampler.vocabulary.characters[ids[0]]
                yield [character]
                if line_begun and not self._stops and character == LINE_END:
                    return
                line_begun = line_begun or character != LINE_END

    def _start(self) -> None:
        if not len(self._text):
            self._add(self._sampler.start_ids(self._settings, self._generator).ravel())

    def _add(self, ids: np.ndarray) -> None:
        self._unread += len(ids)
        self._text = np.append(self._text, ids)[-max(RECENT, self._unread) :]

    def _advance(self, ids: np.ndarray, state: None) -> tuple[np.ndarray, None]:
        """Read the unread end of ``ids``; the state stays in the conversation."""
        logits, self._state = self._sampler.engine.advance(ids[:, -self._unread :], self._state)
        self._unread = 0
        return logits, None


def converse(
    sampler: Sampler, prompt: str, seed: int, length: int, unknown: Unknown, **options: Any
) -> None:
    """Continue ``prompt``, then each line from the terminal, whose history is kept in memory."""
    conversation = Conversation(sampler, seed, **options)
    with contextlib.suppress(ImportError):  # some systems have no line editing
        import readline  # noqa: F401
    say("Type a line, and the model continues it. Ctrl-C stops the text, Ctrl-D exits.", err=True)
    if prompt:
        _turn(conversation, prompt, length, unknown)
    while True:
        try:
            line = input("> ")
        except EOFError:
            put(LINE_END)
            return
        except KeyboardInterrupt:
            put(LINE_END)
        except UnicodeDecodeError as error:
            say(f"chargen: invalid text at byte {error.start}; use {error.encoding}", err=True)
        else:
            _turn(conversation, line, length, unknown)


def check_alone(others: Mapping[str, Any]) -> None:
    """Raise a `ChargenError` for one of the ``others``, options by name, or without a terminal."""
    for name, given in others.items():
        if given:
            raise ChargenError(f"--interactive and --{name}: give one")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ChargenError("--interactive: needs a terminal; give --prompt or --prompt-file")


def _turn(conversation: Conversation, line: str, length: int, unknown: Unknown) -> None:
    last, interrupted = LINE_END, []
    # Ctrl-C acts between two characters, so that the state stays consistent.
    with handled(lambda number, frame: interrupted.append(number), signal.SIGINT):
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
