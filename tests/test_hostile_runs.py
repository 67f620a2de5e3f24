"""Runs that strangers sent, as a user meets them: exit code 0 or 2, one line, no traceback."""

import json
import shutil
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from msgspec import structs

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord
from chargen.runs.directory import BEST, LAST, PROGRESS, REPORTED, RUN, Run

TEXT = "the cat sat on the mat, the rat sat on the cat.\n" * 12
TINY = ["--units", "3", "--timesteps", "4", "--batch-size", "2", "--steps", "30"]
ODD = [
    *(
        None,
        True,
        -1,
        0,
        2,
        1.5,
        10**9,
        2**63,
        1e308,
        "",
        "x",
        "\x1b[2J\n",
        "\ud800",
        "\udc80",
        "9" * 10_000,
    ),
    *([], [0], [10**9], [1] * 1000, ["x"], {}, {"a": 1}, {"a": {"a": []}}),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run in it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "cat.txt").write_text(TEXT)
    arguments = ["train", str(folder / "cat.txt"), "--out", str(folder / "run"), *TINY]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run, to be spoiled, and beside it a text to score."""
    (tmp_path / "text.txt").write_text("the cat")
    return shutil.copytree(trained / "run", tmp_path / "run")


def commands(run):
    return [
        ["sample", run, "--length", "3"],
        ["inspect", run],
        ["evaluate", run],
        ["sample", run, "--length", "3", "--count", "2"],
        ["inspect", run, "--json"],
        ["train", "--resume", "--out", run, "--steps", "31"],
        ["probe-longrange", run, "--only", "context"],
        ["inspect", run, "--memory", "the cat"],
        ["score", run, run.parent / "text.txt"],
        ["watch", run, "--once"],
        ["export", run, "--to", "page", "--out", run.parent / "page.html"],
        ["export", run, "--to", "onnx", "--out", run.parent / "step.onnx"],
    ]


def paths(values, path=()):
    """Every place in plain values."""
    yield path
    inner = enumerate(values) if isinstance(values, list) else ()
    for key, value in values.items() if isinstance(values, dict) else inner:
        yield from paths(value, (*path, key))


def changed(values, path, value):
    """``values`` with another one at a place."""
    if not path:
        return value
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[path[0]] = changed(values[path[0]], path[1:], value)
    return copy


def ended_well(capsys, command):
    """A command's exit code, 0 or 2; where it is 2, one line is all that was said."""
    code = main(list(map(str, command)))
    out, err = capsys.readouterr()
    assert code in (0, 2), (command, err)
    if code == 2:
        diverged = command[0] == "train" and "try a lower --learning-rate" in err
        lines = err.count("\n") - 2 * diverged  # it had told already what it trains
        assert (out, lines) == ("", 1), (command, out, err)
        assert len(err) < 2000
        assert "\x1b" not in err
    return code


def test_any_value_in_place_of_another_is_refused_or_harmless(trained, run, capsys):
    values = json.loads((run / RUN).read_text())
    codes = []
    turns = cycle(range(len(commands(run))))
    for path in paths(values):
        for odd in ODD:
            shutil.copytree(trained / "run", run, dirs_exist_ok=True)
            (run / RUN).write_text(json.dumps(changed(values, path, odd)))
            codes.append(ended_well(capsys, commands(run)[next(turns)]))
    assert len(codes) > 700
    assert codes.count(2) > 600


def test_what_is_left_out_or_added_is_refused_by_name(run):
    values = json.loads((run / RUN).read_text())
    places = [path for path in paths(values) if path and isinstance(path[-1], str)]
    whole = {"model", "training", "vocabulary", "corpus", "versions", "format"}
    for path in places:
        name = path[-1]
        defaults = path[0] in ("model", "training", "versions") and len(path) == 2
        if defaults or path == ("corpus", "cache"):
            continue  # it has a default
        copy = json.loads(json.dumps(values))
        holder = copy[path[0]] if len(path) == 2 else copy
        del holder[name]
        (run / RUN).write_text(json.dumps(copy))
        with pytest.raises(ChargenError, match=rf"run\.json: .*{name}"):
            Run.open(run)
        holder[name] = values[path[0]][name] if len(path) == 2 else values[name]
        holder["other"] = 1
        (run / RUN).write_text(json.dumps(copy))
        with pytest.raises(ChargenError, match=r"run\.json: .*other"):
            Run.open(run)
    assert whole <= {path[-1] for path in places}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "units"), [1] * 101, "100 layers or fewer"),
        (("model", "cell"), "a\nb", r"\$\.model\.cell"),
        (("training", "timesteps"), None, "no timesteps"),
        (("training", "batch_size"), 2**30, "need more than its corpus"),
        (("training", "loss_on"), 5, "loss_on 5 of 4"),
        (("training", "loss_on"), True, r"\$\.training\.loss_on"),
        (("training", "patience"), True, r"\$\.training\.patience"),
        (("training", "epochs"), 2**63, "give one budget"),
        (("vocabulary",), ["a", "b"], r"\$\.vocabulary"),
        (("vocabulary",), "a\ud800", "surrogate"),
        (("vocabulary",), "a" + chr(0xDC80), "surrogate"),
        (("versions",), {"chargen": 1}, r"\$\.versions"),
        (("format",), True, r"\$\.format"),
        (("format",), 3, "upgrade"),
        (("corpus", "chars"), 600.0, r"\$\.corpus\.chars"),
        (("corpus", "chars"), 2**45, r"\$\.corpus\.chars"),
        (("corpus", "sha256"), "x", "sha256"),
        (("corpus", "sources"), [], r"length >= 1 - at `\$\.corpus\.sources"),
        (("corpus", "sources"), ["a\0b"], r"\$\.corpus\.sources\[0\]"),
        (("corpus", "sources"), "abc", r"\$\.corpus\.sources"),
        (("corpus", "cache"), "here", "no absolute path"),
        (("corpus", "cache"), "/" + "9" * 10_000, r"\$\.corpus\.cache"),
        (("model", "stack"), "ring", r"\$\.model\.stack"),
        (("training", "beta2"), 1.0, r"\$\.training\.beta2"),
    ],
)
def test_run_json_is_refused_with_what_is_wrong(run, path, value, message):
    values = json.loads((run / RUN).read_text())
    (run / RUN).write_text(json.dumps(changed(values, path, value)))
    with pytest.raises(ChargenError, match=rf"run\.json: .*{message}"):
        Run.open(run)


