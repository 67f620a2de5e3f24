"""Which memory units follow something readable, as text for a terminal."""

from __future__ import annotations

import textwrap

from chargen.probes.units.result import Followed, UnitsResult, score_text
from chargen.render.report import WIDTH, aligned

PARTS = {
    "c": "cell state c",
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "g": "candidate g",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
}


def memory_table(result: UnitsResult) -> str:
    """What was found, then the best unit for each feature beside its baselines."""
    lines = textwrap.wrap(result.finding(), WIDTH)
    if result.followed:
        header = ["feature", "layer", "unit", "part", "", "score", "95 %", "untrained", "by luck"]
        rows = [_row(one, result.part) for one in result.followed]
        lines += ["", *aligned([[*header, ""], *rows])]
    lines += [f"left out: {reason}" for reason in result.left_out]
    return "\n".join([*lines, "", *textwrap.wrap(legend(result), WIDTH)]) + "\n"


def legend(result: UnitsResult) -> str:
    """What the figures mean."""
    shifts = len(result.followed[0].shifted) if result.followed else 0
    said = (
        "AUC: how often the unit is higher at a character where the feature holds than at one "
        "where it does not, or lower if it falls with it; 0.5 is chance. rho: rank correlation "
        "with a distance; 0 is chance. untrained: the best unit of the network before training, "
        "chosen in the same way. by luck: the best unit against the feature shifted along the "
        f"text, the highest of {shifts} shifts. A unit that follows one thing also follows "
        "whatever goes along with it. "
    )
    chars = f"{result.chars:,}"
    return (said if result.followed else "") + (
        f"Units are chosen on {chars} held-out characters and scored on the next {chars}."
    )


def part_name(letter: str, cell: str) -> str:
    """What a part of a layer is called; h is an LSTM's output and any other cell's state."""
    return PARTS.get(letter) or ("output h" if cell == "lstm" else "state h")


def _row(one: Followed, part: str) -> list[str]:
    best = one.units[0]
    return [
        one.feature,
        str(best.layer),
        str(best.unit),
        part,
        best.way,
        score_text(one.graded, best.score.value),
        f"[{best.score.low:.2f}, {best.score.high:.2f}]",
        f"{one.untrained:.2f}",
        f"{one.luck:.2f}",
        "stands out" if one.stands_out else "",
    ]
