"""``chargen export``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from chargen.cli.options import check_writable, run_argument
from chargen.cli.terminal import say
from chargen.reports.visible import visible_line


def _onnx(run: Path | None, out: Path | None) -> Path:
    """A step model; see `chargen.exporting.onnx`."""
    from chargen.exporting.onnx import export_onnx
    from chargen.runs import Run, newest

    found = newest() if run is None else Run.open(run)
    file = out or found.path / "model.onnx"
    export_onnx(found, file)
    return file


KINDS: dict[str, Callable[[Path | None, Path | None], Path]] = {"onnx": _onnx}


@click.command()
@run_argument
@click.option("--to", type=click.Choice(list(KINDS)), required=True, help="What to make of it.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file.  [default: in the run's folder]"
)
def export(run: Path | None, to: str, out: Path | None) -> None:
    """Give the model of RUN to other programs; left out, the newest one under runs/.

    onnx: a model that makes one step. It reads a character's id and the state, and tells the
    log-probabilities of the next character and the state after it; its metadata holds the
    characters. Needs pip install 'chargen[onnx]'.

    \b
    Examples:
      chargen export --to onnx
      chargen export runs/fables --to onnx --out fables.onnx
    """
    check_writable(out)
    say(visible_line(str(KINDS[to](run, out))))
