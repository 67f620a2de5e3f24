"""``chargen probe-longrange``."""

from pathlib import Path
from typing import Any

import click

from chargen.cli import completion
from chargen.cli.options import (
    PATH,
    RESULTS,
    ListParam,
    encoding_option,
    model_options,
    option,
    result_options,
    write_results,
)
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line
from chargen.settings import INSTRUMENTS, LONGEST_ASKED


def _span(text: str) -> int:
    if not 1 <= (span := int(text)) <= LONGEST_ASKED:
        raise ValueError
    return span


SPANS = ListParam(_span, f"integers from 1 to {LONGEST_ASKED}, such as 4,8,16")
OTHERS = "Model not trained by chargen: FILE.py:NAME, FILE.onnx or hf:DIRECTORY."
TEXT = "Text to read: file, directory or bundled corpus.  [default: the held-out text]"
SWAP_TEXT = "Text that replaces context, in context and mined.  [default: other documents]"
ONLY = ListParam(INSTRUMENTS.index, f"some of {','.join(INSTRUMENTS)}")


@click.command("probe-longrange")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=PATH, shell_complete=completion.runs)
@option("--model", str, None, OTHERS, "others", metavar="NAME", multiple=True)
@option("--only", ONLY, None, f"Instruments: {','.join(INSTRUMENTS)}.  [default: all]")
@option("--spans", SPANS, None, "Spans of cloze sentences, in characters.  [default: 4,8 … 1024]")
@option("--bank", PATH, None, "Phrase bank, a file or a bundled one.  [default: the one that fits]")
@option("--text", str, None, TEXT, shell_complete=completion.texts)
@encoding_option
@option("--swap-text", str, None, SWAP_TEXT, shell_complete=completion.texts)
@result_options
@option("--seed", click.IntRange(0, 2**63 - 1), 0, "Random seed.")
@option("--verbose", bool, None, "Print every table.")
@model_options
def probe_longrange(
    runs: tuple[Path, ...],
    others: tuple[str, ...],
    only: tuple[int, ...] | None,
    spans: tuple[int, ...] | None,
    text: str | None,
    encoding: str,
    verbose: bool,
    mix_ngram: float,
    device: str,
    **options: Any,
) -> None:
    """Measure how far back a model remembers.

    \b
    templates  accuracy of cloze sentences whose end depends on an earlier word
               ("a letter from Persia, … in": Persian or Russian?), by distance;
               for models trained on longrange, longrange-zh or a --bank
    context    loss increase with only the last n characters of context
    mined      gain from an earlier cue: an open bracket, a word used before
    gradient   gradient of the loss with respect to earlier states
    readout    earlier characters that a linear map reads from the state

    Several runs are measured on the same cases and compared: templates by McNemar's test with
    Holm's correction, context and mined on the text that all were trained on, or on --text.

    With --mix-ngram, gradient and readout stay those of the network alone.

    The result is a few lines; --verbose prints every table, --report adds figures. --plot adds the
    name of the instrument to the file name, except for templates.

    \b
    Examples:
      chargen probe-longrange runs/fables --only context --json memory.json
      chargen probe-longrange runs/lstm runs/gru --report comparison.html
      chargen probe-longrange runs/longrange --model mine.py:model
    """
    from tqdm import tqdm

    from chargen.api import load, probe
    from chargen.api.measuring import OtherModel
    from chargen.predictors.check import load_model
    from chargen.render.report import to_text
    from chargen.text.corpus import read_corpus

    files = {name: options.pop(name) for name in RESULTS}
    to_read = None if text is None else read_corpus([text], encoding)
    newest = () if others else (None,)
    models: list[Any] = [load(run, device, mix_ngram=mix_ngram) for run in runs or newest]
    models += [OtherModel(name, load_model(name)) for name in others]
    with tqdm(total=1.0, disable=None, leave=False, bar_format="{l_bar}{bar}| {elapsed}") as bar:
        shares: dict[str, float] = {}  # of the work of each instrument that is done

        def watch(instrument: str, done: int, total: int) -> None:
            shares[instrument] = done / total
            bar.total = float(len(shares))
            running = [name for name, share in shares.items() if share < 1]
            bar.set_description(" + ".join(running), refresh=False)
            bar.update(sum(shares.values()) - bar.n)

        spans = spans and tuple(sorted({*spans}))
        chosen = [name for place, name in enumerate(INSTRUMENTS) if only is None or place in only]
        result = probe(models, spans, only=chosen, text=to_read, watch=watch, **options)
    names = ", ".join(result.names)
    if not result.measured:
        raise ChargenError(f"{names}: {result.finding}")
    if mix_ngram:
        say(f"measured: {visible_line(names)}", err=True)
    for warning in result.warnings:
        say(visible_line(warning), err=True)
    sections = result.sections()
    say(to_text(sections if verbose else [result.summary()]), nl=False)
    title = f"{names}: {result.title.lower()}"
    write_results(files, result.page, result.to_json(), sections, title, "templates")
