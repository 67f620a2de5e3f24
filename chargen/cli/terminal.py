"""What commands print: nothing that they print can drive the terminal it is shown on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from chargen.render.text import visible


def prepare() -> None:
    """Set the standard streams up: UTF-8 to a file or a pipe, and its line ends as they are.

    A terminal that lacks a character is sent its code, which is no reason to stop.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")


def say(text: object, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print for somebody to read, wherever it goes: what would act is spelled out.

    ``style`` is that of `click.style`; where NO_COLOR is set there is none (no-color.org).
    """
    shown = visible(str(text))
    if style and not os.environ.get("NO_COLOR"):
        shown = click.style(shown, **style)
    click.echo(shown, err=err, nl=nl)


@contextlib.contextmanager
def progress_bar(**style: Any) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal alone, of tqdm's ``style``; what it gives is told what is done, of what.

    0 is an end that nobody knows.
    """
    from tqdm import tqdm

    with tqdm(disable=None, leave=False, **style) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield progress


def say_json(value: Any) -> None:
    """Print a value as one line of JSON, in ASCII without control characters."""
    print(json.dumps(value))


def put(text: str) -> None:
    """Write what was asked for to standard output: as it is, but spelled out on a terminal.

    Somebody who watches sees each piece at once; a file is written in larger ones.
    """
    if sys.stdout.isatty():
        sys.stdout.write(visible(text))
        sys.stdout.flush()
    else:
        sys.stdout.write(text)
