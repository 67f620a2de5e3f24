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
    flags = ["--only", "templates", "--spans", "4,16", "--json", str(out), "--plot", str(plot)]
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
        flags = ["--only", "templates", "--spans", "4,16", "--seed", seed, "--json", str(file)]
        assert main(["probe-longrange", "runs/long", *flags]) == 0
        texts.append(file.read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_without_the_training_text_the_ngrams_are_left_out_and_it_says_so(
    knowing, capsys, monkeypatch
):
    def gone(self, *orders, **rest):
        raise chargen.ChargenError("long.txt: no such file")

    monkeypatch.setattr(TrainedModel, "ngrams", gone)
    flags = ["--only", "templates,mined", "--spans", "4"]
    assert main(["probe-longrange", "runs/long", *flags]) == 0
    printed, err = capsys.readouterr()
    assert "without the n-gram controls: long.txt: no such file" in err
    assert "without mined: long.txt: no such file" in err
    header = next(line for line in printed.splitlines() if "cue deleted" in line)
    assert "untrained" in header
    assert "gram" not in header


@pytest.mark.parametrize("run", ["runs/long", "runs/cat"])
def test_of_a_model_that_knows_nothing_nothing_is_claimed(at_run, capsys, tmp_path, run):
    out, plot = tmp_path / "memory.json", tmp_path / "memory.png"
    flags = ["--only", "templates", "--json", str(out), "--plot", str(plot)]
    assert main(["probe-longrange", run, *flags]) == 0
    printed, err = capsys.readouterr()
    assert "drawn: nothing" in err
    assert not plot.exists()
    assert "not learned: train on the longrange corpus" in " ".join(printed.split())
    assert "remembers" not in printed
    assert "this measures nothing" in printed
    assert json.loads(out.read_text())["demonstration"]


def test_all_instruments_on_one_run(at_run, capsys, tmp_path):
    out, plot = tmp_path / "memory.json", tmp_path / "memory.png"
    assert main(["probe-longrange", "runs/long", "--json", str(out), "--plot", str(plot)]) == 0
    printed, err = capsys.readouterr()
    assert err.startswith("drawn: ")
    headings = ["known span", "last n characters", "brings back", "gradient travels"]
    assert [heading for heading in headings if heading in printed] == headings
    result = json.loads(out.read_text())
    assert set(result["context"]) == set(result["gradient"]) == {"trained", "untrained"}
    assert result["gradient"]["trained"] != result["gradient"]["untrained"]
    assert result["mined"]["finding"]
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert {"memory-context.png", "memory-gradient.png"} <= pictures


def test_another_text_is_read_as_a_whole(at_run, tmp_path, monkeypatch):
    (tmp_path / "other.txt").write_text(bundled.read("longrange", 30_000, seed=5))
    asked = []
    monkeypatch.setattr(
        "chargen.probes.mined.measure", lambda predictor, ids, **rest: asked.append(len(ids))
    )
    for flags in ([], ["--text", str(tmp_path / "other.txt")], ["--text", "long.txt"]):
        main(["probe-longrange", "runs/long", "--only", "mined", *flags])
    assert asked == [CHARS // 10, 30_000, CHARS // 10]


def test_an_instrument_that_lacks_its_text_is_left_out_and_it_says_so(at_run, capsys, tmp_path):
    (tmp_path / "short.txt").write_text("a letter from Persia in Persian.")
    flags = ["--text", str(tmp_path / "short.txt")]
    assert main(["probe-longrange", "runs/long", "--only", "templates,gradient", *flags]) == 0
    assert "without gradient: the gradient over 256 characters" in capsys.readouterr().err
    assert main(["probe-longrange", "runs/long", "--only", "gradient", *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--only templates,magic", "--only templates,magic: 'magic' is none of templates"),
        ("--text nothing.txt", "nothing.txt: no such file"),
        ("--text cat.txt", "cat.txt: character 'H'"),
        ("--spans 4,1000000", "--spans 4,1000000: must be whole numbers from 1 to 8192"),
        ("--bank nothing.bank", "nothing.bank"),
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
