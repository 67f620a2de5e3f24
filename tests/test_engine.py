"""The engine that writes without torch: its plain form, its compiled form, and the network."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import chargen
from chargen.errors import ChargenError, NoNumbersError
from chargen.recurrent import CharModel
from chargen.runs.directory import BEST, Run
from chargen.sampling import Writer, engine
from chargen.sampling import elementary as arithmetic
from chargen.sampling.compiled import Loop
from chargen.sampling.compiled_layers import read_one
from chargen.sampling.elementary_compiled import product
from chargen.sampling.engine import Engine
from chargen.settings import (
    ACTIVATION_NAMES,
    CELL_NAMES,
    CONVOLVED,
    STACK_NAMES,
    ModelSettings,
    SamplingSettings,
)

V = 11
PROMPT = np.array([1, 2, 3])

# A single unit, and numbers of units that are no multiple of how many are added up at a time.
SHAPES = [("plain", (5,)), ("plain", (20, 9, 1)), ("residual", (1,)), ("residual", (19, 19))]


def every_cell_and_stack(test):
    of_cells = pytest.mark.parametrize("cell", CELL_NAMES)
    return of_cells(pytest.mark.parametrize(("stack", "units"), SHAPES)(test))


def made(cell="lstm", units=(7, 3), activation="tanh", size=V, stack="plain"):
    """A network with weights large enough to matter, and its engine."""
    shape = ModelSettings(cell, units, activation, stack)
    network = CharModel.seeded(shape, size, 3)
    generator = torch.Generator().manual_seed(4)
    for parameter in network.parameters():
        parameter.data.mul_(1.5).add_(0.1)
        if parameter.ndim == 1:  # which training begins with alike for all units
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    return network, Engine(shape, arrays, size)


def written(one, form, length=60, count=3, prompt=PROMPT, **chosen):
    rng = np.random.default_rng(5)
    rows = form(one, prompt, length, SamplingSettings(**chosen), rng, count)
    return np.array(list(rows))


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize(
    ("stack", "units", "near"), [("plain", (7, 3), 1e-5), ("residual", (6, 6), 5e-5)]
)
def test_it_computes_what_the_network_computes(cell, activation, stack, units, near):
    """The state too, which has the network's parts in the network's order."""
    network, own = made(cell, units, activation, stack=stack)
    ids = torch.randint(V, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, states = network.double()(ids)
    state = own.initial_state(2)
    for t in range(9):
        logits, state = own.read(ids[:, t].numpy(), state)
        np.testing.assert_allclose(logits, expected[:, t], rtol=near, atol=near)
    for part, other in zip(state, (part for layer in states for part in layer), strict=True):
        np.testing.assert_allclose(part, other, rtol=near, atol=near)


def test_a_norm_of_small_numbers_is_the_networks():
    """Where what it adds to their mean square tells."""
    shape = ModelSettings("mingru", (6,), stack="residual")
    network = CharModel.seeded(shape, V, 3)
    network.stack.W_in.data *= 1e-3
    own = Engine(shape, {name: w.numpy() for name, w in network.state_dict().items()}, V)
    logits, _ = own.read(np.arange(V), own.initial_state(V))
    with torch.no_grad():
        expected, _ = network.double()(torch.arange(V)[:, None])
    np.testing.assert_allclose(logits, expected[:, 0], rtol=1e-5, atol=1e-5)


@every_cell_and_stack
def test_the_state_begins_with_the_zeros_of_the_network(cell, stack, units):
    network, own = made(cell, units, stack=stack)
    with torch.no_grad():
        _, states = network(torch.zeros(2, 1, dtype=torch.int64))
    expected = [tuple(part.shape) for layer in states for part in layer]
    state = own.initial_state(2)
    assert [part.shape for part in state] == expected
    assert all(part.dtype == np.float32 and not part.any() for part in state)


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
@every_cell_and_stack
def test_the_compiled_form_writes_the_same(cell, activation, stack, units):
    _, own = made(cell, units, activation, stack=stack)
    np.testing.assert_array_equal(written(own, engine._plain), written(own, engine._compiled))


@pytest.mark.parametrize("form", [engine._plain, engine._compiled])
def test_each_text_may_have_a_prompt_of_its_own(form):
    _, own = made()
    chosen = {"temperature": 0, "repetition_penalty": 1.5}
    each = [PROMPT, PROMPT[::-1], np.array([5, 5, 6])]
    alone = [written(own, form, count=1, prompt=prompt, **chosen)[:, 0] for prompt in each]
    assert len({text.tobytes() for text in alone}) == 3
    np.testing.assert_array_equal(written(own, form, prompt=np.array(each), **chosen).T, alone)


@every_cell_and_stack
def test_the_compiled_form_computes_the_same_bits(cell, stack, units):
    """What the head reads, and the state, after each of several characters."""
    _, own = made(cell, units, stack=stack)
    loop, state = Loop(own, SamplingSettings(), 2), own.initial_state(2)
    for ids in np.random.default_rng(0).integers(V, size=(9, 2)):
        outputs = read_one(loop._network, loop._residual, ids, loop._room)
        logits, state = own.read(ids, state)
        assert bits(arithmetic.product(outputs, own.W_hy) + own.b_y) == bits(logits)
        parts = len(state) // len(units)
        assert list(map(bits, loop._network[6])) == list(map(bits, state[::parts]))
        if cell == "lstm":
            assert list(map(bits, loop._network[7])) == list(map(bits, state[1::parts]))
        if stack == "residual":
            windows = [window[:, k] for window in loop._residual[3] for k in range(CONVOLVED - 1)]
            of_engine = np.array(state).reshape(len(units), parts, 2, -1)[:, 1 - CONVOLVED :]
            assert bits(np.array(windows)) == bits(of_engine)


NOT_COMPILED = f"""
import numpy as np
from chargen.sampling.compiled import Loop
from chargen.sampling.engine import Engine
from chargen.settings import CELL_NAMES, ModelSettings, SamplingSettings

