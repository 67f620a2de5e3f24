"""``probe-longrange`` from the command line and Python, with models of known memory."""

import json

import pytest
import torch

import chargen
from chargen.api import TrainedModel
from chargen.cli import main
from chargen.datasets import bundled
from chargen.predictors import BackoffNgram
from chargen.probes import run
from chargen.probes.context import measure as context
from chargen.probes.gradient import measure as gradient
from chargen.probes.mined import measure as mined
from chargen.probes.readout import measure as readout
from chargen.probes.templates import measure as templates

CHARS = 40_000
DEFAULTS = [
    (context, "contexts", (1, 8, 64)),
    *((gradient, "positions", 8), (gradient, "span", 64)),
    *((mined, "longest", 64), (templates, "frames", 48)),
]


@pytest.fixture(scope="module", autouse=True)
def _small_instruments():
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in DEFAULTS:
            patch.setitem(module.measure.__kwdefaults__, name, value)
        patch.setattr(templates, "SPANS", (4, 16, 64))
        patch.setattr(templates, "FRAMES_TO_CHOOSE", 16)
        patch.setattr(context, "SAMPLE_CHARS", 2048)
        patch.setattr(readout, "CHARS", 16)
        patch.setitem(run.CONTEXT_POSITIONS, "trained", 640)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs that were trained for one step and know nothing."""
    folder = tmp_path_factory.mktemp("longrange")
    (folder / "long.txt").write_text(bundled.read("longrange", CHARS))
    (folder / "cat.txt").write_text("THE CAT SAT. " * 30)
    for name, text, seed in (("long", "long", 0), ("cat", "cat", 0), ("twin", "long", 1)):
        run = folder / "runs" / name
        chargen.train(folder / f"{text}.txt", run, units=(4,), timesteps=64, steps=1, seed=seed)
    return folder


@pytest.fixture
def knowing(request, here, monkeypatch):
    """The models of some runs, by default all, are a 10-gram: perfect at span 4, not from 16 on."""
    runs, ngram, model = getattr(request, "param", None), {}, TrainedModel.__init__

    def init(self, run, *given, **named):
        model(self, run, *given, **named)
        if not runs or run.path.name in runs:
            ngram.setdefault("10", BackoffNgram(self.vocabulary, self.corpus().ids, 10))
            self.predictor = ngram["10"]

    monkeypatch.setattr(TrainedModel, "__init__", init)


def test_a_model_is_measured_beside_its_controls(knowing, cli, tmp_path):
    out, plot = tmp_path / "memory.json", tmp_path / "memory.png"
    flags = ["--only", "templates", "--spans", "4,16", "--json", out, "--plot", plot]
    printed, err = cli(["probe-longrange", "runs/long", *flags])
    assert "remembers 4 characters" in printed
    assert "trained with 64 timesteps" in printed
    assert err.startswith("figures: ")
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


def test_without_the_training_text_there_are_no_ngrams(knowing, cli, monkeypatch):
    def gone(self, *orders, **rest):
        raise chargen.ChargenError("long.txt: no such file")

    monkeypatch.setattr(TrainedModel, "ngrams", gone)
    flags = ["--only", "templates,mined", "--spans", "4", "--verbose"]
    printed, err = cli(["probe-longrange", "runs/long", *flags])
    assert err.count("without the n-gram controls: long.txt: no such file") == 1
    assert "without mined" not in err
    first = [line.split()[0] for line in printed.splitlines() if line]
    assert ("untrained" in first, "20-gram" in first) == (True, False)


@pytest.mark.parametrize("run", ["runs/long", "runs/cat"])
def test_nothing_is_claimed_of_a_model_that_knows_nothing(here, cli, tmp_path, run):
    out, plot = tmp_path / "memory.json", tmp_path / "memory.png"
    flags = ["--only", "templates", "--json", out, "--plot", plot, "--verbose"]
    printed, err = cli(["probe-longrange", run, *flags])
    assert "figures: none" in err
    assert not plot.exists()
    assert "not learned: train on the longrange corpus" in " ".join(printed.split())
    assert "remembers" not in printed
    assert "Demonstration, not a measurement" in printed
    assert json.loads(out.read_text())["demonstration"]


def test_all_instruments_on_one_run(here, cli, tmp_path):
    out, plot = tmp_path / "memory.json", tmp_path / "memory.png"
    printed, err = cli(["probe-longrange", "runs/long", "--json", out, "--plot", plot, "--verbose"])
    assert err.startswith("figures: ")
    headings = ["Cloze sentences", "Effective context length", "Natural dependencies"]
    headings += ["Gradient flow", "What the state still holds"]
    assert [heading for heading in headings if heading in printed] == headings
    result = json.loads(out.read_text())
    assert set(result["context"]) == set(result["gradient"]) == {"trained", "untrained"}
    assert result["gradient"]["trained"] != result["gradient"]["untrained"]
    assert result["mined"]["finding"]
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert {"memory-context.png", "memory-gradient.png"} <= pictures


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (["long"], ["remembers 4 characters", "characters  accuracy, %  excess bits", "Why:"]),
        (["cat"], ["How far back does it remember?", "Next: train on longrange, or longer, to"]),
        (["long", "twin"], ["no significant difference between long and twin", "twin: accuracy"]),
    ],
)
def test_the_answer_takes_few_lines(knowing, cli, runs, expected):
    paths = [f"runs/{run}" for run in runs]
    printed, _ = cli(["probe-longrange", *paths, "--only", "templates,context,gradient"])
    assert len(printed.splitlines()) <= 25
    assert max(map(len, printed.splitlines())) <= 100
    words = " ".join(printed.split())
    for text in (*expected, "Next:", "--verbose"):
        assert " ".join(text.split()) in words


@pytest.mark.parametrize(
    ("instrument", "reason"), [("context", "not measured"), ("mined", "no distance has 100 cases")]
)
def test_a_text_that_is_too_short_for_anything_is_an_error(
    here, error, tmp_path, instrument, reason
):
    flags = ["--only", instrument, "--plot", tmp_path / "q.png"]
    assert reason in error(["probe-longrange", "runs/cat", *flags])
    assert not (tmp_path / "q.png").exists()


UNIFORM = """
import numpy as np
from chargen.datasets import bundled
from chargen.predictors import from_function

