"""``chargen score``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import click

from chargen.cli.options import device_option, json_option, set_up_torch, threads_option
from chargen.cli.terminal import say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[RUN]... FILE")
@json_option
@click.option(
    "--top",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Show this many places where the text surprises most.",
)
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do about the text's characters that a model does not know.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of intervals.")
@device_option
@threads_option
def score(
    names: tuple[str, ...],
    as_json: bool,
    top: int,
    unknown: Literal["error", "skip"],
    seed: int,
    device: str,
    threads: int | None,
) -> None:
    """Measure the surprisal of a text.

    What is named last is the text, FILE or - for standard input; before it come runs, or none for
    the newest one. Every character but the first is predicted once, from all that stand before
    it. Several runs answer which author a text is more like: all predict the same characters, and
    each difference comes with its 95 % interval, from a bootstrap of blocks. With --unknown skip,
    what one of the models does not know is left out for all of them.

    \b
    Examples:
      chargen score letter.txt
      chargen score runs/austen runs/melville letter.txt
      fortune | chargen score runs/fables - --top 20
    """
    from chargen.api import load
    from chargen.api import score as score_text
    from chargen.probes.surprisal.table import places, score_json, score_table
    from chargen.render.text import counted
    from chargen.text.corpus import read_corpus

    *runs, file = names
    if Path(file, "run.json").exists():
        raise ChargenError(f"{file}: a run and no text; name the text last, as in RUN FILE")
    set_up_torch(threads)
    text = read_corpus([file]).text
    models = [load(run, device) for run in runs or (None,)]
    found = score_text(models, text, unknown, seed)
    digest = hashlib.sha256(text.encode()).hexdigest()
    for model in models:
        if model.run.description.corpus.sha256 == digest:
            say(
                f"{visible_line(str(model.run.path))} was trained on this text and has an "
                "advantage; chargen evaluate tells what it makes of the part that was held out",
                err=True,
            )
    if as_json:
        say_json({"text": file, **score_json(found, top)})
        return
    if found.left_out:
        say(f"left out {counted(found.left_out, 'character')} that not all models know", err=True)
    say(score_table(found), nl=False)
    for place in places(found, top):
        say(f"\n{place.heading}\n{place.before}", nl=False)
        say(place.character, nl=False, fg="red", bold=True)
        say("\n".join([place.after, place.pointer, *place.rows]))
