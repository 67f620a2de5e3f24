"""``chargen probe-longrange``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chargen.cli import completion
from chargen.cli.options import (
    check_writable,
    device_option,
    encoding_option,
    set_up_torch,
    threads_option,
    write_text,
)
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line
from chargen.settings import INSTRUMENTS, LONGEST_ASKED


class SpansParam(click.ParamType):
    """Comma-separated spans in characters, such as ``4,8,16``."""

    name = "spans"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[int, ...]:
        """Return ascending numbers."""
        try:
            spans = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            spans = ()
        if not spans or spans[0] < 1 or spans[-1] > LONGEST_ASKED:
            raise ChargenError(
                f"--spans {value}: must be integers from 1 to {LONGEST_ASKED}, such as 4,8,16"
            )
        return spans


class OnlyParam(click.ParamType):
    """Comma-separated names of instruments, such as ``templates,context``."""

    name = "instruments"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[str, ...]:
        """Return names in the order in which the instruments run."""
        names = str(value).split(",")
        wrong = [name for name in names if name not in INSTRUMENTS]
        if wrong:
            raise ChargenError(
                f"--only {value}: {wrong[0]!r} is not one of {', '.join(INSTRUMENTS)}"
            )
        return tuple(name for name in INSTRUMENTS if name in names)


@click.command("probe-longrange")
@click.argument(
    "runs",
    nargs=-1,
    metavar="[RUN]...",
    type=click.Path(path_type=Path),
    shell_complete=completion.runs,
)
@click.option(
    "--model",
    "others",
    multiple=True,
    metavar="NAME",
    help="A model that chargen did not train: FILE.py:NAME, FILE.onnx or hf:DIRECTORY.",
)
@click.option(
    "--only",
    type=OnlyParam(),
    help="Instruments to run, some of templates,context,mined,gradient,readout.  [default: all]",
    default=",".join(INSTRUMENTS),
)
@click.option(
    "--spans",
    type=SpansParam(),
    help="Spans of the cloze sentences, in characters.  [default: 4,8,16 … 1024]",
)
@click.option(
    "--bank",
    type=click.Path(path_type=Path),
    help="Phrase bank, a file or a bundled one.  [default: the bundled one that fits]",
)
@click.option(
    "--text",
    shell_complete=completion.texts,
    help="Text to read: file, directory or bundled corpus.  [default: the held-out text]",
)
@encoding_option
@click.option(
    "--swap-text",
    shell_complete=completion.texts,
    help="Text that replaces context in the instrument context: file, directory or bundled corpus. "
    " [default: other documents of the same text]",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the results as JSON."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the figures as PNG.")
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML report.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Random seed."
)
@click.option("--verbose", is_flag=True, help="Print every table.")
@device_option
@threads_option
def probe_longrange(
    runs: tuple[Path, ...],
    others: tuple[str, ...],
    only: tuple[str, ...],
    spans: tuple[int, ...] | None,
    bank: Path | None,
    text: str | None,
    encoding: str,
    swap_text: str | None,
    json_file: Path | None,
    plot: Path | None,
    report: Path | None,
    seed: int,
    verbose: bool,
    device: str,
    threads: int | None,
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
    check_writable(json_file, plot, report)
    set_up_torch(threads)
    from tqdm import tqdm

    from chargen import api
    from chargen.predictors.loading import load_model
    from chargen.probes.run import OtherModel
    from chargen.render.report import save_figures, to_text
    from chargen.text.corpus import read_corpus

    to_read = None if text is None else read_corpus([text], encoding)
    newest = () if others else (None,)
    models: list[Any] = [api.load(run, device) for run in runs or newest]
    models += [OtherModel(name, load_model(name)) for name in others]
    with tqdm(total=1, disable=None, unit="char", unit_scale=True, leave=False) as bar:
        counts: dict[str, tuple[int, int]] = {}

        def watch(instrument: str, done: int, total: int) -> None:
            counts[instrument] = done, total
            bar.total = sum(total for _, total in counts.values())
            running = [name for name, (done, total) in counts.items() if done < total]
            bar.set_description(" + ".join(running), refresh=False)
            bar.update(sum(done for done, _ in counts.values()) - bar.n)

        result = api.probe(
            models,
            spans,
            seed,
            only=only,
            bank=bank,
            text=to_read,
            swap_text=swap_text,
            watch=watch,
        )
    if not result.measured:
        raise ChargenError(f"{', '.join(result.names)}: {result.finding}")
    for warning in result.warnings:
        say(visible_line(warning), err=True)
    sections = result.sections()
    say(to_text(sections if verbose else [result.summary()]), nl=False)
    if json_file is not None:
        write_text(json_file, json.dumps(result.to_json(), indent=1) + "\n")
    if plot is not None:
        title = f"{', '.join(result.names)}: {result.title.lower()}"
        written = ", ".join(map(str, save_figures(sections, plot, title, "templates")))
        say(f"figures: {visible_line(written) or 'none'}", err=True)
    if report is not None:
        write_text(report, result.page())
