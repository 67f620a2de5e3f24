"""What tables mark and tell apart, wherever the marks lie."""

from dataclasses import replace

import pytest
from readers import LastCue, Remembers, measure
from test_reports import RESULT

from chargen.probes.templates.table import templates_table
from chargen.render.tables import ruled, timesteps_limit
from chargen.render.text import counted, listed

TABLE = ["head", "4", "8", "16"]


def rules(limits):
    lines = list(ruled(TABLE, [4, 8, 16], limits))
    return {lines[i - 1]: line for i, line in enumerate(lines) if line.startswith("──")}


@pytest.mark.parametrize(
    ("timesteps", "after", "said"),
    [
        (2, "head", "beyond it below"),
        (4, "4", "beyond it below"),
        (9, "8", "beyond it below"),
        (16, "16", "nothing here lies beyond it"),
        (64, "16", "nothing here lies beyond it"),
    ],
)
def test_the_trained_length_is_marked_wherever_it_lies(timesteps, after, said):
    (place,) = found = rules(timesteps_limit(timesteps))
    assert place == after
    assert f"--timesteps {timesteps}, {said}" in found[place]


def test_no_rule_where_the_length_is_not_known_and_several_in_order():
    assert rules(timesteps_limit(None)) == {}
    lines = list(ruled(TABLE, [4, 8, 16], [(4, "a"), (5, "b"), (99, "c")]))
    assert [line[:4] for line in lines] == ["head", "4", "── a", "── b", "8", "16", "── c"]


def test_the_templates_table_has_both_limits_though_no_span_reaches_them():
    text = templates_table(replace(RESULT, rows=RESULT.rows[:2]))
    assert "--timesteps 64, nothing here lies beyond it" in text
    assert "longest trained span 256, nothing here lies beyond it" in text


def test_the_cue_and_the_decoys_have_a_table_of_their_own():
    result = measure(LastCue(), spans=(4, 64))
    lines = templates_table(result).splitlines()
    cells = [line.split() for line in lines]
    head = "span D, bits 95 % decoy before decoy after errors to it before after"
    assert head.split() in cells
    d = f"{result.rows[1].d.value:.2f}"
    assert ["64", d, f"{d}–{d}", "100", "0", "100", "–", "100"] in cells
    assert ["4", d, f"{d}–{d}", "100", "–", "–", "–", "–"] in cells
    assert any(line.startswith("D: bits by which the cue alone") for line in lines)
    assert all(len(line) <= 100 for line in lines)


def test_one_of_a_thing_is_said_in_the_singular():
    assert (counted(1, "character"), counted(2, "character")) == ("1 character", "2 characters")
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    told = measure(Remembers(0), spans=(4,)).finding()
    assert told == "no better than chance at 4 characters"
