"""All instruments put to several runs, which are then compared."""

from __future__ import annotations

from collections.abc import Sequence

from chargen.datasets.phrase_bank import Bank
from chargen.errors import ChargenError
from chargen.probes.context.result import compare_bits
from chargen.probes.runner.one import HeldOut, Subject, Watch, one_bank, probe
from chargen.probes.runner.results import TRAINED, Probed, ProbedRuns
from chargen.probes.templates.comparison import compare_all
from chargen.settings import INSTRUMENTS


def probe_runs(
    subjects: Sequence[Subject],
    banks: Sequence[Bank],
    held_out: Sequence[HeldOut],
    one_text: bool,
    only: Sequence[str] = INSTRUMENTS,
    spans: Sequence[int] | None = None,
    seed: int = 0,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbedRuns:
    """Put the same to several ``subjects``, as `probe` does to one, and compare them.

    All are asked the same sentences, from the bank that most of them know. ``held_out``, one a
    subject, give the same text in each one's vocabulary where ``one_text`` says so. Where not,
    context and mined, which would compare texts and not models, are left out with a warning, and
    the gradient is measured on each one's own.
    """
    warnings: list[str] = []
    if not one_text:
        only = _own_texts(only, warnings)
    if "templates" in only:
        banks = [one_bank(subjects, banks, spans, seed, warnings)]

    def ask(subject: Subject, text: HeldOut) -> Probed:
        def watch_run(instrument: str, done: int, total: int) -> None:
            watch(f"{subject.name}: {instrument}", done, total)

        return probe(subject, banks, text, only, spans, seed, watch_run)

    runs = tuple(map(ask, subjects, held_out))
    known = {run.run: run.templates for run in runs if run.templates and not run.templates.refusal}
    warnings += [f"{run.run}: {warning}" for run in runs for warning in run.warnings]
    read = {run.run: run.context[TRAINED] for run in runs if run.context}
    bits = compare_bits(read) if len(read) == len(runs) else ()
    return ProbedRuns(runs, compare_all(known), bits, tuple(warnings))


def _own_texts(only: Sequence[str], warnings: list[str]) -> Sequence[str]:
    """The instruments that need no text in common, and a warning for the others."""
    reason = "the runs were trained on different texts; name one for all with --text FILE"
    left_out = [name for name in only if name in ("context", "mined")]
    left = [name for name in only if name not in left_out]
    if not left:
        raise ChargenError(f"without {' and '.join(left_out)} nothing is left: {reason}")
    if left_out:
        warnings.append(f"without {' and '.join(left_out)}: {reason}")
    if "gradient" in left:
        warnings.append("gradient: each run on a text of its own, so that texts differ too")
    return left
