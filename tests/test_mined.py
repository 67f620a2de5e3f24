"""Test natural dependencies with predictors of known memory, without training."""

import functools
import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import LETTERS, Recaller, UniformPredictor, word
from results import blocks_of

from chargen.predictors import BackoffNgram
from chargen.predictors.protocol import BurnedIn
from chargen.probes.mined import measure as mined
from chargen.probes.mined.mining import CASES, CLOSERS, WORDS, Case, Plan, returning_words
from chargen.probes.mined.report import section
from chargen.render.figures import PICTURE
from chargen.render.report import Figure, Table, to_text
from chargen.text.brackets import parse_brackets
from chargen.text.vocabulary import code_points

GAPS = (2, 4, 9, 18, 36)  # words from a use to the next: distances 8, 22, 57, 120, 246


def planted(words=2400, seed=0):
    """Return words of six random letters, some repeated once after one of `GAPS` words."""
    rng = np.random.default_rng(seed)
    chosen = [word(rng) for _ in range(words)]
    fresh = set(range(words))
    for place in range(max(GAPS), words):
        earlier = place - rng.choice(GAPS)
        if rng.random() < 0.6 and earlier in fresh:
            chosen[place] = chosen[earlier]
            fresh -= {place, earlier}
    return LETTERS.encode(" ".join(chosen))


def bracketed(pairs=700, seed=0):
    """Return brackets around 5 to 60 letters, 20 letters apart."""
    rng = np.random.default_rng(seed)
    parts = [f"({word(rng, rng.integers(5, 60))}){word(rng, 20)}" for _ in range(pairs)]
    return LETTERS.encode("".join(parts))


class Bracketeer:
    """Predicts a closing bracket if one was opened within the last ``chars`` characters."""

    vocabulary = LETTERS

    def __init__(self, chars):
        self.chars = chars

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(LETTERS)
        opening, closing = LETTERS.encode("()")
        since = np.full(N, 10_000) if state is None else state.copy()
        share = np.full((N, T, V), 1 / V)
        for t in range(T):
            since = np.where(ids[:, t] == closing, 10_000, since + 1)
            since[ids[:, t] == opening] = 1
            inside = since <= self.chars
            share[inside, t] = 0.9 / (V - 1)
            share[inside, t, closing] = 0.1
        return np.log(share), since


PLANTED, BRACKETED = planted(), bracketed()
TWICE = np.concatenate([PLANTED[:9000], PLANTED[:9000]])  # replacements can hold the word


def measure(predictor, ids=PLANTED, **options):
    return mined.measure(predictor, ids, **{"longest": 256} | options)


@functools.cache
def of_recaller(chars, seed=0):
    ngram, untrained = BackoffNgram(LETTERS, PLANTED[:4000], 20), UniformPredictor(LETTERS)
    controls = {"ngram": ngram, "untrained": untrained}
    return measure(Recaller(chars), **controls, trained_timesteps=64, seed=seed)


def gains(result, kind=WORDS):
    return {row.distance: row.gain.value for row in result.of_kind(kind) if row.gain}


def test_planted_chosenshow_a_gain_within_memory_and_none_beyond():
    result = of_recaller(400)
    assert list(gains(result)) == [8, 16, 32, 64, 128]
    uniform = 6 * np.log2(len(LETTERS))
    for row in (row for row in result.rows if row.gain):
        assert row.gain.low > 5  # three letters of six are predicted, each worth 3.9 bits
        assert row.over_ngram.low > 4
        assert abs(row.over_ngram.value + row.target_bits.value - uniform) < 6
        assert row.untrained.value == 0
    assert "returning word: gain up to 255 characters back (" in result.finding()
    assert "closing bracket or quote: no distance has 100 cases" in result.finding()
    assert len(result.finding().split()) <= 25
    short = gains(of_recaller(64))
    assert min(short[8], short[16]) > 5
    assert short[64] == short[128] == 0


def test_an_untrained_network_and_an_ngram_are_measured_like_the_model():
    ngram, seen = BackoffNgram(LETTERS, PLANTED[:4000], 5), []
    controls = {"ngram": ngram, "untrained": ngram}
    result = measure(ngram, PLANTED[:9000], **controls, progress=lambda *one: seen.append(one))
    assert [row.untrained for row in result.rows] == [row.gain for row in result.rows]
    assert [row.untrained_before for row in result.rows] == [row.before for row in result.rows]
    assert {row.over_ngram.value for row in result.rows if row.over_ngram} == {0.0}
    assert all(before[0] < after[0] for before, after in pairwise(seen))
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("chars", [16, 1000])
def test_closing_brackets_gain_as_far_as_the_opening_one_is_remembered(chars):
    found = gains(measure(Bracketeer(chars), BRACKETED), CLOSERS)
    assert set(found) == {8, 16, 32}
    for distance, gain in found.items():
        if 2 * distance <= chars:
            assert gain == pytest.approx(np.log2(0.1 * len(LETTERS)))
        if distance >= chars:
            assert gain == 0


