"""Results of all instruments, in one run or several, and their report."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec import structs, to_builtins

from chargen.errors import ChargenError
from chargen.files import decode_json, read_bytes, reason, write_file
from chargen.probes.context import report as context_report
from chargen.probes.context.result import BitsComparison, ContextResult
from chargen.probes.gradient import report as gradient_report
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined import report as mined_report
from chargen.probes.mined.result import MinedResult
from chargen.probes.readout import report as readout_report
from chargen.probes.readout.result import ReadoutResult
from chargen.probes.templates import report as templates_report
from chargen.probes.templates import result as cloze
from chargen.render import report as kit
from chargen.render.figures import PICTURE, Drawing
from chargen.render.text import counted, listed, visible_line

TRAINED, UNTRAINED = "trained", "untrained"
REPORTS: dict[str, Any] = {
    "templates": templates_report,
    "context": context_report,
    "mined": mined_report,
    "gradient": gradient_report,
    "readout": readout_report,
}
NEAREST = 4  # characters, the first distance in the summary
LARGEST = 2**24  # bytes of a JSON file
CURVE, CURVE_TITLE = "longrange", "How far back it remembers"
MISSING = (
    "Not measured yet. Run chargen probe-longrange RUN --json RUN/longrange.json and export the "
    "run again: the curve then appears here."
)


@dataclass(frozen=True)
class RunResult:
    """Results in one run; None or empty for an instrument that was left out."""

    run: str
    templates: cloze.TemplatesResult | None = None
    demonstration: tuple[cloze.Demonstration, ...] = ()  # if the templates claim nothing
    context: Mapping[str, ContextResult] = field(default_factory=dict)  # trained and untrained
    mined: MinedResult | None = None
    gradient: Mapping[str, GradientResult] = field(default_factory=dict)  # likewise
    readout: ReadoutResult | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same run and seed."""
        return {name: _to_json(value) for name, value in vars(self).items()}

    def of_network(self, name: str) -> Any:
        """Return the result of an instrument in the trained network, or None."""
        found = getattr(self, name)
        return (found.get(TRAINED) if isinstance(found, Mapping) else found) or None

    def _repr_html_(self) -> str:
        return ProbeResult((self,))._repr_html_()


