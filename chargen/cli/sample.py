"""``chargen sample``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from msgspec.structs import asdict

from chargen.cli.options import file_option, json_option, run_argument
from chargen.cli.terminal import put, say, say_json
from chargen.errors import ChargenError
from chargen.settings import RECENT, SAMPLE_CHARS, SamplingSettings

if TYPE_CHECKING:
    from chargen.api import TrainedModel


@click.command()
@run_argument
@click.option("--prompt", help="Text that the model continues.")
@file_option("--prompt-file", help="File with the text of --prompt.")
@click.option(
    "--length",
    type=click.IntRange(0),
    default=SAMPLE_CHARS,
    show_default=True,
    help="Characters to generate.",
)
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="Sampling temperature; 0 always selects the most probable character.",
)
@click.option(
    "--top-k", type=int, help="Sample from the K most probable characters.  [default: all]"
)
@click.option(
    "--top-p",
    type=float,
    help="Nucleus sampling: sample from the smallest set with this probability.  [default: 1]",
)
@click.option(
    "--min-p", type=float, help="Drop characters less probable than this fraction of the top one."
)
@click.option(
    "--repetition-penalty",
    type=float,
    default=1.0,
    show_default=True,
    help=f"Penalty on the last {RECENT} characters; 1 is none.",
)
@click.option("--beam", type=int, help="Beam search with this many beams (no sampling).")
@click.option("--stop", multiple=True, help="Stop before this text; repeat for several.")
@click.option(
    "--count",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of texts, separated by a blank line.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="Random seed.  [default: random, printed to standard error]",
)
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Treatment of prompt characters outside the vocabulary.",
)
@click.option(
    "--interactive", "-i", is_flag=True, help="Interactive: type a line, the model continues it."
)
@click.option("--novelty", is_flag=True, help="Report what is copied from the training text.")
@json_option
def sample(
    run: Path | None,
    prompt: str | None,
    prompt_file: Path | None,
    length: int,
    count: int,
    seed: int | None,
    unknown: Literal["error", "skip"],
    stop: tuple[str, ...],
    interactive: bool,
    novelty: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Generate text with a trained model.

    Prompt and text go to standard output as they are generated. A terminal shows control
    characters escaped, as in \\x1b; files and pipes receive them unchanged. Without a prompt, a
    model whose state was carried through training first generates a hidden warm-up text, because
    it rarely trained from a zero state.

    --novelty reports the fraction of n-grams that are not in the training text, beside that of
    the held-out text, and the longest copied passage.

    --interactive reads lines from the terminal and continues each of them up to a newline, to
    --stop or by --length characters. The model keeps its state between lines.

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
    settings = SamplingSettings(**chosen)
    drawn = seed is None and settings.temperature > 0 and not settings.beam
    seed = secrets.randbelow(2**32) if seed is None else seed
    if interactive:
        _check_interactive(settings, count, novelty, as_json)
    from chargen.runs.directory import find
    from chargen.sampling.sampler import Sampler
    from chargen.text.sources import read_file

    beginning = (prompt or "") if prompt_file is None else read_file(prompt_file)
    sampler = Sampler.of(find(run))
    if interactive:
        from chargen.cli.interactive import converse
        from chargen.sampling.interactive import Conversation

        conversation = Conversation(sampler, seed, stop, **asdict(settings))
        if drawn:
            say(f"seed {seed}", err=True)
        converse(conversation, beginning, length, unknown)
        return
    compared = _with_its_text(sampler.path) if novelty else None
    rows = sampler.stream(beginning, length, count, seed, unknown, stop, **asdict(settings))
    texts = _collected(rows, count) if as_json else _shown(beginning, rows, count)
    if drawn:
        say(f"seed {seed}", err=True)
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
    """Load the model and check that its corpus exists, before anything is printed."""
    from chargen.api import load

    model = load(path, "cpu")
    model.corpus()
    return model


def _collected(rows: Iterator[list[str]], count: int) -> list[str]:
    texts = ["".join(pieces) for pieces in zip(*rows, strict=True)]
    return texts or [""] * count


def _shown(beginning: str, rows: Iterator[list[str]], count: int) -> list[str]:
    """Print the texts, a single one as it is generated; return them without ``beginning``."""
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
    """Refuse lone surrogates: Python's form of arguments that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ChargenError(f"{flag}: invalid text at position {error.start}; use UTF-8") from None
