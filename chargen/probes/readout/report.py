"""Report of the read-out instrument: accuracy by lag, and answers that follow a patch."""

from collections.abc import Mapping

from chargen.probes.readout.result import ReadoutResult
from chargen.render import report as kit
from chargen.render.by_distance import Series, chart, finding, styles, table
from chargen.render.figures import GREY, INK, Axes

NAME, TITLE = "readout", "What the state still holds"
MEANING = "The state stores what can be read; context and patching show what the model uses."
LAGS = (
    "Accuracy in % of reading the character k steps back from the state by linear regression, with "
    "its 95% interval. Majority: the most frequent character. Untrained: from an initial network."
)
PATCHES = (
    "Share in % of answers that follow a state from the same text with another cue, k characters "
    "before the target, with Wilson's 95% interval; beyond the cue, the share of errors. h, c: "
    "only the output or the memory cell."
)
METHOD = (
    "Ridge regression on the first half of the text, scored on the second; the penalty is chosen "
    "within the first half. Intervals are Student's over streams of the second half.",
    "State patching exchanges the state before the rest of the sentence is read.",
)


def section(found: Mapping[str, ReadoutResult]) -> kit.Section:
    text = finding(found, ReadoutResult.finding, ReadoutResult.finding)
    first, looks, limits = next(iter(found.values())), styles(found), kit.training_limits(found)
    lags = [row.lag_chars for row in first.lags]
    series = [
        Series(run, lags, [row.accuracy for row in result.lags], looks[run])
        for run, result in found.items()
    ]
    series.append(Series("majority", lags, [row.majority for row in first.lags]))
    untrained = [row.untrained for row in first.lags]
    series.append(Series("untrained", lags, untrained, {"color": GREY}))

    def draw(axes: Axes) -> None:
        majority = [row.majority.value for row in first.lags if row.lag_chars]
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:.0%}")
        axes.plot(lags[-len(majority) :], majority, color=INK, label="most frequent character")

    labels = "k: steps back from the last character read", "accuracy"
    ticks = [1 << power for power in range(lags[-1].bit_length())]
    caption = "Accuracy of the read-out by lag, with 95% intervals."
    drawn = chart(series, ticks, limits, labels, draw)
    blocks: list[kit.Block] = [
        kit.Figure(NAME, drawn, f"Read-out: {text}", caption),
        table({"k": [*map(str, lags)]}, series, kit.percent, LAGS, kit.rules_at(lags, limits)),
    ]
    blocks += [_patches(found)] if any(result.patches for result in found.values()) else []
    return kit.Section(NAME, TITLE, text, MEANING, [*blocks, kit.method(METHOD)])


def _patches(found: Mapping[str, ReadoutResult]) -> kit.Table:
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for name, result in found.items():
        for row in result.patches:
            group = f"{row.source}, {row.span_chars}", str(row.distance_chars), str(row.cases)
            cells.setdefault((name, *group), {})[row.part] = kit.percent(row.follows)
    parts = list(dict.fromkeys(part for by_part in cells.values() for part in by_part))
    rows = [
        [*key, *(by_part.get(part, kit.NO_NUMBER) for part in parts), ""]
        for key, by_part in cells.items()
    ]
    return kit.Table(["run", "answers, cue back", "k", "cases", *parts, ""], rows, PATCHES)
