"""``chargen watch``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chargen.cli.options import check_writable, run_argument
from chargen.cli.terminal import say
from chargen.render.text import visible_line

PAGE = "watch.html"


@click.command()
@run_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the page goes.  [default: RUN/watch.html]",
)
@click.option(
    "--every",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Seconds after which the page is written anew.",
)
@click.option("--once", is_flag=True, help="Write the page as it is now, and end.")
def watch(run: Path | None, out: Path | None, every: int, once: bool) -> None:
    """Write a page that follows a training.

    Loss on the training and the held-out text beside the n-gram floor, learning rate, the
    gradient's norm before clipping, and samples as they improve. It is written anew, and shown
    anew by the browser, until no process trains the run any more. Nothing is served and nothing
    else is written; Ctrl-C ends it and leaves the training alone. Counting the floor takes
    seconds of one processor, once.

    \b
    Examples:
      chargen watch
      chargen watch runs/fables --out fables.html
      chargen watch runs/fables --once
    """
    check_writable(out)
    from chargen.cli.looking import Onlooker
    from chargen.files import write_file
    from chargen.pages.watch_page import watch_page
    from chargen.runs.directory import newest

    path = newest().path if run is None else run
    page, onlooker, told = out or path / PAGE, Onlooker(path), False
    while True:
        seen = onlooker.look(0 if once else every)
        write_file(page, watch_page(seen).encode())
        if not told:
            say(f"page: {visible_line(str(page))}")
            told = True
        if onlooker.count_floor():
            continue
        if not seen.seconds:
            break
        time.sleep(every)
