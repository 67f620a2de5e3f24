"""``chargen sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from chargen.cli.options import run_argument
from chargen.cli.terminal import put
from chargen.errors import ChargenError
from chargen.settings import SamplingSettings


@click.command()
@run_argument
@click.option("--prompt", help="What the text begins with; the model goes on from there.")
@click.option("--prompt-file", type=click.Path(path_type=Path), help="The same, from a file.")
@click.option(
    "--length", type=click.IntRange(0), default=500, show_default=True, help="Characters to write."
)
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="Lower is safer, higher is wilder; 0 takes the likeliest character always.",
)
@click.option("--top-k", type=int, help="Choose among the K likeliest characters.  [default: all]")
@click.option(
    "--top-p",
    type=float,
    help="Choose among the fewest likeliest that reach this share, 0 to 1.  [default: 1]",
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Texts, a blank line between them.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The same seed writes the same text.",
)
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do about a prompt's characters that the model does not know.",
)
def sample(
    run: Path | None,
    prompt: str | None,
    prompt_file: Path | None,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    count: int,
    seed: int,
    unknown: Literal["error", "skip"],
) -> None:
    """Write text with the model of RUN, a run's folder; left out, the newest one under runs/.

    The prompt and what follows it go to standard output as they are made, nothing else does. A
    terminal is shown control characters spelled out, as in \\x1b; files and pipes get them as
    they are.

    \b
    Examples:
      chargen sample
      chargen sample runs/fables --prompt "The miller" --temperature 0.8
      chargen sample --length 100000 --seed 7 > text.txt
    """
    if prompt is not None and prompt_file is not None:
        raise ChargenError("--prompt and --prompt-file: give one")
    _check_text(prompt or "")
    settings = SamplingSettings(temperature, top_k, top_p)  # before anything slow is done
    from chargen.runs import Run, newest
    from chargen.sampling.writer import Writer  # no torch, so that it starts at once
    from chargen.text.decoding import read_file

    beginning = (prompt or "") if prompt_file is None else read_file(prompt_file)
    writer = Writer.of(newest() if run is None else Run.open(run))
    rows = writer.stream(beginning, length, count, seed, unknown, **vars(settings))
    if count == 1:
        put(beginning)
        for row in rows:
            put(row[0])
        put("\n")
    else:
        texts = ["".join(characters) for characters in zip(*rows, strict=True)]
        put("\n\n".join(beginning + text for text in texts or [""] * count) + "\n")


def _check_text(prompt: str) -> None:
    """Python passes bytes that are no UTF-8 on as lone surrogates, which nobody can write."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ChargenError(f"--prompt: no text at position {error.start}; use UTF-8") from None
