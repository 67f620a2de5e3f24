"""``chargen runs`` and ``chargen inspect``."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from chargen.cli import completion
from chargen.cli.options import (
    OUTPUT,
    PATH,
    json_option,
    option,
    run_argument,
    unknown_option,
    write_text,
)
from chargen.cli.terminal import progress_bar, say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line

if TYPE_CHECKING:
    from chargen.runs.directory import Run

SORTS = {  # key of the JSON object, and whether large values come first
    "age": ("modified", True),
    "name": ("name", False),
    "corpus": ("corpus", False),
    "model": ("model", False),
    "loss": ("loss_nats", False),
    "size": ("bytes", True),
}
# What chargen writes to a run directory on request.
EXTRA = ("longrange.json", "memory.html", "watch.html", "answers.json", "tensorboard", ".job")
WITH_MEMORY = ("out", "cue", "unknown", "seed")  # options that need --memory or --memory-file
PAGE = "memory.html"
LABEL = 17  # columns
UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.group(invoke_without_command=True)
@json_option
@option("--sort", click.Choice(list(SORTS)), "age", "Order.")
@click.pass_context
def runs(context: click.Context, as_json: bool, sort: str) -> None:
    """List the runs under runs/, or remove some.

    Loss and bits are the lowest validation loss per character; age is the time since the last
    change.

    \b
    Examples:
      chargen runs
      chargen runs --sort loss
      chargen runs --json
      chargen runs rm fables
    """
    if context.invoked_subcommand:
        return
    from chargen.render.report import aligned

    (key, reverse), found = SORTS[sort], list(_listed())
    known = [one for one in found if one.get(key) is not None]
    known.sort(key=lambda one: one[key], reverse=reverse)
    found = known + [one for one in found if one.get(key) is None]
    if as_json:
        say_json({"runs": found})
    elif not found:
        say("no run under runs/ yet: train one with chargen train CORPUS")
    else:
        head = ["name", "corpus", "model", "nats", "bits", "size", "age", ""]
        say("\n".join(aligned([head, *map(_row, found)])))


def _listed() -> Iterator[dict[str, Any]]:
    from chargen.runs.directory import RUN, RUNS, Run

    for file in sorted(RUNS.glob(f"*/{RUN}")):
        said: dict[str, Any] = {"name": file.parent.name, "run": str(file.parent)}
        try:
            yield said | _facts(Run.open(file.parent))
        except ChargenError as error:
            yield said | {"error": str(error)}


def _facts(run: Run) -> dict[str, Any]:
    from chargen.evaluation import nats_to_bits
    from chargen.runs.directory import last_written
    from chargen.runs.lock import is_held

    description, loss = run.description, run.best_loss()
    return {
        "corpus": description.corpus.name or None,
        "model": description.model.described(),
        "parameters": description.model.parameters(len(description.vocabulary)),
        "loss_nats": loss,
        "bits_per_char": None if loss is None else nats_to_bits(loss),
        "bytes": sum(one.stat().st_size for one in run.path.rglob("*") if one.is_file()),
        "modified": last_written(run.path),
        "in_training": is_held(run.path),
    }


def _row(one: dict[str, Any]) -> list[str]:
    if "error" in one:
        return [one["name"], *["–"] * 6, one["error"]]
    loss, bits = one["loss_nats"], one["bits_per_char"]
    numbers = ["–", "–"] if loss is None else [f"{loss:.4f}", f"{bits:.3f}"]
    age = max(0, time.time() - one["modified"])
    unit, seconds = next(pair for pair in UNITS if age >= pair[1] or pair[1] == 1)
    known = (one["name"], one["corpus"] or "imported", one["model"], *numbers)
    state = "in training" if one["in_training"] else ""
    return [*known, f"{one['bytes'] / 1e6:,.1f} MB", f"{age / seconds:.0f} {unit}", state]


@runs.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN...", shell_complete=completion.runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(names: tuple[str, ...], yes: bool) -> None:
    """Remove runs.

    Only files that chargen wrote are removed; a directory with others is kept with them.

    \b
    Example:
      chargen runs rm fables
    """
    from chargen.runs.directory import is_run, resolve

    paths = [resolve(name) for name in names]
    for path in paths:
        if not is_run(path):
            raise ChargenError(f"{path}: not a run, so it is kept; chargen runs lists the runs")
    shown = visible_line(", ".join(map(str, paths)))
    if not yes and not click.confirm(f"Remove {shown}?", err=True):
        return
    for path in paths:
        _remove(path)


def _remove(path: Path) -> None:
    from chargen.files import remove_files, writing
    from chargen.runs.card import remove_card
    from chargen.runs.directory import FILES, RUN
    from chargen.runs.lock import HOLDER, LOCK, lock

    with lock(path, "stop it first"):
        remove_files(path, RUN)  # first, so that an interrupted removal leaves no run
        remove_card(path)
        for name in EXTRA:
            if (path / name).is_dir() and not (path / name).is_symlink():
                shutil.rmtree(path / name)
        remove_files(path, *FILES, *(name for name in EXTRA if not (path / name).is_dir()))
    remove_files(path, LOCK, HOLDER)
    with writing(path):
        left = sorted(one.name for one in path.iterdir())
        if not left:
            path.rmdir()
    if left:
        say(f"{visible_line(str(path))}: kept {visible_line(', '.join(left))}", err=True)


@click.command()
@run_argument
@json_option
@option("--memory", str, None, "Text to read while the hidden units are recorded.")
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
    if memory is not None and memory_file is not None:
        raise ChargenError("--memory and --memory-file: give one")
    if memory == "" or "" in cue:
        raise ChargenError(f"--{'cue' if '' in cue else 'memory'} '': empty, give some text")
    if memory is not None or memory_file is not None:
        from chargen.text.corpus import read_file

        text = read_file(memory_file) if memory_file else memory or ""
        _memory(run, text, out, as_json, cues=cue, unknown=unknown, seed=seed)
        return
    for name in WITH_MEMORY:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ChargenError(f"--{name} needs a text: give --memory TEXT too")
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
        lines = [str(opened.path), "", *_rows(opened.description.facts())]
        say("\n".join(map(visible_line, [*lines, *_lines(values)])))


def _rows(facts: Mapping[str, object]) -> list[str]:
    return [f"{label:{LABEL}} {value}" for label, value in facts.items()]


def _lines(values: dict[str, Any]) -> Iterable[str]:
    """Yield the shapes of the weights, the settings of the training and its history."""
    from chargen.render.report import aligned

    yield from ("", "weights")
    shapes = {name: " x ".join(map(str, shape)) for name, shape in values["weights"].items()}
    yield from (f"  {name:26}{shape}" for name, shape in shapes.items())
    if not values["training"]:
        return
    chosen = {name: one for name, one in values["training"].items() if one not in (None, ())}
    yield from ("", "training", *(f"  {row}" for row in _rows(chosen)), "")
    losses = [line["validation_loss_nats"] for line in values["history"]]
    best = min((loss for loss in losses if loss is not None), default=None)
    rows = [
        [
            *(str(line["step"]), f"{line['seconds']:.1f}", f"{line['chars']:,}"),
            f"{line['train_loss_nats']:.4f}",
            "none held out" if loss is None else f"{loss:.4f}",
            "best" if place == losses.index(best) else "",
        ]
        for place, (line, loss) in enumerate(zip(values["history"], losses, strict=True))
    ]
    head = ["step", "seconds", "characters", "training nats", "validation nats", ""]
    yield from aligned([head, *rows]) if rows else ["no validation yet"]


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