characters = sorted(set(bundled.read("longrange", 20_000)))
log_probs = np.full(len(characters), -np.log(len(characters)))
model = from_function(lambda text: log_probs, characters, 1)

class Words:
    def log_prob(self, context, continuation):
        return -1.0 * len(continuation)
"""


def test_models_that_chargen_did_not_train_are_measured_beside_a_run(knowing, cli, tmp_path):
    (tmp_path / "mine.py").write_text(UNIFORM)
    mine, words = f"{tmp_path}/mine.py:model", f"{tmp_path}/mine.py:Words"
    out = tmp_path / "all.json"
    flags = ["--model", mine, "--model", words, "--json", out]
    flags += ["--only", "templates,context,mined,gradient,readout", "--spans", "4,16"]
    err = cli(["probe-longrange", "runs/long", *flags]).err
    assert f"{mine}: without gradient: only a run has a network to measure" in err
    assert f"{words}: without readout: the model scores strings, it reads no characters" in err
    run, uniform, scorer = (values := json.loads(out.read_text()))["runs"]
    assert [uniform["run"], scorer["run"]] == [mine, words]
    assert set(uniform["context"]) == {"trained"}
    assert uniform["context"]["trained"]["effective_context_chars"] == 0
    assert (run["templates"]["refusal"], bool(scorer["templates"]["refusal"])) == (None, True)
    assert scorer["demonstration"]
    assert (scorer["context"]["trained"]["continuations"], bool(scorer["mined"])) == (121, True)
    assert [one["second"] for one in values["comparisons"]] == [mine]  # at the same positions


def test_a_model_alone_needs_a_text_for_context(here, cli, error, tmp_path):
    (tmp_path / "mine.py").write_text(UNIFORM)
    words = ["--model", f"{tmp_path}/mine.py:Words", "--text", "long.txt", "--only", "mined"]
    assert "no gain at" in cli(["probe-longrange", *words, "--swap-text", "long.txt"]).out
    flags = ["--model", f"{tmp_path}/mine.py:model", "--only", "context"]
    assert "name a text with --text FILE" in error(["probe-longrange", *flags])
    assert "uses no context" in cli(["probe-longrange", *flags, "--text", "long.txt"]).out


@pytest.fixture
def asked(monkeypatch):
    """The lengths of the texts that instruments are given; they measure nothing."""
    lengths = []
    for module in (mined, gradient):
        monkeypatch.setattr(module, "measure", lambda _, ids, **rest: lengths.append(len(ids)))
    return lengths


def test_another_text_is_read_whole(here, tmp_path, asked):
    (tmp_path / "other.txt").write_text(bundled.read("longrange", 30_000, seed=5))
    for flags in ([], ["--text", str(tmp_path / "other.txt")], ["--text", "long.txt"]):
        main(["probe-longrange", "runs/long", "--only", "mined", *flags])
    assert asked == [CHARS // 10, 30_000, CHARS // 10]


def test_only_the_part_of_a_text_that_no_run_was_trained_on_is_read(here, asked):
    chargen.train("long.txt", "runs/more", units=(4,), steps=1, validation=0.2, overwrite=True)
    models = [chargen.load("runs/long"), chargen.load("runs/more")]
    chargen.probe(models, only=["gradient"], text="long.txt")
    assert asked == [CHARS // 10] * 4


def test_an_instrument_without_enough_text_is_left_out_with_a_warning(here, cli, error, tmp_path):
    (tmp_path / "short.txt").write_text("a letter from Persia in Persian.")
    flags = ["--text", tmp_path / "short.txt"]
    err = cli(["probe-longrange", "runs/long", "--only", "templates,gradient", *flags]).err
    assert "without gradient: the gradient over 64 characters" in err
    error(["probe-longrange", "runs/long", "--only", "gradient", *flags])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--only templates,magic", "--only templates,magic: must be some of templates,context"),
        ("--text nothing.txt", "nothing.txt: no such file"),
        ("--text cat.txt", "cat.txt: character 'H'"),
        ("--spans 4,1000000", "--spans 4,1000000: must be integers from 1 to 8192"),
        ("--bank nothing.bank", "nothing.bank"),
        ("--spans 5", "span 5"),
        ("--json nowhere/a.json", "nowhere/a.json: cannot be written"),
        ("--plot nowhere/a.png", "nowhere/a.png: cannot be written"),
        ("--seed -1", "--seed"),
        ("./runs/../runs/long", "named twice; name each run once"),
        ("runs/none", "runs/none: no such run;"),
    ],
)
def test_a_mistake_is_one_line(knowing, error, flags, message):
    assert message in error(["probe-longrange", "runs/long", *flags.split()])


def test_runs_are_given_the_same_cases_and_compared(knowing, cli, tmp_path):
    out, plot, report = (tmp_path / f"farther.{kind}" for kind in ("json", "png", "html"))
    runs = ["runs/long", "runs/twin"]
    flags = ["--only", "templates,gradient", "--spans", "4,16", "--verbose"]
    flags += ["--json", out, "--plot", plot, "--report", report]
    printed, err = cli(["probe-longrange", *runs, *flags])
    assert "no significant difference between long and twin" in printed
    assert "only long  only twin" in printed
    assert err.startswith("figures: ")
    assert plot.read_bytes().startswith(b"\x89PNG")
    values = json.loads(out.read_text())
    assert set(values) == {"runs", "comparisons", "finding", "warnings"}
    assert [run["run"] for run in values["runs"]] == runs
    first, second = (run["templates"]["spans"] for run in values["runs"])
    assert [row["frames_sha256"] for row in first] == [row["frames_sha256"] for row in second]
    assert len({row["frames_sha256"] for row in first}) == len(first)
    assert [row["facts"] for row in first] == [row["facts"] for row in second]
    assert [row["span_chars"] for row in values["comparisons"]] == [4, 16]
    assert {(row["only_first"], row["p_holm"]) for row in values["comparisons"]} == {(0, 1)}
    page = report.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    sections = ['<section id="templates">', '<section id="gradient">', "<svg"]
    assert all(part in page for part in (*runs, *sections, "<h1>No significant difference"))


def test_runs_of_different_texts_need_text(here, cli, error, tmp_path):
    runs = ["runs/long", "runs/cat"]
    err = error(["probe-longrange", *runs, "--only", "context,mined"])
    assert "name one for all with --text FILE" in err
    printed, err = cli(["probe-longrange", *runs, "--only", "templates,context"])
    assert err.startswith("without context: the runs were trained on different texts")
    assert "not learned: long and cat" in " ".join(printed.split())
    (tmp_path / "a.txt").write_text("a letter from Persia in Persian.")
    flags = ["--only", "context", "--text", tmp_path / "a.txt"]
    assert "runs/cat cannot read" in error(["probe-longrange", *runs, *flags])


def test_a_bundled_bank_is_written_and_used(knowing, cli, tmp_path):
    mine = tmp_path / "my.bank"
    assert main(["corpora", "write", "english.bank", "--out", str(mine)]) == 0
    assert mine.read_text() == bundled.resource("english.bank")
    found = []
    for bank in ("english.bank", str(mine)):
        out = tmp_path / "found.json"
        flags = ["--only", "templates", "--spans", "4", "--bank", bank, "--json", out]
        cli(["probe-longrange", "runs/long", *flags])
        found.append(json.loads(out.read_text())["templates"])
    assert found[0]["spans"] == found[1]["spans"]
    assert [one["bank"] for one in found] == ["english.bank", str(mine)]


def test_concurrent_instruments_give_the_results_of_one_thread(here):
    threads, model, found = torch.get_num_threads(), chargen.load("runs/long"), []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(model.probe_longrange(only=["context", "mined"]).to_json())
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_an_interrupt_ends_every_instrument(here):
    calls = []

    def watch(*call):
        calls.append(call)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chargen.load("runs/long").probe_longrange(only=["context", "gradient"], watch=watch)
    assert len(calls) <= 4
