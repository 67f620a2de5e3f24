"""What instrument (a), `chargen.probes.templates.measure`, found in one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chargen.datasets.longrange import LONGEST_SPAN, is_held_out
from chargen.probes.plain import count, maybe_count, number
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.statistics.span50 import Span50
from chargen.probes.templates.outcomes import PLACES, Decoyed, Tally
from chargen.render.text import counted
from chargen.settings import LONGEST_ASKED

KNOWLEDGE_GATE = 0.9  # the accuracy at the shortest span under which nothing is claimed

Label = Literal["trained", "held out", "longer than trained"]


@dataclass(frozen=True)
class SpanResult:
    """What was found at one span."""

    span: int  # characters from the end of the cue to the start of the target
    label: Label  # whether a corpus made from the bank has such spans
    beyond_timesteps: bool | None  # longer than gradients travelled; None where that is not known
    chance: float
    all: Tally
    plain: Tally  # the half of the frames without a decoy
    decoy: Tally  # the half with one
    to_decoy: (
        float | None
    )  # the share of errors in `decoy` that chose the decoy; None without errors
    fact_sets: Mapping[str, Tally]  # by the set's name
    controls: Mapping[str, Tally]  # by the control's name
    decoys: Mapping[str, Decoyed] = field(default_factory=dict)  # `decoy` by where it stood
    d: Estimate | None = None  # bits that the cue moves the choice, see `contrast`
    credits: tuple[float, ...] = ()  # what each frame won, 0 .. 1, in the order of the cases
    frames_sha256: str = ""  # of what the frames say: two results with one hash can be compared

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; shares are of 1, spans in characters."""
        return {
            "span_chars": self.span,
            "label": self.label,
            "beyond_timesteps": self.beyond_timesteps,
            "chance": self.chance,
            "frames_sha256": self.frames_sha256,
            **self.all.to_json(),
            **(self.d.to_json("d_bits") if self.d else {}),
            "without_decoy": self.plain.to_json(),
            "with_decoy": Decoyed(self.decoy, self.to_decoy).to_json()
            | {place: self._decoy_json(place) for place in PLACES},
            "fact_sets": {name: tally.to_json() for name, tally in self.fact_sets.items()},
            "controls": {name: tally.to_json() for name, tally in self.controls.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpanResult:
        """What `to_json` wrote, all but ``credits``."""
        apart = Decoyed.from_json(values["with_decoy"])
        places = {place: values["with_decoy"][place] for place in PLACES}
        return cls(
            span=count(values["span_chars"]),
            label=values["label"],
            beyond_timesteps=values["beyond_timesteps"],
            chance=number(values["chance"]),
            all=Tally.from_json(values),
            plain=Tally.from_json(values["without_decoy"]),
            decoy=apart.tally,
            to_decoy=apart.to_decoy,
            fact_sets=_tallies(values["fact_sets"]),
            controls=_tallies(values["controls"]),
            decoys={name: Decoyed.from_json(one) for name, one in places.items() if one},
            d=Estimate.from_json(values, "d_bits") if "d_bits" in values else None,
            frames_sha256=values["frames_sha256"],
        )

    def _decoy_json(self, place: str) -> dict[str, Any] | None:
        """None where no frame has a decoy there: a short span has no room for one after its cue."""
        return self.decoys[place].to_json() if place in self.decoys else None


@dataclass(frozen=True)
class TemplatesResult:
    """What the instrument found. Where ``refusal`` is not empty, nothing is claimed."""

    bank: str
    seed: int
    trained_timesteps: int | None  # how far back gradients travelled, characters
    rows: tuple[SpanResult, ...]  # by span; only the shortest where the knowledge gate failed
    refusal: str
    span50: Span50 | None = None  # None without `refusal` too, where too few spans were asked

    @property
    def sure_chars(self) -> int | None:
        """The longest span up to which answers are right as often as `KNOWLEDGE_GATE` says."""
        return _last_span(self.rows, lambda row: row.all.choice.share >= KNOWLEDGE_GATE)

    @property
    def above_chance_chars(self) -> int | None:
        """The longest span up to which answers are surely better than chance."""
        return _last_span(self.rows, lambda row: row.all.choice.interval[0] > row.chance)

    @property
    def limits(self) -> tuple[tuple[int, str], ...]:
        """The spans, ascending, beyond which training did not go, and what each is called."""
        limits = [(LONGEST_SPAN, f"longest trained span {LONGEST_SPAN}")]
        if self.trained_timesteps:
            limits.append((self.trained_timesteps, f"--timesteps {self.trained_timesteps}"))
        return tuple(sorted(limits))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, the same for the same predictor and seed."""
        return {
            "instrument": "templates",
            "bank": self.bank,
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "longest_trained_span_chars": LONGEST_SPAN,
            "refusal": self.refusal or None,
            "finding": self.finding(),
            **(self.span50.to_json() if self.span50 else {"span50": None, "span50_chars": None}),
            "spans": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TemplatesResult:
        """What `to_json` wrote; `KeyError`, `TypeError` or `ValueError` for anything else.

        Of span50 the numbers as they were told, of the frames only how many were right.
        """
        rows = tuple(map(SpanResult.from_json, values["spans"]))
        spans = [row.span for row in rows]
        if not rows and not values["refusal"]:
            raise ValueError("neither spans nor why there are none")
        if spans != sorted(set(spans)) or not all(span >= 1 for span in spans):
            raise ValueError(f"spans {spans} are not ascending")
        if not all(0 < row.chance < 1 for row in rows):
            raise ValueError("chance is a share between 0 and 1")
        if len({frozenset(row.controls) for row in rows}) > 1:
            raise ValueError("not every span has the same controls")
        half = None
        if rows and values["span50"] is not None:
            half = Span50.from_json(values, spans[0], spans[-1], rows[0].chance)
        return cls(
            str(values["bank"]),
            count(values["seed"]),
            maybe_count(values["trained_timesteps"]),
            rows,
            str(values["refusal"] or ""),
            half,
        )

    def finding(self) -> str:
        """One sentence: how far back the answer is known, or why nothing is claimed."""
        if self.refusal:
            return self.refusal
        trained = (
            f"; trained on {self.trained_timesteps} timesteps" if self.trained_timesteps else ""
        )
        half = f", span50 {self.span50.text()}" if self.span50 else ""
        return f"{_finding(self.rows, self.sure_chars, self.above_chance_chars)}{half}{trained}"


def _tallies(values: Mapping[str, Any]) -> dict[str, Tally]:
    return {name: Tally.from_json(one) for name, one in values.items()}


def label(span: int) -> Label:
    """How a span stands to those of a corpus made from a bank."""
    if span > LONGEST_SPAN:
        return "longer than trained"
    return "held out" if is_held_out(span) else "trained"


def _last_span(rows: Sequence[SpanResult], holds: Callable[[SpanResult], bool]) -> int | None:
    """The longest span up to which ``holds`` is true at every one, None if not at the first."""
    last = None
    for row in rows:
        if not holds(row):
            break
        last = row.span
    return last


def _finding(rows: Sequence[SpanResult], sure: int | None, some: int | None) -> str:
    longest = rows[-1].span
    if some is None:
        return f"no better than chance at {counted(rows[0].span, 'character')}"
    if sure == longest:
        reach = counted(longest, "character")
        # With the shortest, at which it is seen whether the facts were learned.
        spans = [rows[0].span, *(n * longest for n in (2, 4) if n * longest <= LONGEST_ASKED)]
        more = f" (--spans {','.join(map(str, spans))} asks farther)" if len(spans) > 1 else ""
        return f"remembers {reach} and perhaps more, the longest span that was asked{more}"
    if sure is None:
        return f"better than chance up to {counted(some, 'character')}"
    part = f"remembers {counted(sure, 'character')} ({KNOWLEDGE_GATE:.0%} right or more)"
    return part if some == sure else f"{part}, better than chance up to {some}"
