"""Import of models that Keras made, and of invalid files."""

import io
import json
import os
import random
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile import ODD, changed, paths

import chargen
from chargen.cli import main
from chargen.errors import ChargenError
from chargen.formats.keras import Alphabet, import_keras
from chargen.runs.directory import RUN

# Keras's own, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LETTERS = "zebra é"  # in no order: ids are the model's, not a vocabulary's
V = len(LETTERS)
KNOWN = Alphabet(tuple(LETTERS), "letters")
IDS = np.array([[0, 3, 2, 2, 6, 1, 5], [4, 4, 1, 0, 5, 6, 3]])
CELLS = {
    "simple": ("SimpleRNN", {}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru-before": ("GRU", {"reset_after": False}),
}


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """The real one, on torch; it takes a few seconds to be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        import keras

        assert keras.backend.backend() == "torch"
        return keras


def randomized(model):
    """Draw new random weights and biases."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.6, array.shape) for array in model.get_weights()])
    return model


def made(keras, cell, units=(5, 4), activation="tanh", biases=True, embedding=None, wrapped=False):
    """Return a Sequential model; one without biases returns logits."""
    kind, convention = CELLS[cell]
    layers = [keras.Input((None,)), keras.layers.Embedding(V, embedding)] if embedding else []
    layers = layers or [keras.Input((None, V))]
    for size in units:
        how = {"activation": activation, "use_bias": biases, **convention}
        layers.append(getattr(keras.layers, kind)(size, return_sequences=True, **how))
        layers.append(keras.layers.Dropout(0.4))
    dense = keras.layers.Dense(V, use_bias=biases, activation="softmax" if biases else None)
    layers.append(keras.layers.TimeDistributed(dense) if wrapped else dense)
    return randomized(keras.Sequential(layers))


def functional(keras):
    """Return a Functional model with a softmax layer above its logits."""
    inputs = keras.Input((None,))
    below = keras.layers.Embedding(V, 4)(inputs)
    for _ in range(2):
        below = keras.layers.GRU(4, return_sequences=True)(below)
    logits = keras.layers.Dense(V)(below)
    return randomized(keras.Model(inputs, keras.layers.Activation("softmax")(logits)))


def theirs(keras, model, ids=IDS):
    """Return Keras's probabilities, ``(N, T, V)``."""
    one_hot = len(getattr(model, "input_shape", ())) == 3
    inputs = np.eye(V, dtype="f4")[ids] if one_hot else ids
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def ours(run, ids=IDS, letters=LETTERS):
    """Return the run's probabilities, in the order of Keras's ids."""
    model = chargen.load(run.path, device="cpu")
    order = model.vocabulary.encode(letters).astype(int)
    log_probs, _ = model.predictor.advance(order[ids])
    return np.exp(log_probs)[..., order]


def imported(model, folder, weights=False, alphabet=KNOWN, **how):
    """Import a model by way of a file."""
    file = folder / ("model.weights.h5" if weights else "model.keras")
    (model.save_weights if weights else model.save)(file)
    return import_keras(file, alphabet, folder / "run", **how)[0]


def shares_of(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "how"),
    [
        *((cell, {"biases": False}) for cell in CELLS),
        ("simple", {"activation": "relu", "embedding": 3}),
        ("lstm", {"activation": "sigmoid"}),
        ("gru", {"activation": "linear"}),
        ("gru-before", {"embedding": 3, "wrapped": True}),
    ],
)
def test_a_run_predicts_as_keras_from_both_file_formats(keras, cell, how, tmp_path):
    model = made(keras, cell, **how)
    shares = theirs(keras, model)
    shown = {"activation": how.get("activation", "tanh")}
    if "biases" in how:
        shares = shares_of(shares)
        if cell.startswith("gru"):
            with pytest.raises(ChargenError, match=r"do not show .* reset_after of a GRU"):
                imported(model, tmp_path, True)
            shown = {"reset_after": cell == "gru"}
    for weights, options in ((False, {}), (True, shown)):
        run = imported(model, tmp_path, weights, overwrite=True, **options)
        described = run.description.model
        assert (described.cell, described.units) == (cell.removesuffix("-before"), (5, 4))
        assert described.reset_after == (cell != "gru-before")
        assert run.weights()["stack.layers.0.W_xh"].shape[0] == V
        close(ours(run), shares)


