"""Sampling: the distribution, and writing with a predictor of known answers."""

import numpy as np
import pytest
from fakes import CountingPredictor, TablePredictor
from networks import Fixed, distribution

from chargen.errors import ChargenError
from chargen.sampling import choose, generate
from chargen.settings import RECENT, SamplingSettings
from chargen.text import Vocabulary


@pytest.mark.parametrize(
    ("probabilities", "settings", "expected"),
    [
        ([0.5, 0.2, 0.3], {}, [0.5, 0.2, 0.3]),
        ([0.8, 0.2], {"temperature": 0.5}, [0.64 / 0.68, 0.04 / 0.68]),
        ([0.8, 0.2], {"temperature": 1e9}, [0.5, 0.5]),
        ([0.3, 0.4, 0.3], {"temperature": 0}, [0, 1, 0]),
        ([0.3, 0.4, 0.3], {"temperature": 1e-300}, [0, 1, 0]),
        ([0.4, 0.2, 0.4], {"temperature": 0}, [1, 0, 0]),  # one of several equals
        ([0.25] * 4, {"top_k": 1}, [1, 0, 0, 0]),
        ([0.25] * 4, {"top_k": 3}, [1 / 3] * 3 + [0]),
        ([0.25] * 4, {"top_k": 9}, [0.25] * 4),
        ([0.1, 0.5, 0.4], {"top_p": 0.5}, [0, 1, 0]),
        ([0.1, 0.5, 0.4], {"top_p": 0.51}, [0, 5 / 9, 4 / 9]),
        ([0.1, 0.5, 0.4], {"top_p": 1}, [0.1, 0.5, 0.4]),
        ([0.1, 0.5, 0.4], {"top_p": 1e-9}, [0, 1, 0]),
        ([0.1, 0.5, 0.4], {"min_p": 0.21}, [0, 5 / 9, 4 / 9]),
        ([0.25, 0.5, 0.25], {"min_p": 0.5}, [0.25, 0.5, 0.25]),
        ([0.1, 0.5, 0.4], {"min_p": 1}, [0, 1, 0]),
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


def test_state_includes_the_prompt():
    assert write(CountingPredictor("abcd"), "aab", 5, temperature=0) == ["dabcd"]


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


def test_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="one character"):
        next(generate(None, np.array([]), 1, SamplingSettings(), np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", (-1, float("nan"), float("inf"))),
        ("top_k", (0,)),
        ("top_p", (0, 2)),
        ("min_p", (0, 1.1)),
        ("repetition_penalty", (0.9, float("nan"))),
    ],
)
def test_invalid_settings_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ChargenError, match=f"^{name}="):
            SamplingSettings(**{name: value})
