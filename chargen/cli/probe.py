"""``chargen probe-longrange`` and ``chargen compare``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from chargen.cli import completion
from chargen.cli.environment import hangup_ignored
from chargen.cli.options import (
    OUTPUT,
    PATH,
    ListParam,
    default,
    encoding_option,
    option,
    torch_options,
    write_text,
)
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line
from chargen.settings import COMPARED, INSTRUMENTS, LONGEST_ASKED, ComparisonSettings

RESULTS = {
    "json": "Write the results as JSON.",
    "plot": "Write the figures as PNG.",
    "report": "Write an HTML report.",
}
USUAL = ComparisonSettings(COMPARED[0])
BAR = "{percentage:3.0f}%|{bar}| {desc}"


def _span(text: str) -> int:
    if not 1 <= (span := int(text)) <= LONGEST_ASKED:
        raise ValueError
    return span


SPANS = ListParam(_span, f"integers from 1 to {LONGEST_ASKED}, such as 4,8,16")
ONLY = ListParam(INSTRUMENTS.index, f"some of {','.join(INSTRUMENTS)}")
RATES = ListParam(float, "numbers, as in 0.002,0.004")


def result_options(command: Any) -> Any:
    for name, help in reversed(RESULTS.items()):
        command = option(f"--{name}", OUTPUT, None, help)(command)
    return command


def _write(
    files: Mapping[str, Path | None], page: Callable[[], str], values: Any, *figures: Any
) -> None:
    """Write the ``files`` that were asked for; ``figures`` are arguments of `save_figures`."""
    from chargen.render.report import save_figures

    if files["json"] is not None:
        write_text(files["json"], json.dumps(values, indent=1) + "\n")
    if files["plot"] is not None:
        written = ", ".join(map(str, save_figures(figures[0], files["plot"], *figures[1:])))
        say(f"figures: {visible_line(written) or 'none'}", err=True)
    if files["report"] is not None:
        write_text(files["report"], page())


@click.command("probe-longrange")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=PATH, shell_complete=completion.runs)
@click.option(
    "--model",
    "others",
    multiple=True,
    metavar="NAME",
    help="A model that chargen did not train: FILE.py:NAME, FILE.onnx or hf:DIRECTORY.",
)
@option(
    "--only", ONLY, None, f"Instruments to run, some of {','.join(INSTRUMENTS)}.  [default: all]"
)
@option(
    "--spans", SPANS, None, "Spans of the cloze sentences, in characters.  [default: 4,8,16 … 1024]"
)
@option(
    "--bank",
    PATH,
    None,
    "Phrase bank, a file or a bundled one.  [default: the bundled one that fits]",
)
@option(
    "--text",
    str,
    None,
    "Text to read: file, directory or bundled corpus.  [default: the held-out text]",
    shell_complete=completion.texts,
)
@encoding_option
@option(
    "--swap-text",
    str,
    None,
    "Text that replaces context in the instrument context: file, directory or bundled corpus. "
    " [default: other documents of the same text]",
    shell_complete=completion.texts,
)
@result_options
@option("--seed", click.IntRange(0, 2**63 - 1), 0, "Random seed.")
@option("--verbose", bool, None, "Print every table.")
@torch_options
def probe_longrange(
    runs: tuple[Path, ...],
    others: tuple[str, ...],
    only: tuple[int, ...] | None,
    spans: tuple[int, ...] | None,
    text: str | None,
    encoding: str,
    verbose: bool,
    device: str,
    **options: Any,
) -> None:
    """Measure how far back a model remembers.

    \b
    templates  accuracy of cloze sentences whose end depends on their beginning ("a letter from
               Persia, … in": Persian or Russian?), by the span between the two; for a model
               of the bundled corpus longrange or longrange-zh, or of --bank
    context    increase in bits per character with only the last n characters of context
    mined      gain from an earlier cue in the text: an open bracket, an earlier use of a word
    gradient   gradient of the loss with respect to earlier states, before and after training
    readout    characters that a linear map reads from the state, by how far back they are

    Several runs are given the same cases and compared: templates by McNemar's test with Holm's
    correction, context and mined on the text that all were trained on, or on --text.

    Prints the answer in a few lines; --verbose prints every table, --report has figures too.

    --plot writes the figure of templates to the given file, and those of the other instruments to
    files with the name of the instrument added.

    \b
    Examples:
      chargen train longrange --minutes 2
      chargen probe-longrange
      chargen probe-longrange runs/longrange --only templates --plot memory.png
      chargen probe-longrange runs/fables --only context,gradient --json memory.json
      chargen probe-longrange runs/lstm runs/gru runs/simple --report comparison.html
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
    models: list[Any] = [load(run, device) for run in runs or newest]
    models += [OtherModel(name, load_model(name)) for name in others]
    with tqdm(total=1, disable=None, unit="char", unit_scale=True, leave=False) as bar:
        counts: dict[str, tuple[int, int]] = {}

        def watch(instrument: str, done: int, total: int) -> None:
            counts[instrument] = done, total
            bar.total = sum(total for _, total in counts.values())
            running = [name for name, (done, total) in counts.items() if done < total]
            bar.set_description(" + ".join(running), refresh=False)
            bar.update(sum(done for done, _ in counts.values()) - bar.n)

        spans = spans and tuple(sorted({*spans}))
        chosen = [name for place, name in enumerate(INSTRUMENTS) if only is None or place in only]
        result = probe(models, spans, only=chosen, text=to_read, watch=watch, **options)
    names = ", ".join(result.names)
    if not result.measured:
        raise ChargenError(f"{names}: {result.finding}")
    for warning in result.warnings:
        say(visible_line(warning), err=True)
    sections = result.sections()
    say(to_text(sections if verbose else [result.summary()]), nl=False)
    title = f"{names}: {result.title.lower()}"
    _write(files, result.page, result.to_json(), sections, title, "templates")


@click.command()
@option("--task", click.Choice(COMPARED), "longrange", "Corpus to train on and trials to evaluate.")
@option("--cells", ListParam(str, "names of cells"), None, "Cells." + default(USUAL.cells))
@option("--seeds", int, None, "Runs per cell." + default(USUAL.seeds))
@option("--minutes", float, None, "Budget of each run, in minutes.  [default: 2]")
@option("--steps", int, None, "Budget of each run, in parameter updates.")
@option("--parameters", int, None, "Approximate size of each model." + default(USUAL.parameters))
@option(
    "--learning-rates",
    RATES,
    None,
    "Peak learning rates; each cell uses its best." + default(USUAL.learning_rates),
)
@option(
    "--timesteps",
    int,
    None,
    "Sequence length (truncated BPTT), in characters." + default(USUAL.timesteps),
)
@option("--batch-size", int, None, "Sequences per batch." + default(USUAL.batch_size))
@option("--seed", int, None, "Random seed of the trials." + default(USUAL.seed))
@option("--jobs", click.IntRange(1), None, "Maximum number of concurrent runs.  [default: cores]")
@option("--out", PATH, None, "Directory of the comparison.  [default: runs/compare-<task>]")
@option("--overwrite", bool, None, "Delete the existing comparison and start over.")
@result_options
@hangup_ignored()
def compare(jobs: int | None, out: Path | None, overwrite: bool, **given: Any) -> int:
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
    files = {name: given.pop(name) for name in RESULTS}
    settings = ComparisonSettings(
        **{name: value for name, value in given.items() if value is not None}
    )
    from tqdm import tqdm

    from chargen.cli.training_display import Signals
    from chargen.probes.cells import report as kit
    from chargen.probes.cells.compare import compare as compare_cells
    from chargen.render.report import to_html, to_text

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
    title = f"{result.task}: {about}"
    page = lambda: to_html(kit.TITLE, about, sections, ())  # noqa: E731
    _write(files, page, result.to_json(), sections, title, kit.MAIN_FIGURE)
    return 0
