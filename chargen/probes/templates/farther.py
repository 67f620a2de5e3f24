"""In one sentence: which of several models remembers farther, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chargen.probes.templates.comparison import PairComparison, SpanComparison
from chargen.probes.templates.result import TemplatesResult
from chargen.render.text import counted, listed


def farther(results: Mapping[str, TemplatesResult], pairs: Sequence[PairComparison]) -> str:
    """The sentence for results by name, of which ``pairs`` compares those that claim something.

    Two models differ where McNemar's corrected p is under 5 % at some span. One of them is said
    to remember farther if no span speaks for the other and it is better than chance at longer
    spans or its span50 lies surely above; else it is right more often, and at which spans.
    """
    known = {name: result for name, result in results.items() if not result.refusal}
    said = [_pair(known, pair) for pair in pairs if pair.ahead]
    if alike := [pair for pair in pairs if not pair.ahead]:
        said.append(_alike(alike))
    if len(known) == 1:
        ((name, result),) = known.items()
        said.append(f"{name}: {result.finding()}")
    if unknown := [name for name in results if name not in known]:
        said.append(f"not learned: {listed(unknown)}")
    return "; ".join(said)


def _pair(known: Mapping[str, TemplatesResult], pair: PairComparison) -> str:
    if len(pair.ahead) == 2:
        for_first, for_second = (_at([r for r in pair.spans if r.ahead == way]) for way in (1, -1))
        return (
            f"neither of {pair.first} and {pair.second} is ahead everywhere: "
            f"{pair.first} {for_first}, {pair.second} {for_second}"
        )
    names = [pair.first, pair.second][:: max(pair.ahead)]
    better, worse = (known[name] for name in names)
    ahead = [row for row in pair.spans if row.ahead]
    verb = "remembers farther than" if _reaches(better, worse) else "is right more often than"
    most = max(ahead, key=lambda row: abs(row.difference))
    points = f"{100 * abs(most.difference):.0f} points more at {counted(most.span, 'character')}"
    return f"{names[0]} {verb} {names[1]}: {_at(ahead)}, {points}{_halves(better, worse)}"


def _reaches(better: TemplatesResult, worse: TemplatesResult) -> bool:
    if (better.above_chance_chars or 0) > (worse.above_chance_chars or 0):
        return True
    half, other = better.span50, worse.span50
    return bool(half and other and half.fits and other.fits and half.low > other.high)


def _halves(better: TemplatesResult, worse: TemplatesResult) -> str:
    if better.span50 is None or worse.span50 is None:
        return ""
    return f", span50 {better.span50.text()} against {worse.span50.text()}"


def _at(rows: Sequence[SpanComparison]) -> str:
    return f"ahead at {listed([str(row.span) for row in rows])}"


def _alike(pairs: Sequence[PairComparison]) -> str:
    if len(pairs) == 1:
        return f"no span tells {pairs[0].first} and {pairs[0].second} apart"
    return "no span tells apart " + ", ".join(f"{pair.first} and {pair.second}" for pair in pairs)
