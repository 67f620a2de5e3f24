"""Stacks, the softmax head, and the network as a predictor."""

import numpy as np
import pytest
import torch

from chargen.errors import ChargenError
from chargen.predictors import select
from chargen.recurrent import CELLS, CharModel, NetworkPredictor, SimpleRNN, Stack
from chargen.recurrent.stack import drop
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

N, T, V = 2, 3, 4
every_cell = pytest.mark.parametrize("cell", CELLS)


def model_of(cell="lstm", units=(5, 6, 7), seed=0):
    return CharModel.seeded(ModelSettings(cell, units), V, seed)


def ids_of(seed=0):
    return np.random.default_rng(seed).integers(V, size=(N, T))


@every_cell
def test_layers_have_units_of_their_own(cell):
    logits, state = model_of(cell)(torch.from_numpy(ids_of()))
    assert logits.shape == (N, T, V)
    assert [layer[0].shape for layer in state] == [(N, 5), (N, 6), (N, 7)]


def test_a_simple_layer_and_its_head_hold_three_matrices_and_two_biases():
    shapes = [tuple(p.shape) for p in model_of("simple", (5,)).parameters()]
    assert sorted(shapes, key=len) == [(V,), (5,), (5, V), (V, 5), (5, 5)]


@every_cell
def test_the_last_steps_alone_are_the_same_logits(cell):
    model, ids = model_of(cell), torch.from_numpy(ids_of())
    torch.testing.assert_close(model(ids, last=2)[0], model(ids)[0][:, -2:])


def test_every_layer_below_another_hands_on_its_sequence():
    stack = Stack([SimpleRNN(3, return_sequences=True), SimpleRNN(5)])
    assert stack(torch.ones(1, 4, 2))[0].shape == (1, 5)
    with pytest.raises(ValueError, match="return_sequences"):
        Stack([SimpleRNN(3), SimpleRNN(5)])
    with pytest.raises(ValueError, match="at least one"):
        Stack([])


def test_dropout_is_by_its_generator_and_without_one_absent():
    model, ids = model_of(), torch.from_numpy(ids_of())
    plain = model(ids)[0]
    dropped, same, other = (
        model(ids, dropout=0.5, generator=torch.Generator().manual_seed(seed))[0]
        for seed in (1, 1, 2)
    )
    torch.testing.assert_close(dropped, same)
    assert (dropped != other).any()
    torch.testing.assert_close(model(ids, dropout=0.5)[0], plain)


def test_dropout_keeps_the_expected_value():
    kept = drop(torch.ones(200, 200), 0.25, torch.Generator().manual_seed(0))
    assert kept.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert kept.mean().item() == pytest.approx(1, abs=0.02)


@every_cell
def test_a_network_predicts_log_probabilities_with_state_passed_on(cell):
    predictor, ids = NetworkPredictor(model_of(cell), Vocabulary("abcd")), ids_of()
    whole, _ = predictor.advance(ids)
    assert whole.shape == (N, T, V)
    np.testing.assert_allclose(np.exp(whole).sum(axis=2), 1, rtol=1e-5)
    first, state = predictor.advance(ids[:, :2])
    second, _ = predictor.advance(ids[:, 2:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-5, atol=1e-6)


def test_a_long_text_is_read_in_parts(monkeypatch):
    predictor, ids = NetworkPredictor(model_of(), Vocabulary("abcd")), ids_of()
    whole, end = predictor.advance(ids)
    monkeypatch.setattr("chargen.recurrent.model.TIMESTEPS_AT_ONCE", 2)
    parts, same_end = predictor.advance(ids)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(same_end, end)


@every_cell
def test_rows_of_a_state_can_be_picked(cell):
    predictor, ids = NetworkPredictor(model_of(cell), Vocabulary("abcd")), ids_of()
    _, state = predictor.advance(ids)
    picked, _ = predictor.advance(ids[[1, 0, 1], :1], select(state, np.array([1, 0, 1])))
    plain, _ = predictor.advance(ids[:, :1], state)
    np.testing.assert_allclose(picked, plain[[1, 0, 1]], rtol=1e-5, atol=1e-6)


def test_weights_make_the_same_model_again():
    model = model_of()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    again = CharModel.of(ModelSettings("lstm", (5, 6, 7)), V, weights)
    ids = torch.from_numpy(ids_of())
    torch.testing.assert_close(again(ids)[0], model(ids)[0])


@pytest.mark.parametrize("units", [(5, 6), (5, 6, 8), (5, 6, 7, 7)])
def test_weights_of_another_shape_are_refused_by_name(units):
    weights = {name: value.numpy() for name, value in model_of().state_dict().items()}
    with pytest.raises(ChargenError, match="have shape"):
        CharModel.of(ModelSettings("lstm", units), V, weights)


def test_settings_that_ask_for_the_impossible_allocate_nothing():
    weights = {"W_hy": np.zeros((2, 2), np.float32)}
    with pytest.raises(ChargenError, match="have shape"):
        CharModel.of(ModelSettings("lstm", (10**7,) * 3), 10**6, weights)


def test_what_is_as_unlikely_as_a_number_can_say_is_predicted_without_a_warning():
    """Two such log-probabilities add up to less than any float32; a test takes warnings ill."""
    model = model_of()
    with torch.no_grad():
        model.W_hy.zero_()
        model.b_y.copy_(torch.tensor([3e38, 0, 0, 0]))
    log_probs, _ = NetworkPredictor(model, Vocabulary("abcd")).advance(ids_of())
    assert log_probs.max() == 0
    assert log_probs.min() < -2e38
