"""Output of commands, escaped so that no printed text controls the terminal."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from chargen.errors import ChargenError
from chargen.render.text import visible


class _Descriptor(io.RawIOBase):
    """A standard stream: results must be written; notes are dropped if they cannot be."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return os.write(self._number, data)
        except BrokenPipeError:
            if self._number == 1:
                raise
        except OSError as error:
            if self._number == 1:
                drop_results()
                message = f"standard output: cannot be written ({error.strerror})"
                raise ChargenError(message) from None
        return len(data)


def drop_results() -> None:
    """Send later results nowhere: Python flushes standard output again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def prepare() -> None:
    """Configure the standard streams: UTF-8 and unchanged line ends for files and pipes.

    Nothing fails because standard error is closed, full or a lost terminal.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # or the next file that is opened, such as a checkpoint, gets the number
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    if os.name == "posix":
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = getattr(sys, name)
            if stream is getattr(sys, f"__{name}__") and not (number == 1 and os.isatty(1)):
                encoding = stream.encoding if stream else "utf-8"
                raw = io.BufferedWriter(_Descriptor(number))
                setattr(sys, name, io.TextIOWrapper(raw, encoding, line_buffering=number == 2))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if not stream.isatty():
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")


def say(text: object, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text for people, escaped, to standard error if ``err``, in a `click.style`."""
    shown = visible(str(text))
    if style and not os.environ.get("NO_COLOR"):  # no-color.org
        shown = click.style(shown, **style)
    click.echo(shown, err=err, nl=nl)


@contextlib.contextmanager
def progress_bar(**style: Any) -> Iterator[Callable[[int, int], None]]:
    """Show a tqdm bar on terminals; yield a callback of the work done and in total, or 0."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False, **style) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield progress


def say_json(value: Any) -> None:
    """Print a value as one line of ASCII JSON."""
    print(json.dumps(value))


def put(text: str) -> None:
    """Write a result to standard output: unchanged to files, escaped and at once to terminals."""
    if sys.stdout.isatty():
        sys.stdout.write(visible(text))
        sys.stdout.flush()
    else:
        sys.stdout.write(text)
