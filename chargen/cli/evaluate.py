"""``chargen evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chargen.cli.completing import texts
from chargen.cli.options import (
    device_option,
    json_option,
    run_argument,
    set_up_torch,
    threads_option,
)
from chargen.cli.terminal import progress_bar, say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line

if TYPE_CHECKING:
    from chargen.api import TrainedModel
    from chargen.evaluation import Evaluation
    from chargen.text.corpus import Corpus


@click.command()
@run_argument
@click.argument("corpus", required=False, shell_complete=texts)
@json_option
@click.option(
    "--dynamic",
    is_flag=True,
    help="Measure a second time, the model learning from the text as it reads: takes longer.",
)
@device_option
@threads_option
def evaluate(
    run: Path | None,
    corpus: str | None,
    as_json: bool,
    dynamic: bool,
    device: str,
    threads: int | None,
) -> None:
    """How well does the model of RUN predict? Loss and accuracy of the next character.

    Measured on the run's held-out text, or on all of CORPUS where another one is given: every
    character once, each predicted from the text before it. Beside it stands a back-off n-gram
    that read the same training text: the floor that a network has to beat.

    With --dynamic there is a figure of dynamic evaluation (Krause et al. 2018) too: each stretch of
    the text, once it is predicted, changes the weights a little. It says what the model makes of
    what it just read, and is not to be set beside figures of models that stay as they are.

    \b
    Examples:
      chargen evaluate
      chargen evaluate --dynamic
      chargen evaluate runs/fables --json
      chargen evaluate runs/fables other.txt
    """
    from chargen.api import FLOOR_ORDER, load
    from chargen.text.corpus import read_corpus

    set_up_torch(threads)
    model = load(run, device)
    text = None if corpus is None else read_corpus([corpus])
    measured = model.evaluate(text)
    try:
        floor = model.floor(text)
    except ChargenError as error:
        floor = None
        say(f"without the n-gram floor: {visible_line(str(error))}", err=True)
    learning = _dynamic(model, text) if dynamic else None
    if as_json:
        result = {"run": str(model.run.path), **measured.to_json()}
        ngram = {"order": FLOOR_ORDER, **floor.to_json()} if floor else None
        say_json({**result, "ngram": ngram, "dynamic": learning and learning.to_json()})
        return
    say(f"{visible_line(str(model.run.path))}, {measured.chars:,} characters")
    say(f"{'':20}{'nats/char':>10}{'bits/char':>11}{'accuracy':>10}")
    rows = {"model": measured, f"{FLOOR_ORDER}-gram": floor, "the model, dynamic": learning}
    for name, row in rows.items():
        if row:
            # Rounded before, so that what is next to nothing has no minus.
            loss, bits = (round(x, 4) + 0.0 for x in (row.loss_nats, row.bits_per_char))
            say(f"{name:20}{loss:10.4f}{bits:11.4f}{row.accuracy:10.1%}")


def _dynamic(model: TrainedModel, text: Corpus | None) -> Evaluation:
    with progress_bar(desc="dynamic", unit="char", unit_scale=True) as progress:
        return model.evaluate_dynamic(text, progress=progress)
