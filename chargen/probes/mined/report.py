"""Report of natural dependencies: bits gained from the cue, by distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chargen.probes.mined.mining import KINDS
from chargen.probes.mined.result import FEWEST_CASES, MinedResult
from chargen.render import report as kit
from chargen.render.by_distance import Series, chart, finding, styles, table
from chargen.render.figures import GREY, INK, OTHER
from chargen.render.text import counted

NAME, TITLE = "mined", "Natural dependencies"

NGRAM: dict[str, Any] = {"color": OTHER, "linestyle": "--", "markersize": 4}
CONTROL: dict[str, Any] = {"color": GREY, "linestyle": ":", "markersize": 4}
MEANING = (
    "A word that returns, a bracket that closes: how many bits the model saves on such a target "
    "because it read the earlier word or the opening bracket at that distance. Zero gain means "
    "that the model did not use it."
)
CURVES = (
    "Bits gained per target from the cue, by distance to it, with 95% intervals. Each point stands "
    "for the distances of one power of two."
)
METHOD = (
    "Gain from the cue: the cue alone is replaced by another one of equal length. All before: the "
    "text up to the end of the cue is replaced by another part of the text, of another document if "
    "there are several, that neither contains the word nor leaves the bracket open.",
    "Gain over the n-gram: bits that the n-gram baseline, which sees only the characters just "
    "before the target, needs more. Memory takes a gain over both.",
    "Intervals are from the means of blocks of text. The cases are found by rules, without "
    "understanding of the text.",
)


def section(found: Mapping[str, MinedResult]) -> kit.Section:
    """Report one run or several, by their short names."""
    told = finding(found, MinedResult.finding, MinedResult.finding)
    blocks: list[kit.Block] = []
    series = [one for kind in KINDS for one in _series(found, kind) if one.style and any(one.found)]
    if series:
        shown = {row.distance for one in found.values() for row in one.rows if row.gain}
        ticks = [*sorted(shown), 2 * max(shown)]
        draw = chart(
            series, ticks, kit.training_limits(found),
            ("characters between cue and target", "bits gained per target"),
            lambda axes: axes.axhline(0, color=INK, linewidth=1, label="no gain"),
        )  # fmt: skip
        blocks.append(kit.Figure(NAME, draw, f"Bits gained by distance: {told}", CURVES))
    blocks += [_table(found, kind) for kind in KINDS]
    for run, result in found.items() if len(found) > 1 else ():
        blocks.append(kit.Details(run, [_table({run: result}, kind) for kind in KINDS]))
    result = next(iter(found.values()))
    mined = f"Cases were mined from {counted(result.chars, 'character')}. Seed {result.seed}."
    blocks.append(kit.method([*METHOD, mined]))
    return kit.Section(NAME, TITLE, told, MEANING, blocks)


def _series(found: Mapping[str, MinedResult], kind: str) -> list[Series]:
    """Return the gain of each run, for a single one with its controls."""
    series, looks, marker = [], styles(found), {"marker": "os"[KINDS.index(kind)]}
    for run, result in found.items():
        rows = result.of_kind(kind)
        middles = [(row.distance * (row.distance_most + 1)) ** 0.5 for row in rows]
        gains, look = [row.gain for row in rows], looks[run] | marker
        if len(found) > 1:
            series.append(Series(run, middles, gains, look, f"{run}, {kind}, from the cue"))
            continue
        series.append(Series("gain", middles, gains, look, f"{kind}, from the cue"))
        series.append(Series("all before", middles, [row.before for row in rows]))
        over, untrained = [row.over_ngram for row in rows], [row.untrained for row in rows]
        if name := result.ngram:
            label = f"{kind}, over a {name}"
            series.append(Series(f"over {name}", middles, over, NGRAM | marker, label))
        if any(untrained):
            label = f"{kind}, untrained"
            series.append(Series("untrained", middles, untrained, CONTROL | marker, label))
    return series


def _table(found: Mapping[str, MinedResult], kind: str) -> kit.Block:
    run, rows = next((run, result.of_kind(kind)) for run, result in found.items())
    series = _series(found, kind)
    if not any(value for one in series for value in one.found):
        cases = counted(sum(row.cases for row in rows), "case")
        return kit.Text(f"{run}, {kind}: {cases} in all, too few at every distance.", "note")
    caption = (
        f"{run if len(found) == 1 else 'All runs'}, {kind}: bits gained per target from the cue, "
        f"with 95% intervals, from {FEWEST_CASES} cases on. All before: from all text up to the "
        "end of the cue. Untrained: a network of the same shape before training."
    )
    first = {"distance": [row.distances for row in rows], "cases": [str(r.cases) for r in rows]}
    rules = kit.rules_at([row.distance for row in rows], kit.training_limits(found))
    return table(first, series, lambda one: kit.estimate(one, 2), caption, rules)


def columns(result: MinedResult) -> dict[str, dict[int, str]]:
    """Return the gain by distance of each kind that has enough cases, for a summary."""
    found: dict[str, dict[int, str]] = {}
    for row in (row for row in result.rows if row.gain):
        found.setdefault(f"gain, {row.kind}", {})[row.distance] = kit.estimate(row.gain, 2)
    return found