def test_a_vocabulary_of_all_characters_and_thousands_of_sources_are_read(run):
    values = json.loads((run / RUN).read_text())
    values["vocabulary"] = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    values["corpus"]["sources"] = [f"/a/folder/with/a/long/name/{n}.txt" for n in range(9000)]
    (run / RUN).write_text(json.dumps(values, indent=1))
    description = Run.open(run).description
    assert len(description.vocabulary) == 0x110000 - 0x800
    assert len(description.corpus.sources) == 9000


def test_no_description_is_written_that_could_not_be_read_again(run):
    opened = Run.open(run)
    before = (run / RUN).read_bytes()
    corpus = structs.replace(opened.description.corpus, sources=("x" * 99,) * 30_000)
    with pytest.raises(ChargenError, match=r"run\.json: would be too large.* folder"):
        Run(run, replace(opened.description, corpus=corpus)).write_description()
    assert (run / RUN).read_bytes() == before


def test_a_description_that_lies_of_its_corpus_is_told_so(run, capsys):
    values = json.loads((run / RUN).read_text())
    values["corpus"] |= {"chars": 10**6, "training_chars": 10**6 - 1}
    (run / RUN).write_text(json.dumps(values))
    for command in ("evaluate", "train --resume --out", "probe-longrange --only context"):
        assert ended_well(capsys, [*command.split(), run]) == 2


def test_another_models_weights_are_refused_before_a_model_is_made(run, capsys):
    for file in (BEST, LAST):
        read = Run.open(run).read_checkpoint(file)
        arrays = {name: value for name, value in read.arrays.items() if "W_hh" not in name}
        more = {**arrays, "model.stack.layers.0.W_hh": np.zeros((3, 9), "f4")}
        Run.open(run).write_checkpoint(file, Checkpoint(more, read.values))
    for command in commands(run):
        if command[:2] != ["inspect", run] or "--memory" in command:
            assert ended_well(capsys, command) == 2


WRONG = json.dumps({**dict.fromkeys(REPORTED, 1.5), "seconds": True}).encode()


@pytest.mark.parametrize(
    "line", [b"{}", b'{"step":1}', b'{"step":1,"step":1}', b"[]", b"\x80", WRONG]
)
def test_progress_of_another_shape_is_named_by_its_line(run, capsys, line):
    (run / PROGRESS).write_bytes((run / PROGRESS).read_bytes() + line + b"\n")
    number = (run / PROGRESS).read_bytes().count(b"\n")
    assert main(["inspect", str(run)]) == 2
    assert f"{PROGRESS}, line {number}: damaged" in capsys.readouterr().err


def test_sources_that_cannot_be_the_corpus_are_not_read(tmp_path, monkeypatch):
    def of(*sources):
        return CorpusRecord("x", tuple(map(str, sources)), "0" * 64, 100, 90)

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("é" * 100)
    (tmp_path / "texts" / "b.html").write_text("x" * 10_000)
    for sources in (["fables"], ["-"], [tmp_path / "gone"], [tmp_path / "texts"]):
        of(*sources).check_sources()
    (tmp_path / "large.txt").write_text("x" * 500)
    for source in (tmp_path / "large.txt", "/dev/zero", tmp_path / "linked"):
        if source == tmp_path / "linked":
            source.mkdir()
            (source / "a.txt").symlink_to("/dev/zero")
        with pytest.raises(ChargenError, match="not what was trained on"):
            of(source).check_sources()
    monkeypatch.setattr("chargen.runs.description.MOST_ENTRIES", 1)
    with pytest.raises(ChargenError, match="holds more than a corpus"):
        of(tmp_path / "texts").check_sources()


def test_a_run_that_names_a_device_as_its_corpus_does_not_read_it(run, capsys):
    values = json.loads((run / RUN).read_text())
    values["corpus"]["sources"] = ["/dev/zero"]
    (run / RUN).write_text(json.dumps(values))
    for command in (["evaluate", run], ["train", "--resume", "--out", run]):
        assert ended_well(capsys, command) == 2
