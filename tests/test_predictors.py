"""Predictors: adapters, the conformance check, the n-gram baseline, and evaluation."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import BANK, TablePredictor, UniformPredictor
from hypothesis import given
from hypothesis import strategies as st
from networks import arrays_of, network_and_engine
from torch import nn

from chargen import evaluation
from chargen.cells import CELL_NAMES
from chargen.evaluation import Evaluation, evaluate
from chargen.predictors import BackoffNgram, PredictorError, check, from_function, from_torch
from chargen.predictors.check import load_model
from chargen.predictors.protocol import select
from chargen.probes.context.measure import measure as measure_context
from chargen.probes.mined import measure as mined
from chargen.probes.templates import measure as templates
from chargen.recurrent import CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

SYMBOLS = "cab"  # not in the order of code points


class Letters(nn.Module):
    """An LSTM whose state is a pair of tensors with the sequences second, as torch has it."""

    def __init__(self, symbols=3):
        super().__init__()
        torch.manual_seed(1)
        self.lstm = nn.LSTM(symbols, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, symbols)
        self.symbols = symbols

    def forward(self, ids, state=None):
        one_hot = nn.functional.one_hot(ids, self.symbols).float()
        outputs, state = self.lstm(one_hot, state)
        return self.head(outputs), state


class Convolution(nn.Module):
    """A causal convolution over the last three characters, without a state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.convolution = nn.Conv1d(3, 3, 3)

    def forward(self, ids):
        inputs = nn.functional.one_hot(ids, 3).float().transpose(1, 2)
        return self.convolution(nn.functional.pad(inputs, (2, 0))).transpose(1, 2)


def alternating(text):
    """Log-probabilities of c, a and b: b after an even number of a, else a."""
    even = text.count("a") % 2 == 0
    return np.log([0.2, 0.1 + 0.6 * (not even), 0.1 + 0.6 * even])


def distribution(predictor, text):
    ids = predictor.vocabulary.encode(text)[None].astype(np.int64)
    log_probs, _ = predictor.advance(ids)
    return dict(zip(predictor.vocabulary.characters, np.exp(log_probs[0, -1]), strict=True))


def test_a_function_becomes_a_predictor_and_is_given_no_more_than_it_needs():
    predictor = from_function(alternating, SYMBOLS)
    check(predictor)
    found = distribution(predictor, "aca")
    assert found == pytest.approx({"a": 0.1, "b": 0.7, "c": 0.2})
    texts = []
    predictor = from_function(lambda text: [texts.append(text), *np.log([0.5, 0.5])][1:], "ab", 3)
    check(predictor)
    assert max(map(len, texts)) == predictor.context_chars == 3


@pytest.mark.parametrize("symbols", [SYMBOLS, ["<pad>", "c", "a", "b"]])
def test_a_torch_module_with_a_state_becomes_a_predictor(symbols):
    module = Letters(len(symbols))
    predictor = from_torch(module, symbols)
    check(predictor)
    assert predictor.vocabulary == Vocabulary("abc")
    own = torch.tensor([[list(symbols).index(character) for character in "acb"]])
    expected = torch.softmax(module(own)[0][0, -1, -3:], 0).tolist()
    found = distribution(predictor, "acb")
    assert [found["c"], found["a"], found["b"]] == pytest.approx(expected, rel=1e-5)
    check(from_torch(Convolution(), SYMBOLS, state_axis=None))


def test_states_of_any_layout_are_selected():
    state = {"h": [torch.arange(6).reshape(3, 2)], "c": (None, np.arange(3))}
    found = select(state, np.array([2, 0, 2]))
    assert found["h"][0].tolist() == [[4, 5], [0, 1], [4, 5]]
    assert found["c"][0] is None
    assert found["c"][1].tolist() == [2, 0, 2]


def test_an_exported_run_is_read_from_onnx(tmp_path):
    pytest.importorskip("onnx")
    from chargen.formats.onnx import step_model
    from chargen.predictors import from_onnx

    model, engine = network_and_engine("lstm", (4, 3), 3)
    path, ids = tmp_path / "model.onnx", np.array([[0, 2, 1, 1]])
    path.write_bytes(step_model(engine.settings, arrays_of(model), "abc").SerializeToString())
    predictor = from_onnx(path)
    check(predictor)
    own, _ = NetworkPredictor(model, Vocabulary("abc")).advance(ids)
    np.testing.assert_allclose(predictor.advance(ids)[0], own, atol=1e-5)


def faulty(change=lambda log_probs: log_probs, **changes):
    """Return a function that makes a predictor with other predictions or attributes."""

    class Predictor:
        vocabulary = Vocabulary("abc")

        def advance(self, ids, state=None):
            before = np.zeros((len(ids), 0), np.int64) if state is None else state
            history = np.concatenate([before, ids], axis=1)
            totals = history.cumsum(axis=1)[:, before.shape[1] :]
            share = np.where(np.arange(3) == (totals % 3)[..., None], 0.8, 0.1)
            return change(np.log(share).astype(np.float32)), history

    one = Predictor()
    for name, value in changes.items():
        setattr(one, name, value if name == "vocabulary" else value and partial(value, one.advance))
    return lambda: one


def first_of(predictor):
    return predictor.advance(np.array([[0]]))


RNG = np.random.default_rng(0)


