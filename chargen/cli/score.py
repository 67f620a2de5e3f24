"""``chargen score``."""

import hashlib
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import encoding_option, json_option, model_options, option, unknown_option
from chargen.cli.terminal import say, say_json
from chargen.errors import ChargenError
from chargen.render.text import counted, visible_line


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[RUN]... FILE")
@json_option
@encoding_option
@option("--top", click.IntRange(0), 5, "Number of places to show, highest surprisal first.")
@unknown_option("Treatment of characters outside a vocabulary; skip omits them for all runs.")
@click.option("--seed", type=click.IntRange(0), default=0, hidden=True, expose_value=False)
@model_options
def score(
    names: tuple[str, ...], as_json: bool, encoding: str, top: int, unknown: Any, **how: Any
) -> None:
    """Measure the surprisal of a text.

    The last argument is the text: FILE, or - for standard input. The runs come before it. Each
    character but the first is predicted once, from all characters before it. Several runs, such as
    the models of two authors, are compared on a text of at least 640 characters, with intervals.

    \b
    Examples:
      chargen score runs/austen runs/melville letter.txt
      fortune | chargen score runs/fables - --top 20
    """
    from chargen.api import load
    from chargen.api import score as score_text
    from chargen.probes.surprisal.report import place_text, score_table
    from chargen.runs.directory import RUNS
    from chargen.text.corpus import read_corpus

    *runs, file = names
    if any(Path(folder, file, "run.json").exists() for folder in (".", RUNS)):
        raise ChargenError(f"{file}: a run, not a text; missing FILE: chargen score [RUN]... FILE")
    if " " in file and not Path(file).exists():
        problem = "no such file; give the text as standard input: echo TEXT | chargen score RUN -"
        raise ChargenError(f"{file}: {problem}")
    text = read_corpus([file], encoding).text
    models = [load(run, **how) for run in runs or (None,)]
    found = score_text(models, text, unknown)
    digest = hashlib.sha256(text.encode()).hexdigest()
    for model in models:
        if model.run.description.corpus.sha256 == digest:
            low = "was trained on this text, so its loss is too low; use chargen evaluate"
            say(f"{visible_line(str(model.run.path))} {low}", err=True)
    if as_json:
        say_json({"text": file, **found.to_json(top)})
        return
    if found.left_out:
        say(f"left out {counted(found.left_out, 'character')} outside a vocabulary", err=True)
    say(score_table(found), nl=False)
    for place in found.surprising(top):
        before, character, after = place_text(found.text, place)
        say(f"\n{before}", nl=False)
        say(character, nl=False, fg="red", bold=True)
        say(after)
