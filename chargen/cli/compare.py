"""``chargen compare``."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import PATH, option, result_options, settings_options, write_results
from chargen.cli.terminal import hangup_ignored, say
from chargen.render.text import visible_line
from chargen.settings import COMPARED, ComparisonSettings, types_of

USUAL = ComparisonSettings(COMPARED[0])
HELPS = {
    "cells": "Cells to compare.",
    "seeds": "Number of seeds of each cell, one run each.",
    "minutes": "Training time of each run, in minutes.",
    "steps": "Training budget of each run, in parameter updates.",
    "parameters": "Approximate number of parameters of each model.",
    "learning_rates": "Peak learning rates to try; each cell uses its best.",
    "timesteps": "Sequence length (truncated BPTT), in characters.",
    "batch_size": "Sequences per batch.",
    "seed": "Random seed of the trials.",
}
BAR = "{percentage:3.0f}%|{bar}| {desc}"


@click.command()
@option("--task", click.Choice(COMPARED), "longrange", "Corpus to train on and trials to evaluate.")
@settings_options(types_of(ComparisonSettings), HELPS, partial(getattr, USUAL))
@option("--jobs", click.IntRange(1), None, "Maximum number of concurrent runs.  [default: cores]")
@option("--out", PATH, None, "Directory of the comparison.  [default: runs/compare-<task>]")
@option("--overwrite", bool, None, "Delete the existing comparison and start over.")
@result_options
@hangup_ignored
def compare(jobs: int | None, out: Path | None, overwrite: bool, **given: Any) -> int:
    """Train and compare recurrent cells under one budget.

    Trains each cell with several seeds and about the same number of parameters, and evaluates all
    on the same trials. Each run is kept in the comparison's directory. The same command resumes.

    \b
    longrange  sentences whose last word depends on an earlier word
    copy       ten symbols, a delay, and the same ten symbols
    recall     key-value pairs, queried by key
    flipflop   write a bit, ignore others, read the bit
    brackets   nested brackets of four kinds

    Example: chargen compare --cells gru,lstm --seeds 3 --learning-rates 0.002,0.004
    """
    names = [name for name in types_of(ComparisonSettings) if given[name] is not None]
    settings = ComparisonSettings(**{name: given[name] for name in names})
    from tqdm import tqdm

    from chargen.cli.training_display import Signals
    from chargen.probes.cells import report as kit
    from chargen.probes.cells.measure import compare as compare_cells
    from chargen.render.report import to_html, to_text

    signals = Signals()
    with signals, tqdm(total=1, disable=None, leave=False, bar_format=BAR) as bar:

        def on_runs(done: float, total: int, active: str) -> None:
            finished = int(done) - int(bar.n)
            bar.total, bar.n = total, done
            bar.set_description_str(visible_line(active))
            if bar.disable and finished > 0:
                say(f"{int(done)} of {total} runs finished", err=True)

        how: dict[str, Any] = {"jobs": jobs, "overwrite": overwrite, "on_runs": on_runs}
        result = compare_cells(settings, out, should_stop=signals.are_caught, **how)
    if result is None:
        say("interrupted; run the same command to resume", err=True)
        return 128 + (signals.caught or 0)
    sections, about = kit.report(result), kit.about(result)
    say(to_text(sections), nl=False)
    title = f"{result.task}: {about}"
    page = partial(to_html, kit.TITLE, about, sections, ())
    write_results(given, page, result.to_json(), sections, title, kit.MAIN_FIGURE)
    return 0
