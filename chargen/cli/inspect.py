"""``chargen inspect``."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import OUTPUT, PATH, json_option, option, run_argument, unknown_option
from chargen.cli.terminal import progress_bar, say, say_json, write_text
from chargen.errors import ChargenError
from chargen.render.text import visible_line

PAGE = "memory.html"


@click.command()
@run_argument
@json_option
@option("--memory", str, None, "Text on which the hidden units are recorded.")
@option("--memory-file", PATH, None, "File with the text of --memory.")
@option("--out", OUTPUT, None, "Output file of the page.  [default: RUN/memory.html]")
@option("--cue", str, None, "Word whose memory is scored; repeat for several.", multiple=True)
@unknown_option("Treatment of characters outside the vocabulary.")
@option("--seed", click.IntRange(0), 0, "Random seed of the units' scores.")
@click.pass_context
def inspect(
    context: click.Context,
    run: Path | None,
    as_json: bool,
    memory: str | None,
    memory_file: Path | None,
    **options: Any,
) -> None:
    """Show a run's architecture, corpus and history.

    With --memory or --memory-file, write an HTML page that colors each character of the text by
    the value of a hidden unit or gate. The units that best track a readable feature, such as
    being inside a quotation, are selected on the held-out text; their scores are printed beside
    those of an untrained network and of chance.

    Example: chargen inspect runs/fables --memory 'She said: "Not today," and went home.'
    """
    if memory is not None and memory_file is not None:
        raise ChargenError("--memory and --memory-file: give one")
    if memory == "" or "" in options["cue"]:
        name = "memory" if memory == "" else "cue"
        raise ChargenError(f"--{name} '': empty, give some text")
    if memory is not None or memory_file is not None:
        from chargen.text.corpus import read_file

        text = read_file(memory_file) if memory_file else memory or ""
        _memory(run, text, as_json, **options)
        return
    for name in options:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ChargenError(f"--{name} needs a text; give --memory TEXT too")
    from chargen.runs.directory import find

    opened = find(run)
    weights = {name: list(array.shape) for name, array in opened.weights().items()}
    described = opened.description.to_json()
    values = {
        "run": str(opened.path),
        "parameters": sum(map(math.prod, weights.values())),
        "weights": weights,
        "history": opened.progress(),
        **{name: value for name, value in described.items() if name != "format"},
    }
    if as_json:
        say_json(values)
    else:
        facts = opened.description.facts()
        lines = [str(opened.path), "", *(f"{label:17} {fact}" for label, fact in facts.items())]
        say("\n".join(map(visible_line, [*lines, *_lines(values)])))


def _lines(values: dict[str, Any]) -> Iterator[str]:
    from chargen.pages.watch_page import validations
    from chargen.render.report import aligned

    yield from ("", "weights")
    for name, shape in values["weights"].items():
        yield f"  {name:26}{' x '.join(map(str, shape))}"
    if not values["training"]:
        return
    chosen = {name: one for name, one in values["training"].items() if one not in (None, ())}
    yield from ("", "training", *(f"  {name:17} {one}" for name, one in chosen.items()), "")
    table = values["history"] and validations(values["history"])
    yield from aligned([table.header, *table.rows]) if table else ["no validation yet"]


def _memory(
    run: Path | None, text: str, as_json: bool, out: Path | None, cue: tuple[str, ...], **how: Any
) -> None:
    from chargen.api import load
    from chargen.probes.units.report import hidden_units_page, report
    from chargen.render.report import to_text

    model = load(run)
    with progress_bar(total=1, unit="char", unit_scale=True) as progress:
        seen = model.memory(text, cues=cue, progress=progress, **how)
    page = out or model.run.path / PAGE
    write_text(page, hidden_units_page(seen))
    for note in seen.notes:
        say(visible_line(note), err=True)
    if as_json:
        say_json(seen.to_json() | {"page": str(page)})
        return
    if seen.units:
        say(to_text([report(seen.units)]))
    say(f"page: {visible_line(str(page))}")
