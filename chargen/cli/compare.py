"""``chargen compare``."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import ListParam, check_writable, default, write_text
from chargen.cli.terminal import say
from chargen.render.text import visible_line
from chargen.settings import COMPARED, COMPARED_CELLS
from chargen.settings import ComparisonSettings as C

BAR = "{percentage:3.0f}%|{bar}| {desc}"


@click.command()
@click.option(
    "--task",
    type=click.Choice(COMPARED),
    default="longrange",
    show_default=True,
    help="The bundled text that is learned, and what is asked.",
)
@click.option(
    "--cells",
    type=ListParam(str, "names of cells"),
    help="Cells to compare." + default(COMPARED_CELLS),
)
@click.option("--seeds", type=int, help="Trainings of each cell." + default(C.seeds))
@click.option("--minutes", type=float, help="Budget of each training: minutes.  [default: 2]")
@click.option("--steps", type=int, help="Budget of each training: parameter updates.")
@click.option(
    "--parameters",
    type=int,
    help="Weights of each model, about: as many units as that takes." + default(C.parameters),
)
@click.option(
    "--learning-rates",
    type=ListParam(float, "numbers, as in 0.002,0.004"),
    help="AdamW's highest rate; of several each cell takes its best." + default(C.learning_rates),
)
@click.option(
    "--timesteps", type=int, help="Characters that gradients travel back." + default(C.timesteps)
)
@click.option("--batch-size", type=int, help="Texts read side by side." + default(C.batch_size))
@click.option("--seed", type=int, help="Of what is asked." + default(C.seed))
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Trainings at a time.  [default: one a processor core]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The comparison's folder.  [default: runs/compare-<task>]",
)
@click.option("--overwrite", is_flag=True, help="Start over, losing what was trained.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all as JSON.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw what was found, PNG.")
@click.option("--report", type=click.Path(path_type=Path), help="One HTML page with all of it.")
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

    Every training is a run of its own in the comparison's folder. What is stopped goes on where
    it was when the same command is given again.

    \b
    longrange  sentences whose end hangs on their beginning
    copy       ten symbols, a delay, and the same ten symbols
    recall     pairs of a key and a value, asked by their keys
    flipflop   a bit is written, others are to be ignored, and the one written is read
    brackets   brackets of four kinds, opened and closed in order

    \b
    Examples:
      chargen compare --task flipflop --minutes 1
      chargen compare --cells gru,lstm --seeds 3 --steps 6000 --learning-rates 0.002,0.004
    """
    settings = C(**{name: value for name, value in given.items() if value is not None})
    check_writable(json_file, plot, report)
    from tqdm import tqdm

    from chargen.cli.training_display import Signals
    from chargen.probes.cells.compare import compare as compare_cells
    from chargen.probes.cells.page import comparison_page
    from chargen.probes.cells.plot import save_comparison_plot
    from chargen.probes.cells.table import comparison_table

    signals = Signals(signal.SIGINT, signal.SIGTERM)
    with signals, tqdm(total=1, disable=None, leave=False, bar_format=BAR) as bar:

        def watch(done: float, total: int, what: str) -> None:
            over = int(done) - int(bar.n)
            bar.total, bar.n = total, done
            bar.set_description_str(visible_line(what))
            if bar.disable and over > 0:  # no terminal to draw a bar on
                say(f"{int(done)} of {total} trainings done", err=True)

        result = compare_cells(
            settings,
            out,
            jobs=jobs,
            overwrite=overwrite,
            watch=watch,
            should_stop=lambda: signals.caught is not None,
        )
    if result is None:
        say("stopped; the same command goes on where it was", err=True)
        return 128 + (signals.caught or 0)
    say(comparison_table(result), nl=False)
    if json_file is not None:
        write_text(json_file, json.dumps(result.to_json(), indent=1) + "\n")
    if plot is not None:
        save_comparison_plot(result, plot)
    if report is not None:
        write_text(report, comparison_page(result))
    return 0
