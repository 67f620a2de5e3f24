"""Stacks, residual blocks, the character model and its predictor, and the export to torch.nn."""

import numpy as np
import pytest
import torch
from networks import LETTERS, model_run, network_and_engine, seeded
from torch import nn

import chargen
from chargen.errors import ChargenError
from chargen.predictors import check
from chargen.recurrent import LAYERS, CharModel, SimpleRNN, Stack
from chargen.recurrent.model import NetworkPredictor
from chargen.recurrent.residual import ForwardMode, drop
from chargen.recurrent.torch_nn import to_torch
from chargen.settings import PRECISIONS, STACK_NAMES, ModelSettings
from chargen.text import Vocabulary

N, T, V, D = 2, 7, 4, 4
UNITS = {"plain": (5, 6, 7), "residual": (D, D)}
every_cell = pytest.mark.parametrize("cell", LAYERS)
every_stack = pytest.mark.parametrize("stack", STACK_NAMES)


def model_of(cell="lstm", stack="plain", units=None):
    return network_and_engine(cell, units or UNITS[stack], V, stack=stack)[0].double()


def ids_of(length=T, seed=0):
    return torch.randint(V, (N, length), generator=seeded(seed))


def dropped(seed, dropout=0.5):
    return ForwardMode(dropout, seeded(seed))


def test_stacks_are_checked():
    stack = Stack([SimpleRNN(3, return_sequences=True), SimpleRNN(5)])
    assert stack(torch.ones(1, 4, 2))[0].shape == (1, 5)
    with pytest.raises(ValueError, match="return_sequences"):
        Stack([SimpleRNN(3), SimpleRNN(5)])
    with pytest.raises(ValueError, match="at least one"):
        Stack([])
    layers = [LAYERS["mingru"](units, return_sequences=True, features=4) for units in (4, 5)]
    with pytest.raises(ValueError, match="the same units"):
        Stack(layers, V)


