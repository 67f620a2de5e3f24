"""``probe-longrange`` from the command line and Python, with models whose memory is known."""

import json
from pathlib import Path

import pytest

import chargen
from chargen.api import TrainedModel
from chargen.cli import main
from chargen.predictors import BackoffNgram
from chargen.text import bundled

CHARS = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on a small longrange corpus, trained for one step: it knows nothing."""
    folder = tmp_path_factory.mktemp("longrange")
    (folder / "long.txt").write_text(bundled.read("longrange", CHARS))
    chargen.train(folder / "long.txt", folder / "runs" / "long", units=(4,), steps=1)
    (folder / "cat.txt").write_text("THE CAT SAT. " * 30)
    chargen.train(folder / "cat.txt", folder / "runs" / "cat", units=(4,), steps=1)
    return folder


@pytest.fixture
def at_run(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def knowing(at_run, monkeypatch):
    """The run's model answers as a 10-gram does: right at span 4, at chance from 16 on."""
    ngram = {}

    def init(self, run, device="auto"):
        model(self, run, device)
        ngram.setdefault(
            "10", BackoffNgram(self.vocabulary, self.vocabulary.encode(self.corpus().text), 10)
        )
        self.predictor = ngram["10"]

    model = TrainedModel.__init__
    monkeypatch.setattr(TrainedModel, "__init__", init)


def test_a_model_that_knows_is_measured_beside_its_controls(knowing, capsys, tmp_path):
    out, plot = tmp_path / "memory.json", tmp_path / "memory.png"
    flags = ["--spans", "4,16", "--json", str(out), "--plot", str(plot)]
    assert main(["probe-longrange", "runs/long", *flags]) == 0
    printed, err = capsys.readouterr()
    assert "remembers 4 characters" in printed
    assert "trained on 64 timesteps" in printed
    assert "drawn" in err
    assert plot.read_bytes().startswith(b"\x89PNG")
    result = json.loads(out.read_text())
    near, far = result["templates"]["spans"]
    assert (near["span_chars"], near["accuracy"]) == (4, 1)
    assert far["span_chars"] == 16
    assert far["accuracy_low"] < far["chance"] == 1 / 8 < far["accuracy_high"]
    assert set(near["controls"]) == {"cue deleted", "untrained", "5-gram", "10-gram", "20-gram"}
    assert near["controls"]["10-gram"]["accuracy"] == 1
    assert near["controls"]["cue deleted"]["accuracy_low"] < 1 / 8
    assert result["demonstration"] == []


def test_the_same_seed_gives_the_same_json(knowing, tmp_path):
    texts = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        file = tmp_path / name
        assert main(["probe-longrange", "runs/long", "--spans", "4,16", "--seed", seed,
                     "--json", str(file)]) == 0  # fmt: skip
        texts.append(file.read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_without_the_training_text_the_ngrams_are_left_out_and_it_says_so(
    knowing, capsys, monkeypatch
):
    def gone(self, *orders, **rest):
        raise chargen.ChargenError("long.txt: no such file")

    monkeypatch.setattr(TrainedModel, "ngrams", gone)
    assert main(["probe-longrange", "runs/long", "--spans", "4"]) == 0
    printed, err = capsys.readouterr()
    assert "without the n-gram controls: long.txt: no such file" in err
    assert "untrained" in printed
    assert "gram" not in printed.split("\n\n")[1]


@pytest.mark.parametrize("run", ["runs/long", "runs/cat"])
def test_of_a_model_that_knows_nothing_nothing_is_claimed(at_run, capsys, tmp_path, run):
    out = tmp_path / "memory.json"
    assert main(["probe-longrange", run, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "not learned: train on the longrange corpus" in printed
    assert "remembers" not in printed
    assert "this measures nothing" in printed
    assert json.loads(out.read_text())["demonstration"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--spans 4,x", "--spans 4,x: must be whole numbers"),
        ("--spans 0", "--spans 0: must be whole numbers"),
        ("--spans 5", "span 5"),
        ("--json nowhere/a.json", "nowhere/a.json: no file can be written there"),
        ("--plot .", ".: no file can be written there"),
        ("--seed -1", "--seed"),
    ],
)
def test_a_mistake_is_one_line(knowing, capsys, flags, message):
    assert main(["probe-longrange", "runs/long", *flags.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not Path("nowhere").exists()
