"""The truncation instrument, validated by predictors whose memory is known. Nothing is trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import TablePredictor
from memories import LETTERS, Cold, Echo, Recaller, word

from chargen.errors import ChargenError
from chargen.predictors import BackoffNgram, UniformPredictor
from chargen.probes.context import measure as context
from chargen.probes.context.plot import context_figure, save_context_plot
from chargen.probes.context.sites import (
    BLOCK,
    Sites,
    elsewhere,
    shortest_text,
    shuffled_documents,
    stretch,
)
from chargen.probes.context.table import context_table
from chargen.probes.context.warm import Warm
from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.text import Vocabulary

ABC = Vocabulary("abcde")
NATURAL = np.random.default_rng(5).integers(0, 5, 6000)


def echoing(chars, length=6000):
    """A text whose characters mostly repeat those ``chars`` before."""
    rng = np.random.default_rng(chars)
    ids = rng.integers(0, 5, length)
    for place in np.flatnonzero(rng.random(length) < 0.8):
        if place >= chars:
            ids[place] = ids[place - chars]
    return ids


def story(topic_chars=2048, topics=6):
    """Words that belong to their topic and are heard nowhere else."""
    rng = np.random.default_rng(0)
    told = ""
    for topic in range(1, topics + 1):
        words = [word(rng) for _ in range(30)]
        while len(told) < topic * topic_chars:
            told += words[rng.integers(30)] + " "
    return LETTERS.encode(told)


STORY = story()


class Astray(Echo):
    """An echo that is surely wrong for good where the first that it reads is the last letter."""

    def advance(self, ids, state=None):
        history, lost = (None, ids[:, 0] == len(self.vocabulary) - 1) if state is None else state
        log_probs, history = super().advance(ids, history)
        log_probs[lost] = -20.0
        return log_probs, (history, lost)


def measure(predictor, ids, **options):
    return context.measure(predictor, ids, **{"positions": 512} | options)


def excess(result):
    return {row.context: row.swap.value for row in result.rows}


@pytest.mark.parametrize("order", [2, 3, 5])
def test_an_ngram_shows_no_excess_from_its_order_less_one_to_the_last_bit(order):
    ngram = BackoffNgram(ABC, np.random.default_rng(1).integers(0, 5, 3000), order)
    result = measure(ngram, NATURAL, contexts=(1, 2, 3, 4, 8, 32, 128))
    for row in result.rows:
        for found in (row.swap, row.reset, row.difference):
            if row.context >= order - 1:
                assert found == Estimate(0.0, 0.0, 0.0)
            elif found is not row.difference and found is not None:
                assert found.value != 0
    assert result.effective[0] == order - 1 or order == 2


@pytest.mark.parametrize("chars", [8, 32, 128])
def test_one_that_remembers_so_far_has_that_effective_context(chars):
    result = measure(Echo(ABC, chars), echoing(chars))
    assert result.effective == (chars, chars, chars)
    for n, bits in excess(result).items():
        assert bits > 1 if n < chars else bits == 0
    ways_apart = f"; reset and swap disagree up to {chars // 2}"
    assert result.finding() == f"uses {chars} characters of context{ways_apart}"


def test_one_whose_memory_lies_between_two_contexts_gets_the_next():
    assert measure(Echo(ABC, 40), echoing(40)).effective == (64, 64, 64)


def test_uniform_uses_no_context():
    result = measure(UniformPredictor(ABC), NATURAL, trained_timesteps=64)
    assert result.effective == (0, 0, 0)
    assert set(excess(result).values()) == {0.0}
    assert result.finding().startswith("uses no context")
    assert result.finding().endswith("trained on 64 timesteps")


def test_a_memory_longer_than_was_asked_is_told_so():
    result = measure(Echo(ABC, 200), echoing(200), contexts=(1, 16, 128))
    assert result.effective == (None, None, None)
    assert result.finding().startswith("uses more than 128 characters of context;")


def test_shuffled_documents_show_no_gain_beyond_their_length():
    contexts = (16, 64, 128, 256)
    options = {"contexts": contexts, "positions": 1024}
    told = measure(Recaller(600), STORY, **options)
    shuffled = shuffled_documents(STORY, 64, np.random.default_rng(0))
    dealt = measure(Recaller(600), shuffled, **options)
    for before, after in zip(told.rows, dealt.rows, strict=True):
        if before.context in (64, 128):
            assert before.swap.low > 0.1
        if after.context >= 64:
            assert after.swap.low < context.BAR_BITS
            assert abs(after.swap.value) < 0.08
    assert told.effective[0] is None or told.effective[0] > 128


def test_shuffling_keeps_documents_whole():
    dealt = shuffled_documents(np.arange(23), 5, np.random.default_rng(3)).reshape(-1, 5)
    assert (dealt == dealt[:, :1] + np.arange(5)).all()
    assert sorted(dealt[:, 0]) == [0, 5, 10, 15]
    assert dealt[:, 0].tolist() != [0, 5, 10, 15]


def test_reading_side_by_side_is_reading_one_by_one():
    """The docstring's claim of what is exact, against the plainest reading there is."""
    predictor, contexts, seed = Recaller(300), (4, 32, 64), 7
    result = measure(predictor, STORY, contexts=contexts, positions=64, seed=seed)
    sites = Sites.of(len(STORY), contexts, 64, np.random.default_rng([seed, 0]))

    warm = Warm(predictor, STORY[: sites.full])

    def bits(before, place, predictor=warm):
        log_probs, _ = predictor.advance(np.array([before]))
        return -log_probs[0, -1, STORY[place]] / np.log(2)

    for row in result.rows[1:]:
        n = row.context
        swap, reset = [], []
        for begin, other in zip(sites.begins, sites.swaps, strict=True):
            for place in range(begin, begin + BLOCK):
                start = begin + (place - begin) // stretch(n) * stretch(n) - n
                assert n <= place - start <= row.context_most < n + max(1, n / 16)
                own = STORY[start:place]
                full = bits(STORY[begin - sites.full : place], place)
                swap.append(bits([*STORY[other : other + sites.full - n], *own], place) - full)
                reset.append(bits(own, place, predictor) - full)
        assert row.swap.value == pytest.approx(np.mean(swap), abs=1e-9)
        assert row.reset.value == pytest.approx(np.mean(reset), abs=1e-9)


