"""``chargen export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import OUTPUT, PATH, option, run_argument
from chargen.cli.terminal import say, write_text
from chargen.errors import ChargenError
from chargen.render.text import command, visible_line
from chargen.settings import WEIGHT_FORMATS, SamplingSettings

if TYPE_CHECKING:
    from chargen.probes.result import RunResult
    from chargen.runs.directory import Run

WEIGHTS = "Weight format; int8 is 4x smaller and reports the loss increase."


def _page(run: "Run", out: Path, weights: str, longrange: Path | None, prompt: str) -> None:
    vocabulary = run.description.vocabulary
    vocabulary.encode_typed("--prompt", prompt)
    import numpy as np

    from chargen.api import TrainedModel
    from chargen.pages import export_page as pages
    from chargen.sampling import Sampler
    from chargen.sampling.engine import without_placeholder

    arrays, model = run.weights(), TrainedModel(run)
    models = {"float32": model}
    if weights == "int8":
        models[weights] = TrainedModel(run, weights=pages.through_eight_bits(arrays))
    probed, losses = _probed(run, longrange), {}
    try:
        losses = {form: one.evaluate() for form, one in models.items()}
    except ChargenError as error:
        say(f"no held-out loss: {visible_line(error.message)}", err=True)
    scored = model.memory(vocabulary.characters[0])
    for note in scored.notes:
        say(visible_line(note), err=True)
    tracked = scored.units.leader() if scored.units else None
    start = Sampler.of(run).start_ids(SamplingSettings(), np.random.default_rng(0))
    name, kept = run.path.resolve().name, without_placeholder(arrays, vocabulary)
    given = run.description.model, vocabulary, kept, weights, losses, probed, prompt
    page = pages.export_page(pages.ExportedModel(name, *given, tracked, start))
    write_text(out, page)
    say(f"page: {visible_line(str(out))}, {len(page.encode()) / 1000:,.0f} kB")
    if losses:
        say(pages.losses_text(losses))


def _probed(run: "Run", file: Path | None) -> "RunResult | None":
    from chargen.probes.result import read_result
    from chargen.runs.directory import BEST

    given, file = file, file or run.path / "longrange.json"
    made = command("probe-longrange", run.path, "--json", file)
    if given or file.exists():
        probed = read_result(file, run.path)
        if file.stat().st_mtime < (run.path / BEST).stat().st_mtime:
            older = f"{visible_line(str(file))}: older than the run's weights"
            say(f"{older}; measure them with: {made}", err=True)
        return probed
    say(f"no long-range curve; measure it with: {made}", err=True)
    return None


@click.command()
@run_argument
@option("--to", click.Choice(["page", "onnx"]), None, "Target format.", required=True)
@option("--out", OUTPUT, None, "Output file.  [default: <run name>.html or .onnx]")
@option("--weights", click.Choice(WEIGHT_FORMATS), "float32", WEIGHTS)
@option("--longrange", PATH, None, "Memory curve: JSON of probe-longrange.  [default: in RUN]")
@option("--prompt", str, "", "Initial prompt of the page.")
@click.pass_context
def export(context: click.Context, run: Path | None, to: str, out: Path | None, **how: Any) -> None:
    """Export a trained model to a standalone file.

    page: an HTML file that contains the weights and generates text in any browser, without network
    access. It shows predictions, hidden units and, if measured, how far back the model remembers.

    onnx: a model of one time step. Inputs: a character id and the state. Outputs: log-probabilities
    of the next character and the new state. Requires pip install onnx.

    Example: chargen export runs/fables --to page --weights int8 --prompt "The miller"
    """
    for name in how if to == "onnx" else ():
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ChargenError(f"--{name} cannot be used with --to {to}")
    from chargen.runs.directory import find

    opened = find(run)
    file = out or Path(f"{opened.path.resolve().name}.{'html' if to == 'page' else 'onnx'}")
    if to == "page":
        _page(opened, file, **how)
        return
    from chargen.formats.onnx import export_onnx

    export_onnx(opened, file)
    say(f"onnx: {visible_line(str(file))}, {file.stat().st_size / 1000:,.0f} kB")
