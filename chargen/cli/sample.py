"""``chargen sample``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from msgspec.structs import asdict

from chargen.cli.options import json_option, run_argument
from chargen.cli.terminal import put, say, say_json
from chargen.errors import ChargenError
from chargen.settings import RECENT, SAMPLE_CHARS, SamplingSettings

if TYPE_CHECKING:
    from chargen.api import TrainedModel


@click.command()
@run_argument
@click.option("--prompt", help="What the text begins with; the model goes on from there.")
@click.option("--prompt-file", type=click.Path(path_type=Path), help="The same, from a file.")
@click.option(
    "--length",
    type=click.IntRange(0),
    default=SAMPLE_CHARS,
    show_default=True,
    help="Characters to write.",
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
@click.option("--min-p", type=float, help="Leave out what has less than this share of the best's.")
@click.option(
    "--repetition-penalty",
    type=float,
    default=1.0,
    show_default=True,
    help=f"Above 1 the last {RECENT} characters are less likely to come again.",
)
@click.option(
    "--beam", type=int, help="Draw nothing: find the likeliest text by a search this wide."
)
@click.option(
    "--stop",
    multiple=True,
    help="End before this text as soon as it is written; repeat it for several.",
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
@click.option(
    "--interactive", "-i", is_flag=True, help="Write in turn: a line of yours, and how it goes on."
)
@click.option("--novelty", is_flag=True, help="Tell what is copied from the training text.")
@json_option
def sample(
    run: Path | None,
    prompt: str | None,
    prompt_file: Path | None,
    length: int,
    count: int,
    seed: int,
    unknown: Literal["error", "skip"],
    stop: tuple[str, ...],
    interactive: bool,
    novelty: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Generate text with a trained model.

    The prompt and what follows it go to standard output as they are made, nothing else does. A
    terminal is shown control characters spelled out, as in \\x1b; files and pipes get them as
    they are. Without a prompt it begins after a text that is written first and not shown, where
    the state was carried through training, which then hardly saw one of zeros.

    --novelty tells after it what is new: how many of its stretches of 2, 3, 4 … characters are
    not in the training text, beside the same for the held-out text, and the longest that is.

    --interactive reads lines from the terminal. Each is continued as it stands, up to the end of
    a line, to --stop or by --length characters; the model remembers all that came before.

    \b
    Examples:
      chargen sample
      chargen sample runs/fables --prompt "The miller" --temperature 0.8
      chargen sample --length 100000 --seed 7 > text.txt
      chargen sample --length 2000 --novelty
      chargen sample --prompt "Once" --stop . --beam 8
      chargen sample -i --temperature 0.7
    """
    if prompt is not None and prompt_file is not None:
        raise ChargenError("--prompt and --prompt-file: give one")
    _check_text("--prompt", prompt or "")
    for text in stop:
        _check_text("--stop", text)
    settings = SamplingSettings(**chosen)  # before anything slow is done
    if interactive:
        _check_interactive(settings, count, novelty, as_json)
    from chargen.runs.directory import Run, newest
    from chargen.sampling.sampler import Sampler  # no torch, so that it starts at once
    from chargen.text.sources import read_file

    beginning = (prompt or "") if prompt_file is None else read_file(prompt_file)
    sampler = Sampler.of(newest() if run is None else Run.open(run))
    if interactive:
        from chargen.cli.interactive import converse
        from chargen.sampling.interactive import Conversation

        conversation = Conversation(sampler, seed, stop, **asdict(settings))
        converse(conversation, beginning, length, unknown)
        return
    compared = _with_its_text(sampler.path) if novelty else None
    rows = sampler.stream(beginning, length, count, seed, unknown, stop, **asdict(settings))
    texts = _collected(rows, count) if as_json else _shown(beginning, rows, count)
    found = compared.novelty(texts, seed) if compared else None
    if as_json:
        said = {"run": str(sampler.path), "prompt": beginning, "texts": texts}
        say_json(said | ({"novelty": found.to_json()} if found else {}))
    elif found:
        from chargen.sampling.novelty import novelty_table

        say("\n" + novelty_table(found), nl=False)


def _check_interactive(
    settings: SamplingSettings, count: int, novelty: bool, as_json: bool
) -> None:
    from chargen.cli.interactive import check_terminal

    others = {"beam": settings.beam, "count": count > 1, "novelty": novelty, "json": as_json}
    for flag, given in others.items():
        if given:
            raise ChargenError(f"--interactive and --{flag}: give one")
    check_terminal()


def _with_its_text(path: Path) -> TrainedModel:
    """`ChargenError` where what it was trained on is gone, before anything is written."""
    from chargen.api import load

    model = load(path, "cpu")
    model.corpus()
    return model


def _collected(rows: Iterator[list[str]], count: int) -> list[str]:
    texts = ["".join(pieces) for pieces in zip(*rows, strict=True)]
    return texts or [""] * count


def _shown(beginning: str, rows: Iterator[list[str]], count: int) -> list[str]:
    """What was written after ``beginning``, once it is shown: one text as it is made."""
    if count > 1:
        texts = _collected(rows, count)
        put("\n\n".join(beginning + text for text in texts) + "\n")
        return texts
    put(beginning)
    pieces = []
    for row in rows:
        put(row[0])
        pieces.append(row[0])
    put("\n")
    return ["".join(pieces)]


def _check_text(flag: str, text: str) -> None:
    """Python passes bytes that are no UTF-8 on as lone surrogates, which nobody can write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ChargenError(f"{flag}: no text at position {error.start}; use UTF-8") from None
