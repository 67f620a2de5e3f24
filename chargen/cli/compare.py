"""``chargen compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chargen.cli.environment import hangup_ignored
from chargen.cli.options import (
    PATH,
    ListParam,
    check_writable,
    default,
    option,
    write_text,
)
from chargen.cli.terminal import say
from chargen.render.text import visible_line
from chargen.settings import COMPARED, COMPARED_CELLS
from chargen.settings import ComparisonSettings as C

BAR = "{percentage:3.0f}%|{bar}| {desc}"


@click.command()
@option("--task", click.Choice(COMPARED), "longrange", "Corpus to train on and trials to evaluate.")
@option("--cells", ListParam(str, "names of cells"), None, "Cells." + default(COMPARED_CELLS))
@option("--seeds", int, None, "Runs per cell." + default(C.seeds))
@option("--minutes", float, None, "Budget of each run, in minutes.  [default: 2]")
@option("--steps", int, None, "Budget of each run, in parameter updates.")
@option("--parameters", int, None, "Approximate size of each model." + default(C.parameters))
@option(
    "--learning-rates",
    ListParam(float, "numbers, as in 0.002,0.004"),
    None,
    "Peak learning rates; each cell uses its best." + default(C.learning_rates),
)
@option(
    "--timesteps",
    int,
    None,
    "Length of truncated back-propagation through time, in characters." + default(C.timesteps),
)
@option("--batch-size", int, None, "Sequences per batch." + default(C.batch_size))
@option("--seed", int, None, "Random seed of the trials." + default(C.seed))
@option("--jobs", click.IntRange(1), None, "Maximum number of concurrent runs.  [default: cores]")
@option("--out", PATH, None, "Directory of the comparison.  [default: runs/compare-<task>]")
@option("--overwrite", bool, None, "Delete the existing comparison and start over.")
@option("--json", PATH, None, "JSON output file.", "json_file")
@option("--plot", PATH, None, "PNG figure of accuracy by span.")
@option("--report", PATH, None, "HTML report.")
@hangup_ignored()
def compare(
    jobs: int | None,
    out: Path | None,
    overwrite: bool,
    json_file: Path | None,
    plot: Path | None,
    report: Path | None,
    **given: Any,
) -> int:
    """Train and compare recurrent cells under one budget.

    Trains each cell with several seeds, one budget and about the same number of weights, and
    evaluates all models on the same trials. Each training is a run in the comparison's directory.
    The same command resumes an interrupted comparison.

    \b
    longrange  sentences whose last word depends on an earlier word
    copy       ten symbols, a delay, and the same ten symbols
    recall     key-value pairs, queried by key
    flipflop   write a bit, ignore others, read the bit
    brackets   nested brackets of four kinds

    \b
    Examples:
      chargen compare --task flipflop --minutes 1
      chargen compare --cells gru,lstm --seeds 3 --steps 6000 --learning-rates 0.002,0.004
    """
    settings = C(**{name: value for name, value in given.items() if value is not None})
    check_writable(json_file, plot, report)
    from tqdm import tqdm

    from chargen.cli.training_display import Signals
    from chargen.probes.cells import report as kit
    from chargen.probes.cells.compare import compare as compare_cells
    from chargen.render.report import save_figures, to_html, to_text

    signals = Signals()
    with signals, tqdm(total=1, disable=None, leave=False, bar_format=BAR) as bar:

        def on_runs(done: float, total: int, active: str) -> None:
            finished = int(done) - int(bar.n)
            bar.total, bar.n = total, done
            bar.set_description_str(visible_line(active))
            if bar.disable and finished > 0:
                say(f"{int(done)} of {total} runs finished", err=True)

        result = compare_cells(
            settings,
            out,
            jobs=jobs,
            overwrite=overwrite,
            on_runs=on_runs,
            should_stop=lambda: signals.caught is not None,
        )
    if result is None:
        say("interrupted; run the same command to resume", err=True)
        return 128 + (signals.caught or 0)
    sections, about = kit.report(result), kit.about(result)
    say(to_text(sections), nl=False)
    if json_file is not None:
        write_text(json_file, json.dumps(result.to_json(), indent=1) + "\n")
    if plot is not None:
        save_figures(sections, plot, f"{result.task}: {about}", kit.MAIN_FIGURE)
    if report is not None:
        write_text(report, to_html(kit.TITLE, about, sections, ()))
    return 0
