"""The page of `chargen inspect --memory`: a text coloured by what single memory units hold."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from chargen.probes.units.result import Followed, Follower, LayerRecord, Memory, score_text
from chargen.probes.units.table import legend, part_name
from chargen.render.html import bundled, document, embed, escape

LEVELS = 127  # of a signed byte, to either side of zero
SHARE_LEVELS = 2**16 - 1
GATES = "ifozr"  # what lies in 0 .. 1
MEANS = {
    "h": "what the unit tells the layer above, and its own layer at the next character",
    "c": "what the unit carries on from character to character; it is added to, not overwritten",
    "i": "how much of the candidate is let into the cell state",
    "f": "how much of the cell state is kept; shut, the unit forgets",
    "o": "how much of the cell state shows in the output",
    "g": "what the input gate may add to the cell state",
    "r": "how much of the old state the candidate is made from",
    "z": "how much of the old state stays; shut, the candidate takes its place",
    "n": "what takes the old state's place as far as the update gate is shut",
}

BODY = """<h1>What the memory holds</h1>
<p class="faint">{run} · {shape} · {chars} characters shown</p>
<p class="finding">A memory unit is one number that the network keeps while it reads: every
character changes it, and all units together are everything that the network knows of what came
before. Below, each character is coloured by what one unit held just after reading it.</p>
{notes}
<noscript><p>The colours need JavaScript, which is switched off here.</p></noscript>
<section id="look" aria-label="One unit">
<fieldset class="controls" aria-label="Which unit">
<div><label for="layer">Layer</label><select id="layer">{layers}</select></div>
<div><label for="part">Part</label><select id="part">{parts}</select></div>
<div><label for="unit">Unit <span id="of"></span></label><div class="units">
<button id="previous" type="button" aria-label="Previous unit">←</button>
<input id="unit" type="number" min="1" step="1" inputmode="numeric">
<button id="following" type="button" aria-label="Next unit">→</button></div></div>
</fieldset>
<p id="now" aria-live="polite"></p>
<p id="means" class="faint"></p>
<div id="scale">
<div class="bar"></div>
<div class="ends"><span id="least"></span><span id="zero"></span><span id="most"></span></div>
</div>
<div id="text" tabindex="0" role="application" dir="auto" aria-describedby="keys"
aria-label="The text, coloured by the unit"></div>
<div id="read" aria-live="polite" aria-atomic="true">
<p><b id="character"></b> <span id="place" class="faint"></span> · value <b id="value"></b></p>
<p class="faint">expected next:</p><ol id="next"></ol>
</div>
<p id="keys" class="faint">Point at a character or tap it. <kbd>←</kbd> <kbd>→</kbd> go from unit to
unit, with <kbd>Shift</kbd> from layer to layer. In the text they go from character to character,
and <kbd>↑</kbd> <kbd>↓</kbd> from unit to unit. The address of the page always names what is shown,
so that it can be kept or sent. ⏎ is a line end. Values are rounded to 1/{levels} of the range that
the scale shows: ±1 where all values of this part lie within it, else the largest of the unit.</p>
</section>
<h2>Units that follow something readable</h2>
{followers}
"""


def memory_page(memory: Memory) -> str:
    """The whole page, which needs nothing from outside itself."""
    recording = memory.recording
    names = list(recording.layers[0].parts)
    units = " + ".join(str(layer.units) for layer in recording.layers)
    body = BODY.format(
        run=escape(memory.run),
        shape=f"{escape(recording.cell)} of {units} units",
        chars=f"{len(recording.text):,}",
        notes="".join(f'<p class="faint">Note: {escape(note)}.</p>' for note in memory.notes),
        layers="".join(f"<option>{layer.layer}</option>" for layer in recording.layers),
        parts="".join(
            f'<option value="{name}">{part_name(name, recording.cell)}</option>' for name in names
        ),
        levels=LEVELS,
        followers=_followers(memory),
    )
    data = json.dumps(_data(memory), ensure_ascii=False, separators=(",", ":"))
    scripts = "\n".join(
        (bundled("chargen.pages", "letters.js"), bundled("chargen.probes.units", "memory.js"))
    )
    script = f"const MEMORY = {embed(data)};\n{scripts}"
    style = "\n".join(
        (bundled("chargen.pages", "letters.css"), bundled("chargen.probes.units", "memory.css"))
    )
    return document(f"What the memory of {memory.run} holds", body, style, script)


def _data(memory: Memory) -> dict[str, Any]:
    recording = memory.recording
    names = list(recording.layers[0].parts)
    shares = np.rint(recording.next_shares * SHARE_LEVELS).astype("<u2")
    best = memory.units.followed if memory.units else ()
    first = max(best, key=_lead).units[0] if best else None
    return {
        "text": recording.text,
        "part": "c" if "c" in names else "h",
        "first": {"layer": first.layer, "unit": first.unit} if first else {},
        "parts": {
            name: {
                "name": part_name(name, recording.cell),
                "means": MEANS[name],
                "signed": name not in GATES,
            }
            for name in names
        },
        "layers": [_layer(layer) for layer in recording.layers],
        "next": {"characters": "".join(recording.next_characters), "shares": _coded(shares)},
    }


def _lead(one: Followed) -> tuple[bool, float]:
    """The page begins with the unit that is farthest above what stands beside it."""
    return one.stands_out, one.units[0].score.value - max(one.luck, one.untrained)


def _layer(layer: LayerRecord) -> dict[str, Any]:
    parts = {}
    for name, values in layer.parts.items():
        ranges = _ranges(values)
        levels = np.rint(values / ranges * LEVELS).astype(np.int8)
        parts[name] = {"ranges": ranges.tolist(), "values": _coded(levels.T)}
    return {"units": layer.units, "parts": parts}


def _ranges(values: np.ndarray) -> np.ndarray:
    """What full colour stands for, a unit: ``(H,)`` of ``(T, H)``, to four digits or more."""
    largest = np.abs(values).max(axis=0).astype(np.float64)
    if (largest <= 1).all():
        return np.ones(len(largest))
    return np.array([float(f"{value:.4g}") or 1.0 for value in largest])


def _coded(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _followers(memory: Memory) -> str:
    if memory.units is None:
        return "<p>There was no held-out text to look for them in.</p>"
    result = memory.units
    items = "\n".join(f"<li>{_item(one, result.part)}</li>" for one in result.followed)
    lacking = "".join(f"<li>left out: {escape(reason)}</li>" for reason in result.left_out)
    return (
        f'<ul id="followers">\n{items}\n</ul>\n<ul class="faint">{lacking}</ul>\n'
        f'<p class="faint">{escape(legend(result))}</p>'
    )


def _item(one: Followed, part: str) -> str:
    """One feature: its best unit, what stands beside it, and who comes next."""
    best = one.units[0]
    verdict = "" if one.stands_out else " It does not stand out from these."
    others = ", ".join(
        f"{_link(unit, one, part)} ({unit.score.value:.2f})" for unit in one.units[1:]
    )
    then = f' <span class="faint">Then {others}.</span>' if others else ""
    score = score_text(one.graded, best.score.value)
    return (
        f"<b>{escape(one.feature)}</b>. Best is {_link(best, one, part)}, "
        f"which {best.way} with it: "
        f"{score} ({best.score.low:.2f} to {best.score.high:.2f}); the best of an untrained "
        f"network {one.untrained:.2f}, by luck {one.luck:.2f}.{verdict}{then}"
    )


def _link(unit: Follower, one: Followed, part: str) -> str:
    told = f"{unit.way} with “{one.feature}”, {score_text(one.graded, unit.score.value)}"
    return (
        f'<a href="#layer={unit.layer}&amp;part={part}&amp;unit={unit.unit}" '
        f'data-follows="{escape(told)}">unit {unit.unit} of layer {unit.layer}</a>'
    )
