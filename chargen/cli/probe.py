"""``chargen probe-longrange``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli import completion
from chargen.cli.options import (
    check_writable,
    device_option,
    set_up_torch,
    threads_option,
    write_text,
)
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line
from chargen.settings import INSTRUMENTS, LONGEST_ASKED

if TYPE_CHECKING:
    from chargen.probes.runner import Probed, ProbedRuns


class SpansParam(click.ParamType):
    """``4,8,16``: whole numbers."""

    name = "spans"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[int, ...]:
        """Text to ascending numbers."""
        try:
            spans = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            spans = ()
        if not spans or spans[0] < 1 or spans[-1] > LONGEST_ASKED:
            raise ChargenError(
                f"--spans {value}: must be whole numbers from 1 to {LONGEST_ASKED}, as in 4,8,16"
            )
        return spans


class OnlyParam(click.ParamType):
    """``templates,context``: names of instruments."""

    name = "instruments"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[str, ...]:
        """Text to names, in the order in which they are asked."""
        names = str(value).split(",")
        wrong = [name for name in names if name not in INSTRUMENTS]
        if wrong:
            raise ChargenError(f"--only {value}: {wrong[0]!r} is none of {', '.join(INSTRUMENTS)}")
        return tuple(name for name in INSTRUMENTS if name in names)


@click.command("probe-longrange")
@click.argument(
    "runs",
    nargs=-1,
    metavar="[RUN]...",
    type=click.Path(path_type=Path),
    shell_complete=completion.runs,
)
@click.option(
    "--only",
    type=OnlyParam(),
    help="Some of templates,context,mined,gradient.  [default: all]",
    default=",".join(INSTRUMENTS),
)
@click.option(
    "--spans", type=SpansParam(), help="Spans to ask, in characters.  [default: 4,8,16 … 1024]"
)
@click.option(
    "--bank",
    type=click.Path(path_type=Path),
    help="A phrase bank: a file, or a bundled one.  [default: the bundled one that fits]",
)
@click.option(
    "--text",
    shell_complete=completion.texts,
    help="A text to read: file, folder or bundled corpus.  [default: what was held out]",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all as JSON.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw what was found, PNG.")
@click.option("--report", type=click.Path(path_type=Path), help="One HTML page with all of it.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the cases."
)
@device_option
@threads_option
def probe_longrange(
    runs: tuple[Path, ...],
    only: tuple[str, ...],
    spans: tuple[int, ...] | None,
    bank: Path | None,
    text: str | None,
    json_file: Path | None,
    plot: Path | None,
    report: Path | None,
    seed: int,
    device: str,
    threads: int | None,
) -> None:
    """Measure how far back a model remembers.

    \b
    templates  sentences whose end hangs on their beginning ("a letter from Persia, … in":
               Persian or Russian?), right how often as the span between the two grows; for
               a model of the bundled corpus longrange or longrange-zh, or of --bank
    context    how much worse it predicts the held-out text from its last n characters alone
    mined      what it gains where the text itself brings something back: a closing bracket,
               a word that returns
    gradient   how far back a loss is felt in training, at initialisation and trained

    Several runs are asked the same cases and compared: templates with McNemar's test, corrected
    after Holm, context and mined on the text that all were trained on, or on --text.

    --plot draws templates to the file itself and the others beside it, named after them. --report
    writes figures, tables and what they mean, to be opened in a browser.

    \b
    Examples:
      chargen train longrange --minutes 2
      chargen probe-longrange
      chargen probe-longrange runs/longrange --only templates --plot memory.png
      chargen probe-longrange runs/fables --only context,gradient --json memory.json
      chargen probe-longrange runs/lstm runs/gru runs/simple --report farther.html
    """
    check_writable(json_file, plot, report)
    from tqdm import tqdm

    from chargen.api import load
    from chargen.api import probe_longrange as probe_several
    from chargen.probes.runner.page import runs_page
    from chargen.probes.runner.page_one import probed_page
    from chargen.probes.runner.probed import (
        probed_text,
        runs_text,
        save_probed_plots,
        save_runs_plots,
    )

    set_up_torch(threads)
    models = [load(run, device) for run in runs or (None,)]
    with tqdm(total=1, disable=None, unit="char", unit_scale=True, leave=False) as bar:

        def watch(instrument: str, done: int, total: int) -> None:
            if done < bar.n or total != bar.total:  # the next instrument
                bar.reset(total)
            bar.set_description(instrument, refresh=False)
            bar.update(done - bar.n)

        asked: dict[str, Any] = {"only": only, "bank": bank, "text": text, "watch": watch}
        found: Probed | ProbedRuns
        if len(models) == 1:
            found = models[0].probe_longrange(spans, seed, **asked)
            said, draw = probed_text(found), partial(save_probed_plots, found)
            page = partial(probed_page, found)
        else:
            found = probe_several(models, spans, seed, **asked)
            said, draw = runs_text(found), partial(save_runs_plots, found)
            page = partial(runs_page, found)
    for warning in found.warnings:
        say(visible_line(warning), err=True)
    say(said, nl=False)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_json(), indent=1) + "\n")
    if plot is not None:
        drawn = ", ".join(map(str, draw(plot))) or "nothing"
        say(f"drawn: {visible_line(drawn)}", err=True)
    if report is not None:
        write_text(report, page())
