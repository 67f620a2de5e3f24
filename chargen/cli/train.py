"""``chargen train``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import (
    ListParam,
    LossOnParam,
    default,
    device_option,
    set_up_torch,
    threads_option,
)
from chargen.errors import ChargenError
from chargen.settings import ACTIVATION_NAMES, CELL_NAMES, STATE_NAMES, ModelSettings
from chargen.settings import TrainingSettings as T


@click.command()
@click.argument("corpus", nargs=-1)
@click.option(
    "--cell",
    type=click.Choice(CELL_NAMES),
    help="Kind of recurrent cell." + default(ModelSettings.cell),
)
@click.option(
    "--units",
    type=ListParam(int, "one whole number a layer, as in 256 or 256,128"),
    help="Memory units, one number a layer, as in 256,128." + default(256),
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATION_NAMES),
    help="What bends the state." + default("tanh"),
)
@click.option("--timesteps", type=int, help="Characters that gradients travel back." + default(64))
@click.option("--batch-size", type=int, help="Texts read side by side." + default(16))
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
@click.option("--steps", type=int, help="Budget: parameter updates.")
@click.option("--epochs", type=float, help="Budget: times that the training text is read.")
@click.option(
    "--minutes",
    type=float,
    help="Budget: time." + default("5, or less where validation stops improving"),
)
@click.option(
    "--learning-rate", type=float, help="AdamW's highest rate." + default(T.learning_rate)
)
@click.option("--weight-decay", type=float, help="AdamW's weight decay." + default(T.weight_decay))
@click.option(
    "--clip-norm", type=float, help="Cut the gradient's norm down to this." + default(T.clip_norm)
)
@click.option(
    "--dropout",
    type=float,
    help="Share of each layer's outputs dropped in training." + default(T.dropout),
)
@click.option(
    "--validation",
    type=float,
    help="Share of the corpus, its end, that is held out." + default(T.validation),
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
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder." + default("runs/<corpus name>"),
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a run that is there; a new budget counts from its beginning.",
)
@click.option(
    "--overwrite", is_flag=True, help="Start a run that is there over, losing what it learned."
)
def train(
    corpus: tuple[str, ...],
    device: str,
    threads: int | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> int:
    """Learn from CORPUS: text files, a folder of *.txt, - for standard input, or the name of a
    bundled corpus (see chargen corpora list).

    Progress goes to standard error. The run's folder keeps the best weights, which sample,
    evaluate and probe-longrange use, and all that --resume needs. Ctrl-C stops and saves.

    \b
    Examples:
      chargen train corpus.txt
      chargen train longrange --minutes 2
      chargen train poems/ --cell gru --units 128,128 --dropout 0.2
      chargen train corpus.txt --resume --minutes 20
    """
    if resume and overwrite:
        raise ChargenError("--resume and --overwrite: give one, go on or start over")
    if not corpus and not resume:
        raise ChargenError("no CORPUS given: name a text file, or a bundled corpus such as fables")
    from chargen.api import train as chargen_train
    from chargen.cli.watching import Signals, watch
    from chargen.training import Session

    set_up_torch(threads)
    given = {name: value for name, value in settings.items() if value is not None}
    signals = Signals(signal.SIGINT, signal.SIGTERM)

    def run(session: Session) -> None:
        with signals:
            watch(session, lambda: signals.caught is not None)

    chargen_train(corpus, out, resume=resume, overwrite=overwrite, device=device, run=run, **given)
    return 128 + signals.caught if signals.caught else 0
