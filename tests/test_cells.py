"""Each cell: its step against torch.nn, its fast form against its step, the lesson's shapes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.errors import ChargenError
from chargen.recurrent import (
    CELLS,
    GRU,
    LSTM,
    GRUBefore,
    MinGRU,
    RecurrentLayer,
    SimpleRNN,
    products,
)
from chargen.recurrent.activations import ACTIVATIONS
from chargen.recurrent.cells import lstm
from chargen.recurrent.products import factors_of, multiplies_bfloat16
from chargen.text import one_hot

N, T, F, H = 2, 4, 3, 5

every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def layer_of(cell, activation="tanh"):
    """A float64 layer whose biases are not zero, so that a forgotten one shows."""
    layer = cell(H, activation, return_sequences=True, features=F, generator=seeded()).double()
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(generator=seeded(1))
    return layer


def random(*shape, seed):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64, requires_grad=True)


def run(layer, scan, steps=T):
    """Outputs, last state, and the gradients of a loss that weighs all of them differently."""
    inputs = random(N, steps, F, seed=2)
    state = tuple(random(N, H, seed=3 + part) for part in range(len(layer.parts)))
    outputs, last = scan(layer.project(inputs), state)
    weights = torch.arange(outputs.numel(), dtype=torch.float64).cos().view_as(outputs)
    loss = (outputs * weights).sum() + sum((part**3).sum() for part in last)
    leaves = [inputs, *state, *layer.parameters()]
    return [outputs, *last, *torch.autograd.grad(loss, leaves)]


MIXED = {name: cell for name, cell in CELLS.items() if cell.mixes}
FAST = {name: cell for name, cell in CELLS.items() if name != "gru-before"}


@pytest.mark.parametrize("cell", FAST.values(), ids=FAST)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, T, 9, 24])
def test_the_fast_form_agrees_with_the_step(cell, activation, steps):
    layer = layer_of(cell, activation)
    assert type(layer).scan is not RecurrentLayer.scan
    fast = run(layer, layer.scan, steps)
    reference = run(layer, lambda *a: RecurrentLayer.scan(layer, *a), steps)
    for ours, theirs in zip(fast, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@every_cell
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gates_are_those_of_the_step(cell, activation):
    """Put into the cell's last equations they give the next state, over many steps at once too."""
    layer = layer_of(cell, activation)
    projected = layer.project(random(N, T, F, seed=2))
    state = tuple(random(N, H, seed=3 + part) for part in range(len(layer.parts)))
    before, after = [], []
    for projected_t in projected:
        before.append(state)
        after.append(layer.step(projected_t, state))
        state = after[-1]
    states = [torch.stack(part) for part in zip(*before, strict=True)]
    gates = layer.gates(projected, tuple(states))
    if cell is LSTM:
        c = gates["f"] * states[1] + gates["i"] * gates["g"]
        expected = [gates["o"] * layer.activation.function(c), c]
    elif cell in (GRU, GRUBefore, MinGRU):
        expected = [(1 - gates["z"]) * gates["n"] + gates["z"] * states[0]]
    else:
        assert gates == {}
        return
    for ours, theirs in zip(expected, zip(*after, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.stack(theirs))
    for name in set(gates) & set("iforz"):
        assert ((gates[name] > 0) & (gates[name] < 1)).all()


@every_cell
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("ids", [True, False])
def test_the_fast_forms_agree_in_single_precision_too(cell, ids, steps, monkeypatch):
    """There other products are used than in double precision, or one call for all.

    Neither inputs nor state need lie in memory as they are indexed.
    """
    monkeypatch.setattr(products, "WORTH_ASKING", 0)  # as in layers of hundreds of units
    layer = layer_of(cell).float()
    inputs = random(N, steps, F, seed=2).detach().float()
    inputs = inputs.argmax(dim=2) if ids else inputs.requires_grad_()
    state = tuple(
        random(N, H, seed=3 + part).detach().float().requires_grad_()
        for part in range(len(layer.parts))
    )
    leaves = [*layer.parameters(), *state, *([] if ids else [inputs])]

    def found(outputs, last):
        loss = outputs.sin().sum() + sum((part**2).sum() for part in last)
        return [outputs, *last, *torch.autograd.grad(loss, leaves)]

    results = [
        found(*layer.read(inputs, state)),
        found(*layer.scan(layer.project(inputs), state)),
        found(*RecurrentLayer.scan(layer, layer.project(inputs), state)),
    ]
    if cell is LSTM and lstm.HAS_ONEDNN:
        assert layer._suits_onednn(inputs)
    for result in results[:2]:
        for ours, theirs in zip(result, results[2], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_lstm_of_many_characters_reads_rows():
    """One-hot vectors of thousands of characters are no bargain."""
    few, many = LSTM(2, features=4), LSTM(2, features=5)
    ids = torch.zeros(1, 1, dtype=torch.long)
    assert few._suits_onednn(ids) == lstm.HAS_ONEDNN
    assert not many._suits_onednn(ids)


@pytest.mark.parametrize("multiplies", [True, False])
def test_an_lstm_rounds_factors_where_the_processor_multiplies_them(monkeypatch, multiplies):
    """Of x, h and the weights."""
    monkeypatch.setattr(lstm, "multiplies_bfloat16", lambda: multiplies and multiplies_bfloat16())
    layer = LSTM(32, return_sequences=True, features=16, generator=seeded())
    inputs = random(N, 40, 16, seed=2).detach().float()
    found = {}
    for precision in ("float32", "bfloat16"):
        with factors_of(precision):
            outputs, (h, last) = layer(inputs)
        gradients = torch.autograd.grad(outputs.sin().sum(), list(layer.parameters()))
        found[precision] = [outputs, h, last, *gradients]
    rounds = multiplies and multiplies_bfloat16() and lstm.HAS_ONEDNN
    for whole, rounded in zip(found["float32"], found["bfloat16"], strict=True):
        assert rounded.dtype == whole.dtype
        assert torch.equal(whole, rounded) != rounds
        assert torch.cosine_similarity(whole.flatten(), rounded.flatten(), dim=0) > 0.999


def test_what_an_lstm_keeps_is_never_rounded():
    layer = LSTM(H, features=F, generator=seeded())
    for block, bias in enumerate((-100.0, 100.0)):  # i is 0, f is 1
        layer.b_h.data[block * H : (block + 1) * H] = bias
    inputs, h, c = (
        random(*shape, seed=2).detach().float() for shape in ((N, T, F), (N, H), (N, H))
    )
    with factors_of("bfloat16"):
        _, (_, last) = layer(inputs, (h, c))
    assert torch.equal(last, c)


@every_cell
def test_gradients_agree_with_finite_differences(cell):
    layer = layer_of(cell)
    inputs = random(N, T, F, seed=2)
    state = tuple(random(N, H, seed=3 + part) for part in range(len(layer.parts)))
    weights = tuple(layer.parameters())

    def outputs(inputs, *rest):
        given, changed = rest[: len(layer.parts)], rest[len(layer.parts) :]
        names = dict(zip(dict(layer.named_parameters()), changed, strict=True))
        sequence, last = torch.func.functional_call(layer, names, (inputs, given))
        return sequence, *last

    assert torch.autograd.gradcheck(outputs, (inputs, *state, *weights))


def copy_to_torch(layer, theirs, order):
    """Copy our weights into a torch.nn layer, whose blocks of rows stand in ``order``."""
    for ours, name in ((layer.W_xh, "weight_ih_l0"), (layer.W_hh, "weight_hh_l0")):
        blocks = ours.data.t().chunk(layer.blocks)
        getattr(theirs, name).data = torch.cat([blocks[block] for block in order])
    biases = layer.b_h.data.chunk(layer.blocks)
    theirs.bias_ih_l0.data = torch.cat([biases[block] for block in order])
    theirs.bias_hh_l0.data.zero_()


@pytest.mark.parametrize(
    ("cell", "theirs", "order"),
    [
        (SimpleRNN, torch.nn.RNN, [0]),
        (LSTM, torch.nn.LSTM, [0, 1, 2, 3]),
        (GRU, torch.nn.GRU, [0, 1, 2]),
    ],
    ids=["simple", "lstm", "gru"],
)
def test_agrees_with_torch_nn_under_copied_weights(cell, theirs, order):
    layer = layer_of(cell)
    peer = theirs(F, H, batch_first=True).double()
    copy_to_torch(layer, peer, order)
    if cell is GRU:
        peer.bias_hh_l0.data[2 * H :] = layer.b_m.data
    inputs = random(N, T, F, seed=2)
    state = tuple(random(N, H, seed=3 + part) for part in range(len(layer.parts)))
    ours, last = layer(inputs, state)
    wrapped = tuple(part[None] for part in state)
    expected, peer_last = peer(inputs, wrapped if len(wrapped) > 1 else wrapped[0])
    torch.testing.assert_close(ours, expected)
    peer_parts = peer_last if isinstance(peer_last, tuple) else (peer_last,)
    for part, peer_part in zip(last, peer_parts, strict=True):
        torch.testing.assert_close(part, peer_part[0])
    leaves = [inputs, *state]
    for own, other in zip(
        torch.autograd.grad(ours.cos().sum(), [*leaves, layer.b_h]),
        torch.autograd.grad(expected.cos().sum(), [*leaves, peer.bias_ih_l0]),
        strict=True,
    ):
        blocks = own.chunk(layer.blocks) if own.ndim == 1 else ()
        torch.testing.assert_close(torch.cat([blocks[b] for b in order]) if blocks else own, other)


def test_the_reset_comes_before_the_product():
    """As its equations say it, column by column; without a reset both conventions agree."""
    before, after = (layer_of(cell) for cell in (GRUBefore, GRU))
    after.load_state_dict({**before.state_dict(), "b_m": torch.zeros(H, dtype=torch.float64)})
    projected, (h,) = random(N, 3 * H, seed=2), (random(N, H, seed=3),)
    (x_r, x_z, x_n), (W_r, W_z, W_n) = projected.chunk(3, 1), before.W_hh.chunk(3, 1)
    r, z = torch.sigmoid(x_r + h @ W_r), torch.sigmoid(x_z + h @ W_z)
    n = torch.tanh(x_n + (r * h) @ W_n)
    torch.testing.assert_close(before.step(projected, (h,))[0], (1 - z) * n + z * h)
    assert not torch.allclose(*(layer.step(projected, (h,))[0] for layer in (before, after)))
    open_reset = torch.cat([torch.full_like(x_r, 1e3), x_z, x_n], dim=1)
    torch.testing.assert_close(before.step(open_reset, (h,))[0], after.step(open_reset, (h,))[0])


def test_a_minimal_unit_remembers_alone():
    """As its equations say it; what one unit holds no other unit's next state depends on."""
    layer = layer_of(MinGRU)
    (of_z, of_n), h = random(N, 2 * H, seed=2).chunk(2, 1), random(N, H, seed=3)
    z, n = torch.sigmoid(of_z), torch.tanh(of_n)
    projected = torch.cat([of_z, of_n], dim=1)
    torch.testing.assert_close(layer.step(projected, (h,))[0], (1 - z) * n + z * h)
    assert "W_hh" not in dict(layer.named_parameters())
    changed = h.detach().clone()
    changed[:, 0] += 1
    before, after = (layer.step(projected, (state,))[0] for state in (h, changed))
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert (before[:, 0] != after[:, 0]).all()


@every_cell
def test_ids_mean_one_hot_vectors(cell):
    """Reading rows of W equals multiplying one-hot vectors, in values and gradients."""
    layer = layer_of(cell)
    ids = torch.tensor([[0, 2, 2, 1], [1, 1, 0, 2]])
    hot = torch.from_numpy(one_hot(ids.numpy(), F)).double()
    by_row, by_product = layer(ids)[0], layer(hot)[0]
    torch.testing.assert_close(by_row, by_product)
    parameters = list(layer.parameters())
    for row, product in zip(
        torch.autograd.grad(by_row.cos().sum(), parameters),
        torch.autograd.grad(by_product.cos().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(row, product)


@every_cell
@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 6))
def test_state_passed_on_continues_the_sequence(cell, cut):
    layer = layer_of(cell)
    inputs = random(N, 7, F, seed=2)
    whole, last = layer(inputs)
    first, state = layer(inputs[:, :cut])
    second, end = layer(inputs[:, cut:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end, last)


@every_cell
def test_shapes_of_the_lesson(cell):
    """One sample of four steps with two features goes in as (1, 4, 2)."""
    inputs = torch.ones(1, 4, 2)
    sequence, state = cell(3, return_sequences=True, generator=seeded())(inputs)
    assert sequence.shape == (1, 4, 3)
    assert all(part.shape == (1, 3) for part in state)
    last, state = cell(3)(torch.ones(2, 1, 3))
    assert last.shape == (2, 3)
    torch.testing.assert_close(last, state[0])


@pytest.mark.parametrize("cell", MIXED.values(), ids=MIXED)
def test_recurrent_weights_start_orthogonal(cell):
    layer = cell(H, features=F, generator=seeded())
    for block in layer.W_hh.data.chunk(layer.blocks, dim=1):
        torch.testing.assert_close(block.t() @ block, torch.eye(H))


@every_cell
def test_the_generator_decides_the_weights(cell):
    one, same, other = (cell(H, features=F, generator=seeded(seed)) for seed in (7, 7, 8))
    torch.testing.assert_close(dict(one.named_parameters()), dict(same.named_parameters()))
    assert all(
        (one.get_parameter(name) != other.get_parameter(name)).any()
        for name in dict(one.named_parameters())
        if name.startswith("W")
    )


def test_a_new_lstm_remembers():
    """The forget gate's bias starts at 1, every other bias at 0."""
    i, f, g, o = LSTM(H, features=F).b_h.data.chunk(4)
    assert (f == 1).all()
    assert not any(bias.any() for bias in (g, i, o))


def test_a_simple_layer_has_two_matrices_and_one_bias():
    shapes = {name: tuple(p.shape) for name, p in SimpleRNN(H, features=F).named_parameters()}
    assert shapes == {"W_xh": (F, H), "W_hh": (H, H), "b_h": (H,)}


@every_cell
def test_what_cannot_be_read_is_refused(cell):
    with pytest.raises(ChargenError, match="activation 'swish' is unknown"):
        cell(H, activation="swish")
    with pytest.raises(ValueError, match="units must be"):
        cell(0)
    with pytest.raises(ValueError, match="T > 0"):
        cell(H)(torch.ones(2, 0, 3))
    with pytest.raises(ValueError, match="features=V"):
        cell(H)(torch.ones(2, 3, dtype=torch.int64))
