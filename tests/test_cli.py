"""The command line as a user meets it: names, exit codes, what goes where."""

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import chargen
from chargen.cli import main
from chargen.datasets import bundled
from chargen.runs.directory import BEST, LAST, RUN
from chargen.sampling.engine import Engine
from chargen.text.cache import FOLDER

TEXT = "the cat sat on the mat, the rat sat on the cat.\n" * 25
TINY = ["--units", "8", "--timesteps", "8", "--batch-size", "4"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder to work in, with one corpus."""
    monkeypatch.chdir(tmp_path)
    Path("cat.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a run was trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "cat.txt").write_text(TEXT)
    out = str(folder / "runs" / "cat")
    assert main(["train", str(folder / "cat.txt"), "--out", out, "--steps", "60", *TINY]) == 0
    return folder


@pytest.fixture
def at_run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_bank_of_ones_own_is_asked_and_its_mistakes_named_by_line(at_run, capsys):
    bank = bundled.resource(bundled.ENGLISH_BANK)
    Path("my.bank").write_text(bank)
    probe = ["probe-longrange", "runs/cat", "--only", "templates"]
    assert main([*probe, "--bank", "my.bank"]) == 0
    assert "\nnot learned: train on a corpus made from my.bank" in capsys.readouterr().out
    assert main(probe) == 0
    assert "\nnot learned: train on the longrange corpus" in capsys.readouterr().out
    Path("my.bank").write_text(bank.replace("Latvia -> Latvian", "Latvia > Latvian"))
    line = bank[: bank.index("Latvia ->")].count("\n") + 1
    for file, said in {"my.bank": f"my.bank, line {line}: exp", "none.bank": "none.bank: "}.items():
        assert main([*probe, "--bank", file]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert said in err


def test_a_chinese_model_is_asked_in_chinese(home, capsys):
    assert main(["corpora", "write", "longrange-zh", "--chars", "9000", "--out", "zh.txt"]) == 0
    assert main(["train", "zh.txt", "--out", "zh", "--steps", "2", *TINY]) == 0
    capsys.readouterr()
    assert main(["probe-longrange", "zh", "--only", "templates", "--json", "zh.json"]) == 0
    assert "\nnot learned: train on the longrange-zh corpus," in capsys.readouterr().out
    told = json.loads(Path("zh.json").read_text())["templates"]
    assert told["bank"] == "chinese.bank"
    assert [row["span_chars"] for row in told["spans"]] == [4]


def test_train_sample_evaluate_inspect(home, capsys):
    """The README's way, from a text to more text."""
    assert main(["train", "cat.txt", "--steps", "60", *TINY]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 60" in err
    assert "Next: chargen sample runs/cat" in err
    names = {path.name for path in Path("runs/cat").iterdir()}
    assert {RUN, "progress.jsonl", BEST, LAST} <= names

    assert main(["sample", "--prompt", "the ", "--length", "40"]) == 0
    out, err = capsys.readouterr()
    assert (len(out), out[:4], err) == (4 + 40 + 1, "the ", "")

    assert main(["evaluate", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in Path("runs/cat/progress.jsonl").read_text().splitlines()]
    best = min(line["validation_loss_nats"] for line in lines)
    assert measured["loss_nats"] == pytest.approx(best, abs=1e-6)
    assert measured["chars"] == len(TEXT) // 10
    assert {"bits_per_char", "accuracy", "perplexity", "ngram"} <= set(measured)

    assert main(["inspect"]) == 0
    assert "lstm of 8 units" in capsys.readouterr().out


def test_the_three_things_that_inspect_shows_as_json(at_run, capsys):
    assert main(["inspect", "runs/cat", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["weights"]["stack.layers.0.W_hh"] == [8, 32]
    assert shown["corpus"]["training_chars"] == len(TEXT) * 9 // 10
    assert [line["step"] for line in shown["history"]] == [25, 50, 60]


def test_evaluate_as_a_table_and_on_another_text(at_run, capsys, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the rat sat on the mat.\n")
    assert main(["evaluate", "runs/cat", str(other)]) == 0
    out = capsys.readouterr().out
    assert "23 characters" in out
    assert "6-gram" in out


def test_sampling_is_the_same_for_the_same_seed(at_run, capsys):
    texts = []
    for seed in ("1", "1", "2"):
        assert main(["sample", "--length", "80", "--seed", seed, "--temperature", "2"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_several_samples_at_once(at_run, capsys):
    assert main(["sample", "--count", "3", "--length", "20", "--top-k", "1", "--prompt", "th"]) == 0
    out = capsys.readouterr().out
    assert out.count("th") >= 3
    assert len(out) == 3 * 22 + 2 * 2 + 1


def test_length_zero_repeats_the_prompt(at_run, capsys):
    assert main(["sample", "--length", "0", "--prompt", "the"]) == 0
    assert capsys.readouterr().out == "the\n"


def test_a_prompt_from_a_file(at_run, capsys, tmp_path):
    (tmp_path / "prompt").write_text("the cat")
    assert main(["sample", "--prompt-file", str(tmp_path / "prompt"), "--length", "5"]) == 0
    assert capsys.readouterr().out.startswith("the cat")


def test_unknown_characters_of_a_prompt_can_be_skipped(at_run, capsys):
    settings = ["--length", "30", "--temperature", "0"]
    assert main(["sample", "--prompt", "t€he", "--unknown", "skip", *settings]) == 0
    skipped = capsys.readouterr().out
    assert main(["sample", "--prompt", "the", *settings]) == 0
    assert skipped.removeprefix("t€he") == capsys.readouterr().out.removeprefix("the")


def test_training_from_standard_input(home, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert main(["train", "-", "--steps", "2", *TINY]) == 0
    assert Path("runs/stdin", RUN).exists()


def test_a_run_on_standard_input_is_measured_on_a_text_that_is_named(home, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert main(["train", "-", "--steps", "25", *TINY]) == 0
    capsys.readouterr()
    assert main(["evaluate"]) == 0  # its text is kept
    shutil.rmtree(Path("runs", FOLDER))
    assert main(["evaluate"]) == 2
    assert "runs/stdin was trained on standard input" in capsys.readouterr().err
    assert main(["evaluate", "runs/stdin", "cat.txt", "--json"]) == 0  # the same text again
    own = json.loads(capsys.readouterr().out)
    assert own["chars"] == len(TEXT) // 10
    assert own["ngram"]["order"] == 6
    Path("other.txt").write_text("the rat sat on the mat.\n")
    assert main(["evaluate", "runs/stdin", "other.txt", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["ngram"] is None
    assert err.startswith("without the n-gram baseline: ")


def test_a_short_text_trains_with_no_flags_and_says_what_it_adapted(home, capsys):
    Path("short.txt").write_text(TEXT[:300])
    assert main(["train", "short.txt", "--units", "16"]) == 0
    err = capsys.readouterr().err
    assert "short text: batch size 4 instead of 16" in err
    assert "no improvement in 10 validations" in err


def test_layers_of_unequal_units(home, capsys):
    flags = ["--cell", "gru", "--units", "8,6,4", "--steps", "3", "--loss-on", "2"]
    assert main(["train", "cat.txt", *flags, "--state", "reset", "--dropout", "0.1"]) == 0
    assert "gru of 8 + 6 + 4 units" in capsys.readouterr().err


def test_resume_goes_on_and_overwrite_starts_over(home, capsys):
    assert main(["train", "cat.txt", "--steps", "30", *TINY]) == 0
    assert main(["train", "--resume", "--steps", "40"]) == 0
    history = [
        json.loads(line) for line in Path("runs/cat/progress.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in history] == [25, 30, 40]
    assert main(["train", "cat.txt", "--overwrite", "--steps", "20", *TINY]) == 0
    assert len(Path("runs/cat/progress.jsonl").read_text().splitlines()) == 1


def test_corpora_are_listed_and_written(home, capsys):
    assert main(["corpora", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("longrange", "longrange-zh", "python-docs", "fables"))
    assert main(["corpora", "write", "fables", "--out", "f.txt"]) == 0
    assert main(["corpora", "write", "fables"]) == 0
    assert capsys.readouterr().out == Path("f.txt").read_text()


WRONG = {
    "train nothing.txt": "nothing.txt: no such file",
    "train empty.txt": "empty.txt: empty",
    "train binary.png": "binary.png: not UTF-8 text, byte 0x89 at offset 0",
    "train latin1.txt": "latin1.txt: not UTF-8 text, byte 0xE9 at offset 3",
    "train nul.txt": "nul.txt: NUL byte at offset 3",
    "train folder": "folder: no *.txt file",
    "train two.txt": "two.txt: 2 characters are too few: give at least 50 to train on",
    "train three.txt": "three.txt: 3 characters are too few to hold out",
    "train three.txt --epochs 1": "give at least 50",
    "train": "no CORPUS given",
    "train cat.txt --timesteps 2000": "--timesteps 2000: the training text has 1080",
    "train cat.txt --batch-size 2000": "--batch-size 2000: the training text of 1080",
    "train cat.txt --units 0": "--units 0: must be",
    "train cat.txt --units 128,x": "--units 128,x: must be one whole number a layer",
    "train cat.txt --units ,": "--units ,: must be",
    "train cat.txt --cell transformer": "'transformer' is not one of",
    "train cat.txt --steps 3 --minutes 2": "--steps and --minutes: give one",
    "train cat.txt --minutes -1": "--minutes -1.0: must be",
    "train cat.txt --loss-on first": "--loss-on first: must be",
    "train cat.txt --loss-on 200": "--loss-on 200: a window has 64 timesteps",
    "train cat.txt --units 99999999999999999999": "--units 99999999999999999999: must be",
    "train cat.txt --units 2000000": "--units 2000000: out of memory",
    "train cat.txt --device meta": "--device meta",
    f"train {'x' * 300}": "no such file can be read",
    "train cat.txt --dropout 1": "--dropout 1.0: must be",
    "train cat.txt --resume --overwrite": "--resume and --overwrite: give one",
    "train cat.txt --resume": "runs/cat: no such run folder",
    "train --resume": "no run under runs/",
    "train cat.txt --device quantum": "--device quantum",
    "train cat.txt --colour red": "No such option",
    "train cat.txt --out cat.txt": "cat.txt: exists and is not a directory",
    "train cat.txt --out cat.txt/run": "cat.txt: exists and is not a directory",
    "sample": "no run under runs/",
    "sample nowhere": "nowhere: no such run folder",
    "sample folder": "folder: not a run folder",
    "sample --temperature -1": "--temperature -1.0: must be",
    "sample --top-p 2": "--top-p 2.0: must be",
    "sample --top-k 0": "--top-k 0: must be",
    "sample --prompt a --prompt-file b": "--prompt and --prompt-file: give one",
    "sample --prompt-file nothing.txt": "nothing.txt: cannot be read",
    "evaluate": "no run under runs/",
    "evaluate folder": "folder: not a run folder",
    "inspect": "no run under runs/",
    "probe-longrange": "no run under runs/",
    "corpora write nothing": "nothing",
    "corpora write fables --out cat.txt": "cat.txt: exists already",
    "dance": "No such command 'dance'",
    "sample --seed -1": "--seed",
    "corpora write fables --chars 0": "--chars",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_is_one_line_exit_2_and_nothing_written(home, capsys, line):
    Path("empty.txt").write_bytes(b"")
    Path("two.txt").write_text("ab")
    Path("three.txt").write_text("abc")
    Path("binary.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    Path("latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    Path("nul.txt").write_bytes(b"abc\0def")
    Path("folder").mkdir()
    before = files_below(home)
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert WRONG[line] in err
    assert err.count("\n") == 1
    assert files_below(home) == before
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train cat.txt", "runs/cat: a run exists already; resume it with --resume"),
        ("train other.txt --out runs/cat --resume", "runs/cat: was trained on another corpus"),
        ("train cat.txt --resume --units 9", "--units 9: the run in runs/cat uses 8;"),
        ("sample --prompt the€", "prompt: character '€' at position 3 is not in the model's"),
        ("evaluate runs/cat other.txt", "other.txt: character 'q' (U+0071) at position 0"),
        ("evaluate runs/cat nothing.txt", "nothing.txt: no such file"),
    ],
)
def test_a_mistake_leaves_a_run_as_it_was(at_run, capsys, line, message):
    Path("other.txt").write_text("quite another text")
    before = files_below(at_run / "runs")
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert files_below(at_run / "runs") == before


@pytest.mark.parametrize("line", ["", "corpora"])
def test_a_command_that_is_left_out_shows_the_help(home, capsys, line):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Usage: {' '.join(['chargen', *line.split()])} [OPTIONS] COMMAND" in err.splitlines()[0]
    assert "\nCommands:\n" in err


@pytest.mark.parametrize("wrong", ["--units 2000000", "--timesteps 5000", "--device meta"])
def test_a_mistake_in_starting_over_loses_nothing(home, capsys, wrong):
    assert main(["train", "cat.txt", "--steps", "25", *TINY]) == 0
    before = files_below(home)
    assert main(["train", "cat.txt", "--overwrite", *wrong.split()]) == 2
    assert files_below(home) == before


def test_a_prompt_that_is_no_text_is_named(at_run, capsys):
    for flags in ([], ["--unknown", "skip"]):
        assert main(["sample", "--prompt", "th\udce9", *flags]) == 2
        out, err = capsys.readouterr()
        assert "--prompt: no text at position 2" in err
        assert (out, err.count("\n")) == ("", 1)


def test_escape_sequences_reach_a_pipe_as_they_are(home, capsys):
    Path("ansi.txt").write_text("\x1b[31mred\x1b[0m " * 40)
    assert main(["train", "ansi.txt", "--steps", "1", "--units", "4"]) == 0
    capsys.readouterr()
    assert main(["sample", "runs/ansi", "--prompt", "\x1b[31mred", "--length", "0"]) == 0
    assert capsys.readouterr().out == "\x1b[31mred\n"


def test_training_goes_on_when_nobody_watches(home):
    command = f"{sys.executable} -m chargen train cat.txt --steps 200 {' '.join(TINY)} 2>&1"
    subprocess.run(["bash", "-c", f"{command} | head -n 1"], capture_output=True, check=True)
    assert chargen.load("runs/cat").run.read_checkpoint(LAST).values["step"] == 200


def test_a_changed_corpus_is_not_evaluated_on(home, capsys):
    assert main(["train", "cat.txt", "--steps", "2", *TINY]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--json"]) == 0
    before = capsys.readouterr().out
    Path("cat.txt").write_text(TEXT + "more")
    assert main(["evaluate", "--json"]) == 0  # on what is kept of the text as it was
    assert capsys.readouterr().out == before
    shutil.rmtree(Path("runs", FOLDER))
    assert main(["evaluate"]) == 2
    assert "changed since runs/cat was trained on it" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(at_run, monkeypatch):
    monkeypatch.setattr("chargen.api.load", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate"])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_resume_goes_on(home, name):
    number = signal.Signals[name]
    command = [sys.executable, "-m", "chargen", "train", "cat.txt", "--steps", "100000"]
    process = subprocess.Popen(
        [*command, "--patience", "0", "--threads", "1", *TINY], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("step"):
            break
    process.send_signal(number)
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 128 + number
    assert "stopped" in err
    assert "Traceback" not in err
    step = chargen.load("runs/cat").run.read_checkpoint(LAST).values["step"]
    assert f"ended after {step:,} steps" in err
    assert main(["train", "--resume", "--steps", str(step + 3)]) == 0


def test_a_closed_pipe_is_no_error(at_run):
    command = f"{sys.executable} -m chargen sample --length 100000 | head -c 20"
    ran = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False
    )
    assert (ran.returncode, len(ran.stdout), ran.stderr) == (0, 20, b"")


def test_text_streams_out_as_it_is_made(at_run, monkeypatch):
    """The first characters are out before the last are asked for."""
    written = io.StringIO()
    seen = []
    read = Engine.read

    def spy(self, ids, state):
        seen.append(len(written.getvalue()))
        return read(self, ids, state)

    monkeypatch.setattr(Engine, "read", spy)
    monkeypatch.setattr(sys, "stdout", written)
    assert main(["sample", "--prompt", "the", "--length", "5"]) == 0
    assert seen == [3, 3, 3, 4, 5, 6, 7]  # twice for the prompt alone


def test_python_m_chargen_and_version():
    ran = subprocess.run(
        [sys.executable, "-m", "chargen", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"chargen, version {chargen.__version__}\n"


def test_the_python_interface(home):
    seen = []
    model = chargen.train(
        "cat.txt", steps=30, units=(8,), run=lambda session: seen.extend(session.trainer.reports())
    )
    assert [report.step for report in seen] == list(range(1, 31))
    assert model.sample("the ", 20, temperature=0.5, seed=3) == chargen.load("runs/cat").sample(
        "the ", 20, temperature=0.5, seed=3
    )
    assert model.evaluate().chars == len(TEXT) // 10
    assert model.floor().loss_nats < 1
    Path("short.txt").write_text("a" * 49)
    with pytest.raises(chargen.ChargenError, match=r"short\.txt: 49 characters .* at least 50"):
        chargen.train("short.txt")
    assert not Path("runs/short").exists()
    with pytest.raises(chargen.ChargenError, match="unknown settings: colour"):
        chargen.train("cat.txt", colour="red", overwrite=True)
    with pytest.raises(TypeError, match="count"):
        model.sample("the ", 20, count=3)
    with pytest.raises(ValueError, match="unknown is 'ignore'"):
        model.sample("the ", 20, unknown="ignore")
    with pytest.raises(AttributeError):
        chargen.nothing  # noqa: B018
