"""Output of commands, escaped so that no printed text controls the terminal."""

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
    """Configure the standard streams.

    Files and pipes get UTF-8 and unchanged line ends; a terminal gets escapes for characters that
    its encoding lacks.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")


def say(text: object, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text for people, with control characters escaped.

    Args:
        text: the text.
        err: print to standard error.
        nl: end with a newline.
        style: arguments of `click.style`, ignored if NO_COLOR is set (no-color.org).
    """
    shown = visible(str(text))
    if style and not os.environ.get("NO_COLOR"):
        shown = click.style(shown, **style)
    click.echo(shown, err=err, nl=nl)


@contextlib.contextmanager
def progress_bar(**style: Any) -> Iterator[Callable[[int, int], None]]:
    """Show a tqdm bar on terminals only.

    Yields a callback of the work done and the total, which is 0 if unknown.
    """
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