@dataclass(frozen=True)
class ProbeResult:
    """Results in one run or several that were given the same cases."""

    runs: tuple[RunResult, ...]
    templates: tuple[cloze.PairComparison, ...] = ()  # between the runs that know the bank
    context: tuple[BitsComparison, ...] = ()  # between all runs, at the same characters
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: of one run its own, else with a list ``runs``."""
        if len(self.runs) == 1:
            return self.runs[0].to_json()
        rows = [row for pair in self.templates for row in pair.to_json()]
        return {
            "runs": [run.to_json() for run in self.runs],
            "comparisons": [*rows, *(pair.to_json() for pair in self.context)],
            "finding": self.finding,
            "warnings": list(self.warnings),
        }

    @property
    def finding(self) -> str:
        """How far back a run remembers, or which of several has the longest memory."""
        if len(self.runs) == 1:
            # The first instrument that claims something, or else the reason why none does.
            found = [one for name in REPORTS if (one := self.runs[0].of_network(name))]
            claims = [one for one in found if not getattr(one, "refusal", "")] or found
            return str(claims[0].finding()) if claims else "nothing was measured"
        contexts = {run.run: run.context[TRAINED] for run in self.runs if run.context}
        results = {run.run: run.templates for run in self.runs if run.templates}
        if results and (self._learned or not contexts):
            return cloze.finding_of(results, self.templates)
        if contexts:
            return "; ".join(f"{name} {found.finding()}" for name, found in contexts.items())
        return "no instrument compared the runs"

    @property
    def _learned(self) -> bool:
        return any(run.templates and not run.templates.refusal for run in self.runs)

    @property
    def _short_finding(self) -> str:
        """The finding of the first instrument that claims something, with short names of runs."""
        sections = self.sections() if len(self.runs) > 1 else []
        unlearned = not self._learned and len(sections) > 1 and sections[0].name == "templates"
        return sections[unlearned].finding if sections else self.finding

    @property
    def measured(self) -> bool:
        """True if any instrument measured anything, also that a model knows no phrase bank."""
        return any(
            run.templates
            or run.gradient
            or run.readout
            or any(not one.refusal for one in run.context.values())
            or (run.mined and any(row.gain for row in run.mined.rows))
            for run in self.runs
        )

    @property
    def names(self) -> list[str]:
        """A name for each run: that of its directory, or its path where two share a name."""
        names = [visible_line(Path(run.run).name) for run in self.runs]
        if len(set(names)) < len(names) or not all(names):
            return [visible_line(run.run) for run in self.runs]
        return names

    @property
    def title(self) -> str:
        """The title of summary and figures: the main finding, or the question."""
        run, *others = self.runs
        if others:
            return "Which has the longest memory?"
        if run.templates and run.templates.reliable_chars:
            return run.templates.headline
        effective = run.context[TRAINED].effective if run.context else None
        if effective and not run.templates:
            return f"Uses the last {counted(effective, 'character')} of its context"
        return "How far back does it remember?"

    @property
    def answer(self) -> str:
        """The title of the page: `title`, or the main finding in short where that is a question."""
        if not self.title.endswith("?"):
            return self.title
        text = re.sub(r" \(accuracy.*|; trained.*|: ahead [^;]*", "", self._short_finding)
        return text if text.startswith((*self.names,)) else text[:1].upper() + text[1:]

    @property
    def about(self) -> str:
        names = [run.run for run in self.runs]
        return f"Run {names[0]}" if len(names) == 1 else f"{len(names)} runs: {listed(names)}"

    def sections(self) -> list[kit.Section]:
        """Return the section of each instrument that was used."""
        names = dict(zip((run.run for run in self.runs), self.names, strict=True))
        pairs, bits = (
            [structs.replace(x, first=names[x.first], second=names[x.second]) for x in compared]
            for compared in (self.templates, self.context)
        )
        shown = {names[run.run]: run.demonstration for run in self.runs if run.demonstration}
        more: dict[str, tuple[Any, ...]] = {"templates": (pairs, shown), "context": (bits,)}
        sections = []
        for instrument, report in REPORTS.items():
            found = {names[run.run]: getattr(run, instrument) for run in self.runs}
            found = {
                name: (one[TRAINED], one.get(UNTRAINED)) if isinstance(one, Mapping) else one
                for name, one in found.items()
                if one
            }
            if found:
                sections.append(report.section(found, *more.get(instrument, ())))
        return sections

    def summary(self) -> kit.Section:
        """Return the answer in a few lines: finding, one table, the reason, and what to do next."""
        several = len(self.runs) > 1
        columns: dict[str, Mapping[int, str]] = {}
        for name, run in zip(self.names, self.runs, strict=True):
            own: dict[str, Mapping[int, str]] = {}  # cells by distance, by heading
            for instrument in ("templates", "context", "mined"):
                if found := run.of_network(instrument):
                    own |= REPORTS[instrument].columns(found)
            for head, cells in list(own.items())[: 1 if several else None]:
                columns[f"{name}: {head}" if several else head] = cells
        distances = sorted({at for cells in columns.values() for at in cells if at >= NEAREST})
        rows = [
            [str(at), *(cells.get(at, kit.NO_NUMBER) for cells in columns.values()), ""]
            for at in distances
        ]
        blocks: list[kit.Block] = []
        if rows:
            notes = ["Intervals are 95%."]
            known = [run.templates for run in self.runs if run.templates]
            chances = [row.chance for one in known if not one.refusal for row in one.rows]
            notes += [f"Chance of the sentences is {chance:.1%}." for chance in chances[:1]]
            if any(run.context for run in self.runs):
                notes.append("Excess: bits lost when all text before is replaced.")
            blocks.append(kit.Table(["characters", *columns, ""], rows, " ".join(notes)))
        for name, run in zip(self.names, self.runs, strict=True):
            shown = [one.line() for one in run.demonstration if one.candidates]
            blocks += [kit.Text(f"{name}: {one}" if several else one, "note") for one in shown]
        if not several and (gradient := self.runs[0].of_network("gradient")):
            blocks.append(kit.Text(f"Why: {gradient.finding()}.", "note"))
        blocks.append(kit.Text(f"Next: {'; '.join(self._advice())}.", "note"))
        return kit.Section("summary", self.title, self._short_finding, "", blocks)

    def _advice(self) -> Iterator[str]:
        if any(run.templates and run.templates.refusal for run in self.runs):
            yield "train on longrange, or longer, to measure facts (chargen train longrange)"
        if any(run.mined and not any(row.gain for row in run.mined.rows) for run in self.runs):
            yield "--text FILE with more text, for natural dependencies"
        yield "--verbose prints every table, --report FILE.html has the figures too"

    def figures(self) -> Iterator[tuple[kit.Section, kit.Figure]]:
        for section in self.sections():
            for block in section.blocks:
                if isinstance(block, kit.Figure):
                    yield section, block

    def figure(self) -> Drawing:
        """Return the main figure, a matplotlib figure; `ChargenError` without one."""
        for _, figure in self.figures():
            return figure.draw(PICTURE, self.title)
        raise ChargenError("nothing was measured that can be drawn")

    def report(self, path: str | Path) -> None:
        """Write the report as one HTML page; `ChargenError` if the file cannot be written."""
        write_file(Path(path), self.page().encode())

    def _repr_html_(self) -> str:
        return kit.fragment(*self.sections())

    def page(self) -> str:
        """Return the report as one HTML page, the same for the same result."""
        return kit.to_html(self.answer, self.about, self.sections(), self.warnings)


def curve_section(result: RunResult | None) -> kit.Section:
    """Return the curve of the templates, or else of the context, as a section for a page."""
    if result is not None:
        measured = RunResult(result.run, result.templates, context=result.context)
        for section, figure in ProbeResult((measured,)).figures():
            blocks: list[kit.Block] = [replace(figure, name=CURVE), kit.Text(section.meaning)]
            return replace(section, name=CURVE, title=CURVE_TITLE, blocks=blocks)
    return kit.Section(CURVE, CURVE_TITLE, MISSING, "", [])


def read_result(file: Path, run: Path) -> RunResult:
    """Read what ``probe-longrange --json`` wrote about a run: its templates and context.

    `ChargenError` if there is no such file, it is damaged, or lacks the name of the run.
    """
    try:
        values = decode_json(read_bytes(file, LARGEST, follow=True), dict[str, Any])
        results = values.get("runs", [values])
        names = ", ".join(one["run"] for one in results)
        found = [_decode(one) for one in results if Path(one["run"]).name == run.resolve().name]
    except FileNotFoundError:
        problem = "no such file; write it with chargen probe-longrange --json"
        raise ChargenError(f"{file}: {problem}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChargenError(
            f"{file}: damaged, or not written by probe-longrange --json "
            f"({type(error).__name__}: {reason(error)}); write it again"
        ) from None
    if not found:
        raise ChargenError(f"{file}: is about {reason(names)}, not about {run}; probe that run")
    return found[0]


def _decode(values: Mapping[str, Any]) -> RunResult:
    found = values["templates"]
    return RunResult(
        values["run"],
        None if found is None else cloze.TemplatesResult.from_json(found),
        context={name: ContextResult.from_json(one) for name, one in values["context"].items()},
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_json(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_to_json(one) for one in value]
    return value.to_json() if hasattr(value, "to_json") else to_builtins(value)
