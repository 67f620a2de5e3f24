"""Test the context instrument with predictors of known memory, without training."""

import json
from itertools import pairwise

import numpy as np
import pytest
from fakes import LETTERS, Cold, Echo, Recaller, UniformPredictor, word
from msgspec import structs

from chargen.predictors import BackoffNgram
from chargen.probes.context import measure as context
from chargen.probes.context.measure import BLOCK, Blocks, BurnedIn, elsewhere, shortest_text
from chargen.probes.context.report import section
from chargen.probes.context.result import THRESHOLD_BITS, ContextResult, ContextRow, compare_bits
from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.render.figures import PICTURE
from chargen.render.report import Details, Figure, Table, to_text
from chargen.text import Vocabulary

ABC = Vocabulary("abcde")
NATURAL = np.random.default_rng(5).integers(0, 5, 6000)
ZERO = Estimate(0.0, 0.0, 0.0)


def echoing(chars, length=6000):
    """A text in which most characters repeat the one ``chars`` before."""
    rng = np.random.default_rng(chars)
    ids = rng.integers(0, 5, length)
    for place in np.flatnonzero(rng.random(length) < 0.8):
        if place >= chars:
            ids[place] = ids[place - chars]
    return ids


def story(topic_chars=2048, topics=6):
    """Words that occur only within their topic."""
    rng = np.random.default_rng(0)
    text = ""
    for topic in range(1, topics + 1):
        words = [word(rng) for _ in range(30)]
        while len(text) < topic * topic_chars:
            text += words[rng.integers(30)] + " "
    return LETTERS.encode(text)


STORY = story()


class Spoiled(Echo):
    """An echo that is wrong forever if the first character it reads is the last letter."""

    def advance(self, ids, state=None):
        history, lost = (None, ids[:, 0] == len(self.vocabulary) - 1) if state is None else state
        log_probs, history = super().advance(ids, history)
        log_probs[lost] = np.log([1 - 4e-9, *[1e-9] * 4])
        return log_probs, (history, lost)


def measure(predictor, ids, **options):
    return context.measure(predictor, ids, **{"positions": 512} | options)


def effective(result):
    return result.effective, result.effective_low, result.effective_high


@pytest.mark.parametrize("order", [2, 3, 5])
def test_an_ngram_has_exactly_zero_excess_from_its_order_minus_one(order):
    ngram = BackoffNgram(ABC, np.random.default_rng(1).integers(0, 5, 3000), order)
    result = measure(ngram, NATURAL, contexts=(1, 2, 3, 4, 8, 32, 128))
    for row in result.rows:
        for found in (row.swap, row.reset, row.difference):
            if row.context >= order - 1:
                assert found == ZERO
            elif found is not row.difference and found is not None:
                assert found.value != 0
    assert result.effective == order - 1 or order == 2


@pytest.mark.parametrize("chars", [8, 32, 128])
def test_exact_memory_is_the_effective_context_length(chars):
    result = measure(Echo(ABC, chars), echoing(chars), trained_timesteps=1)
    assert effective(result) == (chars, chars, chars)
    for row in result.rows:
        assert row.swap.value > 1 if row.context < chars else row.swap.value == 0
    assert result.finding() == (
        f"uses {chars} characters of context; trained with 1 timestep; "
        f"reset and swap disagree up to {chars // 2}"
    )


@pytest.mark.parametrize(
    ("predictor", "ids", "contexts", "expected", "finding"),
    [
        (Echo(ABC, 40), echoing(40), (16, 32, 64), (64, 64, 64), "uses 64 characters"),
        (Echo(ABC, 1), echoing(1), (1, 4), (1, 1, 1), "uses 1 character of context"),
        (UniformPredictor(ABC), NATURAL, (1, 8), (0, 0, 0), "uses no context"),
        (Echo(ABC, 200), echoing(200), (1, 16, 128), (None,) * 3, "uses more than 128 characters"),
        (Echo(ABC, 8), echoing(8), (1,), (None,) * 3, "uses more than 1 character of context"),
    ],
)
def test_effective_context_length_on_and_off_the_grid(predictor, ids, contexts, expected, finding):
    result = measure(predictor, ids, contexts=contexts)
    assert effective(result) == expected
    assert result.finding().startswith(finding)


