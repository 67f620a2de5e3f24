"""A model as a plain module of torch.nn: the same predictions, state in and out."""

import numpy as np
import pytest
import torch
from made import LETTERS, model_run
from torch import nn

import chargen
from chargen.errors import ChargenError
from chargen.recurrent import CharModel
from chargen.recurrent.torch_nn import to_torch
from chargen.settings import ModelSettings

V = len(LETTERS)
SHAPES = [("simple", "tanh"), ("simple", "relu"), ("lstm", "tanh"), ("gru", "tanh")]


@pytest.fixture(params=SHAPES, ids="-".join)
def model(request, tmp_path):
    cell, activation = request.param
    return chargen.load(model_run(tmp_path / "run", cell, activation=activation).path, "cpu")


def ids(T, seed=0):
    return torch.randint(V, (2, T), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_it_predicts_the_same_and_carries_the_same_state(model):
    module, text = model.to_torch(), ids(30)
    state = given = None
    for part in text.split(11, dim=1):
        expected, state = model.network(part, state)
        logits, given = module(part, given)
        assert logits.shape == (2, part.shape[1], V)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    for own, theirs in zip(state, given, strict=True):
        parts = theirs if isinstance(theirs, tuple) else (theirs,)
        for part, its in zip(own, parts, strict=True):
            torch.testing.assert_close(part[None], its, rtol=0, atol=1e-5)


def test_it_is_made_of_plain_layers(model):
    module = model.to_torch()
    kind = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[model.run.description.model.cell]
    assert [type(layer) for layer in module.layers] == [kind, kind]
    assert [layer.hidden_size for layer in module.layers] == [7, 5]
    assert type(module.head) is nn.Linear
    again = model.to_torch()
    again.load_state_dict(module.state_dict())


def test_its_gradients_are_those_of_the_network(model):
    module, text = model.to_torch(), ids(6)
    for network in (module, model.network):
        logits, _ = network(text)
        nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten()).backward()
    weight = module.layers[0].weight_hh_l0
    torch.testing.assert_close(weight.grad.t(), model.network.stack.layers[0].W_hh.grad)
    torch.testing.assert_close(module.head.weight.grad.t(), model.network.W_hy.grad)


def test_its_weights_are_its_own(model):
    module, before = model.to_torch(), model.network.b_y.clone()
    weights = [*module.parameters()]
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
    torch.testing.assert_close(model.network.b_y, before)
    assert np.isfinite(model.predictor.advance(ids(3).numpy())[0]).all()
    assert all(weight.any() for weight in model.network.parameters())


@pytest.mark.parametrize(
    ("cell", "activation", "said"),
    [
        ("gru-before", "tanh", "torch.nn has no gru-before: its GRU resets after the product"),
        ("mingru", "tanh", "torch.nn has no mingru: its units read each other's state; use charg"),
        ("lstm", "relu", "torch.nn has no lstm with activation relu, only with tanh"),
        ("simple", "linear", "no simple with activation linear, only with tanh or relu"),
    ],
)
def test_what_torch_nn_has_not_is_named(cell, activation, said, tmp_path):
    model = chargen.load(model_run(tmp_path / "run", cell, activation=activation).path, "cpu")
    with pytest.raises(ChargenError, match=said):
        model.to_torch()


@pytest.mark.parametrize(("cell", "lacking"), [("lstm", "residual blocks"), ("mingru", "mingru")])
def test_residual_blocks_are_named_too(cell, lacking):
    settings = ModelSettings(cell, (4, 4), stack="residual")
    with pytest.raises(ChargenError, match=f"^torch.nn has no {lacking}.*; use chargen.recurrent$"):
        to_torch(CharModel.seeded(settings, V, 0), settings)
