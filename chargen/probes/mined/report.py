"""Report of natural dependencies: bits gained from the cue, by distance."""

from collections.abc import Mapping
from functools import partial

from chargen.probes.mined.mining import KINDS, WORDS
from chargen.probes.mined.result import FEWEST_CASES, MinedResult
from chargen.render import report as kit
from chargen.render.by_distance import Series, chart, finding, styles, table
from chargen.render.figures import CONTROL, INK, SECOND
from chargen.render.text import counted

NAME, TITLE = "mined", "Natural dependencies"
MEANING = (
    "A word that returns, a bracket that closes: how many bits the model saves on such a target "
    "because it read the earlier word or the opening bracket at that distance."
)
CURVES = (
    "Bits gained per target from the cue, by distance to it, with 95% intervals. Each point stands "
    "for the distances of one power of two."
)
METHOD = (
    "Gain from the cue: the cue alone is replaced by another one of equal length. All before: the "
    "text up to the end of the cue is replaced by a part of the swap text, of another document or "
    "of the same one, that neither contains the word nor leaves the bracket open.",
    "Gain over the n-gram: bits that the n-gram baseline, which sees only the characters just "
    "before the target, needs more. Memory takes a gain over both. Intervals are from the means of "
    "blocks of text.",
)


def section(found: Mapping[str, MinedResult]) -> kit.Section:
    """Report one run or several, by their short names."""
    text = finding(found, MinedResult.finding, MinedResult.finding)
    blocks = [block for kind in KINDS for block in _of_kind(found, kind)]
    for run, result in found.items() if len(found) > 1 else ():
        blocks.append(kit.Details(run, [_of_kind({run: result}, kind)[-1] for kind in KINDS]))
    result = next(iter(found.values()))
    mined = f"Cases were mined from {counted(result.chars, 'character')}. Seed {result.seed}."
    blocks.append(kit.method([*METHOD, mined]))
    return kit.Section(NAME, TITLE, text, MEANING, blocks)


def _series(found: Mapping[str, MinedResult], kind: str) -> list[Series]:
    series, looks = [], styles(found)
    for run, result in found.items():
        rows = result.of_kind(kind)
        middles = [(row.distance * (row.distance_most + 1)) ** 0.5 for row in rows]
        gains, look = [row.gain for row in rows], looks[run]
        if len(found) > 1:
            series.append(Series(run, middles, gains, look, f"{run}, {kind}, from the cue"))
            continue
        series.append(Series("gain", middles, gains, look, f"{kind}, from the cue"))
        series.append(Series("all before", middles, [row.before for row in rows]))
        over, untrained = [row.over_ngram for row in rows], [row.untrained for row in rows]
        if name := result.ngram:
            label = f"{kind}, over a {name}"
            series.append(Series(f"over {name}", middles, over, SECOND, label))
        if any(untrained):
            label = f"{kind}, untrained"
            series.append(Series("untrained", middles, untrained, CONTROL, label))
    return series


def _of_kind(found: Mapping[str, MinedResult], kind: str) -> list[kit.Block]:
    run, rows = next((run, result.of_kind(kind)) for run, result in found.items())
    series = _series(found, kind)
    if not any(value for one in series for value in one.found):
        cases = counted(sum(row.cases for row in rows), "case")
        return [kit.Text(f"{run}, {kind}: {cases} in all, too few at every distance.", "note")]
    gained = (row for result in found.values() for row in result.of_kind(kind) if row.gain)
    shown = sorted({row.distance for row in gained})
    limits = kit.training_limits(found)
    drawn = chart(
        series, [*shown, 2 * shown[-1]], limits,
        ("characters between cue and target", "bits gained per target"),
        lambda axes: axes.axhline(0, color=INK, linewidth=1, label="no gain"),
    )  # fmt: skip
    name = NAME if kind == WORDS else f"{NAME}-brackets"
    caption = (
        f"{run if len(found) == 1 else 'All runs'}, {kind}: bits gained per target from the cue, "
        f"with 95% intervals, from {FEWEST_CASES} cases on. All before: from all text up to the "
        "end of the cue. Untrained: a network of the same shape before training."
    )
    first = {"distance": [row.distances for row in rows], "cases": [str(r.cases) for r in rows]}
    rules = kit.rules_at([row.distance for row in rows], limits)
    show = partial(kit.estimate, digits=2)
    return [
        kit.Figure(name, drawn, f"Bits gained by distance, {kind}", CURVES),
        table(first, series, show, caption, rules),
    ]


def columns(result: MinedResult) -> dict[str, dict[int, str]]:
    """Return the gain by distance of each kind that has enough cases, for a summary."""
    found: dict[str, dict[int, str]] = {}
    for row in (row for row in result.rows if row.gain):
        found.setdefault(f"gain, {row.kind}", {})[row.distance] = kit.estimate(row.gain, 2)
    return found
