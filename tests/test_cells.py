"""Cells: the fast scan against the step, shapes, and the matrix products of the layers."""

import itertools
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from networks import seeded

from chargen.errors import ChargenError
from chargen.recurrent import GRU, LAYERS, LSTM, MinGRU, RecurrentLayer, SimpleRNN
from chargen.recurrent import matmul as module
from chargen.recurrent.cells import gru, lstm
from chargen.recurrent.layer import ACTIVATIONS
from chargen.recurrent.matmul import linear, matmul, multiplies_bfloat16, repeated
from chargen.text.windows import one_hot

N, T, F, H = 2, 4, 3, 5

VARIANTS = {**LAYERS, "gru reset_after=False": partial(GRU, reset_after=False)}
every_cell = pytest.mark.parametrize("cell", VARIANTS.values(), ids=VARIANTS)


def layer_of(cell, activation="tanh"):
    """A float64 layer with non-zero biases."""
    layer = cell(H, activation, return_sequences=True, features=F, generator=seeded()).double()
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(generator=seeded(1))
    return layer


def random(*shape, seed):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64, requires_grad=True)


def state_of(layer):
    return tuple(random(N, H, seed=3 + part) for part in range(len(layer.cell.state)))


def run(layer, scan, steps=T):
    """Outputs, last state, and the gradients of a loss that weights each output differently."""
    inputs, state = random(N, steps, F, seed=2), state_of(layer)
    outputs, last = scan(layer.project(inputs), state)
    weights = torch.arange(outputs.numel(), dtype=torch.float64).cos().view_as(outputs)
    loss = (outputs * weights).sum() + sum((part**3).sum() for part in last)
    leaves = [inputs, *state, *layer.parameters()]
    return [outputs, *last, *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("cell", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, T, 9, 24])
def test_scan_equals_step_in_values_and_gradients(cell, activation, steps, monkeypatch):
    monkeypatch.setattr(gru, "IN_CACHE", 3 * N * H)  # parts of three steps and of what is left
    layer = layer_of(cell, activation)
    assert type(layer).scan is not RecurrentLayer.scan
    fast = run(layer, layer.scan, steps)
    reference = run(layer, lambda *a: RecurrentLayer.scan(layer, *a), steps)
    torch.testing.assert_close(fast, reference, rtol=1e-10, atol=1e-12)


@every_cell
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("ids", [True, False])
def test_scan_and_read_equal_step_in_float32(cell, ids, steps, monkeypatch):
    """float32 uses other matmuls than float64, or one oneDNN call."""
    monkeypatch.setattr(module, "MIN_ONEDNN_SIZE", 0)  # as for hundreds of units
    layer = layer_of(cell).float()
    inputs = random(N, steps, F, seed=2).detach().float()
    inputs = inputs.argmax(dim=2) if ids else inputs.requires_grad_()
    state = tuple(part.detach().float().requires_grad_() for part in state_of(layer))
    leaves = [*layer.parameters(), *state, *([] if ids else [inputs])]

    def found(outputs, last):
        loss = outputs.sin().sum() + sum((part**2).sum() for part in last)
        return [outputs, *last, *torch.autograd.grad(loss, leaves)]

    if cell is LSTM and lstm.HAS_ONEDNN:
        assert layer._suits_onednn(inputs) == (steps >= lstm.MIN_STEPS)
    reference = found(*RecurrentLayer.scan(layer, layer.project(inputs), state))
    results = [layer.read(inputs, state), layer.scan(layer.project(inputs), state)]
    if layer.has_kernel(inputs):
        results.append(layer.read_at_once(inputs, state))
    for result in results:
        torch.testing.assert_close(found(*result), reference, rtol=1e-4, atol=1e-5)