for cell in CELL_NAMES:
    for stack, units in {SHAPES}:
        shape = ModelSettings(cell, units, stack=stack)
        arrays = {{name: np.ones(size, np.float32) for name, size in shape.shapes({V}).items()}}
        Loop(Engine(shape, arrays, {V}), SamplingSettings(), 2).read(np.ones((2, 2), int))
"""


def test_the_compiled_form_reads_within_its_room():
    """Which compiled it does not look at; as Python it does."""
    outside = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", NOT_COMPILED], env=outside, check=True)


def bits(array):
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize(
    "chosen",
    [
        {"temperature": 0.5},
        {"temperature": 0},
        {"temperature": 1e-300},
        {"top_k": 3},
        {"top_k": 100},
        {"top_p": 0.7},
        {"temperature": 1.3, "top_k": 5, "top_p": 0.8},
        {"min_p": 0.05},
        {"min_p": 1},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 1e300},
        {"temperature": 0, "repetition_penalty": 1.5},
        {"temperature": 2, "top_k": 9, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 4},
    ],
    ids=str,
)
def test_both_forms_choose_alike(chosen):
    _, own = made(size=40)
    plain, compiled = (
        written(own, engine._plain, **chosen),
        written(own, engine._compiled, **chosen),
    )
    np.testing.assert_array_equal(plain, compiled)


def test_ties_are_broken_alike():
    shape = ModelSettings("simple", (2,))
    nothing = {name: np.zeros(size, np.float32) for name, size in shape.shapes(V).items()}
    own = Engine(shape, nothing, V)
    for chosen in ({"temperature": 0}, {"top_k": 3}, {"top_p": 0.5}):
        plain, compiled = (
            written(own, form, **chosen) for form in (engine._plain, engine._compiled)
        )
        np.testing.assert_array_equal(plain, compiled)
    assert set(written(own, engine._plain, temperature=0).ravel()) == {0}
    assert set(written(own, engine._plain, top_k=3).ravel()) == {0, 1, 2}


@pytest.mark.parametrize(("cell", "stack"), [("gru", "plain"), ("mingru", "residual")])
@settings(deadline=None, max_examples=20)
@given(
    length=st.integers(0, 70),
    count=st.integers(1, 4),
    prompt=st.integers(1, 70),
    seed=st.integers(0, 9),
)
def test_any_length_prompt_and_count(cell, stack, length, count, prompt, seed):
    _, own = made(cell, (6,), stack=stack)
    ids = np.random.default_rng(seed).integers(V, size=prompt)
    plain = written(own, engine._plain, length, count, ids)
    compiled = written(own, engine._compiled, length, count, ids)
    assert len(plain) == length
    np.testing.assert_array_equal(plain, compiled)


@pytest.mark.parametrize("stack", STACK_NAMES)
def test_each_text_is_its_own(stack):
    """What one of several texts says does not hang on how many there are beside it."""
    _, own = made(units=(7, 7), stack=stack)
    one = engine._plain(own, PROMPT, 30, SamplingSettings(temperature=0), draws(), 1)
    many = engine._compiled(own, PROMPT, 30, SamplingSettings(temperature=0), draws(), 4)
    np.testing.assert_array_equal(np.repeat(np.array(list(one)), 4, axis=1), np.array(list(many)))


def draws():
    return np.random.default_rng(0)


def test_the_form_is_chosen_by_what_there_is_to_write(monkeypatch):
    _, own = made()
    asked = []
    for form in ("_plain", "_compiled"):
        monkeypatch.setattr(engine, form, lambda *rest, form=form: asked.append(form))
    few, many = 10, int(engine.WORTH)
    rng, chosen = np.random.default_rng(0), SamplingSettings()
    own.write(PROMPT, few, chosen, rng)
    own.write(PROMPT, many, chosen, rng)
    own.write(PROMPT, few, chosen, rng, count=many)
    own.write(np.zeros(many, dtype=int), few, chosen, rng)
    monkeypatch.setattr(engine, "has_compiler", lambda: False)
    own.write(PROMPT, many, chosen, rng)
    assert asked == ["_plain", "_compiled", "_compiled", "_compiled", "_plain"]


@pytest.mark.parametrize(("name", "numpys"), [("exp", np.exp), ("tanh", np.tanh)])
def test_elementary_functions(name, numpys):
    x = np.linspace(-30, 30, 10_001, dtype=np.float32)
    own = getattr(arithmetic, name)(x)
    assert own.dtype == np.float32
    np.testing.assert_allclose(own, numpys(x.astype(np.float64)), rtol=2e-7, atol=2e-7)


def test_elementary_functions_at_the_ends():
    ends = np.array([-np.inf, -1e30, 0, 1e30, np.inf], dtype=np.float32)
    np.testing.assert_array_equal(arithmetic.tanh(ends), [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(arithmetic.sigmoid(ends), [0, 0, 0.5, 1, 1], atol=1e-37)
    below = np.array([0, -1, -600, -701, -np.inf])
    np.testing.assert_allclose(arithmetic.long_exp(below), np.exp([0, -1, -600, -999, -999]))
    assert (arithmetic.long_exp(below)[3:] == 0).all()


def test_gates():
    a, b = np.random.default_rng(0).standard_normal((2, 3, 20)).astype(np.float32) * 9
    expected = a / (1 + np.exp(-a.astype(np.float64))) * b
    np.testing.assert_allclose(arithmetic.gated(a, b), expected, rtol=1e-6)
    assert arithmetic.gated(a, b).dtype == np.float32


@pytest.mark.parametrize("D", [1, 4, 33])
@pytest.mark.parametrize("size", [1e-4, 1, 100])
def test_norms(D, size):
    """Of small numbers too, where what is added to their mean square tells."""
    rng = np.random.default_rng(D)
    rows = (size * rng.standard_normal((4, D))).astype(np.float32)
    g = rng.standard_normal(D).astype(np.float32)
    mean = (rows.astype(np.float64) ** 2).mean(axis=1, keepdims=True)
    normed = arithmetic.norm(rows, g)
    np.testing.assert_allclose(normed, rows / np.sqrt(mean + 1e-6) * g, rtol=1e-6)
    assert normed.dtype == np.float32
    np.testing.assert_array_equal(arithmetic.norm(np.zeros_like(rows), g), np.zeros_like(rows))


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 3))
def test_sums_are_taken_in_order(J, K, N):
    rng = np.random.default_rng(J + 100 * K)
    rows = rng.standard_normal((N, J)).astype(np.float32)
    matrix = rng.standard_normal((J, K)).astype(np.float32)
    expected = rows[:, :1] * matrix[0]
    for j in range(1, J):
        expected = expected + rows[:, j : j + 1] * matrix[j]
    np.testing.assert_array_equal(arithmetic.product(rows, matrix), expected)
    own = np.empty_like(expected)
    product(rows, matrix, own)
    np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("J", [1, 6, 7])
def test_a_sum_of_nothing_but_minus_zeros_stays_one(J):
    rows, matrix = np.zeros((1, J), np.float32), np.full((J, 2), -1, np.float32)
    own = np.empty((1, 2), np.float32)
    product(rows, matrix, own)
    assert np.signbit(own).all()
    assert np.signbit(arithmetic.product(rows, matrix)).all()


@every_cell_and_stack
def test_shapes_are_those_of_the_network(cell, stack, units):
    shape = ModelSettings(cell, units, stack=stack)
    network = CharModel.seeded(shape, V, 0)
    assert shape.shapes(V) == {name: tuple(w.shape) for name, w in network.state_dict().items()}
    assert shape.parameters(V) == sum(weight.numel() for weight in network.parameters())


def test_weights_of_another_shape_are_refused():
    network, _ = made()
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    with pytest.raises(ChargenError, match=r"weights W_hy have shape \(3, 11\)"):
        Engine(ModelSettings("lstm", (7, 4)), arrays, V)


def test_weights_of_another_stack_or_cell_are_refused():
    network, _ = made("mingru", (4, 4), stack="residual")
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    with pytest.raises(ChargenError, match=r"weights stack.W_in have shape \(11, 4\)"):
        Engine(ModelSettings("mingru", (4, 4)), arrays, V)
    with pytest.raises(ChargenError, match=r"weights stack.layers.0.W_hh have shape None"):
        Engine(ModelSettings("simple", (4, 4), stack="residual"), arrays, V)
    narrow = arrays | {"stack.blocks.1.W_down": arrays["stack.blocks.1.W_down"][1:]}
    with pytest.raises(ChargenError, match=r"weights stack.blocks.1.W_down have shape \(7, 4\)"):
        Engine(ModelSettings("mingru", (4, 4), stack="residual"), narrow, V)


def test_writing_imports_no_torch():
    program = (
        "import sys, chargen.sampling, chargen.sampling.compiled; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_weights_that_cannot_be_read_are_named_once(tmp_path):
    chargen.train("fables", tmp_path / "run", units=(2,), steps=1)
    best = tmp_path / "run" / BEST
    best.write_bytes(best.read_bytes()[:200])
    with pytest.raises(ChargenError, match="not a checkpoint") as caught:
        Writer.of(Run.open(tmp_path / "run"))
    assert str(caught.value).count(str(tmp_path)) == 1


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_what_grows_beyond_all_numbers_is_told_and_what_came_before_is_written(temperature):
    """A linear layer whose state grows eightfold with each character, for as long as it lasts."""
    _, own = made("simple", (2,), "linear")
    own.layers[0].W_hh[:] = 8 * np.eye(2)
    settings, found = SamplingSettings(temperature=temperature), []
    for form in (engine._plain, engine._compiled):
        rows = form(own, PROMPT, 10_000, settings, np.random.default_rng(0), 3)
        found.append([])
        with pytest.raises(NoNumbersError, match=r"predictions are not finite.* train again"):
            found[-1].extend(rows)
    assert 30 < len(found[0]) < 60  # 8 ** 42 is beyond float32
    np.testing.assert_array_equal(*found)
