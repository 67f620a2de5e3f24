"""Two models on the same frames: McNemar and Holm, against figures worked out by hand."""

from dataclasses import replace
from fractions import Fraction

import pytest
from test_reports import row

from chargen.errors import ChargenError
from chargen.probes.templates.comparison import compare, holm, mcnemar
from chargen.probes.templates.result import TemplatesResult


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1),
        (1, 0, 1),
        (0, 5, Fraction(2, 32)),  # two tails of one outcome in 2^5
        (5, 0, Fraction(2, 32)),
        (1, 5, Fraction(2 * (1 + 6), 64)),
        (2, 8, Fraction(2 * (1 + 10 + 45), 1024)),
        (3, 3, 1),
        (4, 3, 1),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, p):
    assert mcnemar(only_first, only_second) == float(p)


def test_mcnemar_of_very_many_frames():
    assert mcnemar(2000, 2000) == 1
    assert mcnemar(1900, 2100) == pytest.approx(0.00166, abs=2e-5)  # normal, with correction
    assert 0 <= mcnemar(0, 4000) < 1e-300
    with pytest.raises(ValueError, match="0 or more"):
        mcnemar(-1, 3)


def test_holm_by_hand():
    # ascending .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 and .04, which may not be less
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def asked(credits, span=4, frames="same"):
    return replace(row(span, 0.5), credits=tuple(credits), frames_sha256=frames)


def result(*rows):
    return TemplatesResult("english.bank", 0, 64, rows, "")


def test_results_are_compared_frame_by_frame():
    first = result(asked([1, 1, 1, 1, 1, 1, 0, 0.5]), asked([1.0] * 8, 8), asked([1.0] * 8, 32))
    second = result(asked([1, 0, 0, 0, 0, 0.5, 1, 1]), asked([0.0] * 8, 8), asked([1.0] * 8, 16))
    near, far = compare(first, second)
    assert (near.span, near.frames, near.only_first, near.only_second) == (4, 8, 5, 2)
    assert near.difference == 3 / 8
    assert near.p == 2 * (1 + 7 + 21) / 128
    assert near.p_holm == near.p  # the larger of the two
    assert (far.p, far.p_holm) == (2 / 256, 4 / 256)
    assert far.to_json() == {
        "span_chars": 8,
        "frames": 8,
        "only_first": 8,
        "only_second": 0,
        "difference": 1.0,
        "p": 2 / 256,
        "p_holm": 4 / 256,
    }


def test_one_model_with_itself_differs_nowhere():
    same = result(asked([1, 0, 1]), asked([0, 0, 1], 8))
    assert [(one.p, one.p_holm, one.difference) for one in compare(same, same)] == [(1, 1, 0)] * 2


@pytest.mark.parametrize("frames", ["other", ""])
def test_other_frames_are_not_compared(frames):
    with pytest.raises(ChargenError, match="span 4: the two were asked different frames"):
        compare(result(asked([1, 0])), result(asked([1, 0], frames=frames)))
    with pytest.raises(ChargenError, match="different frames"):
        compare(result(asked([1], frames="")), result(asked([1], frames="")))
    with pytest.raises(ChargenError, match="no span in common"):
        compare(result(asked([1], 4)), result(asked([1], 8)))
