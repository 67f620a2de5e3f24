"""``chargen inspect``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from chargen.cli.options import (
    PATH,
    check_writable,
    json_option,
    option,
    run_argument,
    unknown_option,
    write_text,
)
from chargen.cli.terminal import progress_bar, say, say_json
from chargen.errors import ChargenError
from chargen.render.report import aligned
from chargen.render.text import visible_line

if TYPE_CHECKING:
    from chargen.runs.directory import ProgressRecord

WITH_MEMORY = ("out", "cue", "unknown", "seed")  # options that need --memory or --memory-file
PAGE = "memory.html"
SHOWN_CHARACTERS = 60  # of the vocabulary
LABEL = 17  # columns


@click.command()
@run_argument
@json_option
@option("--memory", str, None, "Text to read while the hidden units are recorded.")
@option("--memory-file", PATH, None, "File with the text of --memory.")
@option("--out", PATH, None, "Output file of the page.  [default: RUN/memory.html]")
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
    out: Path | None,
    cue: tuple[str, ...],
    unknown: Literal["error", "skip"],
    seed: int,
) -> None:
    """Show a run's architecture, corpus and history.

    With --memory or --memory-file, write an HTML page that colors each character of the text by
    the value of a hidden unit or gate. The units that best track a readable feature, such as
    being inside a quotation, are selected on the held-out text; their scores are printed beside
    those of an untrained network and of chance.

    \b
    Examples:
      chargen inspect
      chargen inspect runs/fables --json
      chargen inspect runs/fables --memory 'She said: "Not today," and went home.'
      chargen inspect --memory-file page.txt --cue Hatch --out look.html
    """
    if memory is not None or memory_file is not None:
        if memory is not None and memory_file is not None:
            raise ChargenError("--memory and --memory-file: give one")
        if memory == "" or "" in cue:
            raise ChargenError(f"--{'cue' if '' in cue else 'memory'} '': empty, give some text")
        check_writable(out)
        from chargen.text.sources import read_file

        text = read_file(memory_file) if memory_file else memory or ""
        _memory(run, text, out, as_json, cues=cue, unknown=unknown, seed=seed)
        return
    given = context.get_parameter_source
    for name in WITH_MEMORY:
        if given(name) is not click.core.ParameterSource.DEFAULT:
            raise ChargenError(f"--{name} needs a text: give --memory TEXT too")
    from chargen.runs.directory import find

    opened = find(run)
    description, weights = opened.description, opened.weights()
    described = description.to_json()
    values = {
        "run": str(opened.path),
        "parameters": sum(array.size for array in weights.values()),
        "weights": {name: list(array.shape) for name, array in weights.items()},
        "history": opened.progress(),
        **{name: value for name, value in described.items() if name != "format"},
    }
    if as_json:
        say_json(values)
    else:
        say("\n".join(map(visible_line, _lines(values, description.model.described()))))


def _lines(values: dict[str, Any], described: str) -> Iterable[str]:
    characters = values["vocabulary"]
    shown = repr(characters[:SHOWN_CHARACTERS])[1:-1] + "…" * (len(characters) > SHOWN_CHARACTERS)
    yield from (values["run"], "", _row("model", described))
    yield _row("activation", values["model"]["activation"])
    yield _row("parameters", f"{values['parameters']:,}")
    yield _row("vocabulary", f"{len(characters)} characters: {shown}")
    if dropped := values["dropped"]:
        yield _row("dropped", f"{len(dropped)} characters: {dropped[:SHOWN_CHARACTERS]}")
    if origin := values["initialized_from"]:
        yield _row("fine-tuned from", f"{origin['run']}, weights {origin['sha256']}")
    if corpus := values["corpus"]:
        held_out = corpus["chars"] - corpus["training_chars"]
        size = f"{corpus['chars']:,} characters, {held_out:,} held out"
        yield _row("corpus", f"{corpus['name']}, {size}")
        yield from (_row("source", source) for source in corpus["sources"])
    else:
        yield _row("imported", values["imported"]["file"])
    yield _row("SHA-256", (corpus or values["imported"])["sha256"])
    yield _row("versions", ", ".join(" ".join(pair) for pair in values["versions"].items()))
    yield from ("", "weights")
    for name, shape in values["weights"].items():
        yield f"  {name:26}{' x '.join(map(str, shape))}"
    if training := values["training"]:
        yield from ("", "training")
        chosen = {name: value for name, value in training.items() if value not in (None, ())}
        yield from (f"  {_row(name, value)}" for name, value in chosen.items())
        yield from ("", *_history(values["history"]))


def _row(label: str, value: object) -> str:
    return f"{label:{LABEL}} {value}"


def _history(lines: list[ProgressRecord]) -> list[str]:
    if not lines:
        return ["no validation yet"]
    losses = [line["validation_loss_nats"] for line in lines]
    best = min((loss for loss in losses if loss is not None), default=None)
    head = ["step", "seconds", "characters", "training nats", "validation nats", ""]
    cells = ["{step}", "{seconds:.1f}", "{chars:,}"]
    cells += ["{train_loss_nats:.4f}"]
    rows = [
        [
            *(cell.format_map(line) for cell in cells),
            "none held out" if loss is None else f"{loss:.4f}",
            "best" if place == losses.index(best) else "",
        ]
        for place, (line, loss) in enumerate(zip(lines, losses, strict=True))
    ]
    return aligned([head, *rows])


def _memory(run: Path | None, text: str, out: Path | None, as_json: bool, **options: Any) -> None:
    from chargen.api import load
    from chargen.probes.units.report import hidden_units_page, report
    from chargen.render.report import to_text

    model = load(run)
    with progress_bar(total=1, unit="char", unit_scale=True) as progress:
        seen = model.memory(text, progress=progress, **options)
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