def test_under_a_hundred_cases_there_is_no_number():
    result = measure(UniformPredictor(LETTERS), PLANTED[:10_000])
    few = [row for row in result.rows if 0 < row.cases < 100]
    assert 0 < len(few) < len(result.rows)
    table = next(block for block in section({"run": result}).blocks if isinstance(block, Table))
    for row in few:
        assert row.gain is row.target_bits is row.over_ngram is None
        assert (row.distances, str(row.cases), "–", "–", "") in table.rows
    rows = [row for row in result.to_json()["distances"] if 0 < row["cases"] < 100]
    assert not {key for row in rows for key in row if "bits" in key}


def test_parallel_reading_equals_reading_each_case_alone():
    predictor, seed = Recaller(300), 4
    result = measure(predictor, seed=seed)
    plan = Plan.of(LETTERS.decode, PLANTED, 256, seed)
    burned_in = BurnedIn(predictor, PLANTED[: plan.full])

    def cost(before, start, end):
        log_probs, _ = burned_in.advance(np.concatenate([before, PLANTED[start:end]])[None])
        places = np.arange(len(before), len(before) + end - start)
        return -log_probs[0, places - 1, PLANTED[start:end]].sum() / np.log(2)

    for row, group in zip(result.rows, plan.groups, strict=True):
        assert (row.distance, row.cases) == (group.distance, len(group))
        if row.gain is None or row.distance != 64:
            continue
        gained, before = [], []
        cases = zip(group.cases, group.swaps, group.cues, strict=True)
        for (cue, cue_end, start, end), swap, other in cases:
            first = start - plan.full
            own = cost(PLANTED[first:start], start, end)
            text = [PLANTED[first:cue], LETTERS.encode(other), PLANTED[cue_end:start]]
            gained.append(cost(np.concatenate(text), start, end) - own)
            swapped = plan.swaps[swap] + np.arange(plan.swap_chars(group.distance))
            text = [PLANTED[swapped], PLANTED[cue_end:start]]
            before.append(cost(np.concatenate(text), start, end) - own)
        assert row.gain.value == pytest.approx(np.mean(gained), abs=1e-9)
        assert row.before.value == pytest.approx(np.mean(before), abs=1e-9)


def test_a_model_of_strings_is_measured_like_one_of_characters():
    """Its memory of 60 characters lies within every context."""
    asked, swap = [], "(a) no ( b) " * 80

    def score(context, end):
        asked.append(context)
        inside = context[-60:].rfind("(") > context[-60:].rfind(")")
        return np.log(0.1 if inside else 1 / len(LETTERS))

    scorer, points = SimpleNamespace(log_prob=score), code_points(LETTERS.decode(BRACKETED))
    found = measure(scorer, points, swap_ids=code_points(swap), longest=64)
    expected = measure(Bracketeer(60), BRACKETED, swap_ids=LETTERS.encode(swap), longest=64)
    for one, same in zip(found.rows[-3:], expected.rows[-3:], strict=True):
        for name in ("target_bits", "gain", "before"):
            assert getattr(one, name).value == pytest.approx(getattr(same, name).value, abs=1e-9)
    assert all(context[:64] in swap for context in asked[2::3])


class HeaderReader:
    """Spells every word from the first letter of its document, and reads no other."""

    vocabulary = LETTERS

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(LETTERS)
        header, last = (np.full(N, -1), np.full(N, -1)) if state is None else state
        share = np.full((N, T, V), 1 / V)
        for t in range(T):
            header = np.where((last == 0) & (ids[:, t] > 3), ids[:, t], header)
            last = ids[:, t]
            known = np.flatnonzero(header >= 0)
            share[known, t] = 0.1 / V
            share[known[:, None], t, 4 + (header[known, None] - 4 + np.arange(3)) % 26] += 0.3
        return np.log(share), (header, last)


def headed(documents, words, seed=0):
    """Documents whose first letter tells which three letters spell their words."""
    rng = np.random.default_rng(seed)
    text, starts = "", []
    for place in range(documents):
        starts.append(len(text))
        letters = [chr(97 + (place * 7 % 26 + i) % 26) for i in range(3)]
        spelled = ("".join(rng.choice(letters, 5)) for _ in range(words))
        text += letters[0] + " " + " ".join(spelled) + "\n"
    return LETTERS.encode(text), np.array(starts)


HEADED = headed(150, 50)


@pytest.mark.parametrize("known", [True, False], ids=["documents", "one text"])
def test_a_reader_of_the_document_header_gains_nothing_from_the_cue(known):
    ids, starts = HEADED
    result = measure(HeaderReader(), ids, starts=starts if known else None, longest=64)
    found = [row for row in result.of_kind(WORDS) if row.gain]
    assert found
    for row in found:
        assert row.gain.value == pytest.approx(0, abs=1e-9)
        assert row.before.low > 2
    assert "no gain at" in result.finding()


