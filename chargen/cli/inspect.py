"""``chargen inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from chargen.cli.options import json_option, run_argument


@click.command()
@run_argument
@json_option
def inspect(run: Path | None, as_json: bool) -> None:
    """What is in RUN: layers, shapes, parameters, corpus and history.

    \b
    Examples:
      chargen inspect
      chargen inspect runs/fables --json
    """
    from chargen.reports.summary import summary, summary_text
    from chargen.runs import Run, newest

    result = summary(newest() if run is None else Run.open(run))
    click.echo(json.dumps(result) if as_json else summary_text(result))
