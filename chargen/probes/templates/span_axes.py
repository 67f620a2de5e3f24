"""What pictures of accuracy against span share. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from chargen.probes.statistics.intervals import Estimate
from chargen.probes.statistics.span50 import Span50
from chargen.probes.templates.outcomes import Tally
from chargen.probes.templates.result import SpanResult
from chargen.render import figures as drawing
from chargen.render.figures import INK, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shares(tallies: Iterable[Tally]) -> list[Estimate]:
    """Shares of right answers with their intervals."""
    return [Estimate(tally.choice.share, *tally.choice.interval) for tally in tallies]


def draw_chance(axes: Axes, rows: Sequence[SpanResult]) -> None:
    """A level line where guessing is, named in the legend."""
    chance = rows[0].chance
    axes.axhline(chance, color=INK, linewidth=1, label=f"chance, 1/{1 / chance:.0f}")


def draw_span50(axes: Axes, half: Span50, **style: Any) -> None:
    """A diamond where the curve is half-way, with its interval as far as the spans go."""
    low, high = max(half.low, half.first), min(half.high, half.last)
    axes.errorbar(
        [half.chars], [half.half_way], xerr=[[half.chars - low], [high - half.chars]],
        marker="D", capsize=4, linestyle="none", zorder=4, **style,
    )  # fmt: skip


def dress(axes: Axes, rows: Sequence[SpanResult], size: Size) -> None:
    """Both axes, from the shortest span to the longest and from none to all."""
    spans = [row.span for row in rows]
    drawing.powers_of_two(axes, spans)
    axes.set_xlim(spans[0] / 1.25, spans[-1] * 1.25)
    axes.set_ylim(-0.02, 1.04)
    tenths = range(0, 11, 2)
    axes.set_yticks([tenth / 10 for tenth in tenths], [f"{10 * tenth} %" for tenth in tenths])
    far = "span: characters from the end of the cue to the start of the target"
    x = far if size.wide else "span: characters from cue to target"
    drawing.dress(axes, size, x, "right answers, with 95 % intervals")