def test_functional_models_and_the_weights_of_a_custom_class(keras, tmp_path):
    model = functional(keras)
    close(ours(imported(model, tmp_path)), theirs(keras, model))

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = keras.layers.Embedding(V, 3)
            self.gru = keras.layers.GRU(5, return_sequences=True, return_state=True)
            self.dense = keras.layers.Dense(V)

        def call(self, ids, training=False):
            return self.dense(self.gru(self.embedding(ids), training=training)[0])

    model = Model()
    model(IDS)
    shares = shares_of(theirs(keras, randomized(model)))
    close(ours(imported(model, tmp_path, weights=True, overwrite=True)), shares)
    with pytest.raises(ChargenError, match=r"its class Model does not store .*save_weights"):
        imported(model, tmp_path, overwrite=True)


def test_runs_of_earlier_versions_with_the_cell_gru_before(keras, tmp_path):
    run = imported(made(keras, "gru-before"), tmp_path)
    described = json.loads((run.path / RUN).read_text())
    assert described["model"].pop("reset_after") is False
    described["model"]["cell"] = "gru-before"
    (run.path / RUN).write_text(json.dumps(described))
    assert chargen.load(run.path, device="cpu").run.description == run.description


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """The bytes of a small model: embedding, two LSTM layers, softmax."""
    model = made(keras, "lstm", (3, 2), embedding=2)
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    functional(keras).save(folder / "functional.keras")
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


@pytest.fixture
def file(saved, tmp_path):
    """The model as a ``.keras`` file."""
    (tmp_path / "model.keras").write_bytes(saved["model.keras"])
    return tmp_path / "model.keras"


def refused(file, alphabet=KNOWN, **how):
    """Return the error message; check that it is one line and no run exists."""
    with pytest.raises(ChargenError) as caught:
        import_keras(file, alphabet, file.parent / "run", **how)
    message = caught.value.message
    assert "\n" not in message
    assert not (file.parent / "run" / RUN).exists()
    return message