def dropped(log_probs):
    rolled = np.roll(log_probs, RNG.integers(1, 3), axis=2)
    return np.where(RNG.random(log_probs.shape[:2])[..., None] < 0.5, rolled, log_probs)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (faulty(np.exp), "sum to .* log_softmax"),
        (faulty(lambda x: x * np.nan), "sum to nan"),
        (faulty(lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1)))), "shape"),
        (faulty(lambda x: x[:, -1]), "shape"),
        (faulty(list), "shape"),
        (faulty(advance=lambda own, ids, state=None: own(ids)), "read in parts"),
        (faulty(advance=lambda own, ids, state=None: own(np.roll(ids, -1, 1), state)), "later"),
        (faulty(lambda x: x[::-1]), "read alone"),
        (faulty(dropped), "dropout"),
        (faulty(vocabulary="abc"), "Vocabulary"),
        (faulty(advance=None), "neither"),
        (lambda: first_of(from_torch(Letters(), "cabd")), "symbols"),
        (lambda: from_torch(Letters(), "caa"), "once"),
        (lambda: first_of(from_torch(Convolution(), "cab")), "state_axis=None"),
        (lambda: first_of(from_function(lambda text: [0.0], "ab")), "symbols"),
    ],
)
def test_the_check_and_the_adapters_explain_a_fault(make, reason):
    with pytest.raises(PredictorError, match=reason):
        check(make())


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("sum to 2.718", lambda x: x + 1),
        ("sum to nan", lambda x: x * np.nan),
        ("shape", lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1)))),
        ("probability 0", lambda x: np.where(np.arange(x.shape[2]) > 0, -np.inf, 0 * x)),
    ],
)
@pytest.mark.parametrize(
    "measure",
    [
        lambda model, ids: templates.measure(model, BANK, spans=(4,), gate=0),
        lambda model, ids: measure_context(model, ids, contexts=(4,)),
        lambda model, ids: mined.measure(model, ids, longest=64),
    ],
)
def test_every_instrument_refuses_what_is_no_distribution(measure, reason, change):
    model = UniformPredictor(Vocabulary.of("".join(BANK.characters()) + "()"))
    good, ids = model.advance, model.vocabulary.encode("the (clouds) are in the sky\n" * 200)
    model.advance = lambda ids, state=None: (change(good(ids)[0]), None)
    with pytest.raises(PredictorError, match=reason):
        measure(model, ids)


def test_a_replaced_context_can_give_a_character_probability_zero():
    model = TablePredictor("ab", np.full((2, 2), 0.5))
    model.table[[0, 1], [0, 1]] = -np.inf  # a repeated character, which the text lacks
    model.table[[0, 1], [1, 0]] = 0
    with pytest.raises(PredictorError, match="probability 0"):
        measure_context(model, np.arange(5000) % 2, contexts=(1, 2))


@pytest.mark.filterwarnings("ignore")  # those of keras
@pytest.mark.parametrize("title", ["A function", "An n-gram", "A torch module", "A Keras model"])
def test_each_block_of_the_how_to_page_makes_a_model(title, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    page = Path(__file__).parent.parent / "docs" / "how-to" / "measure-any-model.md"
    blocks = re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```$", page.read_text(), re.S | re.M)
    block = dict(blocks)[title]
    assert len([line for line in block.splitlines() if line]) < 15
    (tmp_path / "mine.py").write_text(block)
    model = load_model(f"{tmp_path / 'mine.py'}:model")
    assert model.vocabulary.characters.startswith(" ")


def test_a_model_that_cannot_be_loaded_is_explained(tmp_path):
    (tmp_path / "mine.py").write_text("def number():\n    return 5\n")
    for name, reason in (
        ("mine.py:model", "no such file"),
        ("runs/fables", "a run is an argument without"),
        ("hf:nowhere", "hf:nowhere: not a directory"),
        (f"{tmp_path}/mine.py:other", "has no other"),
        (f"{tmp_path}/mine.py:number", "mine.py:number: it has no attribute `vocabulary`"),
        (f"{tmp_path}/mine.onnx", "not a readable ONNX graph"),
    ):
        with pytest.raises(PredictorError, match=re.escape(reason)):
            load_model(name)


TEXTS = st.text("abc", min_size=2, max_size=60)


def ngram_of(text, order):
    vocabulary = Vocabulary.of(text)
    return BackoffNgram(vocabulary, vocabulary.encode(text), order)


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
        for character, probability in distribution(ngram_of(text, order), context).items():
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
    assert distribution(UniformPredictor(Vocabulary("abcd")), "ab")["c"] == pytest.approx(0.25)
    eight = Evaluation(np.log(8), 0.5, 10)
    assert (eight.bits_per_char, eight.perplexity) == (pytest.approx(3), pytest.approx(8))
    assert eight.to_json()["loss_nats"] == np.log(8)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_streams_of_a_network_are_within_a_thousandth_of_a_nat(cell, monkeypatch):
    """Its memory is unbounded; the warm-up makes the losses agree."""
    text = "".join(np.random.default_rng(0).choice(list("abcd"), 5000))
    network = CharModel.seeded(ModelSettings(cell, (16,)), 4, 0)
    for parameter in network.parameters():
        parameter.data *= 1.5  # so that it forgets as slowly as a trained one
    predictor = NetworkPredictor(network, Vocabulary("abcd"))
    ids = predictor.vocabulary.encode(text)
    many = evaluate(predictor, ids, 600)
    monkeypatch.setattr(evaluation, "STREAMS", 1)
    one = evaluate(predictor, ids, 600)
    assert many.loss_nats == pytest.approx(one.loss_nats, abs=1e-3)


def test_the_first_character_cannot_be_predicted():
    for start in (0, 5):
        with pytest.raises(ValueError, match="start"):
            evaluate(UniformPredictor(Vocabulary("ab")), np.zeros(5, dtype=np.uint8), start)
