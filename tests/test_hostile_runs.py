"""A run directory from a stranger: exit code 0 or 2, one line, no traceback."""

import json
import random
import shutil

import pytest
from hostile import ODD, PROGRESS_LINE, RECORD, changed, is_read, paths
from msgspec import structs

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.description import CorpusRecord
from chargen.runs.directory import PROGRESS, RUN, Run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a trained run, in a directory with a text to score."""
    (tmp_path / "text.txt").write_text("the cat")
    return shutil.copytree(finished, tmp_path / "run")


def commands(run):
    return [
        ["sample", run, "--length", "3"],
        ["inspect", run, "--memory", "the cat"],
        ["evaluate", run],
        ["train", "--resume", "--out", run, "--steps", "31"],
        ["probe-longrange", run, "--only", "context"],
        ["score", run, run.parent / "text.txt"],
        ["watch", run, "--once"],
        ["export", run, "--to", "page", "--out", run.parent / "page.html"],
        ["export", run, "--to", "onnx", "--out", run.parent / "step.onnx"],
    ]


def exit_code(capsys, command):
    """Run a command; exit code 2 must come with exactly one line."""
    code = main(list(map(str, command)))
    out, err = capsys.readouterr()
    assert code in (0, 2), (command, err)
    if code == 2:
        diverged = command[0] == "train" and "try a lower --learning-rate" in err
        assert out == ""
        assert err.count("\n") == 1 or diverged, (command, err)  # the plan was printed before
        assert len(err) < 2000
        assert "\x1b" not in err
    return code


def accepted_variants(run):
    """Return every change of one value in ``run.json`` that `Run.open` accepts."""
    values, opened = json.loads((run / RUN).read_text()), Run.open(run)
    variants = [changed(values, path, odd) for path in paths(values) for odd in ODD]
    files = [json.dumps(variant).encode() for variant in variants]
    accepted = [file for file in files if is_read("description", opened, file)]
    assert 30 < len(accepted) < len(files) - 600
    return accepted


def test_any_odd_value_in_run_json_is_refused_or_harmless(finished, run, capsys):
    """Each command reads one accepted file and one refused file."""
    files = random.Random(0).sample(accepted_variants(run), len(commands(run)))
    for file, command in zip(files, commands(run), strict=True):
        shutil.copytree(finished, run, dirs_exist_ok=True)
        (run / RUN).write_bytes(file)
        exit_code(capsys, command)
        (run / RUN).write_text("{}")
        assert exit_code(capsys, command) == 2


@pytest.mark.soak
def test_every_command_on_every_accepted_run_json(finished, run, capsys):
    for file in accepted_variants(run):
        for command in commands(run):
            shutil.copytree(finished, run, dirs_exist_ok=True)
            (run / RUN).write_bytes(file)
            exit_code(capsys, command)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.units", [1] * 101, "100 layers or fewer"),
        ("model.shape", 3, "unknown field `shape`"),
        ("training.timesteps", None, "no timesteps"),
        ("training.batch_size", 2**30, "need more than its corpus"),
        ("training.loss_on", 5, "loss_on 5 of 4"),
        ("vocabulary", "ba", "sorted"),
        ("format", True, r"\$\.format"),
        ("format", 5, "upgrade"),
        ("corpus", None, "either training and corpus, or imported"),
        ("corpus.training_chars", 10**6, "to train on"),
        ("corpus.sha256", "x", "sha256"),
        ("corpus.sources", ["a\0b"], r"\$\.corpus\.sources\[0\]"),
        ("corpus.name", "../x", r"\$\.corpus\.name"),
        ("corpus.cache", "here", "no absolute path"),
    ],
)
def test_a_wrong_field_of_run_json_is_named(run, field, value, message):
    values = json.loads((run / RUN).read_text())
    (run / RUN).write_text(json.dumps(changed(values, field.split("."), value)))
    with pytest.raises(ChargenError, match=rf"run\.json: .*{message}"):
        Run.open(run)


def test_a_full_vocabulary_and_thousands_of_sources_are_read(run):
    values = json.loads((run / RUN).read_text())
    values["vocabulary"] = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    values["corpus"]["sources"] = [f"/a/folder/with/a/long/name/{n}.txt" for n in range(9000)]
    (run / RUN).write_text(json.dumps(values, indent=1))
    description = Run.open(run).description
    assert len(description.vocabulary) == 0x110000 - 0x800
    assert len(description.corpus.sources) == 9000
    opened = Run.open(run)
    before = (run / RUN).read_bytes()
    corpus = structs.replace(opened.description.corpus, sources=("x" * 99,) * 30_000)
    with pytest.raises(ChargenError, match=r"run\.json: would be too large.* directory"):
        Run(run, structs.replace(opened.description, corpus=corpus)).write_description()
    assert (run / RUN).read_bytes() == before


@pytest.mark.parametrize(
    "corpus", [{"chars": 10**6, "training_chars": 10**6 - 1}, {"sources": ["/dev/zero"]}], ids=str
)
def test_a_wrong_corpus_record_is_refused(run, capsys, corpus):
    values = json.loads((run / RUN).read_text())
    values["corpus"] |= corpus
    (run / RUN).write_text(json.dumps(values))
    assert exit_code(capsys, ["train", "--resume", "--out", run]) == 2


@pytest.mark.parametrize("line", ["[]", "\x80", {"step": 1}, {**RECORD, "chars": 1.5}], ids=str)
def test_a_wrong_line_of_progress_is_named(run, line):
    wrong = line if isinstance(line, str) else json.dumps(line)
    (run / PROGRESS).write_bytes(PROGRESS_LINE * 2 + wrong.encode("latin-1") + b"\n")
    with pytest.raises(ChargenError, match=rf"{PROGRESS}, line 3: damaged"):
        Run.open(run).progress()


def test_sources_that_cannot_be_the_corpus_are_not_read(tmp_path, monkeypatch):
    def read(*sources):
        record = CorpusRecord("x", tuple(map(str, sources)), "0" * 64, 100, 90)
        return len(record.read_again().text)

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("é" * 100)
    (tmp_path / "texts" / "b.html").write_text("x" * 10_000)
    assert read(tmp_path / "texts") == 100
    (tmp_path / "large.txt").write_text("x" * 500)
    (tmp_path / "linked.txt").symlink_to("/dev/zero")
    for source, message in (
        (tmp_path / "large.txt", "more than the 100 characters"),
        ("/dev/zero", "a pipe or a device"),
        (tmp_path / "linked.txt", "a pipe or a device"),
    ):
        with pytest.raises(ChargenError, match=message):
            read(source)
    monkeypatch.setattr("chargen.runs.description.MOST_ENTRIES", 1)
    with pytest.raises(ChargenError, match="holds more than a corpus"):
        read(tmp_path / "texts")