@every_cell
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("device", ["cpu", "meta"])  # which is not a CPU, as a GPU
def test_layers_that_torch_has_are_read_at_once_on_a_gpu(cell, activation, device, monkeypatch):
    monkeypatch.setattr(RecurrentLayer, "read_at_once", lambda *given: "at once")
    monkeypatch.setattr(RecurrentLayer, "scan", lambda *given: "scan")
    monkeypatch.setattr(cell, "scan", lambda *given: "scan", raising=False)
    layer = cell(H, activation, features=F).to(device)
    inputs, known = torch.zeros(N, T, F, device=device), activation == "tanh"
    known = cell in (SimpleRNN, LSTM, GRU) and (known or (cell, activation) == (SimpleRNN, "relu"))
    assert layer.has_kernel(inputs) == known
    if device == "meta":
        ids = torch.zeros(N, T, dtype=torch.long, device=device)
        for read in (inputs, ids):
            assert layer.read(read, ()) == ("at once" if known else "scan")
            assert layer.read(read, (), "bfloat16") == "scan"
        layer.W_xh = torch.nn.Parameter(torch.zeros(2 * H + 1, layer.W_xh.shape[1], device=device))
        assert layer.read(ids, ()) == "scan"


@pytest.mark.parametrize("multiplies", [True, False])
def test_lstm_casts_operands_on_processors_with_bfloat16(monkeypatch, multiplies):
    monkeypatch.setattr(lstm, "multiplies_bfloat16", lambda: multiplies and multiplies_bfloat16())
    layer, inputs = LSTM(32, features=16, generator=seeded()), random(N, 40, 16, seed=2).float()
    whole, rounded = (layer(inputs, None, precision) for precision in ("float32", "bfloat16"))
    casts = multiplies and multiplies_bfloat16() and lstm.HAS_ONEDNN
    for values in zip((whole[0], *whole[1]), (rounded[0], *rounded[1]), strict=True):
        gradients = (
            torch.autograd.grad(one.sin().sum(), layer.W_hh, retain_graph=True)[0] for one in values
        )
        for one, other in (values, gradients):
            assert one.dtype == other.dtype
            assert torch.equal(one, other) != casts
            assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_lstm_keeps_c_in_float32():
    layer = LSTM(H, features=F, generator=seeded())
    for block, bias in enumerate((-100.0, 100.0)):  # i is 0, f is 1
        layer.b_h.data[block * H : (block + 1) * H] = bias
    inputs, h, c = (
        random(*shape, seed=2).detach().float() for shape in ((N, T, F), (N, H), (N, H))
    )
    _, (_, last) = layer(inputs, (h, c), "bfloat16")
    assert torch.equal(last, c)


def test_mingru_units_read_their_own_state_alone():
    layer = layer_of(MinGRU)
    (of_z, of_n), h = random(N, 2 * H, seed=2).chunk(2, 1), random(N, H, seed=3)
    z, n = torch.sigmoid(of_z), torch.tanh(of_n)
    projected = torch.cat([of_z, of_n], dim=1)
    torch.testing.assert_close(layer.step(projected, (h,))[0], (1 - z) * n + z * h)
    changed = h.detach().clone()
    changed[:, 0] += 1
    before, after = (layer.step(projected, (state,))[0] for state in (h, changed))
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert (before[:, 0] != after[:, 0]).all()


@every_cell
def test_ids_equal_one_hot_vectors(cell):
    layer = layer_of(cell)
    ids = torch.tensor([[0, 2, 2, 1], [1, 1, 0, 2]])
    hot = torch.from_numpy(one_hot(ids.numpy(), F)).double()
    by_row, by_product = layer(ids)[0], layer(hot)[0]
    torch.testing.assert_close(by_row, by_product)
    parameters = list(layer.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(by_row.cos().sum(), parameters),
        torch.autograd.grad(by_product.cos().sum(), parameters),
    )


@every_cell
def test_parameters_are_those_described_and_seeded(cell):
    one, same, other = (cell(H, features=F, generator=seeded(seed)) for seed in (7, 7, 8))
    weights = dict(one.named_parameters())
    assert {name: w.shape for name, w in weights.items()} == one.cell.shapes(F, H)
    torch.testing.assert_close(weights, dict(same.named_parameters()))
    for name, weight in other.named_parameters():
        assert (weights[name] != weight).any() == name.startswith("W")
    if one.cell.recurrent:
        for block in one.W_hh.data.chunk(len(one.cell.gates), dim=1):
            torch.testing.assert_close(block.t() @ block, torch.eye(H))  # orthogonal
    forget_bias = 1.0 if cell is LSTM else 0.0
    for gate, bias in zip(one.cell.gates, one.b_h.data.chunk(len(one.cell.gates)), strict=True):
        assert (bias == (forget_bias if gate == "f" else 0)).all()