def test_parallel_reading_equals_reading_each_position_alone(monkeypatch):
    """The claims of `measure` about exactness, against one forward pass per position."""
    predictor, contexts, seed = Recaller(300), (4, 32, 64), 7
    result = measure(predictor, STORY, contexts=contexts, positions=64, seed=seed)
    blocks = Blocks.of(len(STORY), contexts, 64, np.random.default_rng([seed, 0]))
    burned_in = BurnedIn(predictor, STORY[: blocks.full])

    def bits(before, place, predictor=burned_in):
        log_probs, _ = predictor.advance(np.array([before]))
        return -log_probs[0, -1, STORY[place]] / np.log(2)

    for row in result.rows:
        n, length = row.context, context.read_length(row.context)
        swap, reset = [], []
        for begin, other in zip(blocks.begins, blocks.swaps, strict=True):
            for place in range(begin, begin + BLOCK):
                start = begin + (place - begin) // length * length - n if n else place
                assert n <= place - start <= row.context_most < n + max(1, n / 16)
                own = STORY[start:place]
                full = bits(STORY[begin - blocks.full : place], place)
                swap.append(bits([*STORY[other : other + blocks.full - n], *own], place) - full)
                reset += [bits(own, place, predictor) - full] if n else []
        assert row.swap.value == pytest.approx(np.mean(swap), abs=1e-9)
        assert not n or row.reset.value == pytest.approx(np.mean(reset), abs=1e-9)
    monkeypatch.setattr("chargen.evaluation.ROWS", 3)
    monkeypatch.setattr("chargen.evaluation.CHUNK_FLOATS", 50)
    assert measure(predictor, STORY, contexts=contexts, positions=64, seed=seed) == result


def test_replacements_are_drawn_evenly_from_both_sides_of_what_they_replace():
    blocks = Blocks.of(6300, (1, 256, 1024), 2000, np.random.default_rng(0))
    begins, ends = blocks.begins - blocks.full, blocks.begins + BLOCK
    assert blocks.full == 2048
    assert ((blocks.swaps + blocks.full <= begins) | (blocks.swaps >= ends)).all()
    assert (blocks.swaps >= 0).all()
    assert (blocks.swaps + blocks.full <= 6300).all()
    assert (np.diff(blocks.begins) >= BLOCK).all()
    assert begins[0] >= 0
    assert ends[-1] <= 6300
    lows, highs = np.full(4000, 4), np.full(4000, 6)
    starts = elsewhere(10, 3, lows, highs, np.random.default_rng(0))
    assert np.bincount(starts).tolist() == pytest.approx([1000, 1000, 0, 0, 0, 0, 1000, 1000], 0.1)
    with pytest.raises(ValueError, match="outside every row's own"):
        elsewhere(10, 5, np.array([4]), np.array([6]), np.random.default_rng(0))


def test_first_characters_that_spoil_the_state_do_not_count_as_excess():
    contexts = (4, 8, 64)
    result = measure(Spoiled(ABC, 8), echoing(8), contexts=contexts)
    assert effective(result) == (8, 8, 8)
    assert result.rows[-1].swap == ZERO
    assert result.full_bits == measure(Echo(ABC, 8), echoing(8), contexts=contexts).full_bits
    assert result.rows[-1].reset.low > 1
    assert "reset and swap disagree up to 64" in result.finding()


