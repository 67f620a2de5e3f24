"""The exported ONNX step, run by onnxruntime, against the model."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import LETTERS, VARIANTS, arrays_of, model_run, network_and_engine

from chargen.cells import ACTIVATION_NAMES
from chargen.errors import ChargenError
from chargen.formats.onnx import export_onnx, step_model
from chargen.recurrent.model import NetworkPredictor
from chargen.runs.directory import BEST, Run
from chargen.sampling import choose, generate
from chargen.sampling.engine import without_placeholder
from chargen.settings import STACK_NAMES, ModelSettings, SamplingSettings
from chargen.text import Vocabulary

V = len(LETTERS)
UNITS = {"plain": (7, 5), "residual": (6, 6)}
every_stack = pytest.mark.parametrize("stack", STACK_NAMES)
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


class Step:
    """An ONNX file as any program would use it."""

    def __init__(self, data):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.parts = {one.name: one.shape[1] for one in self.session.get_inputs()[1:]}
        self.outputs = [one.name for one in self.session.get_outputs()]

    def initial_state(self, N):
        return {name: np.zeros((N, units), "f4") for name, units in self.parts.items()}

    def __call__(self, ids, state):
        """``ids`` ``(N,)`` to log-probabilities ``(N, V)`` and the next state."""
        log_probs, *after = self.session.run(None, {"ids": ids, **state})
        return log_probs, dict(zip(self.parts, after, strict=True))


def exported(cell, stack="plain", units=None, activation="tanh", **variant):
    """A model as a predictor, and its ONNX step."""
    shape = {"activation": activation, "stack": stack, **variant}
    network, engine = network_and_engine(cell, units or UNITS[stack], V, gain=1, **shape)
    if stack == "residual":
        network.stack.W_in.data[0] *= 1e-3  # where SMALLEST matters
    step = Step(step_model(engine.settings, arrays_of(network), LETTERS).SerializeToString())
    return NetworkPredictor(network, Vocabulary(LETTERS)), step


@every_stack
@every_variant
def test_predictions_and_texts_equal_the_model(variant, stack):
    model, step = exported(stack=stack, **variant)
    ids = np.random.default_rng(1).integers(V, size=(3, 200))
    expected, _ = model.advance(ids)
    assert expected.std(axis=(0, 1)).max() > 0.05
    state = step.initial_state(3)
    for t in range(200):
        log_probs, state = step(ids[:, t], state)
        np.testing.assert_allclose(log_probs, expected[:, t], rtol=0, atol=3e-5)
    state, ids = step.initial_state(1), np.array([LETTERS.index("a")])
    heat, rng = SamplingSettings(), np.random.default_rng(2)
    rows, written = generate(model.advance, ids, 200, heat, np.random.default_rng(2)), []
    for _ in range(200):
        log_probs, state = step(ids, state)
        ids = choose(log_probs, heat, rng)
        written.append(ids)
    np.testing.assert_array_equal(written, list(rows))
    assert len(set(np.ravel(written))) > 4


@every_stack
@every_variant
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_every_activation_in_one_layer(variant, activation, stack):
    model, step = exported(stack=stack, units=(4,), activation=activation, **variant)
    check_state(model, step, [3, 1, 0, 2])


def check_state(model, step, ids):
    """Compare the log-probabilities and the state after each character with the model."""
    state, own = None, step.initial_state(1)
    for id_ in ids:
        expected, state = model.advance(np.array([[id_]]), state)
        log_probs, own = step(np.array([id_]), own)
        np.testing.assert_allclose(log_probs, expected[:, 0], rtol=0, atol=3e-5)
        for part, value in zip(itertools.chain(*state), own.values(), strict=True):
            np.testing.assert_allclose(value, part.numpy(), rtol=0, atol=3e-5)


@pytest.mark.parametrize(("cell", "own"), [("mingru", ["h"]), ("lstm", ["h", "c"])])
def test_names_shapes_and_metadata(cell, own):
    model, step = exported(cell, "residual")
    names = [f"{part}_{n}" for n in range(2) for part in (*own, "u1", "u2", "u3")]
    assert step.parts == dict.fromkeys(names, 6)
    assert step.outputs == ["log_probs", *(f"next_{name}" for name in names)]
    check_state(model, step, [2, 5])
    assert exported(cell)[1].metadata == {
        "format": "chargen-step 1",
        "cell": cell,
        "stack": "plain",
        "activation": "tanh",
        "units": "[7, 5]",
        "vocabulary": json.dumps([ord(letter) for letter in LETTERS]),
    }


def test_graph_holds_each_weight_once():
    settings = ModelSettings("gru", (3, 3), stack="residual", reset_after=False)
    weights = {name: np.ones(shape, "f4") for name, shape in settings.shapes(4).items()}
    model = step_model(settings, weights, "abcd")
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    assert sum(sizes[name] for name in weights) == settings.parameters(4)
    assert sum(sizes[name] for name in set(sizes) - set(weights)) < 40
    assert {one.key: one.value for one in model.metadata_props}["reset_after"] == "false"


def test_command_line(home, cli):
    out = cli(["export", model_run(home / "run").path, "--to", "onnx"]).out
    assert out == f"onnx: run.onnx, {Path('run.onnx').stat().st_size / 1000:,.0f} kB\n"
    onnx.checker.check_model("run.onnx")


def test_the_placeholder_of_rare_characters_is_never_predicted(tmp_path):
    vocabulary = Vocabulary("\n ab\ufffd", dropped="xyz")
    settings = ModelSettings("simple", (3,))
    weights = {name: np.ones(shape, "f4") for name, shape in settings.shapes(5).items()}
    kept = without_placeholder(weights, vocabulary)
    step = Step(step_model(settings, kept, vocabulary.characters).SerializeToString())
    log_probs, _ = step(np.array([1]), step.initial_state(1))
    assert log_probs[0, -1] < -1e8
    assert np.exp(log_probs[0, :-1]).sum() == pytest.approx(1)
    assert without_placeholder(weights, Vocabulary("\n ab\ufffd")) is weights


def test_unsuitable_runs_and_missing_packages_are_refused(tmp_path, monkeypatch):
    run, other = model_run(tmp_path / "run"), model_run(tmp_path / "other", units=(7, 4))

    def refused(pattern):
        with pytest.raises(ChargenError, match=pattern):
            export_onnx(Run.open(run.path), tmp_path / "x.onnx")

    with monkeypatch.context() as patch:
        patch.setattr("chargen.formats.onnx.LARGEST", 1000)
        refused("more weights than")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        refused("pip install onnx")
    (run.path / BEST).write_bytes((other.path / BEST).read_bytes())
    refused("the settings say")
