"""Sampling: the distribution, writing with a predictor of known answers, and beam search."""

from itertools import product

import numpy as np
import pytest
from fakes import Echo, TablePredictor
from hypothesis import given
from hypothesis import strategies as st
from networks import Fixed, distribution, network_and_engine, sampler

from chargen.errors import ChargenError, NonFiniteError
from chargen.sampling import choose, generate
from chargen.sampling.beam import ENDED, search
from chargen.sampling.engine import initial_state
from chargen.settings import RECENT, SamplingSettings
from chargen.text import Vocabulary


@pytest.mark.parametrize(
    ("probabilities", "settings", "expected"),
    [
        ([0.5, 0.2, 0.3], {}, [0.5, 0.2, 0.3]),
        ([0.8, 0.2], {"temperature": 0.5}, [0.64 / 0.68, 0.04 / 0.68]),
        ([0.3, 0.4, 0.3], {"temperature": 0}, [0, 1, 0]),
        ([0.3, 0.4, 0.3], {"temperature": 1e-300}, [0, 1, 0]),
        ([0.4, 0.2, 0.4], {"temperature": 0}, [1, 0, 0]),  # one of several equals
        ([0.25] * 4, {"top_k": 1}, [1, 0, 0, 0]),
        ([0.25] * 4, {"top_k": 3}, [1 / 3] * 3 + [0]),
        ([0.1, 0.5, 0.4], {"top_p": 0.5}, [0, 1, 0]),
        ([0.1, 0.5, 0.4], {"top_p": 0.51}, [0, 5 / 9, 4 / 9]),
        ([0.1, 0.5, 0.4], {"top_p": 1}, [0.1, 0.5, 0.4]),
        ([0.1, 0.5, 0.4], {"min_p": 0.21}, [0, 5 / 9, 4 / 9]),
        ([0.25, 0.5, 0.25], {"min_p": 0.5}, [0.25, 0.5, 0.25]),
        # After the temperature: 0.4² is 0.64 of 0.5².
        ([0.1, 0.5, 0.4], {"min_p": 0.7, "temperature": 0.5}, [0, 1, 0]),
        # Before top_p.
        ([0.2, 0.45, 0.35], {"min_p": 0.5, "top_p": 0.56}, [0, 1, 0]),
        ([0, 1, 0], {"temperature": 2}, [0, 1, 0]),
    ],
)
def test_distribution(probabilities, settings, expected):
    with np.errstate(divide="ignore"):
        log_probs = np.log([probabilities])
    found = distribution(log_probs, SamplingSettings(**settings))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ((found == 0) == (np.array(expected) == 0)).all()


def test_penalty_divides_scores_above_the_mean_and_multiplies_those_below():
    p, recent = np.array([0.7, 0.2, 0.05, 0.05]), [0, 2, 0]
    scores = np.log(p) - np.log(p).mean()
    scores[0] /= 1.5  # above
    scores[2] *= 1.5  # below
    expected = np.exp(scores) / np.exp(scores).sum()
    chosen = SamplingSettings(repetition_penalty=1.5)
    for constant in (0, 40, -40):
        drawn = distribution(np.log(p)[None] + constant, chosen, recent)
        np.testing.assert_allclose(drawn[0], expected)
    with np.errstate(divide="ignore"):
        drawn = distribution(np.log([[0.5, 0.5, 0, 0]]), chosen, recent)
    assert (drawn[0] > 0).tolist() == [True, True, False, False]


def test_penalty_breaks_loops_and_has_a_limited_memory():
    predictor = TablePredictor("abcd", [[0.7, 0.2, 0.05, 0.05]] * 4)
    assert write(predictor, "a", 3, temperature=0) == ["aaa"]
    penalty = {"temperature": 0, "repetition_penalty": 8}
    assert write(predictor, "a", 3, **penalty) == ["baa"]
    # The b of the prompt is the oldest of RECENT, and then dropped.
    assert write(predictor, "b" + "a" * (RECENT - 1), 2, **penalty) == ["ab"]


def test_choices_follow_the_distribution_and_impossible_characters_are_never_drawn():
    log_probs = np.log(np.tile([0.5, 0.2, 0.3], (20_000, 1)))
    chosen = choose(log_probs, SamplingSettings(), np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(chosen) / 20_000, [0.5, 0.2, 0.3], atol=0.015)
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.tile([0, 0.7, 0.3, 0], (2, 1)))
    assert choose(log_probs, SamplingSettings(), Fixed(0.0, 1 - 2**-53)).tolist() == [1, 2]


def write(predictor, prompt, length, seed=0, count=1, **settings):
    rows = generate(
        predictor.advance,
        predictor.vocabulary.encode(prompt),
        length,
        SamplingSettings(**settings),
        np.random.default_rng(seed),
        count,
    )
    return [predictor.vocabulary.decode(text) for text in np.array(list(rows)).T]


def test_state_includes_the_prompt_which_must_not_be_empty():
    assert write(Echo(Vocabulary("abcd"), 3), "dab", 5, temperature=0) == ["dabda"]
    with pytest.raises(ValueError, match="one character"):
        next(generate(None, np.array([]), 1, SamplingSettings(), np.random.default_rng(0)))


def test_texts_depend_on_their_seed_and_number():
    table = np.full((4, 4), 0.25)
    one, same, other = (write(TablePredictor("abcd", table), "a", 50, s, 3) for s in (1, 1, 2))
    assert one == same
    assert len({*one, *other}) == 6
    assert {len(text) for text in one} == {50}


