"""The exported step model, run by onnxruntime, against the model itself."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from made import LETTERS, model_run

import chargen
from chargen.cli import main
from chargen.errors import ChargenError
from chargen.exporting.onnx import export_onnx, step_model
from chargen.runs import BEST, Run
from chargen.settings import ACTIVATION_NAMES, CELL_NAMES, ModelSettings

V = len(LETTERS)
every_cell = pytest.mark.parametrize("cell", CELL_NAMES)


class Step:
    """An ONNX file as any program would use it: what it needs stands in the file."""

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


def exported(folder, cell, **shape):
    run = model_run(folder / "run", cell, **shape)
    export_onnx(run, folder / "model.onnx")
    return chargen.load(run.path, "cpu"), Step((folder / "model.onnx").read_bytes())


@every_cell
def test_it_predicts_what_the_model_predicts_over_200_characters(cell, tmp_path):
    model, step = exported(tmp_path, cell)
    ids = np.random.default_rng(1).integers(V, size=(3, 200))
    expected, _ = model.predictor.advance(ids)
    state = step.initial_state(3)
    for t in range(200):
        log_probs, state = step(ids[:, t], state)
        np.testing.assert_allclose(log_probs, expected[:, t], rtol=0, atol=1e-5)


@every_cell
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_every_activation_in_one_layer(cell, activation, tmp_path):
    model, step = exported(tmp_path, cell, units=(4,), activation=activation)
    ids = np.array([[3, 1, 0, 2]])
    expected, state = model.predictor.advance(ids)
    own = step.initial_state(1)
    for t in range(4):
        log_probs, own = step(ids[:, t], own)
        np.testing.assert_allclose(log_probs, expected[:, t], rtol=0, atol=1e-5)
    for part, value in zip(state[0], own.values(), strict=True):
        np.testing.assert_allclose(value, part.numpy(), rtol=0, atol=1e-5)


@every_cell
def test_it_writes_the_same_text(cell, tmp_path):
    model, step = exported(tmp_path, cell)
    letters = "".join(map(chr, json.loads(step.metadata["vocabulary"])))
    state, ids = step.initial_state(1), np.array([letters.index("a")])
    written = "a"
    for _ in range(200):
        log_probs, state = step(ids, state)
        ids = log_probs.argmax(axis=1)
        written += letters[ids[0]]
    assert written == model.sample("a", 200, temperature=0)
    assert len(set(written)) > 1


def test_names_shapes_and_metadata(tmp_path):
    _, step = exported(tmp_path, "lstm")
    assert step.parts == {"h_0": 7, "c_0": 7, "h_1": 5, "c_1": 5}
    assert step.outputs == ["log_probs", "next_h_0", "next_c_0", "next_h_1", "next_c_1"]
    assert step.metadata == {
        "format": "chargen-step 1",
        "cell": "lstm",
        "activation": "tanh",
        "units": "[7, 5]",
        "vocabulary": json.dumps([ord(letter) for letter in LETTERS]),
    }


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = model_run(tmp_path / "run", "gru")
    for name in ("one", "two"):
        export_onnx(run, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_graph_holds_no_weight_twice():
    settings = ModelSettings("gru-before", (3, 2))
    weights = {name: np.ones(shape, "f4") for name, shape in settings.shapes(4).items()}
    model = step_model(settings, weights, "abcd")
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    assert sum(sizes[name] for name in weights) == settings.parameters(4)
    assert sum(sizes[name] for name in set(sizes) - set(weights)) < 20  # lengths of blocks, and 1


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = model_run(tmp_path / "run")
    assert main(["export", str(run.path), "--to", "onnx"]) == 0
    here = tmp_path / "run.onnx"
    kilobytes = f"{here.stat().st_size / 1000:,.0f}"
    assert capsys.readouterr().out == f"onnx: run.onnx, {kilobytes} kB\n"
    onnx.checker.check_model(str(here))
    out = tmp_path / "other.onnx"
    assert main(["export", str(run.path), "--to", "onnx", "--out", str(out)]) == 0
    assert out.read_bytes() == here.read_bytes()
    assert main(["sample", str(run.path), "--length", "3"]) == 0
    capsys.readouterr()
    for arguments in (["--to", "onnx", "--out", str(tmp_path / "no" / "x")], ["--to", "tape"], []):
        assert main(["export", str(run.path), *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_weights_of_another_run_are_refused(tmp_path):
    run = model_run(tmp_path / "run")
    other = model_run(tmp_path / "other", units=(7, 4))
    (run.path / BEST).write_bytes((other.path / BEST).read_bytes())
    with pytest.raises(ChargenError, match="the settings say"):
        export_onnx(Run.open(run.path), tmp_path / "x.onnx")


def test_more_than_a_file_of_onnx_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("chargen.exporting.onnx.LARGEST", 1000)
    with pytest.raises(ChargenError, match="more weights than"):
        export_onnx(model_run(tmp_path / "run"), tmp_path / "x.onnx")


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ChargenError, match=r"pip install 'chargen\[onnx\]'"):
        export_onnx(model_run(tmp_path / "run"), tmp_path / "x.onnx")
