"""``chargen probe-longrange``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import device_option, run_argument, threads_option, use_threads
from chargen.errors import ChargenError


class SpansParam(click.ParamType):
    """``4,8,16``: whole numbers."""

    name = "spans"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[int, ...]:
        """Text to ascending numbers."""
        try:
            spans = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            spans = ()
        if not spans or spans[0] < 1:
            raise ChargenError(f"--spans {value}: must be whole numbers above 0, as in 4,8,16")
        return spans


@click.command("probe-longrange")
@run_argument
@click.option("--spans", type=SpansParam(), help="Spans to ask.  [default: 4,8,16 … 1024]")
@click.option("--bank", type=click.Path(path_type=Path), help="A phrase bank of your own.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all to a file.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw accuracy by span, a PNG.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the cases."
)
@device_option
@threads_option
def probe_longrange(
    run: Path | None,
    spans: tuple[int, ...] | None,
    bank: Path | None,
    json_file: Path | None,
    plot: Path | None,
    seed: int,
    device: str,
    threads: int | None,
) -> None:
    """How far back does the model of RUN remember?

    Puts sentences to it whose end hangs on their beginning ("a letter from Persia, … in" -
    Persian or Russian?) and measures how often it is right as the span between the two grows,
    with 95 % intervals, chance, and controls that must stay at chance. It takes a model trained
    on the bundled corpus longrange, or longrange-zh for Chinese, or on one made from the phrase
    bank that --bank names; others are shown two sentences, and nothing is claimed.

    \b
    Examples:
      chargen train longrange --minutes 2
      chargen probe-longrange
      chargen probe-longrange runs/longrange --plot memory.png --json memory.json
    """
    for file in (json_file, plot):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise ChargenError(f"{file}: no file can be written there; make its folder first")
    from tqdm import tqdm

    from chargen.api import load
    from chargen.reports.plots import save_templates_plot
    from chargen.reports.tables import demonstration_table, templates_table

    use_threads(threads)
    model = load(run, device)
    with tqdm(total=1, disable=None, unit="char", unit_scale=True, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        probed = model.probe_longrange(spans, seed, show, bank)
    for warning in probed.warnings:
        click.echo(warning, err=True)
    click.echo(templates_table(probed.templates), nl=False)
    if probed.demonstration:
        click.echo("\n" + demonstration_table(probed.demonstration), nl=False)
    if json_file is not None:
        _write(json_file, json.dumps(probed.to_json(), indent=1) + "\n")
    if plot is not None and probed.templates.refusal:
        click.echo(f"{plot}: nothing drawn, since nothing is claimed", err=True)
    elif plot is not None:
        save_templates_plot(probed.templates, plot, f"{model.run.path}: how far back?")
        click.echo(f"drawn: {plot}", err=True)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ChargenError(f"{file}: cannot be written ({error.strerror})") from error
