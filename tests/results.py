"""Sample results of every instrument in runs that differ, for the tests of reports."""

from dataclasses import replace

import numpy as np
from fakes import UniformPredictor
from msgspec import structs

from chargen.probes.context.result import BitsComparison, ContextResult, ContextRow
from chargen.probes.gradient import result as flow
from chargen.probes.mined.mining import CLOSERS, WORDS
from chargen.probes.mined.result import MinedResult, MinedRow
from chargen.probes.readout.result import LagRow, PatchRow, ReadoutResult
from chargen.probes.result import TRAINED, UNTRAINED, ProbeResult, RunResult
from chargen.probes.statistics.intervals import Estimate, wilson
from chargen.probes.statistics.span50 import Span50
from chargen.probes.templates import result as cloze
from chargen.probes.templates.measure import demonstrate
from chargen.text.vocabulary import Vocabulary

SPAN = 80
ACCURACIES = {4: 1.0, 16: 1.0, 32: 0.98, 64: 0.95, 128: 0.94, 256: 0.7, 512: 0.3, 1024: 0.14}


def blocks_of(kind, section):
    return [block for block in section.blocks if isinstance(block, kind)]


def near(value, half=0.01):
    return Estimate(value, value - half, value + half)


def tally(share, frames=400, kind=cloze.Tally, *more):
    accuracy = Estimate(share, *wilson(share * frames, frames))
    return kind(accuracy, frames, accuracy, *more)


FACTS = cloze.FactScores(("Persia", "Sweden"), ("Persian", "Swedish"), ((200, 0), (20, 180)))


def span_row(span, share, **changed):
    apart = tally(share * 0.9, 100, cloze.DistractorTally, 0.5)
    row = cloze.SpanResult(
        *structs.astuple(tally(share)),
        span=span,
        label=cloze.span_label(span),
        beyond_timesteps=span > 64,
        chance=1 / 8,
        plain=tally(share, 200),
        distractor=tally(
            share * 0.9, 200, cloze.WithDistractor, 0.5, apart, None if span < 9 else apart
        ),
        fact_sets={"spelled alike": tally(share, 200)},
        controls={"cue deleted": tally(0.125, 200), "untrained": tally(0.13)},
        bank_accuracy=near(share),
        distinct=390,
        facts={"spelled alike": FACTS},
        d=near(10 * share, 1),
    )
    return structs.replace(row, **changed)


def templates_result(*rows, timesteps=64, refusal=""):
    return cloze.TemplatesResult("english.bank", 0, timesteps, rows, refusal)


def with_span50(*numbers, fits=True):
    half = Span50(*numbers, 4, 1024, 1 / 8, 0.02, 0.01, fits)
    return structs.replace(TEMPLATES, span50=half)


def context_result(scale=1.0, effective=(64, 8, 128)):
    rows = tuple(
        ContextRow(n, n, n > 64, near(scale * bits), near(scale * bits / 2) if n else None)
        for n, bits in {0: 9, 1: 3, 8: 1, 64: 0, 128: 0}.items()
    )
    return ContextResult(3, 64, 4096, 2048, 2.25, rows, *effective)


def mined_row(kind, distance, gain):
    found = [near(x, 0.25) for x in (8 + gain, gain, gain / 2)] if gain else [None] * 3
    cases = 200 if gain else 7
    return MinedRow(kind, distance, 2 * distance - 1, distance > 64, cases, *found)


def gradient_result(*rates):
    def layer(number, rate):
        logs = -rate * np.arange(SPAN + 1.0)
        spread = (logs - 0.5, logs, logs + 0.25, logs - 0.1, logs + 0.1)
        curves = {part: flow.Curve(*spread) for part in ("h", "c", "both")}
        target = flow.TargetGradient("returning words", 16, 31, 64, -16, curves)
        gate = flow.GateUse("forget gate", 0.4)
        return flow.LayerGradient(number, 7, 256, 0.1, curves, 0.3, 2, 0.0, gate, (target,))

    layers = tuple(layer(place, rate) for place, rate in enumerate(rates, 1))
    return flow.GradientResult("lstm", SPAN, 3, 64, layers)


def readout_result(held):
    lags = (0, 1, 3, 7, 8, 16, 31, 64)
    rows = (
        LagRow(k, *(near(x) for x in ((0.9, 0.2, 0.7) if k < held else (0.2, 0.2, 0.0))), None)
        for k in lags
    )
    patch = PatchRow("cloze sentences", 16, 4, "whole", near(0.75), 64)
    return ReadoutResult(3, 64, 14, 1024, tuple(rows), (patch,))


TEMPLATES = templates_result(*(span_row(*one) for one in ACCURACIES.items()))
REFUSED = templates_result(refusal="not learned: train on the longrange corpus")
MINED = MinedResult(
    seed=3,
    trained_timesteps=64,
    chars=131_072,
    full=2048,
    ngram="20-gram",
    rows=(*(mined_row(WORDS, d, g) for d, g in ((32, 0), (64, 1.5), (128, 0.75))),
          mined_row(CLOSERS, 32, 0)),
)  # fmt: skip
RUN = RunResult(
    "runs/long",
    templates=with_span50(700.0, 620.0, 810.0),
    context={TRAINED: context_result(), UNTRAINED: context_result(0.001, (0, 0, 0))},
    mined=MINED,
    gradient={TRAINED: gradient_result(0.02, 0.03), UNTRAINED: gradient_result(0.1, 0.2)},
    readout=readout_result(20),
    warnings=("without the n-gram controls: long.txt: no such file",),
)
DEMONSTRATION = demonstrate(UniformPredictor(Vocabulary.of("the clouds are in the sky, mud")))
UNKNOWN = RunResult("runs/" + 80 * "c", templates=REFUSED, demonstration=DEMONSTRATION)
LESS = replace(
    RUN,
    run="runs/less",
    templates=templates_result(
        *(span_row(span, share * 0.7 + 0.3) for span, share in ACCURACIES.items()), timesteps=16
    ),
    context={TRAINED: context_result(0.5, (None, 8, None)), UNTRAINED: context_result(0.001)},
    warnings=(),
)
PAIR = cloze.PairComparison(
    "runs/long", "runs/less", (cloze.SpanComparison(4, 400, 3, 40, -37 / 400, 1e-9, 0.0004),)
)
BITS = BitsComparison("runs/long", "runs/less", 4096, Estimate(0.125, 0.0625, 0.25))
ONE = ProbeResult((RUN,), warnings=RUN.warnings)
RUNS = ProbeResult((RUN, LESS), (PAIR,), (BITS,), ("runs/long: the n-grams are missing",))
UNKNOWNS = ProbeResult((UNKNOWN, replace(UNKNOWN, run="runs/less")))