def test_with_nothing_in_view_the_other_texts_end_is_all_there_is():
    table = TablePredictor("abcde", np.random.default_rng(2).dirichlet(np.ones(5), 5))
    result = measure(table, NATURAL, contexts=(1, 8), positions=64, seed=3)
    sites = Sites.of(len(NATURAL), (1, 8), 64, np.random.default_rng([3, 0]))
    places = sites.begins[:, None] + np.arange(BLOCK)
    last = NATURAL[sites.swaps + sites.full - 1][:, None]
    lost = table.table[NATURAL[places - 1], NATURAL[places]] - table.table[last, NATURAL[places]]
    assert result.rows[0].swap.value == pytest.approx(lost.mean() / np.log(2), abs=1e-6)
    assert result.rows[0].reset is None


def test_the_other_text_is_never_the_positions_own():
    sites = Sites.of(6300, (1, 256, 1024), 2000, np.random.default_rng(0))
    assert sites.full == 2048
    begins, ends = sites.begins - sites.full, sites.begins + BLOCK
    assert ((sites.swaps + sites.full <= begins) | (sites.swaps >= ends)).all()
    assert (sites.swaps >= 0).all()
    assert (sites.swaps + sites.full <= 6300).all()
    assert (np.diff(sites.begins) >= BLOCK).all()
    assert begins[0] >= 0
    assert ends[-1] <= 6300


def test_elsewhere_draws_from_both_sides_evenly():
    lows, highs = np.full(4000, 4), np.full(4000, 6)
    starts = elsewhere(10, 3, lows, highs, np.random.default_rng(0))
    assert np.bincount(starts).tolist() == pytest.approx([1000, 1000, 0, 0, 0, 0, 1000, 1000], 0.1)
    with pytest.raises(ValueError, match="outside every row's own"):
        elsewhere(10, 5, np.array([4]), np.array([6]), np.random.default_rng(0))


def test_a_beginning_that_leads_astray_is_no_loss_of_context():
    """Some first characters are the end of it: what is read after no text must not begin there."""
    result = measure(Astray(ABC, 8), echoing(8), contexts=(4, 8, 64))
    assert result.effective == (8, 8, 8)
    assert result.rows[-1].swap == Estimate(0.0, 0.0, 0.0)
    assert result.full_bits == measure(Echo(ABC, 8), echoing(8), contexts=(4, 8, 64)).full_bits
    assert result.rows[-1].reset.low > 1  # which begins where no text was read
    assert "reset and swap disagree up to 64" in result.finding()