@every_cell
def test_invalid_arguments_are_refused(cell):
    with pytest.raises(ChargenError, match="activation 'swish' is unknown"):
        cell(H, activation="swish")
    with pytest.raises(ValueError, match="units must be"):
        cell(0)
    with pytest.raises(ValueError, match="T > 0"):
        cell(H)(torch.ones(2, 0, 3))
    with pytest.raises(ValueError, match="features=V"):
        cell(H)(torch.ones(2, 3, dtype=torch.int64))


def numbers(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=seeded(sum(shape))).to(dtype)


@pytest.fixture(params=["onednn", "fallback", "double"])
def dtype(request, monkeypatch):
    for limit in ("MIN_ONEDNN_SIZE", "MIN_PACKED_SIZE"):
        monkeypatch.setattr(module, limit, 0)
    if request.param == "fallback":
        monkeypatch.setattr(module, "_has_onednn", lambda: False)
    return torch.float64 if request.param == "double" else torch.float32


@pytest.mark.parametrize(
    ("N", "F", "G"), [(0, 2, 3), (1, 1, 1), (3, 0, 2), (7, 5, 3), (64, 48, 65)]
)
def test_matmul_and_repeated_equal_torch(dtype, N, F, G):
    x, W, b, y = (numbers(*shape, dtype=dtype) for shape in ((N, F), (F, G), (G,), (N, G)))
    for right in (W, W.t().contiguous().t()):
        for left in (x, x.t().contiguous().t()):
            torch.testing.assert_close(matmul(left, right), left @ right)
            torch.testing.assert_close(matmul(left, right, b), left @ right + b)
        if N and F:
            product = repeated(right, N, 100)
            torch.testing.assert_close(product(x, y), y + x @ W)
            torch.testing.assert_close(product(x, y + 1), y + 1 + x @ W)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (3, 2, 5)])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (1, 2), (0,)])
def test_linear_and_its_gradients_equal_torch(dtype, shape, wanted):
    leaves = [numbers(*sizes, dtype=dtype) for sizes in (shape, (5, 4), (4,))]
    for index in wanted:
        leaves[index].requires_grad_()
    x, W, b = leaves
    if len(shape) == 3:
        x = x.transpose(0, 1)
    ours, expected = linear(x, W, b), x @ W + b
    torch.testing.assert_close(ours, expected)
    asked = [leaves[index] for index in wanted]
    torch.testing.assert_close(
        torch.autograd.grad(ours.cos().sum(), asked),
        torch.autograd.grad(expected.cos().sum(), asked),
    )


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_bfloat16_casts_operands_of_both_passes(dtype, shape, biased):
    leaves = [numbers(*sizes, dtype=dtype).requires_grad_() for sizes in (shape, (5, 4), (4,))]
    x, W, b = leaves
    asked = leaves if biased else leaves[:2]

    def rounded(values):
        return values.bfloat16().to(dtype)

    ours = linear(x, W, b if biased else None, "bfloat16")
    products = rounded(rounded(x) @ rounded(W))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, products + b if biased else products, rtol=2**-7, atol=1e-6)
    d = numbers(*ours.shape, dtype=dtype)
    gradients = torch.autograd.grad(ours, asked, d)
    flat_x, flat_d = rounded(x).flatten(0, -2), rounded(d).flatten(0, -2)
    expected = [rounded(d) @ rounded(W).t(), flat_x.t() @ flat_d, d.flatten(0, -2).sum(0)]
    for gradient, wanted in zip(gradients, expected, strict=False):
        torch.testing.assert_close(gradient, wanted, rtol=2**-6, atol=0.02)
        assert gradient.dtype == dtype
    assert torch.equal(gradients[1], rounded(gradients[1]))


def test_bfloat16_instructions_are_detected(monkeypatch):
    for answer, allowed in itertools.product(({"amx_bf16": True}, {"avx2": True}, {}), (0, 1)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda answer=answer: answer)
        supports = {"_is_mkldnn_bf16_supported": lambda allowed=allowed: bool(allowed)}
        monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**supports))
        assert multiplies_bfloat16() == bool("amx_bf16" in answer and allowed)
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in an older torch
    assert not multiplies_bfloat16()