def test_characters_are_read_once_and_yielded_one_by_one():
    predictor = TablePredictor("ab", [[0.5, 0.5], [0.5, 0.5]])
    write(predictor, "abab", 10)
    assert (predictor.calls, predictor.read) == (10, 4 + 9)
    rows = generate(
        predictor.advance, np.array([0]), 10**9, SamplingSettings(), np.random.default_rng(0)
    )
    next(rows)
    assert predictor.calls == 11


def test_unprompted_text_begins_after_a_line_feed():
    for characters, first in (("\n ab", "\n"), (" ab", " "), ("ab", "a")):
        vocabulary = Vocabulary(characters)
        assert vocabulary.decode(vocabulary.opening) == first


def found(read, length, width, count=1, stops=(), prompt=(0,)):
    rows = search(read, np.array(prompt), length, width, count, list(map(np.array, stops)))
    return [tuple(int(id_) for id_ in text if id_ != ENDED) for text in zip(*rows, strict=True)]


def until(text, stops):
    """The text up to the end of the first stop."""
    for end in range(len(text) + 1):
        if any(text[:end][-len(stop) :] == tuple(stop) for stop in stops):
            return text[:end]
    return text


def all_texts(table, length, stops=()):
    """Every text after character 0 with its log-probability, likeliest first."""
    V = len(table)
    texts = {until(text, stops) for text in product(range(V), repeat=length)}
    costs = {
        text: sum(np.log(table[a][b]) for a, b in zip((0, *text), text, strict=False))
        for text in texts
    }
    return sorted(costs.items(), key=lambda item: -item[1])


@st.composite
def tables(draw):
    V = draw(st.integers(2, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    table = rng.random((V, V)) ** 3 + 0.01
    return table / table.sum(axis=1, keepdims=True)


@given(tables(), st.integers(1, 5), st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=3)))
def test_beam_as_wide_as_all_texts_finds_the_likeliest_in_order(table, length, stops):
    characters = "abc"[: len(table)]
    expected = all_texts(table, length, stops)
    count = min(3, len(expected))
    texts = found(TablePredictor(characters, table).advance, length, 3**5, count, stops)
    costs = dict(expected)
    assert len(set(texts)) == count
    # Float32 tables: texts of one probability may come in either order.
    np.testing.assert_allclose(
        [costs[text] for text in texts], [cost for _, cost in expected[:count]], atol=1e-5
    )


def test_beam_of_one_is_greedy():
    _, engine = network_and_engine("lstm", (7, 3))
    greedy = engine.write(
        np.array([1, 2]), 40, SamplingSettings(temperature=0), np.random.default_rng(0)
    )
    texts = found(engine.advance, 40, 1, prompt=(1, 2))
    assert texts == [tuple(int(row[0]) for row in greedy)]


def test_states_are_selected_with_their_texts():
    _, engine = network_and_engine("gru", (6,), size=5)
    state = initial_state(engine.settings, 1)
    costs = {}
    for text in product(range(5), repeat=3):
        total, now, last = 0.0, state, 4
        for id_ in text:
            logits, now = engine.read(np.array([last]), now)
            values = logits[0].astype(np.float64)
            total += values[id_] - np.logaddexp.reduce(values)
            last = id_
        costs[text] = total
    expected = sorted(costs, key=costs.get, reverse=True)[:4]
    assert found(engine.advance, 3, 5**2, 4, prompt=(4,)) == expected


def test_ended_text_outranks_longer_less_likely_ones():
    table = [[0.3, 0.7], [0.5, 0.5]]
    read = TablePredictor("ab", table).advance
    assert found(read, 9, 4, stops=[(1,)]) == [(1,)]
    assert found(read, 2, 4, 3, stops=[(1,)]) == [(1,), (0, 1), (0, 0)]
    assert found(read, 4, 4, 3, stops=[(1,)]) == [(1,), (0, 1), (0, 0, 1)]
    # Texts beyond all possible ones are empty.
    assert found(TablePredictor("ab", [[0.6, 0.4]] * 2).advance, 1, 5, 3) == [(0,), (1,), ()]


def test_nan_is_refused():
    logits = np.full((1, 1, 2), np.nan, dtype=np.float32)
    with pytest.raises(NonFiniteError):
        search(lambda ids, state: (logits, state), np.array([0]), 3, 2)


def test_sampler_returns_the_likeliest_texts_for_any_seed():
    one = sampler()
    rows = [list(one.stream("ab", 12, 3, seed, beam=5)) for seed in (0, 1)]
    assert rows[0] == rows[1]
    best, *others = ("".join(text) for text in zip(*rows[0], strict=True))
    assert [best] == ["".join(row[0] for row in one.stream("ab", 12, beam=5))]
    assert len(best) == 12
    assert best not in others
    stopped = "".join(row[0] for row in one.stream("ab", 12, beam=5, stop=best[4:6]))
    assert best[4:6] not in stopped
    assert len(stopped) < 12


def test_impossible_stops_and_options_incompatible_with_a_beam_are_refused():
    one = sampler()
    for options, message in (
        ({"beam": 3, "temperature": 0.5}, "beam and temperature: a beam search draws nothing"),
        ({"beam": 3, "repetition_penalty": 2}, "beam and repetition_penalty: "),
        ({"beam": 3, "count": 4}, "count=4: more than a beam of 3; raise beam"),
        ({"stop": ""}, "stop='': empty"),
        ({"stop": ["a", "aé"]}, "stop='aé': character 'é' at position 1 is not in"),
    ):
        with pytest.raises(ChargenError, match=message):
            one.stream("ab", 5, **options)