def test_what_is_warm_begins_after_the_part_that_cost_the_median():
    changes = [7, 0, 4, 2, 8, 3, 6, 5]  # an echo pays for more of them; the fourth cheapest is 4
    parts = [[1, 2, 3, 0] * 2 + [0, 0] for _ in changes]
    for part, n in zip(parts, changes, strict=True):
        part[n:] = [n % 5] * (10 - n)
    echo, asked = Echo(ABC, 2), np.array([[0, 1], [2, 2]])
    warm = Warm(echo, np.array(parts).reshape(-1))
    expected, state = echo.advance(asked, np.array([[4, 4], [4, 4]]))
    np.testing.assert_array_equal(warm.advance(asked)[0], expected)
    np.testing.assert_array_equal(warm.advance(asked, state)[0], echo.advance(asked, state)[0])


def test_one_character_is_not_characters():
    assert measure(Echo(ABC, 1), echoing(1), contexts=(1, 4)).finding() == (
        "uses 1 character of context"
    )
    told = measure(Echo(ABC, 8), echoing(8), contexts=(1,), trained_timesteps=1).finding()
    assert told.startswith("uses more than 1 character of context; trained on 1 timestep")
    assert "1 timesteps" not in told


def test_bits_by_block_are_those_of_the_whole():
    result = measure(Echo(ABC, 8), echoing(8), contexts=(8,))
    assert len(result.block_bits) == result.positions / BLOCK
    assert sum(result.block_bits) / result.positions == pytest.approx(result.full_bits)
    assert result.to_json()["chars"] == 6000


def test_it_says_where_swap_and_reset_disagree():
    cycle = np.arange(6000) % 5
    result = measure(Cold(ABC, 8), cycle, contexts=(1, 4, 8, 16, 64))
    assert [row.context for row in result.rows if row.disagree] == [1, 4, 8]
    assert result.effective[0] == 1
    assert "reset and swap disagree up to 8" in result.finding()
    assert result.to_json()["disagree_at_chars"] == [1, 4, 8]


@pytest.mark.parametrize(
    ("difference", "disagree"),
    [((0.5, 0.4, 0.6), True), ((0.01, 0.009, 0.011), False), ((0.5, -0.1, 1.1), False)],
)
def test_to_disagree_takes_more_than_the_bar_and_an_interval_without_zero(difference, disagree):
    zero = Estimate(0.0, 0.0, 0.0)
    row = context.ContextRow(8, 8, zero, zero, Estimate(*difference), None)
    assert row.disagree is disagree


def test_reading_in_batches_and_chunks_changes_nothing(monkeypatch):
    options = {"contexts": (4, 16, 64), "positions": 128}
    whole = measure(Echo(ABC, 30), echoing(30), **options)
    monkeypatch.setattr("chargen.evaluation.ROWS", 3)
    monkeypatch.setattr("chargen.evaluation.CHUNK_FLOATS", 50)
    assert measure(Echo(ABC, 30), echoing(30), **options) == whole


def test_the_upper_bound_counts_and_not_the_mean():
    means = np.zeros((3, 4))
    means[0] = 1.0, 0.010, 0.008, 0.001
    noise = np.random.default_rng(0).normal(0, 1, (2000, 3, 4)) * [0.1, 0.002, 0.008, 0.001]
    rows = context._rows((8, 16, 32), means, means + noise, None)
    assert rows[1].swap.high < context.BAR_BITS < rows[2].swap.high
    value, low, high = context._effective((0, 8, 16, 32), rows, means, means + noise)
    assert (value, low, high) == (32, 8, 32)


def test_positions_are_as_many_as_promised_and_the_same_for_every_context():
    assert context.POSITIONS >= 2000
    result = context.measure(UniformPredictor(ABC), np.resize(NATURAL, 12_000), contexts=(1, 2))
    assert result.positions == context.POSITIONS
    asked = [
        {row.context: row.swap for row in measure(Echo(ABC, 8), echoing(8), contexts=some).rows}
        for some in [(1, 4, 16), (4, 16)]
    ]
    assert asked[0][4] == asked[1][4]


def test_a_text_too_short_is_refused_and_a_short_one_asked_less_far_back():
    short = context.measure(UniformPredictor(ABC), NATURAL[:2000])
    needed = shortest_text(1, 2000)
    assert short.refusal == f"not measured: the text has 2000 characters, {needed} are needed"
    assert short.rows == ()
    assert json.loads(json.dumps(short.to_json()))["effective_context_chars"] is None
    enough = context.measure(UniformPredictor(ABC), NATURAL[:needed], contexts=(1, 2, 512))
    assert [row.context for row in enough.rows] == [0, 1]
    assert enough.positions >= 2000
    with pytest.raises(ValueError, match="above 0"):
        context.measure(UniformPredictor(ABC), NATURAL, contexts=(0, 1))


