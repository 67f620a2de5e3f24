"""Residual blocks: their equations, state passed on, gradients, and what they cannot be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from chargen.errors import ChargenError
from chargen.recurrent import CELLS, CharModel, ResidualStack
from chargen.recurrent.products import factors_of
from chargen.sampling.elementary import SMALLEST
from chargen.settings import CONVOLVED, ModelSettings, from_options

N, T, V, D = 2, 7, 5, 4

every_cell = pytest.mark.parametrize("cell", CELLS)


def model_of(cell="mingru", layers=2, units=D, activation="tanh"):
    """In float64, gains and biases unlike those that training begins with."""
    shape = ModelSettings(cell, (units,) * layers, activation, "residual")
    model = CharModel.seeded(shape, V, 0).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def ids_of(length=T, seed=0):
    return torch.randint(V, (N, length), generator=torch.Generator().manual_seed(seed))


def norm(x, g):
    return x / (x.square().mean(-1, keepdim=True) + SMALLEST).sqrt() * g


def by_equations(model, ids):
    """The docstring's equations, one character after the other."""
    stack = model.stack
    state = [layer.initial_state(N) for layer in stack.layers]
    windows = [[torch.zeros(N, D, dtype=torch.float64)] * (CONVOLVED - 1) for _ in stack.layers]
    logits = []
    for id_ in ids.unbind(1):
        x = stack.W_in[id_]
        for number, (layer, block) in enumerate(zip(stack.layers, stack.blocks, strict=True)):
            seen = [norm(x, block.g_in), *windows[number]]
            windows[number] = seen[:-1]
            c = sum(W * u for W, u in zip(block.W_conv, seen, strict=True))
            state[number] = layer.step(c @ layer.W_xh + layer.b_h, state[number])
            gate = c @ block.W_gate
            x = x + (state[number][0] * gate * gate.sigmoid()) @ block.W_out
            a, b = (norm(x, block.g_ff) @ block.W_up).chunk(2, dim=1)
            x = x + (a * a.sigmoid() * b) @ block.W_down
        logits.append(norm(x, stack.g_out) @ model.W_hy + model.b_y)
    after = [(*own, *window) for own, window in zip(state, windows, strict=True)]
    return torch.stack(logits, dim=1), after


@every_cell
def test_it_computes_its_equations(cell):
    model, ids = model_of(cell), ids_of()
    logits, state = model(ids)
    expected, expected_state = by_equations(model, ids)
    torch.testing.assert_close(logits, expected)
    for own, other in zip(state, expected_state, strict=True):
        for part, expected_part in zip(own, other, strict=True):
            torch.testing.assert_close(part, expected_part)


@pytest.mark.parametrize("cell", ["mingru", "lstm"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_agree_with_finite_differences(cell, dropout):
    """Those of the logits and of the state after them."""
    model, ids = model_of(cell, layers=1), ids_of(5)
    names = dict(model.named_parameters())
    (state,) = model(ids_of(3, seed=1))[1]
    state = tuple(part.detach().requires_grad_() for part in state)

    def read(*given):
        weights = dict(zip(names, given[len(state) :], strict=True))
        drawn = torch.Generator().manual_seed(7)
        arguments = (ids, (given[: len(state)],), None, dropout, drawn)
        logits, (last,) = torch.func.functional_call(model, weights, arguments)
        return logits, *last

    assert torch.autograd.gradcheck(read, (*state, *names.values()))


@every_cell
@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, T - 1))
def test_state_passed_on_continues_the_text(cell, cut):
    """Wherever it is cut: within the reach of a convolution too."""
    model, ids = model_of(cell), ids_of()
    whole, last = model(ids)
    first, state = model(ids[:, :cut])
    second, end = model(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    for own, other in zip(end, last, strict=True):
        torch.testing.assert_close(own, other)


def test_ids_mean_one_hot_vectors():
    stack, ids = model_of().stack, ids_of()
    hot = torch.nn.functional.one_hot(ids, V).double()
    torch.testing.assert_close(stack(ids)[0], stack(hot)[0])


def test_a_document_begins_without_what_came_before():
    """Neither the layers' state nor what is convolved reaches over the boundary."""
    model, ids = model_of(), ids_of()
    begins = torch.zeros(N, T, dtype=torch.bool)
    begins[1, 3] = True
    logits, _ = model(ids, None, begins=begins)
    torch.testing.assert_close(logits[1, 3:], model(ids[1:, 3:])[0][0])
    torch.testing.assert_close(logits[0], model(ids[:1])[0][0])


@every_cell
def test_the_weights_are_those_that_the_settings_name(cell):
    shape = ModelSettings(cell, (D, D), stack="residual")
    model = CharModel.seeded(shape, V, 0)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in weights.items()} == shape.shapes(V)
    again = CharModel.of(shape, V, weights)
    assert torch.equal(again(ids_of())[0], model(ids_of())[0])
    assert from_options(ModelSettings, asdict(shape)) == shape


def test_dropout_is_by_its_generator_and_without_one_absent():
    model, ids = model_of(), ids_of()

    def dropped(seed):
        return model(ids, dropout=0.5, generator=torch.Generator().manual_seed(seed))[0]

    assert torch.equal(model(ids, dropout=0.5)[0], model(ids)[0])
    assert torch.equal(dropped(1), dropped(1))
    assert not torch.allclose(dropped(1), dropped(2))


def test_blocks_have_the_same_units():
    with pytest.raises(ChargenError, match="--units 4,5: must be the same for every layer"):
        ModelSettings("mingru", (4, 5), stack="residual")
    with pytest.raises(ChargenError, match="--stack ring: must be one of plain, residual"):
        ModelSettings(stack="ring")
    layers = [CELLS["mingru"](units, return_sequences=True, features=4) for units in (4, 5)]
    with pytest.raises(ValueError, match="the same units"):
        ResidualStack(layers, V)


def test_rounded_factors_give_nearly_the_same_gradients():
    """Of all weights, with what is dropped too: the direction is kept to a hundredth."""
    model = model_of(units=32).float()
    ids, found = ids_of(), {}
    for precision in ("float32", "bfloat16"):
        generator = torch.Generator().manual_seed(5)
        with factors_of(precision):
            logits, _ = model(ids, None, None, 0.2, generator)
        loss = logits.sin().sum()
        found[precision] = [logits, *torch.autograd.grad(loss, list(model.parameters()))]
    for whole, rounded in zip(found["float32"], found["bfloat16"], strict=True):
        assert rounded.dtype == whole.dtype
        assert not torch.equal(whole, rounded)
        assert torch.cosine_similarity(whole.flatten(), rounded.flatten(), dim=0) > 0.99
