"""The inference engine: its NumPy form, its compiled form, and the torch network."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import VARIANTS, arrays_of, network_and_engine

from chargen.cells import ACTIVATION_NAMES
from chargen.errors import NonFiniteError
from chargen.sampling import Sampler, arithmetic, engine
from chargen.sampling.choice import Choice
from chargen.sampling.compiled import CompiledLoop, product, write
from chargen.sampling.compiling import CHILD, compiling
from chargen.sampling.engine import Engine, initial_state
from chargen.sampling.quantized import Int8Matrix, rounded
from chargen.settings import ModelSettings, SamplingSettings
from chargen.text import Vocabulary

V = 11
PROMPT = np.array([1, 2, 3])
# One unit, and numbers of units that are no multiple of the compiled matmul's unrolling. Two layers
# each: numba compiles once per number of layers.
SHAPES = [("plain", (20, 9)), ("plain", (1, 5)), ("residual", (1, 1)), ("residual", (19, 19))]
MORE_SHAPES = [("plain", (5,)), ("plain", (20, 9, 1)), ("residual", (1,))]
FORMS = [False, True]  # compiled


def shapes(*choices):
    return [
        {**variant, "stack": stack, "units": units, "activation": activation}
        for variant, (stack, units), activation in choices
    ]


# Each cell and shape, with alternating activation functions.
TURNS = itertools.cycle([*ACTIVATION_NAMES, "tanh"])
SOME = shapes(*((*pair, next(TURNS)) for pair in itertools.product(VARIANTS.values(), SHAPES)))


def name_of(shape):
    return "-".join(map(str, shape.values()))


EVERY = [
    pytest.param(shape, id=name_of(shape), marks=() if shape in SOME else pytest.mark.soak)
    for shape in shapes(
        *itertools.product(VARIANTS.values(), SHAPES + MORE_SHAPES, ACTIVATION_NAMES)
    )
]


def written(one, compiled, length=60, count=3, prompt=PROMPT, **chosen):
    rng, chosen = np.random.default_rng(5), SamplingSettings(**chosen)
    return np.array(list(one.write(prompt, length, chosen, rng, count, compiled)))


def assert_same_text(one, **how):
    plain, compiled = (written(one, form, **how) for form in FORMS)
    np.testing.assert_array_equal(plain, compiled)
    return plain


@pytest.mark.parametrize("shape", EVERY)
def test_both_forms_compute_the_network_and_write_the_same_text(shape):
    """Compare logits and state with torch, and both forms with each other, bit for bit."""
    network, own = network_and_engine(**shape)
    assert own.settings.shapes(V) == {n: w.shape for n, w in network.state_dict().items()}
    assert own.settings.parameters(V) == sum(weight.numel() for weight in network.parameters())
    ids, choice = np.random.default_rng(0).integers(V, size=(2, 9)), Choice.of(SamplingSettings())
    with torch.no_grad():
        expected, states = network.double()(torch.from_numpy(ids))
    tolerance = 5e-4 if shape["stack"] == "residual" else 5e-5
    if shape["activation"] == "linear":  # the state grows, and rounding errors with it
        tolerance *= 10 * max(1, expected.abs().max().item())
    near, state = {"rtol": tolerance, "atol": tolerance}, initial_state(own.settings, 2)
    for t in range(9):
        logits, state = own.read(ids[:, t], state)
        np.testing.assert_allclose(logits, expected[:, t], **near)
        loop = CompiledLoop(own.settings, own.weights, initial_state(own.settings, 2))
        list(loop.write(ids[:, : t + 1], 1, 1, choice, np.random.default_rng(0)))
        assert loop.logits.tobytes() == logits.tobytes()
    for part, other in zip(state, itertools.chain(*states), strict=True):
        np.testing.assert_allclose(part, other, **near)
    assert_same_text(own)


# Each cell; 70 inputs are more than the compiled dot product multiplies at once.
INT8 = [
    {**variant, "stack": stack, "units": units}
    for variant, (stack, units) in [
        *zip(VARIANTS.values(), [("plain", (70, 9)), ("residual", (19, 19))] * 2, strict=False),
        (VARIANTS["gru reset before"], ("plain", (70, 9))),
        (VARIANTS["lstm"], ("plain", (9, 70))),
    ]
]


def int8_engine(**shape):
    """Return an engine with int8 weights beside one with the same weights in float32."""
    network, whole = network_and_engine(**shape)
    return Engine(whole.settings, arrays_of(network), V, "int8"), whole


@pytest.mark.parametrize("shape", INT8, ids=name_of)
def test_both_int8_forms_compute_the_network_approximately_and_write_the_same_text(shape):
    own, whole = int8_engine(**shape)
    ids, choice = np.random.default_rng(0).integers(V, size=(2, 9)), Choice.of(SamplingSettings())
    assert isinstance(own.weights.top["W_hy"], Int8Matrix)
    logits, state = own.advance(ids)[0][:, 0], initial_state(own.settings, 2)
    loop = CompiledLoop(own.settings, own.weights, state)
    list(loop.write(ids, 1, 1, choice, np.random.default_rng(0)))
    assert loop.logits.tobytes() == logits.tobytes()
    assert np.corrcoef(logits.ravel(), whole.advance(ids)[0].ravel())[0, 1] > 0.97
    np.testing.assert_array_equal(assert_same_text(own), written(own, True))


def test_int8_products_are_those_of_levels():
    """Compare with integers of 64 bits; 2,000 inputs have sums that float32 does not represent."""
    rng = np.random.default_rng(0)
    for J in (1, 5, 2000):
        x, W = (rng.uniform(0.5, 1, size).astype("f4") for size in ((3, J), (J, 4)))
        x[1], W[:, 1], W[:, 2] = 0, 0, -W[:, 2]
        levels, scales = rounded(W)
        steps = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
        x_levels = np.rint(x / np.maximum(steps, np.float32(1e-37))).astype(int)
        expected = (x_levels @ levels.astype(int)).astype("f4") * steps * scales
        np.testing.assert_array_equal(Int8Matrix.of(W).product(x), expected)
        out, packed = np.empty((3, 4), np.float32), Int8Matrix.of(W).packed
        product(x, packed, out, 0, 4)
        assert out.tobytes() == Int8Matrix.of(W).product(x).tobytes()


NOT_COMPILED = f"""
import numpy as np
from chargen.sampling.choice import Choice
from chargen.sampling.compiled import CompiledLoop
from chargen.sampling.engine import Engine, initial_state
from chargen.settings import WEIGHT_FORMATS, ModelSettings, SamplingSettings
from chargen.text import Vocabulary

