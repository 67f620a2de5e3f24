"""The n-gram baseline, and evaluation of predictors whose loss is known."""

import numpy as np
import pytest
from fakes import TablePredictor, UniformPredictor
from hypothesis import given
from hypothesis import strategies as st

from chargen.cells import CELL_NAMES
from chargen.evaluation import Evaluation, evaluate
from chargen.predictors import BackoffNgram
from chargen.recurrent import CharModel, NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

TEXTS = st.text("abc", min_size=2, max_size=60)


def ngram_of(text, order):
    vocabulary = Vocabulary.of(text)
    return BackoffNgram(vocabulary, vocabulary.encode(text), order)


def after(predictor, context):
    """Return the distribution after a context as a mapping."""
    ids = predictor.vocabulary.encode(context)[None].astype(np.int64)
    log_probs, _ = predictor.advance(ids)
    return dict(zip(predictor.vocabulary.characters, np.exp(log_probs[0, -1]), strict=True))


def kneser_ney(text, order, context, character):
    """Return one probability of interpolated Kneser-Ney, computed as in the paper."""
    alphabet = sorted(set(text))

    def counts(length):
        grams = [text[i - length : i + 1] for i in range(length, len(text))]
        if length < order - 1:
            longer = {text[i - length - 1 : i + 1] for i in range(length + 1, len(text))}
            grams = [gram[1:] for gram in longer]
        return {gram: grams.count(gram) for gram in grams}

    probability = 1 / len(alphabet)
    for length in range(order):
        here = counts(length)
        ones, twos = (list(here.values()).count(n) for n in (1, 2))
        discount = ones / (ones + 2 * twos) if ones and twos else 0.5
        past = context[len(context) - length :] if length <= len(context) else None
        follow = {gram: n for gram, n in here.items() if gram[:-1] == past}
        if follow:
            total = sum(follow.values())
            own = max(follow.get(f"{past}{character}", 0) - discount, 0) / total
            probability = own + discount * len(follow) / total * probability
    return probability


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_ngram_baseline_is_kneser_ney(order):
    text = "abracadabra abracadabra arcana"
    for context in ("a", "ra", "abr", "cad", "dabra", "rrr"):
        for character, probability in after(ngram_of(text, order), context).items():
            expected = kneser_ney(text, order, context, character)
            assert probability == pytest.approx(expected, rel=1e-5)


@given(TEXTS, TEXTS, st.integers(1, 20), st.integers(2, 8))
def test_ngram_distributions_sum_to_one_and_are_those_of_reading_in_parts(text, asked, cut, order):
    predictor = ngram_of("abc" + text, order)
    ids = predictor.vocabulary.encode(asked)[None]
    whole, _ = predictor.advance(ids)
    assert whole.shape == (1, len(asked), 3)
    np.testing.assert_allclose(np.exp(whole).sum(axis=2), 1, rtol=1e-5)
    cut = min(cut, len(asked) - 1)
    first, state = predictor.advance(ids[:, :cut])
    second, _ = predictor.advance(ids[:, cut:], state)
    assert (np.concatenate([first, second], axis=1) == whole).all()


def test_an_ngram_needs_a_text_and_an_order():
    for text, order, message in (("abc", 1, "order"), ("a", 3, "characters")):
        with pytest.raises(ValueError, match=message):
            ngram_of(text, order)


def test_loss_and_accuracy_of_a_known_predictor():
    predictor = TablePredictor("ab", [[0.25, 0.75], [0.5, 0.5]])
    found = evaluate(predictor, np.array([0, 1, 0, 0]))
    assert found.loss_nats == pytest.approx(-np.log([0.75, 0.5, 0.25]).mean())
    assert (found.accuracy, found.chars) == (pytest.approx(2 / 3), 3)
    assert after(UniformPredictor(Vocabulary("abcd")), "ab")["c"] == pytest.approx(0.25)
    eight = Evaluation(np.log(8), 0.5, 10)
    assert (eight.bits_per_char, eight.perplexity) == (pytest.approx(3), pytest.approx(8))
    assert eight.to_json()["loss_nats"] == np.log(8)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_streams_of_a_network_are_within_a_thousandth_of_a_nat(cell):
    """Its memory is unbounded; the warm-up makes the losses agree."""
    text = "".join(np.random.default_rng(0).choice(list("abcd"), 5000))
    network = CharModel.seeded(ModelSettings(cell, (16,)), 4, 0)
    for parameter in network.parameters():
        parameter.data *= 1.5  # so that it forgets as slowly as a trained one
    predictor = NetworkPredictor(network, Vocabulary("abcd"))
    ids = predictor.vocabulary.encode(text)
    one, many = (evaluate(predictor, ids, 600, streams) for streams in (1, None))
    assert many.loss_nats == pytest.approx(one.loss_nats, abs=1e-3)


def test_the_first_character_cannot_be_predicted():
    for start in (0, 5):
        with pytest.raises(ValueError, match="start"):
            evaluate(UniformPredictor(Vocabulary("ab")), np.zeros(5, dtype=np.uint8), start)