@pytest.mark.parametrize(
    ("ids", "starts", "kind"),
    [(PLANTED, None, WORDS), (TWICE, None, WORDS), (BRACKETED, None, CLOSERS), (*HEADED, WORDS)],
    ids=["planted", "twice", "brackets", "documents"],
)
def test_replacements_lie_apart_and_do_not_hold_the_cue(ids, starts, kind):
    plan, text = Plan.of(LETTERS.decode, ids, 256, 0, starts), LETTERS.decode(ids)
    edges = np.append(plan.documents, len(ids))
    groups = [group for group in plan.groups if group.kind == kind and len(group)]
    assert sum(map(len, groups)) > 300
    for group in groups:
        assert len(group) <= CASES
        cases = zip(group.cases, group.swaps, group.cues, strict=True)
        for (cue, cue_end, start, end), swap, other in cases:
            assert group.distance <= start - cue_end < 2 * group.distance
            own = np.searchsorted(edges, start, side="right")
            low, high = (start - plan.full, end) if starts is None else edges[own - 1 : own + 1]
            assert cue >= low
            swapped = text[plan.swaps[swap] : plan.swaps[swap] + plan.swap_chars(group.distance)]
            assert plan.swaps[swap] + len(swapped) <= low or plan.swaps[swap] >= high
            assert len(other) == cue_end - cue
            assert other != text[cue:cue_end]
            if kind == WORDS:
                assert text[start:end] == text[cue:cue_end]
                assert text[start:end] not in swapped.split()
            else:
                assert swapped.rfind("(") <= swapped.rfind(")") or "(" not in swapped


def test_brackets_and_quotes_are_parsed_with_a_stack():
    def pairs(text):
        return [text[opened : end + 1] for opened, end in parse_brackets(text).pairs]

    assert pairs("a (b [c] d) e") == ["[c]", "(b [c] d)"]
    assert pairs('say "a (b) c" and "d"') == ["(b)", '"a (b) c"', '"d"']
    assert pairs("a) b ] (c") == []
    assert pairs("(a [b) c] (d)") == ["(d)"]  # closes over an open one: no case
    assert pairs('"a\n\n"b" c') == ['"b"']  # an empty line ends a quotation
    assert pairs("{a\n\nb}") == ["{a\n\nb}"]
    assert pairs("「あ『い』」 “x” «y»") == ["『い』", "「あ『い』」", "“x”", "«y»"]
    assert parse_brackets("a(b)c(").open_before[")"].tolist() == [0, 0, 1, 1, 0, 0, 1]


def test_a_word_returns_after_exactly_one_earlier_use():
    text = "the sea and the land, the sea. King kings of 1of1 sea"
    cases = returning_words(text, 1000).cases
    assert [text[case.start : case.end] for case in cases] == ["the", "sea"]
    assert cases[1] == Case(4, 7, 26, 29)
    assert cases[1].distance == 19
    # The first use is out of reach of the third, which is then a return of the second.
    assert [case.start for case in returning_words(text, 30).cases] == [12, 26, 50]


def test_json_has_units_and_is_a_function_of_the_seed():
    result = of_recaller(64)
    values = result.to_json()
    assert json.dumps(of_recaller.__wrapped__(64).to_json()) == json.dumps(values)
    assert of_recaller(64, seed=1).to_json() != values
    assert (values["instrument"], values["fewest_cases"]) == ("mined", 100)
    assert (values["ngram"], values["full_context_chars"]) == ("20-gram", 512)
    row = values["distances"][3]
    assert (row["kind"], row["distance_chars"], row["distance_most_chars"]) == (WORDS, 8, 15)
    gained = [f"gain_{name}_bits" for name in ("from_cue", "over_swap", "over_ngram")]
    for name in ["target_bits", *gained]:
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert [row["beyond_timesteps"] for row in values["distances"][6:8]] == [False, True]


@pytest.mark.parametrize("runs", [{"run": 64}, {"near": 64, "far": 400}])
def test_the_report_has_every_distance_and_a_curve_for_each_column(runs):
    report = section({run: of_recaller(chars) for run, chars in runs.items()})
    ((table,), (figure,)) = blocks_of(Table, report), blocks_of(Figure, report)
    (axes,) = figure.draw(PICTURE, "title").axes
    own, labels = [*runs], {f"{run}, {WORDS}, from the cue" for run in runs}
    if len(runs) == 1:
        own = ["gain", "all before", "over 20-gram", "untrained"]
        labels = {f"{WORDS}, {name}" for name in ("from the cue", "over a 20-gram", "untrained")}
    assert table.header == ["distance", "cases", *own, ""]
    assert set(axes.get_legend_handles_labels()[1]) == labels | {"no gain"}
    assert table.rules == [(7, "training length (64)")]
    assert [cells[0] for cells in table.rows[6:]] == ["64–127", "128–255"]
    text = to_text([report])
    assert f"{CLOSERS}: 0 cases in all, too few at every distance" in text
    assert all(len(line) <= 100 for line in text.splitlines()[6:])
