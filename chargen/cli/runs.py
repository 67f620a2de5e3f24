"""``chargen runs``."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from chargen.cli import completion
from chargen.cli.options import json_option, option
from chargen.cli.terminal import say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line

COLUMNS = ("age", "name", "corpus", "model", "loss", "size")
KEYS = {"age": "modified", "loss": "loss_nats", "size": "bytes"}  # of the JSON object
# What chargen writes to a run directory on request.
EXTRA = ("longrange.json", "memory.html", "watch.html", "answers.json", "tensorboard", ".job")
UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.group(invoke_without_command=True)
@json_option
@option("--sort", click.Choice(COLUMNS), "age", "Column to sort by.")
@click.pass_context
def runs(context: click.Context, as_json: bool, sort: str) -> None:
    """List the runs under runs/, or remove some.

    Loss and bits are the lowest validation loss per character; age is the time since the last
    change.

    \b
    Examples:
      chargen runs --sort loss
      chargen runs rm fables
    """
    if context.invoked_subcommand:
        return
    from chargen.render.report import aligned

    key, listed = KEYS.get(sort, sort), list(_listed())
    known = [one for one in listed if one.get(key) is not None]
    found = sorted(known, key=lambda one: one[key], reverse=sort in ("age", "size"))
    found += [one for one in listed if one not in known]
    if as_json:
        say_json({"runs": found})
    elif not found:
        say("no run under runs/ yet: train one with chargen train CORPUS")
    else:
        head = ["name", "corpus", "model", "nats", "bits", "size", "age", ""]
        say("\n".join(aligned([head, *map(_row, found)])))


def _listed() -> Iterator[dict[str, Any]]:
    from chargen.evaluation import nats_to_bits
    from chargen.runs.directory import RUN, RUNS, Run, last_written
    from chargen.runs.lock import is_held

    for file in sorted(RUNS.glob(f"*/{RUN}")):
        row: dict[str, Any] = {"name": file.parent.name, "run": str(file.parent)}
        try:
            run = Run.open(file.parent)
            description, loss = run.description, run.best_loss()
            row |= {
                "corpus": description.corpus.name or None,
                "model": description.model.described(),
                "parameters": description.model.parameters(len(description.vocabulary)),
                "loss_nats": loss,
                "bits_per_char": None if loss is None else nats_to_bits(loss),
                "bytes": sum(one.stat().st_size for one in run.path.rglob("*") if one.is_file()),
                "modified": last_written(run.path),
                "in_training": is_held(run.path),
            }
        except ChargenError as error:
            row["error"] = str(error)
        yield row


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
@click.option("--yes", is_flag=True, help="Remove without confirmation.")
def rm(names: tuple[str, ...], yes: bool) -> None:
    """Remove runs. Files that chargen did not write are kept, with their directory.

    Example: chargen runs rm fables
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
    from chargen.runs.directory import FILES, RUN, remove_card
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
