"""`chargen runs`, bare names, moved corpora, cards, and the display of results in notebooks."""

import json
import re
import shutil
from pathlib import Path

import pytest
from results import ONE

import chargen
from chargen.cli import main
from chargen.runs.directory import RUN, Run
from chargen.runs.lock import lock

TEXT = "the cat sat on the mat, the rat sat on the cat.\n" * 12
SMALL = ["--units=3", "--timesteps=4", "--batch-size=2", "--steps=9", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        for name in ("cat", "dog & co"):
            Path(f"{name}.txt").write_text(TEXT + name[:1].replace("d", "on") * 20)
            assert main(["train", f"{name}.txt", *SMALL]) == 0
    return made


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of two runs and their texts in the working directory."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "home"))
    shutil.rmtree("runs/.corpora")
    for file in Path("runs").glob(f"*/{RUN}"):
        file.write_text(file.read_text().replace(str(made), str(tmp_path / "home")))
    return tmp_path / "home"


def test_runs_are_listed_and_sorted(home, cli):
    Path("runs/bad").mkdir()
    Path("runs/bad", RUN).write_text("{}")
    with lock(Path("runs/cat")):
        found = json.loads(cli(["runs", "--json", "--sort", "name"]).out)["runs"]
    assert [one["name"] for one in found] == ["bad", "cat", "dog & co"]
    assert "run.json" in found[0]["error"]
    assert found[1]["in_training"]
    measured = chargen.load("cat").evaluate().loss_nats
    assert found[1]["loss_nats"] == pytest.approx(measured, abs=1e-5)
    by_loss = json.loads(cli(["runs", "--json", "--sort", "loss"]).out)["runs"]
    assert by_loss[-1]["name"] == "bad"
    assert by_loss[0]["loss_nats"] <= by_loss[1]["loss_nats"]
    rows = cli(["runs"]).out.splitlines()
    assert rows[0].split() == ["name", "corpus", "model", "nats", "bits", "size", "age"]
    assert sum("lstm of 3 units" in row for row in rows) == 2


def test_a_removed_run_leaves_what_chargen_did_not_write(home, cli, monkeypatch):
    assert "not a run, so it is kept" in cli(["runs", "rm", "cat.txt", "--yes"], 2).err
    with lock(Path("runs/cat")):
        err = cli(["runs", "rm", "cat", "--yes"], 2).err
        assert re.search(r"runs/cat: another process is training.*; stop it first", err)
    assert Run.open(Path("runs/cat"))
    monkeypatch.setattr("click.confirm", lambda question, err: False)
    cli(["runs", "rm", "cat"])
    assert Run.open(Path("runs/cat"))
    Path("runs/cat/notes.txt").write_text("mine")
    assert "runs/cat: kept notes.txt" in cli(["runs", "rm", "cat", "dog & co", "--yes"]).err
    assert [str(path) for path in Path("runs").rglob("*")] == ["runs/cat", "runs/cat/notes.txt"]


@pytest.mark.parametrize(
    "command",
    ["inspect cat", "score cat cat.txt", "train --resume --out cat", "export cat --to onnx"],
)  # fmt: skip
def test_a_bare_name_is_a_run_under_runs(home, cli, command):
    cli(command.split())


def test_a_moved_corpus_is_named_once(home, cli, error):
    Path("texts").mkdir()
    moved = Path("cat.txt").rename("texts/kitten.txt").resolve()
    for command in ("evaluate cat", "sample cat --novelty"):
        assert "chargen evaluate runs/cat CORPUS" in error(command.split())
    assert str(moved) in cli(["evaluate", "cat", "texts/kitten.txt"]).err
    assert Run.open(Path("runs/cat")).description.corpus.sources == (str(moved),)
    assert "note" not in cli(["evaluate", "cat"]).err
    moved = moved.rename(home / "cat.txt")
    cli(["train", "cat.txt", "--resume", "--steps", "10", "--quiet"])
    assert Run.open(Path("runs/cat")).description.corpus.sources == (str(moved),)
    assert cli(["evaluate", "cat", "dog & co.txt"]).err == ""  # another text changes nothing
    assert Run.open(Path("runs/cat")).description.corpus.sources == (str(moved),)


def test_a_card_is_written_after_training_and_probing(home, cli, monkeypatch):
    card = Path("runs/cat/README.md")
    text = card.read_text()
    known = Run.open(card.parent).description.corpus
    assert text.startswith("---\nlibrary_name: chargen\n")
    for part in (
        *("lstm of 3 units", known.sha256, "`chargen train cat.txt --units=3", "| hardware |"),
        *("this model", "6-gram baseline", "## Sample\n\nAt temperature 0.8:\n\n    "),
    ):
        assert part in text
    assert str(home) not in text
    assert "## Memory" not in text
    monkeypatch.setattr("chargen.api.measuring.probe_all", lambda *given: ONE)
    cli(["probe-longrange", "cat"])
    probed = card.read_text()
    assert "## Memory\n\n- remembers" in probed
    assert probed.split("## Memory")[0].strip() == text.split("<!--")[0].strip()
    card.unlink()
    cli(["probe-longrange", "cat"])
    assert "6-gram baseline" in card.read_text()
    assert "## Memory" in card.read_text()
    for own in ("# My notes\n", probed.replace("lstm", "LSTM")):
        card.write_text(own)
        cli(["probe-longrange", "cat"])
        cli(["train", "cat.txt", "--overwrite", *SMALL])
        assert card.read_text() == own


def test_results_are_shown_as_html_in_notebooks(home):
    model = chargen.load("cat")
    for shown, part in (
        (model, "<td>lstm of 3 units</td>"),
        (model.evaluate(), '<th scope="col">bits/char</th>'),
        (model.score("the <cat>", "skip"), "<td>runs/cat</td>"),
        (ONE.runs[0], "<svg"),
    ):
        html = shown._repr_html_()
        assert (part in html, "<html" in html) == (True, False)
        assert html.count("<div") == html.count("</div")


def test_training_in_python_shows_a_progress_bar(home, monkeypatch, capsys):
    given = {"units": (3,), "steps": 4, "timesteps": 4, "batch_size": 2, "overwrite": True}
    chargen.train("cat.txt", **given)
    assert capsys.readouterr().err == ""  # no terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    chargen.train("cat.txt", **given)
    assert "100%|" in capsys.readouterr().err
