"""``chargen inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from chargen.cli.options import json_option, run_argument
from chargen.cli.terminal import progress_bar, say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line

WITH_MEMORY = ("out", "cue", "unknown", "seed")  # what means nothing without a text to look at
PAGE = "memory.html"


@click.command()
@run_argument
@json_option
@click.option("--memory", help="Write a page that shows each memory unit while it reads this text.")
@click.option("--memory-file", type=click.Path(path_type=Path), help="The same text, from a file.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the page goes.  [default: RUN/memory.html]",
)
@click.option("--cue", multiple=True, help="A word that units may remember; repeat it for several.")
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do about the text's characters that the model does not know.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the units' scores."
)
@click.pass_context
def inspect(
    context: click.Context,
    run: Path | None,
    as_json: bool,
    memory: str | None,
    memory_file: Path | None,
    out: Path | None,
    cue: tuple[str, ...],
    unknown: Literal["error", "skip"],
    seed: int,
) -> None:
    """What is in RUN: layers, shapes, parameters, corpus and history.

    With --memory or --memory-file, what its memory holds: a page, one HTML file, colours each
    character of the text by the value of a memory unit, or of one of its gates, and lets you step
    through all of them. The units that best follow something readable, such as being inside a
    quotation, are found on the run's held-out text, and told beside what an untrained network
    and luck would reach.

    \b
    Examples:
      chargen inspect
      chargen inspect runs/fables --json
      chargen inspect runs/fables --memory 'She said: "Not today," and went home.'
      chargen inspect --memory-file page.txt --cue Hatch --out look.html
    """
    if memory is not None or memory_file is not None:
        _memory(run, as_json, memory, memory_file, out, cue, unknown, seed)
        return
    given = context.get_parameter_source
    for name in WITH_MEMORY:
        if given(name) is not click.core.ParameterSource.DEFAULT:
            raise ChargenError(f"--{name} goes with a text to look at: give --memory TEXT too")
    from chargen.runs.directory import Run, newest
    from chargen.runs.summary import summary, summary_text

    result = summary(newest() if run is None else Run.open(run))
    if as_json:
        say_json(result)
    else:
        say(summary_text(result))


def _memory(
    run: Path | None,
    as_json: bool,
    memory: str | None,
    memory_file: Path | None,
    out: Path | None,
    cues: tuple[str, ...],
    unknown: Literal["error", "skip"],
    seed: int,
) -> None:
    """Write the page, print the scores."""
    if memory is not None and memory_file is not None:
        raise ChargenError("--memory and --memory-file: give one")
    if memory == "" or "" in cues:
        raise ChargenError(f"--{'cue' if '' in cues else 'memory'} '': empty, give some text")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ChargenError(f"{out}: no file can be written there; make its folder first")
    from chargen.api import load
    from chargen.probes.units.page import memory_page
    from chargen.probes.units.table import memory_table
    from chargen.text.sources import read_file

    text = read_file(memory_file) if memory_file else memory or ""
    model = load(run)
    with progress_bar(total=1, unit="char", unit_scale=True) as progress:
        seen = model.memory(text, unknown, cues, seed, progress)
    page = out or model.run.path / PAGE
    try:
        page.write_text(memory_page(seen), encoding="utf-8")
    except OSError as error:
        raise ChargenError(f"{page}: cannot be written ({error.strerror})") from error
    for note in seen.notes:
        say(visible_line(note), err=True)
    if as_json:
        say_json(seen.to_json() | {"page": str(page)})
        return
    if seen.units:
        say(memory_table(seen.units))
    say(f"page: {visible_line(str(page))}")