@every_stack
def test_dropout_depends_on_its_generator_alone(stack):
    model, ids = model_of(stack=stack), ids_of()
    assert torch.equal(model(ids, mode=ForwardMode(0.5))[0], model(ids)[0])
    one, same, other = (model(ids, mode=dropped(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    kept = drop(torch.ones(200, 200), dropped(0, 0.25))
    assert kept.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert kept.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("cell", "dropout"), [("mingru", 0.3), ("lstm", 0.0)])
def test_residual_gradients_equal_finite_differences(cell, dropout):
    model, ids = model_of(cell, "residual", (3,)), ids_of(3)
    names = dict(model.named_parameters())
    (state,) = model(ids_of(3, seed=1))[1]
    state = tuple(part.detach().requires_grad_() for part in state)

    def read(*given):
        weights = dict(zip(names, given[len(state) :], strict=True))
        arguments = (ids, (given[: len(state)],), None, dropped(7, dropout))
        logits, (last,) = torch.func.functional_call(model, weights, arguments)
        return logits, *last

    assert torch.autograd.gradcheck(read, (*state, *names.values()))


@every_cell
@every_stack
def test_state_continues_a_text(cell, stack):
    """Within the reach of the convolution, too."""
    model, ids = model_of(cell, stack), ids_of()
    whole, last = model(ids)
    for cut in range(1, T):
        first, state = model(ids[:, :cut])
        second, end = model(ids[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
        torch.testing.assert_close(end, last)


def test_residual_blocks_read_ids_as_one_hot_vectors_and_documents_independently():
    model, ids = model_of("mingru", "residual"), ids_of()
    hot = nn.functional.one_hot(ids, V).double()
    torch.testing.assert_close(model.stack(ids)[0], model.stack(hot)[0])
    begins = torch.zeros(N, T, dtype=torch.bool)
    begins[1, 3] = True
    logits, _ = model(ids, None, begins=begins)
    torch.testing.assert_close(logits[1, 3:], model(ids[1:, 3:])[0][0])
    torch.testing.assert_close(logits[0], model(ids[:1])[0][0])


def test_bfloat16_gives_nearly_the_same_gradients():
    shape, ids, found = ModelSettings("mingru", (32, 32), "tanh", "residual"), ids_of(), {}
    model = CharModel.seeded(shape, V, 0)
    for precision in PRECISIONS:
        logits, _ = model(ids, mode=ForwardMode(0.2, seeded(5), precision))
        found[precision] = [logits, *torch.autograd.grad(logits.sin().sum(), model.parameters())]
    for whole, rounded in zip(found["float32"], found["bfloat16"], strict=True):
        assert rounded.dtype == whole.dtype
        assert not torch.equal(whole, rounded)
        assert torch.cosine_similarity(whole.flatten(), rounded.flatten(), dim=0) > 0.99


def test_each_thread_reads_its_own_rows(monkeypatch):
    model = CharModel.seeded(ModelSettings(units=(3, 3), cell="lstm"), 5, 0)
    predictor, ids, shares = NetworkPredictor(model, LETTERS), np.arange(12).reshape(3, 4) % 5, []

    def share(module, given):
        shares.append((len(given[0]), torch.get_num_threads()))

    model.register_forward_pre_hook(share)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        log_probs, state = predictor.advance(ids, predictor.advance(ids)[1])
        monkeypatch.setattr("chargen.recurrent.model.LEAST_SHARED", 0)
        shared, after = predictor.advance(ids, predictor.advance(ids)[1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert shares[:2] == [(3, 1)] * 2
    assert sorted(shares[2:]) == [(1, 1), (1, 1), (2, 1), (2, 1)]
    torch.testing.assert_close((shared, after), (log_probs, state))


@every_cell
def test_predictor_keeps_its_protocol_when_it_reads_in_parts(cell, monkeypatch):
    predictor, ids = NetworkPredictor(model_of(cell).float(), Vocabulary("abcd")), ids_of().numpy()
    whole, end = predictor.advance(ids)
    monkeypatch.setattr("chargen.recurrent.model.TIMESTEPS_AT_ONCE", 2)
    parts, same_end = predictor.advance(ids)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(same_end, end)
    check(predictor)


@pytest.mark.parametrize("units", [(5, 6), (5, 6, 8), (5, 6, 7, 7), (10**7,) * 3])
def test_weights_of_another_shape_are_refused(units):
    weights = {name: value.numpy() for name, value in model_of().state_dict().items()}
    with pytest.raises(ChargenError, match="have shape"):
        CharModel.of(ModelSettings("lstm", units), V, weights)


@pytest.fixture(params=["simple-tanh", "simple-relu", "lstm-tanh", "gru-tanh"])
def trained(request, tmp_path):
    cell, activation = request.param.split("-")
    return chargen.load(model_run(tmp_path / "run", cell, activation=activation).path, "cpu")


@torch.no_grad()
def test_torch_module_predicts_the_same_and_owns_its_weights(trained):
    module, state, given = trained.to_torch(), None, None
    cell = trained.run.description.model.cell
    kind = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
    assert [(type(layer), layer.hidden_size) for layer in module.layers] == [(kind, 7), (kind, 5)]
    for part in torch.randint(len(LETTERS), (2, 30), generator=seeded(0)).split(11, dim=1):
        expected, state = trained.network(part, state)
        logits, given = module(part, given)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    for own, theirs in zip(state, given, strict=True):
        parts = theirs if isinstance(theirs, tuple) else (theirs,)
        for part, its in zip(own, parts, strict=True):
            torch.testing.assert_close(part[None], its, rtol=0, atol=1e-5)
    for weight in module.parameters():
        weight.zero_()
    assert all(weight.any() for weight in trained.network.parameters())


def test_what_torch_nn_lacks_is_refused():
    for lacking, values in {
        "gru with reset_after=False": {"cell": "gru", "reset_after": False},
        "mingru": {"cell": "mingru"},
        "simple with .*, only with tanh or relu": {"cell": "simple", "activation": "linear"},
        "residual blocks": {"cell": "lstm", "stack": "residual"},
    }.items():
        shape, message = ModelSettings(units=(4, 4), **values), f"{lacking}; use chargen.recurrent"
        with pytest.raises(ChargenError, match=f"^torch.nn has no {message}$"):
            to_torch(CharModel.seeded(shape, V, 0), shape)