def repacked(file, change=lambda config: None, weights=None, **how):
    """Replace the configuration or the weights of an archive."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config)
    parts["model.weights.h5"] = weights or parts["model.weights.h5"]
    with zipfile.ZipFile(file, "w", **how) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def layer(config, kind):
    return next(one for one in config["config"]["layers"] if one["class_name"] == kind)


def with_setting(kind, **values):
    return lambda config: layer(config, kind)["config"].update(values)


def with_class(kind, other):
    return lambda config: layer(config, kind).update(class_name=other)


def test_unsupported_models_are_named(file, saved):
    for change, message in (
        (with_class("Dropout", "Lambda"), r"\(Lambda\) is not supported: only SimpleRNN"),
        (with_setting("LSTM", go_backwards=True), r"\(LSTM\) has go_backwards True: only False"),
        (with_setting("LSTM", activation="relu"), r"more than one .*lstm, relu, None; lstm, tanh"),
        (with_setting("LSTM", activation="swish"), r"activation swish: only tanh"),
        (with_class("Dropout", "Softmax"), r"its layers are Embedding, LSTM, Softmax"),
        (with_setting("Dense", activation="relu"), r"\(Dense\) ends in relu"),
        (with_class("LSTM", "GRU"), r"more than one cell.*\(gru, tanh, None; lstm"),
        (lambda config: config.update(config=[]), r"does not store"),
        (lambda config: layer(config, "LSTM").pop("config"), r"configuration is not Keras"),
    ):
        file.write_bytes(saved["model.keras"])
        repacked(file, change)
        assert re.search(f"^{re.escape(str(file))}.*{message}", refused(file))


def test_graphs_other_than_chains_are_refused(keras, tmp_path):
    inputs, file = keras.Input((None, V)), tmp_path / "model.keras"
    below, *state = keras.layers.LSTM(4, return_sequences=True, return_state=True)(inputs)
    both = keras.layers.LSTM(4, return_sequences=True)(below, initial_state=state)
    ends = keras.layers.Dense(V, activation="softmax")
    keras.Model(inputs, ends(below)).save(file)
    import_keras(file, KNOWN, tmp_path / "chain")
    keras.Model(inputs, [ends(below), below]).save(file)
    assert "several outputs" in refused(file)
    keras.Model(inputs, ends(both)).save(file)
    assert "reads something else than the layer before it" in refused(file)


def with_dataset(saved, group="lstm", **how):
    """Replace a kernel in the weights."""
    weights = io.BytesIO(saved["model.weights.h5"])
    with h5py.File(weights, "r+") as inner:
        place = inner[f"layers/{group}/cell/vars"]
        del place["0"]
        if "link" in how:
            place["0"] = how["link"]
        elif "kind" in how:
            h5py.h5d.create(place.id, b"0", how["kind"], h5py.h5s.create_simple((2, 12)))
        else:
            place.create_dataset("0", **how)
    return weights.getvalue()


def test_hostile_weights_are_refused(file, saved):
    for how, message in (
        ({"shape": (2**20, 12), "dtype": "f4", "chunks": (1024, 12), "compression": 9}, "larger"),
        ({"shape": (2, 12), "dtype": "f4", "external": "/etc/hostname"}, "not stored in this file"),
        ({"link": h5py.ExternalLink("/etc/hostname", "/x")}, "not what Keras 3 saves"),
        ({"data": np.full((2, 12), np.nan, "f4")}, "not finite"),
        ({"data": np.zeros((2, 12), "i4")}, "numbers of type int32"),
        ({"data": h5py.Empty("f4")}, "layers/lstm/cell/vars/0: numbers of type"),
        ({"kind": h5py.h5t.UNIX_D32LE}, "No NumPy equivalent"),
        ({"group": "lstm_1", "data": np.zeros((5, 8), "f4")}, "(5, 8), (2, 8), (8,), not (3, 8),"),
    ):
        repacked(file, weights=with_dataset(saved, **how))
        assert message in refused(file)


def test_compressed_truncated_and_other_files_are_refused(file, saved, monkeypatch):
    repacked(file, compression=zipfile.ZIP_DEFLATED)
    import_keras(file, KNOWN, file.parent / "packed")
    repacked(file, weights=b"\x89HDF\r\n\x1a\n" + b"\0" * 2**22, compression=zipfile.ZIP_DEFLATED)
    assert "larger than it can be" in refused(file)
    for data in (b"", b"PK\x03\x04", b"hello", b"\x89HDF\r\n\x1a\n"):
        file.write_bytes(data)
        assert str(file) in refused(file)
    for whole in saved.values():
        file.write_bytes(whole[: len(whole) // 3])
        assert str(file) in refused(file)
    assert "no such file" in refused(file.parent / "none.keras")
    with h5py.File(file, "w") as inner:
        inner.attrs["layer_names"] = [b"lstm"]
    assert "laid out by Keras 2" in refused(file)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "needs h5py: pip install h5py" in refused(file)


def test_hostile_configurations_are_refused(file, saved):
    """Each is imported, or refused in one line that names the file."""
    for name in ("model.keras", "functional.keras"):
        file.write_bytes(saved[name])
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        rng, refusals = random.Random(0), []
        for _ in range(20):
            spoiled = changed(config, rng.choice([*paths(config)][1:]), rng.choice(ODD))
            repacked(file, lambda old, new=spoiled: (old.clear(), old.update(new)))
            try:
                import_keras(file, KNOWN, file.parent / "run", overwrite=True)
            except ChargenError as error:
                refusals.append(str(error))
        assert refusals
        assert all(str(file) in one and "\n" not in one for one in refusals)


def alphabet_of(tmp_path, values):
    (tmp_path / "characters.json").write_text(json.dumps(values, ensure_ascii=False), "utf-8")
    return Alphabet.of_json(tmp_path / "characters.json")


def test_alphabet_is_a_list_a_map_or_a_text(tmp_path):
    numbered = {letter: number for number, letter in enumerate(LETTERS)}
    for values in (list(LETTERS), numbered, dict(enumerate(LETTERS))):
        vocabulary, ids, notes = alphabet_of(tmp_path, values).arranged(V)
        assert [LETTERS[id_] for id_ in ids] == list(vocabulary.characters) == sorted(LETTERS)
        assert notes == []
    (tmp_path / "text.txt").write_text("baobab\n", "utf-8")
    vocabulary, ids, _ = Alphabet.of_text(tmp_path / "text.txt", reserved=1).arranged(5)
    assert (vocabulary.characters, ids.tolist()) == ("\nabo", [1, 2, 3, 4])


def test_ids_without_a_character_are_left_out(keras, tmp_path):
    """The other probabilities keep their ratios."""
    model, kept = made(keras, "lstm", (4,)), [0, 1, 3, 4, 5, 6]
    model.save(tmp_path / "model.keras")
    alphabet = alphabet_of(tmp_path, [*LETTERS[:2], "[UNK]", *LETTERS[3:]])
    run, notes = import_keras(tmp_path / "model.keras", alphabet, tmp_path / "run")
    assert notes == ["left out 1 id without a character; their probability is shared"]
    ids = np.array([[0, 2, 5, 1, 1, 3]])
    expected = theirs(keras, model, np.array(kept)[ids])[..., kept]
    letters = "".join(LETTERS[id_] for id_ in kept)
    close(ours(run, ids, letters), expected / expected.sum(axis=-1, keepdims=True))


def test_mismatching_alphabets_are_refused(file):
    for values, message in (
        (list("abc"), "3 entries, the model has 7 ids; .* --reserved 4$"),
        (list("abcdefgh"), "8 entries, the model has 7 ids; give the alphabet"),
        (list("zebra z"), "'z' comes twice"),
        (["ab"] * 7, "no entry is one character"),
        ({"a": 1, "b": 2}, "its ids are not 0, 1, 2"),
        ([1, 2], "not an alphabet .*got `int`"),
    ):
        with pytest.raises(ChargenError) as caught:
            import_keras(file, alphabet_of(file.parent, values), file.parent / "run")
        assert re.search(rf"characters\.json: .*{message}", caught.value.message)


def test_padding_superfluous_options_and_an_unknown_alphabet(file):
    assert refused(file, activation="relu").startswith(f"{file}: --activation is for .weights.h5")
    assert "give --alphabet or" in refused(file, None)
    repacked(file, with_setting("Embedding", mask_zero=True))
    assert "id 0 is padding, not 'z' as in let" in refused(file)
    import_keras(file, Alphabet((None, *LETTERS[1:]), "letters"), file.parent / "run")
    with pytest.raises(ChargenError, match="is there already"):
        import_keras(file, KNOWN, file.parent / "run")


def test_command_line(file, tmp_path, cli, error):
    run, text, alphabet = (str(tmp_path / name) for name in ("run", "text.txt", "alphabet.json"))
    Path(alphabet).write_text(json.dumps(["[UNK]", *LETTERS[1:]]))
    Path(text).write_text("bear bar", "utf-8")
    command = ["import-keras", str(file), "--out", run]
    result = cli([*command, "--alphabet", alphabet])
    assert (result.out, result.err.count("\n")) == (f"{run}\n", 1)
    assert main(["sample", run, "--prompt", "bar", "--length", "5"]) == 0
    assert main(["inspect", run, "--memory", "bear"]) == 0
    assert main(["evaluate", run, text]) == 0
    assert "imported          model.keras\n" in cli(["inspect", run]).out
    for arguments, message in (
        (["evaluate", run], "imported without a corpus"),
        (["train", "--resume", "--out", run], "cannot be resumed"),
        ([*command, "--alphabet", alphabet], "give --overwrite"),
        ([*command, "--overwrite", "--reserved", "1"], "--reserved needs --alphabet"),
        ([*command, "--overwrite", "--alphabet", "a", "--alphabet-text", "b"], "give one"),
    ):
        assert message in error(arguments)


def test_import_needs_neither_keras_nor_torch(file):
    program = (
        "import sys; sys.modules['keras'] = sys.modules['torch'] = None; "
        "from chargen.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    (file.parent / "text").write_text(LETTERS)
    given = ["import-keras", file, "--alphabet-text", file.parent / "text"]
    command = [sys.executable, "-c", program, *given, "--out", file.parent / "run"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_example_of_the_documentation_prints_its_comments(tmp_path, capsys):
    page = Path(__file__).parent.parent / "docs" / "how-to" / "import-from-keras.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    (tmp_path / "example.py").write_text(example)
    runpy.run_path(str(tmp_path / "example.py"))
    printed = re.findall(r"print\(.*\)  # (.*)", example)
    assert printed
    assert capsys.readouterr().out.splitlines() == printed