def test_burn_in_ends_after_the_part_with_the_median_loss():
    changes = [7, 0, 4, 2, 8, 3, 6, 5]  # more changes cost an echo more; the fourth cheapest is 4
    parts = [[1, 2, 3, 0] * 2 + [0, 0] for _ in changes]
    for part, n in zip(parts, changes, strict=True):
        part[n:] = [n % 5] * (10 - n)
    echo, ids = Echo(ABC, 2), np.array([[0, 1], [2, 2]])
    burned_in = BurnedIn(echo, np.array(parts).reshape(-1))
    expected, state = echo.advance(ids, np.array([[4, 4], [4, 4]]))
    np.testing.assert_array_equal(burned_in.advance(ids)[0], expected)
    np.testing.assert_array_equal(burned_in.advance(ids, state)[0], echo.advance(ids, state)[0])


def test_disagreement_of_swap_and_reset_is_reported():
    result = measure(Cold(ABC, 8), np.arange(6000) % 5, contexts=(1, 4, 8, 16, 64))
    assert result.effective == 1
    assert "reset and swap disagree up to 8" in result.finding()
    assert result.to_json()["disagree_at_chars"] == [1, 4, 8]
    for difference in ((0.01, 0.009, 0.011), (0.5, -0.1, 1.1)):  # too small, not significant
        assert not ContextRow(8, 8, None, ZERO, ZERO, Estimate(*difference)).disagree


def test_the_upper_bound_decides_and_not_the_mean():
    means = np.zeros((3, 4))
    means[0] = 1.0, 0.010, 0.008, 0.001
    noise = np.random.default_rng(0).normal(0, 1, (2000, 3, 4)) * [0.1, 0.002, 0.008, 0.001]
    rows = context._rows((8, 16, 32), means, means + noise, None)
    assert rows[1].swap.high < THRESHOLD_BITS < rows[2].swap.high
    assert context._effective((0, 8, 16, 32), rows, means, means + noise) == (32, 8, 32)


def test_a_short_text_has_fewer_contexts_or_is_refused():
    short = context.measure(UniformPredictor(ABC), NATURAL[:2000])
    needed = shortest_text(1, 2000)
    expected = f"not measured: the text has 2000 characters, at least {needed} are needed"
    assert short.finding() == short.refusal == expected
    assert short.rows == ()
    assert ContextResult.from_json(json.loads(json.dumps(short.to_json()))) == short
    assert expected in to_text([section({"run": (short, short)})])
    assert compare_bits({"a": short, "b": short}) == ()
    enough = context.measure(UniformPredictor(ABC), NATURAL[:needed], contexts=(1, 2, 512))
    assert [row.context for row in enough.rows] == [0, 1]
    assert enough.positions >= 2000
    with pytest.raises(ValueError, match="above 0"):
        context.measure(UniformPredictor(ABC), NATURAL, contexts=(0, 1))


def test_progress_ends_at_its_total_and_the_total_is_bounded():
    seen = []
    text = np.resize(NATURAL, 111_540)
    context.measure(UniformPredictor(ABC), text, progress=lambda *counts: seen.append(counts))
    assert all(before[0] < after[0] for before, after in pairwise(seen))
    assert seen[-1][0] == seen[-1][1] == seen[0][1] < 1_800_000


def test_the_bootstrap_resamples_blocks_and_keeps_pairs():
    rng = np.random.default_rng(0)
    counts, shifts = rng.integers(1, 9, 200), rng.normal(0, 1, 200)
    values = [rng.normal(shift, 1, n) for shift, n in zip(shifts, counts, strict=True)]
    sums = np.array([[some.sum(), some.sum() + 3 * len(some)] for some in values])
    draws = block_bootstrap(sums, counts, np.random.default_rng(1))
    assert draws.shape == (2000, 2)
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 3)
    # Blocks share a shift of variance 1: resampling single cases would promise too much.
    blocks = sums[:, 0] - counts * sums[:, 0].sum() / counts.sum()
    expected = np.sqrt((blocks**2).sum()) / counts.sum()
    assert draws[:, 0].std() == pytest.approx(expected, rel=0.1)
    np.testing.assert_array_equal(draws, block_bootstrap(sums, counts, np.random.default_rng(1)))
    with pytest.raises(ValueError, match="empty"):
        block_bootstrap(sums, counts * 0, rng)


