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
    GivenSettings,
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
    float,
    f"{HELD_OUT}; less of a large corpus",
    "Fraction of the corpus held out for validation, taken from the end.",
)
@data(
    "--documents",
    click.Choice(DOCUMENT_NAMES),
    DEFAULTS.documents,
    "Unit that starts from a zero state: a file, a line, or text after a blank line.",
)
@data(
    "--encoding",
    str,
    "utf-8",
    "Encoding of files without a byte order mark, such as cp1252.",
    default="",
)
@data(
    "--cache",
    click.Path(path_type=Path),
    ".corpora beside the run",
    "Directory of encoded corpora, shared by all runs.",
)
@model("--cell", CellParam(CELL_NAMES), AUTO, "Recurrent cell.")
@model(
    "--units",
    ListParam(int, "one whole number a layer, as in 256 or 256,128"),
    AUTO,
    "Hidden units of each layer, as in 256,128.",
)
@model("--stack", click.Choice(STACK_NAMES), AUTO, "Plain stacked layers, or residual blocks.")
@model(
    "--activation",
    click.Choice(ACTIVATION_NAMES),
    "linear for mingru, else tanh",
    "Activation function.",
)
@budget("--minutes", float, "5", "Maximum training time, in minutes.")
@budget("--epochs", float, AUTO, "Maximum epochs. With --minutes, whichever comes first.")
@budget("--steps", int, None, "Number of parameter updates.")
@budget(
    "--patience", int, DEFAULTS.patience, "Early-stopping patience, in validations; 0 disables it."
)
@optimization("--learning-rate", float, AUTO, "Peak learning rate.")
@optimization("--batch-size", int, AUTO, "Sequences per batch.")
@optimization("--timesteps", int, AUTO, "Sequence length (truncated BPTT), in characters.")
@optimization("--dropout", float, AUTO, "Dropout rate of each layer's outputs.")
@optimization("--weight-decay", float, AUTO, "AdamW weight decay.")
@output("--out", click.Path(path_type=Path), "runs/<corpus name>", "Run directory.")
@output("--resume", bool, None, "Resume a run. Budgets are totals, including earlier training.")
@output("--overwrite", bool, None, "Delete the existing run and start over.")
@output("--quiet", bool, None, "Print errors only.")
@output("--verbose", bool, None, "Print a line per validation, and longer samples.")
@output("--tensorboard", bool, None, "Write TensorBoard event files to the run directory.")
@advanced("--seed", int, DEFAULTS.seed, "Random seed.")
@advanced("--device", str, AUTO, device_help, default="auto", shell_complete=devices)
@advanced("--threads", click.IntRange(1), "chosen by torch", threads_help)
@advanced(
    "--processes",
    click.IntRange(1),
    1,
    "Processes on this machine that train together; torchrun starts them on several.",
    default=1,
)
@advanced(
    "--precision", click.Choice(PRECISIONS), AUTO, "Precision of large matrix multiplications."
)
@advanced(
    "--curriculum",
    ListParam(int, "whole numbers, as in 16,64"),
    AUTO,
    "Shorter sequence lengths to train on first, as in 16,64; each gets an equal share of the "
    "budget.",
)
@advanced(
    "--loss-on",
    LossOnParam(),
    DEFAULTS.loss_on,
    "Timesteps included in the loss: all, last, or the last K.",
)
@advanced(
    "--state",
    click.Choice(STATE_NAMES),
    DEFAULTS.state,
    "Hidden state at the start of a window: carried over, or reset to zero.",
)
@advanced(
    "--resets",
    float,
    DEFAULTS.resets,
    "Fraction of windows that start from a zero state (10× higher after a newline).",
)
@advanced("--beta2", float, AUTO, "AdamW beta2.")
@advanced(
    "--average",
    float,
    AUTO,
    "Weight averaging window, as a fraction of updates so far; 0 disables it.",
)
@advanced("--clip-norm", float, DEFAULTS.clip_norm, "Gradient clipping (global norm).")
@click.pass_context
def train(
    context: click.Context,
    corpus: tuple[str, ...],
    device: str,
    threads: int | None,
    processes: int,
    out: Path | None,
    cache: Path | None,
    encoding: str,
    quiet: bool,
    verbose: bool,
    tensorboard: bool,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> int:
    """Train a model on CORPUS.

    CORPUS is a text file, a directory of *.txt files, - for standard input, or the name of a
    bundled corpus (see chargen corpora list). Files may be compressed: *.gz, *.zst. In a
    directory, hidden files and those that editors leave behind are skipped.

    Ctrl-C saves and stops. In another terminal, chargen watch shows curves and samples.

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
    beginning = ""
    if "WORLD_SIZE" not in os.environ:  # of several processes, rank 0 checks for all
        beginning = f"reading {' '.join(corpus)}" if corpus and not resume else ""
        GivenSettings.parse(settings)
        _check_files(corpus, out, resume, overwrite)
    with TrainingDisplay(level, tensorboard, beginning) as display:
        from chargen import api

        set_up_torch(threads)
        trained = api.train(
            corpus,
            out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            cache=cache,
            encoding=encoding,
            progress=display.reading,
            run=display.run,
            **settings,
        )
        display.summarize(trained)
    return display.exit_code


def _check_files(corpus: tuple[str, ...], out: Path | None, resume: bool, overwrite: bool) -> None:
    """Make the checks that need neither torch nor the text."""
    from chargen.runs.directory import RUNS, check_new, find
    from chargen.text.corpus import read_corpus

    named = RUNS / read_corpus(corpus).name if corpus else None
    path = out or named
    if resume:
        find(path)
    elif path:
        check_new(path, overwrite)


def _launches(processes: int) -> bool:
    """Return whether to start the processes; `ChargenError` if another number is running."""
    started = os.environ.get("WORLD_SIZE")
    if processes > 1 and started not in (None, str(processes)):
        raise ChargenError(
            f"--processes {processes}: torchrun started {started} already (WORLD_SIZE); leave it "
            "out"
        )
    return processes > 1 and started is None
