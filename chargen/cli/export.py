"""``chargen export``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from chargen.cli.options import check_writable, run_argument, write_text
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line
from chargen.settings import SamplingSettings

if TYPE_CHECKING:
    from chargen.api import TrainedModel
    from chargen.evaluation import Evaluation
    from chargen.probes.result import RunResult
    from chargen.runs.directory import Run

Form = Literal["float32", "int8"]
LONGRANGE = "longrange.json"  # in a run's folder


@dataclass(frozen=True)
class Kind:
    """What a run can be exported to."""

    ending: str  # of the file
    write: Callable[..., None]  # from the run to the file, with the options below
    options: tuple[str, ...]  # that mean nothing to other kinds


def _page(run: Run, out: Path, form: Form, longrange: Path | None, prompt: str) -> None:
    """Write the page, and say how large it is and what its weights lose."""
    run.description.vocabulary.encode_typed("--prompt", prompt)
    import numpy as np

    from chargen.api import TrainedModel
    from chargen.pages.writing_page import Written, losses_text, writing_page
    from chargen.sampling import Sampler
    from chargen.sampling.quantization import through_eight_bits

    weights = run.weights()
    models: dict[Form, TrainedModel] = {"float32": TrainedModel(run)}
    if form == "int8":
        models[form] = TrainedModel(run, weights=through_eight_bits(weights))
    probed = _probed(run, longrange)
    losses = _losses(models)
    name = run.path.resolve().name
    shape, vocabulary = run.description.model, run.description.vocabulary
    begins = Sampler.of(run).start_ids(SamplingSettings(), np.random.default_rng(0))
    read = tuple(begins.ravel().tolist())
    written = Written(name, shape, vocabulary, weights, form, losses, probed, prompt, read)
    page = writing_page(written)
    write_text(out, page)
    say(f"page: {visible_line(str(out))}, {len(page.encode()) / 1000:,.0f} kB")
    if losses:
        say(losses_text(losses))


def _losses(models: dict[Form, TrainedModel]) -> dict[Form, Evaluation]:
    """On the held-out text; nothing where that is gone, which is told."""
    try:
        return {form: model.evaluate() for form, model in models.items()}
    except ChargenError as error:
        say(f"without the loss in bits a character: {visible_line(str(error))}", err=True)
        return {}


def _probed(run: Run, file: Path | None) -> RunResult | None:
    """What is known of how far back it remembers; what is not is told, and how to get it."""
    from chargen.probes.result import read_result
    from chargen.runs.directory import BEST

    given, file = file, file or run.path / LONGRANGE
    made = f"chargen probe-longrange {run.path} --json {file}"
    if given or file.exists():
        probed = read_result(file, run.path)
        if file.stat().st_mtime < (run.path / BEST).stat().st_mtime:
            older = f"{file}: older than the run's weights; {made} measures them"
            say(visible_line(older), err=True)
        return probed
    say(f"without the long-range curve: {visible_line(made)} measures it", err=True)
    return None


def _onnx(run: Run, out: Path) -> None:
    """A step model."""
    from chargen.formats.onnx import export_onnx

    export_onnx(run, out)
    say(f"onnx: {visible_line(str(out))}, {out.stat().st_size / 1000:,.0f} kB")


KINDS = {
    "page": Kind(".html", _page, ("form", "longrange", "prompt")),
    "onnx": Kind(".onnx", _onnx, ()),
}


@click.command()
@run_argument
@click.option("--to", type=click.Choice([*KINDS]), required=True, help="What to make of it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where it goes.  [default: the run's name, here: fables.html]",
)
@click.option(
    "--weights",
    "form",
    type=click.Choice(get_args(Form)),
    default="float32",
    show_default=True,
    help="As they are, or rounded to 8 bits: a quarter of the size, and what that loses is told.",
)
@click.option(
    "--longrange",
    type=click.Path(path_type=Path),
    help="What probe-longrange --json wrote of the run.  [default: RUN/longrange.json]",
)
@click.option("--prompt", default="", help="The beginning that the page opens with.")
@click.pass_context
def export(
    context: click.Context, run: Path | None, to: str, out: Path | None, **given: Any
) -> None:
    """Export a trained model to a standalone file.

    page: an HTML file that holds the weights and writes with them in any browser, letter by
    letter, with no server and no network. It shows what else was likely at each letter, colours
    the text by any memory unit, and draws how far back the run remembers, where that was measured.

    onnx: a model that makes one step. It reads a character's id and the state, and tells the
    log-probabilities of the next character and the state after it; its metadata holds the
    characters. Needs pip install 'chargen[onnx]'.

    \b
    Examples:
      chargen export --to page
      chargen export --to onnx
      chargen export runs/fables --to page --weights int8 --prompt "The miller" --out tales.html
    """
    kind = KINDS[to]
    for parameter in context.command.params:
        odd = parameter.name not in (*kind.options, "run", "to", "out")
        chosen = context.get_parameter_source(str(parameter.name))
        if odd and chosen is not click.core.ParameterSource.DEFAULT:
            raise ChargenError(f"{parameter.opts[0]} means nothing to --to {to}: leave it out")
    check_writable(out)
    from chargen.runs.directory import Run, newest

    opened = newest() if run is None else Run.open(run)
    file = out or Path(opened.path.resolve().name + kind.ending)
    kind.write(opened, file, **{name: given[name] for name in kind.options})