RESULT = measure(Echo(ABC, 32), echoing(32), trained_timesteps=64)
UNTRAINED = measure(UniformPredictor(ABC), echoing(32), trained_timesteps=64)


def test_json_has_units_is_a_function_of_the_seed_and_is_read_back():
    values = json.loads(json.dumps(RESULT.to_json()))
    again = measure(Echo(ABC, 32), echoing(32), trained_timesteps=64)
    assert json.dumps(again.to_json()) == json.dumps(RESULT.to_json())
    assert measure(Echo(ABC, 32), echoing(32), seed=1).to_json() != values
    assert values["effective_context_chars"] == values["effective_context_high_chars"] == 32
    assert (values["instrument"], values["chars"], values["bar_bits"]) == ("context", 6000, 0.0144)
    row = values["contexts"][3]
    assert row["excess_bits_low"] < row["excess_bits"] < row["excess_bits_high"]
    assert {"context_chars", "reset_excess_bits", "reset_minus_swap_bits_high"} <= set(row)
    assert "reset_excess_bits" not in values["contexts"][0]
    assert [row["beyond_timesteps"] for row in values["contexts"][7:9]] == [False, True]
    read = ContextResult.from_json(values)
    assert json.loads(json.dumps(read.to_json())) == values
    assert read == structs.replace(RESULT, block_bits=())
    assert sum(RESULT.block_bits) / RESULT.positions == pytest.approx(RESULT.full_bits)


def blocks_of(kind, report):
    return [block for block in report.blocks if isinstance(block, kind)]


def test_the_report_of_a_run_has_every_context_and_marks_the_training_length():
    report = section({"run": (RESULT, UNTRAINED)})
    assert report.finding == RESULT.finding()
    assert report.meaning.startswith("With 32 characters of context")
    excess, summary = blocks_of(Table, report)
    assert ["32", "0.0000", "0.0000–0.0000", "0.0000", "effective context length"] in excess.rows
    assert excess.rules == [(8, "training length (64)")]
    assert summary.rows[0][:6] == ["run", "32", "32–32", f"{RESULT.full_bits:.3f}", "0", "64"]
    assert all(len(line) <= 100 for line in to_text([report]).splitlines())
    details = blocks_of(Details, report)[0]
    assert [len(table.rows) for table in details.blocks[1::2]] == [11, 11]


def test_the_report_of_several_runs_has_a_column_each_and_compares_them():
    comparisons = compare_bits({"a": RESULT, "b": UNTRAINED})
    runs = {"a": (RESULT, UNTRAINED), "b": (UNTRAINED, UNTRAINED)}
    report = section(runs, comparisons)
    assert report.finding.startswith("a uses 32 characters of context; b uses no context")
    excess, summary, compared = blocks_of(Table, report)
    assert excess.header == ["n", "a", "95%", "b", "95%", ""]
    assert [row[:2] for row in summary.rows] == [["a", "32"], ["b", "0"]]
    difference = comparisons[0].difference.value
    assert compared.rows[0][:2] == ["a − b", f"{difference:+.4f}"]
    (figure,) = blocks_of(Figure, report)
    (axes,) = figure.draw(PICTURE, "title").axes
    assert axes.get_legend_handles_labels()[1][-2:] == ["a", "b"]


def test_the_figure_has_both_controls_the_threshold_and_the_interval():
    for low, high, bands in ((16, 64, 1), (16, None, 1), (32, 32, 0), (None, None, 0)):
        result = structs.replace(RESULT, effective_low=low, effective_high=high)
        (figure,) = blocks_of(Figure, section({"run": (result, UNTRAINED)}))
        (axes,) = figure.draw(PICTURE, "title").axes
        assert len(axes.patches) == bands
    labels = axes.get_legend_handles_labels()[1]
    assert {"swap: context replacement", "reset: zero state", "untrained, swap"} <= set(labels)
    assert any("0.0144" in label for label in labels)
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"training length (64)", "effective context length 32"}
