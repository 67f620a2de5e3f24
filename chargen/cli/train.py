"""``chargen train``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import click

from chargen.cli.completing import texts
from chargen.cli.options import (
    ListParam,
    LossOnParam,
    default,
    device_option,
    set_up_torch,
    threads_option,
)
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.settings import (
    ACTIVATION_NAMES,
    CELL_NAMES,
    DOCUMENT_NAMES,
    HELD_OUT,
    MOST_HELD_OUT,
    PRECISIONS,
    STACK_NAMES,
    STATE_NAMES,
)
from chargen.settings import TrainingSettings as T


@click.command()
@click.argument("corpus", nargs=-1, shell_complete=texts)
@click.option(
    "--cell",
    type=click.Choice(CELL_NAMES),
    help="Kind of recurrent cell." + default("lstm; on a GPU, or with --stack residual, mingru"),
)
@click.option(
    "--units",
    type=ListParam(int, "one whole number a layer, as in 256 or 256,128"),
    help="Memory units, one number a layer, as in 256,128."
    + default("by the budget; 256 for simple layers"),
)
@click.option(
    "--stack",
    type=click.Choice(STACK_NAMES),
    help="Layers one on the other, or each in a residual block."
    + default("residual for mingru, else plain"),
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATION_NAMES),
    help="What bends the state." + default("linear for mingru, else tanh"),
)
@click.option(
    "--timesteps",
    type=int,
    help="Characters that gradients travel back."
    + default("128 in residual blocks, 256 on a GPU; 256 at the end of a curriculum; else 64"),
)
@click.option(
    "--curriculum",
    type=ListParam(int, "whole numbers, as in 16,64"),
    help="Fewer timesteps of more texts before --timesteps, an equal share of the budget each."
    + default("16,64 for one lstm layer, where no --timesteps, --batch-size or --loss-on is given"),
)
@click.option(
    "--batch-size",
    type=int,
    help="Texts read side by side."
    + default("8 in residual blocks, 32 on a GPU; 4 at the end of a curriculum; else 16"),
)
@click.option(
    "--loss-on",
    type=LossOnParam(),
    help="Steps of a window that count: all, the last, or the last K." + default(T.loss_on),
)
@click.option(
    "--state",
    type=click.Choice(STATE_NAMES),
    help="Carry the state from window to window, or reset it at each." + default(T.state),
)
@click.option(
    "--resets",
    type=float,
    help="Share of windows that begin with a state of zeros though it is carried, as a text that "
    "is to be written does; ten times that of those that begin with a line feed."
    + default(T.resets),
)
@click.option("--steps", type=int, help="Budget: parameter updates.")
@click.option(
    "--epochs",
    type=float,
    help="Budget: times that the training text is read, beside --minutes at most.",
)
@click.option(
    "--minutes",
    type=float,
    help="Budget: minutes."
    + default("5, or less where validation stops improving or the text is short"),
)
@click.option(
    "--learning-rate",
    type=float,
    help="AdamW's highest rate."
    + default(
        "0.007 in blocks and simple layers, lstm 0.03 or, several layers of it, 0.015, else 0.02; "
        "less over 256 units"
    ),
)
@click.option(
    "--weight-decay",
    type=float,
    help="AdamW's weight decay."
    + default("0.1; 0.03 for one lstm layer and few readings; in residual blocks 0.1 to 0.6"),
)
@click.option(
    "--beta2",
    type=float,
    help="How much of its mean square gradients AdamW keeps at a step."
    + default("0.99 in residual blocks, else 0.999"),
)
@click.option(
    "--average",
    type=float,
    help="Average the weights over this share of the updates so far; 0: keep them as they are."
    + default("0.07"),
)
@click.option(
    "--clip-norm", type=float, help="Cut the gradient's norm down to this." + default(T.clip_norm)
)
@click.option(
    "--dropout",
    type=float,
    help="Share of each layer's outputs dropped in training."
    + default("0 to 0.5 by how often the text is read; 0 where a plain stack's --units are given"),
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Of the factors of large products in training."
    + default("bfloat16 for lstm and mingru on a processor that multiplies it, else float32"),
)
@click.option(
    "--documents",
    type=click.Choice(DOCUMENT_NAMES),
    help="Begin each file, or what follows a blank line, with a state of zeros."
    + default(T.documents),
)
@click.option(
    "--validation",
    type=float,
    help="Share of the corpus, its end, that is held out."
    + default(f"{HELD_OUT}, {MOST_HELD_OUT:,} characters at most"),
)
@click.option(
    "--patience",
    type=int,
    help="Validations without improvement that end it; 0: never." + default(T.patience),
)
@click.option("--seed", type=int, help="Of all that is random." + default(T.seed))
@device_option
@threads_option
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes of this machine that train together; torchrun starts them on several.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder." + default("runs/<corpus name>"),
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder where corpora are kept encoded, for all runs."
    + default(".corpora beside the run"),
)
@click.option("--quiet", is_flag=True, help="Say nothing but what goes wrong.")
@click.option(
    "--verbose",
    is_flag=True,
    help="Say more at each validation, also on a terminal; show longer samples.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write TensorBoard's event files too, to the folder tensorboard in the run's.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a run that is there; a new budget counts from its beginning.",
)
@click.option(
    "--overwrite", is_flag=True, help="Start a run that is there over, losing what it learned."
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
    """Learn from CORPUS: text files, a folder of *.txt, - for standard input, or the name of a
    bundled corpus (see chargen corpora list). Text may be of any size, and packed: *.gz, *.zst.

    Progress goes to standard error. The run's folder keeps the best weights, which sample,
    evaluate and probe-longrange use, and all that --resume needs. Ctrl-C stops and saves. In
    another terminal, chargen watch writes a page with curves and samples as it trains.

    \b
    Examples:
      chargen train corpus.txt
      chargen train longrange --minutes 2
      chargen train corpus.txt --minutes 10
      chargen train poems/ --cell gru --units 128,128 --dropout 0.2
      chargen train corpus.txt --resume --minutes 20
    """
    if resume and overwrite:
        raise ChargenError("--resume and --overwrite: give one, go on or start over")
    if quiet and verbose:
        raise ChargenError("--quiet and --verbose: give one")
    if not corpus and not resume:
        raise ChargenError("no CORPUS given: name a text file, or a bundled corpus such as fables")
    if tensorboard:
        from chargen.cli.events import check_installed

        check_installed()
    if _is_to_be_launched(processes):
        from chargen.distributed.launch import launch

        command = ["-m", "chargen", *context.obj]
        return launch(processes, command, lambda line: say(f"chargen: {line}", err=True))
    from chargen.cli.watching import Reading, Show, Signals, watch
    from chargen.distributed.group import join
    from chargen.training import start
    from chargen.training.session import device_named

    show: Show = "quiet" if quiet else "verbose" if verbose else "normal"
    set_up_torch(threads)
    given = {name: value for name, value in settings.items() if value is not None}
    signals = Signals(signal.SIGINT, signal.SIGTERM)
    with (
        join(device_named(device).type) as group,
        Reading(quiet) as reading,
        start(
            corpus,
            given,
            out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            cache=cache,
            progress=reading.show,
            group=group,
        ) as session,
    ):
        reading.close()
        with signals:
            watch(session, lambda: signals.caught is not None, show, tensorboard)
    return 128 + signals.caught if signals.caught else 0


def _is_to_be_launched(processes: int) -> bool:
    """Whether there are processes to start; `ChargenError` where others than asked for are."""
    started = os.environ.get("WORLD_SIZE")
    if processes > 1 and started not in (None, str(processes)):
        raise ChargenError(
            f"--processes {processes}: {started} are started already (WORLD_SIZE), as torchrun "
            "does; leave it out"
        )
    return processes > 1 and started is None
