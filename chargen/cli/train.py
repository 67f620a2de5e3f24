"""``chargen train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES
from chargen.cli.completion import devices, texts
from chargen.cli.options import (
    CellParam,
    GroupedCommand,
    ListParam,
    LossOnParam,
    device_help,
    grouped_option,
    set_up_torch,
    threads_help,
)
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.settings import (
    DOCUMENT_NAMES,
    HELD_OUT,
    PRECISIONS,
    STACK_NAMES,
    STATE_NAMES,
    TrainingSettings,
)

DEFAULTS = TrainingSettings()
AUTO = "auto"

data = grouped_option("Data")
model = grouped_option("Model")
budget = grouped_option("Training budget")
optimization = grouped_option("Optimization")
output = grouped_option("Output")
advanced = grouped_option("Advanced")


@click.command(
    cls=GroupedCommand,
    epilog='Values of "auto" depend on the budget, the corpus and the device: see '
    "docs/explanation/defaults.md.",
)
@click.argument("corpus", nargs=-1, shell_complete=texts)
@data(
    "--validation",
    type=float,
    default_help=f"{HELD_OUT}; less of a large corpus",
    help="Fraction of the corpus held out for validation, taken from the end.",
)
@data(
    "--documents",
    type=click.Choice(DOCUMENT_NAMES),
    default_help=DEFAULTS.documents,
    help="Unit that starts from a zero state: a file, or text after a blank line.",
)
@data(
    "--cache",
    type=click.Path(path_type=Path),
    default_help=".corpora beside the run",
    help="Directory of encoded corpora, shared by all runs.",
)
@model("--cell", type=CellParam(CELL_NAMES), default_help=AUTO, help="Recurrent cell.")
@model(
    "--units",
    type=ListParam(int, "one whole number a layer, as in 256 or 256,128"),
    default_help=AUTO,
    help="Hidden units of each layer, as in 256,128.",
)
@model(
    "--stack",
    type=click.Choice(STACK_NAMES),
    default_help=AUTO,
    help="Plain stacked layers, or residual blocks.",
)
@model(
    "--activation",
    type=click.Choice(ACTIVATION_NAMES),
    default_help="linear for mingru, else tanh",
    help="Activation function.",
)
@budget("--minutes", type=float, default_help="5", help="Maximum training time, in minutes.")
@budget(
    "--epochs",
    type=float,
    default_help=AUTO,
    help="Maximum epochs. With --minutes, whichever comes first.",
)
@budget("--steps", type=int, help="Number of parameter updates.")
@budget(
    "--patience",
    type=int,
    default_help=DEFAULTS.patience,
    help="Early-stopping patience, in validations; 0 disables it.",
)
@optimization("--learning-rate", type=float, default_help=AUTO, help="Peak learning rate.")
@optimization("--batch-size", type=int, default_help=AUTO, help="Sequences per batch.")
@optimization(
    "--timesteps",
    type=int,
    default_help=AUTO,
    help="Sequence length (truncated BPTT), in characters.",
)
@optimization(
    "--dropout", type=float, default_help=AUTO, help="Dropout rate of each layer's outputs."
)
@optimization("--weight-decay", type=float, default_help=AUTO, help="AdamW weight decay.")
@output(
    "--out",
    type=click.Path(path_type=Path),
    default_help="runs/<corpus name>",
    help="Run directory.",
)
@output(
    "--resume", is_flag=True, help="Resume a run. Budgets are totals, including earlier training."
)
@output("--overwrite", is_flag=True, help="Delete the existing run and start over.")
@output("--quiet", is_flag=True, help="Print errors only.")
@output("--verbose", is_flag=True, help="Print a line per validation, and longer samples.")
@output("--tensorboard", is_flag=True, help="Write TensorBoard event files to the run directory.")
@advanced("--seed", type=int, default_help=DEFAULTS.seed, help="Random seed.")
@advanced("--device", default="auto", default_help=AUTO, shell_complete=devices, help=device_help)
@advanced("--threads", type=click.IntRange(1), default_help="chosen by torch", help=threads_help)
@advanced(
    "--processes",
    type=click.IntRange(1),
    default=1,
    default_help=1,
    help="Processes on this machine that train together; torchrun starts them on several.",
)
@advanced(
    "--precision",
    type=click.Choice(PRECISIONS),
    default_help=AUTO,
    help="Precision of large matrix multiplications.",
)
@advanced(
    "--curriculum",
    type=ListParam(int, "whole numbers, as in 16,64"),
    default_help=AUTO,
    help="Shorter sequence lengths to train on first, as in 16,64; each stage gets an equal share "
    "of the budget.",
)
@advanced(
    "--loss-on",
    type=LossOnParam(),
    default_help=DEFAULTS.loss_on,
    help="Timesteps included in the loss: all, last, or the last K.",
)
@advanced(
    "--state",
    type=click.Choice(STATE_NAMES),
    default_help=DEFAULTS.state,
    help="Hidden state at the start of a window: carried over, or reset to zero.",
)
@advanced(
    "--resets",
    type=float,
    default_help=DEFAULTS.resets,
    help="Fraction of windows that start from a zero state (10× higher after a newline).",
)
@advanced("--beta2", type=float, default_help=AUTO, help="AdamW beta2.")
@advanced(
    "--average",
    type=float,
    default_help=AUTO,
    help="Weight averaging window, as a fraction of updates so far; 0 disables it.",
)
@advanced(
    "--clip-norm",
    type=float,
    default_help=DEFAULTS.clip_norm,
    help="Gradient clipping (global norm).",
)
@click.pass_context
def train(
    context: click.Context,
    corpus: tuple[str, ...],
    device: str,
    threads: int | None,
    processes: int,
    out: Path | None,
    cache: Path | None,
    quiet: bool,
    verbose: bool,
    tensorboard: bool,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> int:
    """Train a model on CORPUS.

    CORPUS is a text file, a directory of *.txt files, - for standard input, or the name of a
    bundled corpus (see chargen corpora list). Files may be compressed: *.gz, *.zst.

    Progress goes to standard error. The run directory keeps the best weights and all that --resume
    needs. Ctrl-C saves and stops. In another terminal, chargen watch shows curves and samples.

    \b
    Examples:
      chargen train corpus.txt
      chargen train longrange --minutes 2
      chargen train poems/ --cell gru --units 128,128 --dropout 0.2
      chargen train corpus.txt --resume --minutes 20
    """
    if resume and overwrite:
        raise ChargenError("--resume and --overwrite: give one")
    if quiet and verbose:
        raise ChargenError("--quiet and --verbose: give one")
    if not corpus and not resume:
        raise ChargenError("no CORPUS given: name a text file, or a bundled corpus such as fables")
    if tensorboard:
        from chargen.cli.events import check_installed

        check_installed()
    if _launches(processes):
        from chargen.distributed.launch import launch

        command = ["-m", "chargen", *context.obj]
        return launch(processes, command, lambda line: say(f"chargen: {line}", err=True))
    from chargen.cli.training_display import Level, TrainingDisplay

    level: Level = "quiet" if quiet else "verbose" if verbose else "normal"
    with TrainingDisplay(level, tensorboard) as display:
        from chargen import api

        set_up_torch(threads)
        trained = api.train(
            corpus,
            out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            cache=cache,
            progress=display.reading,
            run=display.run,
            **settings,
        )
        display.summarize(trained)
    return display.exit_code


def _launches(processes: int) -> bool:
    """Return whether to start the processes; `ChargenError` if another number is running."""
    started = os.environ.get("WORLD_SIZE")
    if processes > 1 and started not in (None, str(processes)):
        raise ChargenError(
            f"--processes {processes}: torchrun started {started} already (WORLD_SIZE); leave it "
            "out"
        )
    return processes > 1 and started is None