def test_same_seed_same_json_to_the_byte():
    def told(seed):
        return json.dumps(measure(Recaller(64), STORY, contexts=(4, 16), seed=seed).to_json())

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_json_keys_carry_their_units():
    told = measure(Echo(ABC, 8), echoing(8), trained_timesteps=16).to_json()
    assert told["effective_context_chars"] == told["effective_context_high_chars"] == 8
    assert told["trained_timesteps"] == 16
    row = told["contexts"][3]
    assert row["context_chars"] == 4
    assert row["excess_bits_low"] < row["excess_bits"] < row["excess_bits_high"]
    assert {"reset_excess_bits", "reset_minus_swap_bits_high", "context_most_chars"} <= set(row)
    assert [row["beyond_timesteps"] for row in told["contexts"][5:7]] == [False, True]


def test_progress_ends_at_its_total():
    seen = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    measure(Echo(ABC, 4), NATURAL, progress=progress)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]


def test_the_whole_costs_what_forty_seconds_allow():
    totals = []
    text = np.resize(NATURAL, 111_540)
    context.measure(UniformPredictor(ABC), text, progress=lambda done, total: totals.append(total))
    assert set(totals) == {totals[0]}
    assert totals[0] < 1_800_000  # characters: 20 s at 90,000 a second


def test_bootstrap_draws_blocks_and_keeps_pairs():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 200)
    values = [rng.normal(shift, 1, n) for shift, n in zip(rng.normal(0, 1, 200), counts)]  # noqa: B905
    sums = np.array([[some.sum(), some.sum() + 3 * len(some)] for some in values])
    draws = block_bootstrap(sums, counts, np.random.default_rng(1))
    assert draws.shape == (2000, 2)
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 3)
    # Blocks share a shift of variance 1: single cases, drawn alone, would promise too much.
    blocks = sums[:, 0] - counts * sums[:, 0].sum() / counts.sum()
    expected = np.sqrt((blocks**2).sum()) / counts.sum()
    assert draws[:, 0].std() == pytest.approx(expected, rel=0.1)
    np.testing.assert_array_equal(draws, block_bootstrap(sums, counts, np.random.default_rng(1)))
    with pytest.raises(ValueError, match="empty"):
        block_bootstrap(sums, counts * 0, rng)


RESULT = measure(Echo(ABC, 32), echoing(32), trained_timesteps=64)
REFUSED = measure(UniformPredictor(ABC), NATURAL[:100], trained_timesteps=64)


def test_table_has_a_row_a_context_and_marks_the_trained_length():
    text = context_table(RESULT)
    lines = text.splitlines()
    assert lines[0].startswith("uses 32 characters of context; trained on 64 timesteps")
    cells = [line.split() for line in lines]
    assert ["32", "0.0000", "0.0000–0.0000", "0.0000", "effective", "context"] in cells
    starts = [line.split()[0] if line else "" for line in lines]
    assert starts.index("64") < starts.index("──") < starts.index("128")
    assert "--timesteps 64" in text
    assert "0.0144" in text
    assert all(len(line) <= 100 for line in lines)
    assert context_table(REFUSED) == REFUSED.refusal + "\n"


def test_plot_draws_both_ways_the_bar_and_the_trained_length(tmp_path):
    (axes,) = context_figure(RESULT).axes
    labels = axes.get_legend_handles_labels()[1]
    assert {"swap: another part of the text", "reset: nothing before"} <= set(labels)
    assert any("0.0144" in label for label in labels)
    assert {text.get_text() for text in axes.texts} >= {"--timesteps 64", "effective context 32"}
    assert len(axes.containers) == 2
    path = tmp_path / "context.png"
    save_context_plot(RESULT, path, "an echo")
    data = path.read_bytes()
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (1440, 900)


def test_a_trained_length_off_the_axis_is_named():
    labels = []
    for steps in (64, 4096):
        (axes,) = context_figure(replace(RESULT, trained_timesteps=steps)).axes
        labels.append(set(axes.get_legend_handles_labels()[1]))
        assert {f"--timesteps {steps}" in text.get_text() for text in axes.texts} >= {steps == 64}
    assert labels[1] - labels[0] == {"--timesteps 4096, off the axis"}


def test_plot_draws_the_interval_of_the_effective_context():
    for bounds, drawn in [((16, 64), 1), ((16, None), 1), ((32, 32), 0), ((None, None), 0)]:
        (axes,) = context_figure(replace(RESULT, effective=(32, *bounds))).axes
        assert len(axes.patches) == drawn


def test_plot_refusals(tmp_path):
    with pytest.raises(ChargenError, match="nothing to draw: not measured"):
        save_context_plot(REFUSED, tmp_path / "plot.png")
    with pytest.raises(ChargenError, match="cannot be written"):
        save_context_plot(RESULT, tmp_path / "none" / "plot.png")