for shape in {SOME[::2] + SOME[3::8]}:
    settings = ModelSettings(**shape)
    arrays = {{name: np.ones(size, np.float32) for name, size in settings.shapes({V}).items()}}
    chosen = Choice.of(SamplingSettings(top_k=3, repetition_penalty=2))
    for form in WEIGHT_FORMATS:
        engine = Engine(settings, arrays, {V}, form)
        loop = CompiledLoop(settings, engine.weights, initial_state(settings, 2))
        list(loop.write(np.ones((2, 2), int), 2, 2, chosen, np.random.default_rng(0)))
"""


def test_compiled_form_reads_within_its_buffers():
    """numba does not check bounds; Python does."""
    uncompiled = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", NOT_COMPILED], env=uncompiled, check=True)


COMPILING = "chargen.sampling.compiling.compiling"
SWITCHED = shapes(*itertools.product(VARIANTS.values(), SHAPES[::3], ["tanh"]))


@pytest.mark.parametrize("shape", SWITCHED, ids=name_of)
def test_the_moment_when_the_code_is_compiled_changes_nothing(shape, monkeypatch):
    """NumPy writes until then: inside the prompt, or for some blocks of characters."""
    monkeypatch.setattr(engine, "MIN_COMPILED", 0)
    for own in int8_engine(**shape):
        texts = []
        for moment in range(6):
            answers, rng = iter([False] * moment + [True]), np.random.default_rng(5)
            monkeypatch.setattr(COMPILING, lambda *kind, answers=answers: answers.__next__)
            own.block = 64 if moment % 2 else 256  # characters per call, which change nothing
            rows = own.write(PROMPT, 150, SamplingSettings(repetition_penalty=2), rng, 2)
            texts.append((np.array(list(itertools.islice(rows, 130))).tobytes(), rng.random()))
        assert texts == texts[:1] * 6
        assert compiling(own.settings, own.form)()


def test_a_text_is_whole_if_the_compiler_fails(monkeypatch):
    """Nothing compiles seven layers."""
    monkeypatch.setattr(engine, "MIN_COMPILED", 0)
    monkeypatch.setattr("chargen.sampling.compiling.CHILD", "1 / 0")
    for units, python in (1, sys.executable), (2, ""):
        monkeypatch.setattr(sys, "executable", python)
        _, own = network_and_engine(units=(units,) * 7)
        np.testing.assert_array_equal(written(own, None), written(own, False))


def test_without_a_folder_for_compiled_code_a_text_is_whole(monkeypatch):
    monkeypatch.setattr(engine, "MIN_COMPILED", 0)
    for name in ("chargen.sampling.compiled", "chargen.sampling.compiling"):
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name)
    monkeypatch.setattr("numba.njit", Mock(side_effect=RuntimeError("no locator available")))
    _, own = network_and_engine()
    np.testing.assert_array_equal(written(own, None), written(own, False))


def test_one_process_compiles_at_a_time():
    with FileLock(Path(write._cache.cache_path) / "compiling.lock"):
        program = [sys.executable, "-c", CHILD, "1", "plain", "float32", *sys.path]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert "filelock._error.Timeout" in done.stderr


def test_both_forms_draw_alike():
    _, own = network_and_engine(size=40)
    for chosen in (
        {"temperature": 0},
        {"temperature": 1e-300},
        {"top_k": 100},
        {"top_p": 0.7},
        {"temperature": 1.3, "top_k": 5, "top_p": 0.8},
        {"min_p": 0.05},
        {"min_p": 1},
        {"repetition_penalty": 1e300},
        {"temperature": 0, "repetition_penalty": 1.5},
        {"temperature": 2, "top_k": 9, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 4},
    ):
        assert_same_text(own, **chosen)


def test_ties_are_broken_alike():
    shape = ModelSettings("simple", (2, 2))
    zeros = {name: np.zeros(size, np.float32) for name, size in shape.shapes(V).items()}
    own = Engine(shape, zeros, V)
    assert_same_text(own, top_p=0.5)
    assert set(assert_same_text(own, temperature=0).ravel()) == {0}
    assert set(assert_same_text(own, top_k=3).ravel()) == {0, 1, 2}


@pytest.mark.parametrize(("cell", "stack"), [("gru", "plain"), ("mingru", "residual")])
@settings(deadline=None, max_examples=15)
@given(
    length=st.integers(0, 70),
    count=st.integers(1, 4),
    prompt=st.integers(1, 70),
    seed=st.integers(0, 9),
)
def test_any_length_prompt_and_count(cell, stack, length, count, prompt, seed):
    _, own = network_and_engine(cell, (6, 6), stack=stack)
    ids = np.random.default_rng(seed).integers(V, size=prompt)
    assert len(assert_same_text(own, length=length, count=count, prompt=ids)) == length


def test_elementary_functions():
    x = np.linspace(-30, 30, 10_001, dtype=np.float32)
    for own, numpys in ((arithmetic.exp, np.exp), (arithmetic.tanh, np.tanh)):
        assert own(x).dtype == np.float32
        np.testing.assert_allclose(own(x), numpys(x.astype(np.float64)), rtol=2e-7, atol=2e-7)
    ends = np.array([-np.inf, -1e30, 0, 1e30, np.inf], dtype=np.float32)
    np.testing.assert_array_equal(arithmetic.tanh(ends), [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(arithmetic.sigmoid(ends), [0, 0, 0.5, 1, 1], atol=1e-37)
    below = np.array([0, -1, -600, -701, -np.inf])
    np.testing.assert_allclose(arithmetic.long_exp(below), np.exp([0, -1, -600, -999, -999]))
    assert (arithmetic.long_exp(below)[3:] == 0).all()


@pytest.mark.parametrize(("form", "temperature"), [("float32", 0), ("float32", 1), ("int8", 1)])
def test_nan_ends_the_text_after_the_characters_before_it(form, temperature):
    """A linear layer whose state grows eightfold with each character."""
    network, one = network_and_engine("simple", (2, 2), activation="linear")
    arrays = arrays_of(network)
    arrays["stack.layers.0.W_hh"][:] = 8 * np.eye(2)
    own = Engine(one.settings, arrays, V, form)
    chosen, found = SamplingSettings(temperature=temperature), []
    for compiled in FORMS:
        rows = own.write(PROMPT, 10_000, chosen, np.random.default_rng(0), 3, compiled)
        found.append([])
        with pytest.raises(NonFiniteError, match=r"predictions are not finite.* train again"):
            found[-1].extend(rows)
    assert 30 < len(found[0]) < 60  # 8 ** 42 exceeds float32
    np.testing.assert_array_equal(*found)


def test_a_sampler_writes_the_same_texts_with_both_forms(monkeypatch):
    _, own = network_and_engine("lstm", (7, 3), size=4)
    sampler, written = Sampler(own, Vocabulary("\nabz"), "runs/it", warms_up=True), []
    for least in (0, np.inf):
        monkeypatch.setattr(engine, "MIN_COMPILED", least)
        written.append(list(sampler.stream("", 60, 3, seed=0)))
    assert written[0] == written[1]
