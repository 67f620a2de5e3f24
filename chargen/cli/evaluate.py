"""``chargen evaluate``."""

from pathlib import Path
from typing import Any

import click

from chargen.cli.completion import texts
from chargen.cli.options import encoding_option, json_option, model_options, run_argument
from chargen.cli.terminal import progress_bar, say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line


@click.command()
@run_argument
@click.argument("corpus", required=False, shell_complete=texts)
@json_option
@encoding_option
@click.option("--dynamic", is_flag=True, help="Add dynamic evaluation (Krause et al. 2018). Slow.")
@model_options
def evaluate(
    run: Path | None, corpus: str | None, as_json: bool, encoding: str, dynamic: bool, **how: Any
) -> None:
    """Measure a model's loss and accuracy on a text.

    The text is the run's held-out text, or all of CORPUS. Each character is predicted once, from
    the text before it. The baseline is a back-off n-gram of the same training text. --json adds
    the perplexity.

    --mix-ngram interpolates the probabilities of the model with those of the baseline.

    In dynamic evaluation, the weights are updated on each segment after it is predicted.

    Example: chargen evaluate runs/fables other.txt
    """
    from chargen.api import BASELINE_ORDER, load
    from chargen.text.corpus import read_corpus

    model = load(run, **how)
    text = None if corpus is None else read_corpus([corpus], encoding)
    before = model.run.description.corpus.sources
    measured = model.evaluate(text)
    if (now := model.run.description.corpus.sources) != before:
        say(f"note: the run now records its corpus at {visible_line(' '.join(now))}", err=True)
    baseline = learning = None
    try:
        baseline = model.baseline(text)
    except ChargenError as error:
        say(f"no n-gram baseline: {visible_line(error.message)}", err=True)
    if dynamic:
        with progress_bar(desc="dynamic", unit="char", unit_scale=True) as progress:
            learning = model.evaluate_dynamic(text, progress=progress)
    if as_json:
        result = {"run": str(model.run.path), "mix_ngram": how["mix_ngram"], **measured.to_json()}
        ngram = {"order": BASELINE_ORDER, **baseline.to_json()} if baseline else None
        say_json({**result, "ngram": ngram, "dynamic": learning and learning.to_json()})
        return
    say(f"{visible_line(model.name)}, {measured.chars:,} characters")
    say(f"{'':20}{'nats/char':>10}{'bits/char':>11}{'accuracy':>10}")
    name = f"{BASELINE_ORDER}-gram baseline"
    for label, row in {"model": measured, name: baseline, "model, dynamic": learning}.items():
        if row:
            # Rounded before they are formatted, so that a tiny negative number has no minus sign.
            loss, bits = (round(x, 4) + 0.0 for x in (row.loss_nats, row.bits_per_char))
            say(f"{label:20}{loss:10.4f}{bits:11.4f}{row.accuracy:10.1%}")
    if baseline and (gain := baseline.loss_nats - measured.loss_nats) > 0:
        say(f"The model beats the {name} by {gain:.4f} nats/char.")
    elif baseline:
        advice = "train longer if its loss still fell, else on more text or fewer --units"
        say(f"The model does not beat the {name} ({-gain:.4f} nats/char worse): {advice}.")
