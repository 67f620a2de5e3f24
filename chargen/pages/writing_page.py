"""The page of `chargen export --to page`: a model that writes in a browser, as one file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from msgspec.structs import asdict

from chargen import __version__
from chargen.evaluation import Evaluation
from chargen.probes.result import RunResult, curve_section
from chargen.probes.units.page import MEANS
from chargen.probes.units.table import part_name
from chargen.render.html import bundled, document, embed, escape
from chargen.render.report import section_html
from chargen.sampling.quantization import rounded
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

Form = Literal["float32", "int8"]
BITS: dict[Form, int] = {"float32": 32, "int8": 8}  # of a weight

BODY = """<h1>{name} writes</h1>
<p class="faint">{shape} · {chars} characters · {parameters} weights of {bits} bits{lost}</p>
<p class="finding">Type a beginning and press Write: a small recurrent network goes on from there,
letter by letter. It is all in this file and runs on your device; nothing is sent anywhere.</p>
<noscript><p>It needs JavaScript, which is switched off here.</p></noscript>
<div id="desk">
<section id="asking" aria-label="Writing">
<label for="prompt">Beginning <span class="keyed">(<kbd>Ctrl</kbd> <kbd>Enter</kbd>
writes)</span></label>
<textarea id="prompt" rows="2" dir="auto" autocapitalize="off" autocomplete="off"
spellcheck="false" aria-describedby="complaint"></textarea>
<p id="complaint" role="alert"></p>
<div class="controls">
<div class="wide"><label for="temperature">Temperature <span id="heated"></span></label>
<input id="temperature" type="range" min="0" max="2" step="0.05" value="0.8"
aria-describedby="heating"></div>
<div><label for="speed">Speed</label><select id="speed"><option value="slow">slow</option>
<option value="read" selected>to read</option><option value="once">at once</option></select></div>
<div><label for="length">Letters</label><input id="length" type="number" min="1" step="1"
value="500" inputmode="numeric"></div>
<div><label for="seed">Seed</label><input id="seed" type="number" min="0" max="4294967295"
step="1" value="0" inputmode="numeric"></div>
</div>
<p id="heating" class="faint">Low is safe, high is wild; at 0 it takes the likeliest letter always.
The same seed writes the same text.</p>
<div class="controls">
<button id="write" type="button" class="go">Write</button>
<button id="on" type="button">Go on</button>
</div>
<p id="status" role="status"></p>
<div id="text" tabindex="0" role="application" dir="auto" aria-describedby="keys"
aria-label="The text, letter by letter"></div>
<section class="unseen" aria-label="The text in one piece"><p id="plain"></p></section>
<p id="told" class="unseen" aria-live="polite" aria-atomic="true"></p>
<p id="keys" class="faint">Point at a letter or tap it to see what else was likely there. <span
class="keyed">In the text <kbd>←</kbd> <kbd>→</kbd> go from letter to letter and <kbd>↑</kbd>
<kbd>↓</kbd> from unit to unit; <kbd>Esc</kbd> stops the writing. </span>Underlined is what you
typed; ⏎ is a line end.</p>
</section>
<div>
<section id="else" aria-labelledby="elsewhat"><h2 id="elsewhat">What else was likely</h2>
<div id="read"><p><b id="character"></b> <span id="place" class="faint"></span> <span
id="value"></span></p>
<table id="likely" hidden><thead><tr><th scope="col">next letter</th><th scope="col">likely</th>
<th id="heat" scope="col"></th></tr></thead><tbody id="rows"></tbody></table></div>
</section>
<section id="memory" aria-labelledby="colouring"><h2 id="colouring">Colour by a memory unit</h2>
<p class="faint">A memory unit is one number that the network keeps while it reads and writes. The
letters are coloured by what one of them held just after each.</p>
<div class="controls">
<div><label for="layer">Layer</label><select id="layer">{layers}</select></div>
<div><label for="part">Part</label><select id="part">{parts}
<option value="">no colour</option></select></div>
<div><label for="unit">Unit <span id="of"></span></label><div class="units">
<button id="previous" type="button" aria-label="Previous unit">←</button>
<input id="unit" type="number" min="1" step="1" inputmode="numeric">
<button id="following" type="button" aria-label="Next unit">→</button></div></div>
</div>
<p id="means" class="faint"></p>
<div id="scale" class="signed"><div class="bar"></div>
<div class="ends"><span id="least"></span><span>0</span><span id="most"></span></div></div>
</section>
{curve}
</div>
</div>
<p class="faint">Made from the run {name} by chargen {version}. The numbers are those that chargen
computes, to a few millionths.</p>
"""


@dataclass(frozen=True)
class Written:
    """What a page is made of."""

    name: str  # of the run
    settings: ModelSettings
    vocabulary: Vocabulary
    arrays: Mapping[str, np.ndarray]  # those that `ModelSettings.shapes` names, float32
    form: Form = "float32"
    losses: Mapping[Form, Evaluation] = field(
        default_factory=dict
    )  # on one text, where it is there
    probed: RunResult | None = None  # how far back it remembers
    prompt: str = ""  # the beginning that the page opens with
    begins: tuple[int, ...] = ()  # read unseen where no beginning is given; if none, a line feed


def writing_page(written: Written) -> str:
    """The whole page, which needs nothing from outside itself."""
    settings = written.settings
    names = settings.described_cell.state
    body = BODY.format(
        name=escape(written.name),
        shape=f"{escape(settings.cell)} of {_units(settings)}",
        chars=f"{len(written.vocabulary):,}",
        parameters=f"{settings.parameters(len(written.vocabulary)):,}",
        bits=BITS[written.form],
        lost=f" · {lost}" if (lost := losses_text(written.losses)) else "",
        layers="".join(f"<option>{n}</option>" for n in range(1, len(settings.units) + 1)),
        parts="".join(
            f'<option value="{name}">{part_name(name, settings.cell)}</option>' for name in names
        ),
        curve=section_html(curve_section(written.probed)),
        version=__version__,
    )
    data = json.dumps(_data(written), ensure_ascii=False, separators=(",", ":"))
    scripts = bundled("chargen.pages", "letters.js", "network.js", "shown.js", "writing.js")
    style = bundled("chargen.pages", "letters.css", "writing.css")
    return document(
        f"{written.name} writes", body, style, f"const MODEL = {embed(data)};\n{scripts}"
    )


def _units(settings: ModelSettings) -> str:
    units = f"{' + '.join(map(str, settings.units))} units"
    return f"{units} in residual blocks" if settings.stack == "residual" else units


def losses_text(losses: Mapping[Form, Evaluation]) -> str:
    """Bits a character, of rounded weights beside those of the ones they were rounded from."""
    if not losses:
        return ""
    whole, chars = losses["float32"], losses["float32"].chars
    said = f"{whole.bits_per_char:.4f} bits a character"
    if "int8" in losses:
        bits = losses["int8"].bits_per_char
        said = (
            f"{bits:.4f} bits a character with 8-bit weights, {whole.bits_per_char:.4f} with the "
            f"original's ({bits - whole.bits_per_char:+.5f})"
        )
    return f"{said}, on {chars:,} held-out characters"


def _data(written: Written) -> dict[str, Any]:
    return {
        **asdict(written.settings),
        "gates": written.settings.described_cell.gates,
        "parts": written.settings.described_cell.state,
        "characters": written.vocabulary.characters,
        "prompt": written.prompt,
        "begins": written.begins or written.vocabulary.opening.tolist(),
        "means": {name: MEANS[name] for name in ("h", "c")},
        "arrays": {name: _coded(array, written.form) for name, array in written.arrays.items()},
    }


def _coded(array: np.ndarray, form: Form) -> dict[str, Any]:
    """Its shape and its bytes, little-endian; with ``scales`` where they are levels of 8 bits."""
    if form == "int8" and array.ndim == 2:
        levels, scales = rounded(array)
        coded = {"values": _base64(levels), "scales": _base64(scales.astype("<f4"))}
    else:
        coded = {"values": _base64(array.astype("<f4"))}
    return {"shape": list(array.shape), **coded}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
