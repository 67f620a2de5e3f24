"""The command line: commands, exit codes, and what goes to which stream."""

import io
import json
import mmap
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from tiny import LINES as TEXT
from tiny import SMALL as TINY

import chargen
from chargen.cli import chargen as command_group
from chargen.cli import main
from chargen.runs.directory import BEST, LAST, RUN, Run
from chargen.text.encoding import FOLDER


@pytest.fixture
def home(home):
    """A working directory that is empty but for a corpus of lines."""
    (home / "cat.txt").write_text(TEXT)
    return home


def contents(folder):
    """Return every path below a folder, with the time at which a file was modified."""
    return {path: path.is_file() and path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def fails(cli):
    """Run a command that fails with one line and neither makes nor changes a file."""

    def run(line, message):
        before = contents(Path())
        out, err = cli(line.split(), 2)
        *lines, error = err.splitlines()
        assert (out, len(lines) < 2) == ("", True)
        assert all(one.startswith("reading ") for one in lines)
        assert message in error
        assert contents(Path()) == before

    return run


# Training


def test_train_sample_evaluate_inspect(home, cli):
    out, err = cli(
        ["train", "cat.txt", "--steps", "60", "--recurrent-rate", "0.5", "--input-rate", "2", *TINY]
    )
    assert out == ""
    for row in (
        "data      cat: 1,200 characters, 120 held out; vocabulary 14",
        "model     lstm of 8 units, ",
        "schedule  batch × length 4×8, learning rate 0.03 (0.015 for recurrent weights, "
        "0.06 for input weights), state",
        "budget    60 steps, or 10 validations without improvement",
        "run       runs/cat",
        "epoch ",
        "Done: step budget reached (60 steps, ",
        "Best validation loss ",
        "The 6-gram baseline has ",
        "Next: chargen ",
    ):
        assert f"\n{row}" in f"\n{err}"
    assert {RUN, "progress.jsonl", BEST, LAST} <= {path.name for path in Path("runs/cat").iterdir()}

    out, err = cli(["sample", "--prompt", "the ", "--length", "40", "--seed", "0"])
    assert (len(out), out[:4]) == (4 + 40 + 1, "the ")
    assert err.startswith("note: the prompt begins a line, as in the training text; --continue ")

    measured = json.loads(cli(["evaluate", "--json"]).out)
    best = min(line["validation_loss_nats"] for line in Run.open(Path("runs/cat")).progress())
    assert measured["loss_nats"] == pytest.approx(best, abs=1e-6)
    assert measured["chars"] == len(TEXT) // 10
    assert {"bits_per_char", "accuracy", "perplexity", "ngram"} <= set(measured)

    assert "model             lstm of 8 units" in cli(["inspect"]).out
    shown = json.loads(cli(["inspect", "--json"]).out)
    assert shown["weights"]["stack.layers.0.W_hh"] == [8, 32]
    assert [line["step"] for line in shown["history"]] == [45, 60]


def test_training_from_standard_input(home, monkeypatch, cli):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert main(["train", "-", "--steps", "25", *TINY]) == 0
    out = cli(["evaluate"]).out  # from the cache
    assert "The model does not beat the 6-gram baseline (" in out
    shutil.rmtree(Path("runs", FOLDER))
    assert "runs/stdin was trained on standard input" in cli(["evaluate"], 2).err
    Path("other.txt").write_text("the rat sat on the mat.\n")
    for file, chars in (("cat.txt", len(TEXT) // 10), ("other.txt", 23)):  # cat.txt is the same
        own = json.loads(cli(["evaluate", "runs/stdin", file, "--json"]).out)
        assert (own["chars"], own["ngram"]["order"]) == (chars, 6)


def test_changed_corpus_is_not_evaluated(own_run, trained, cli):
    before = cli(["evaluate", "--json"]).out
    Path("cat.txt").write_text(TEXT + "more")
    assert cli(["evaluate", "--json"]).out == before  # the cached corpus
    shutil.rmtree(Path("runs", FOLDER))
    run = Path("runs/cat", RUN)
    run.write_text(run.read_text().replace(str(trained), str(own_run)))
    assert "changed since runs/cat was trained on it" in cli(["evaluate"], 2).err


# Help


def test_command_summaries_fit_80_columns_and_train_groups_its_options(cli):
    context = click.Context(command_group, info_name="chargen", terminal_width=80)
    commands = command_group.get_help(context).partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert len(commands.splitlines()) == len(command_group.commands)
    assert "..." not in commands
    out = cli(["train", "--help"]).out
    headings = [line[:-1] for line in out.splitlines() if line.endswith(":") and line[0] != " "]
    groups = ["Data", "Model", "Training budget", "Optimization", "Output", "Advanced", "Other"]
    assert headings == groups
    assert "docs/explanation/defaults.md" in out


@pytest.mark.parametrize("line", ["", "corpora"])
def test_missing_command_prints_help(cli, line):
    out, err = cli(line.split(), 2)
    assert (out, "\nCommands:\n" in err) == ("", True)
    assert f"Usage: {' '.join(['chargen', *line.split()])} [OPTIONS] COMMAND" in err.splitlines()[0]


def test_first_line_is_printed_before_torch_is_loaded(home):
    program = "import sys, chargen.cli; sys.modules['torch'] = None; chargen.cli.main()"
    command = [sys.executable, "-c", program, "train", "cat.txt"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[0] == "reading cat.txt"
    assert "import of torch halted" in ran.stderr


# User errors

WRONG = {
    "train nothing.txt": "nothing.txt: no such file",
    "train three.txt": "three.txt: 3 characters are too few to hold out",
    "train": "no CORPUS given",
    "train cat.txt --timesteps 2000": "--timesteps 2000: the training text of 1080",
    "train cat.txt --units 128,x": "--units 128,x: must be whole numbers with commas",
    "train cat.txt --cell transformer": "'transformer' is not one of",
    "train cat.txt --steps 3 --minutes 2": "--steps and --minutes: give one",
    "train cat.txt --units 2000000": "--units 2000000: out of memory",
    f"train {'x' * 300}": "cannot be read (File name too long)",
    "train cat.txt --resume --overwrite": "--resume and --overwrite: give one",
    "train --resume": "no run under runs/",
    "train cat.txt --device quantum": "--device quantum",
    "train cat.txt --colour red": "No such option --colour (see chargen train --help)",
    "train cat.txt --lr 1": "No such option --lr: did you mean --learning-rate?",
    "train cat.txt --layers 2": "did you mean --units 128,128 (one number a layer)?",
    "train cat.txt --rnn_size 128": "No such option --rnn_size: did you mean --units?",
    "train cat.txt -Steps=2": "No such option -Steps: did you mean --steps?",
    "sample -n 5": "No such option -n (see chargen sample --help)",
    "sample --length 1e3": "'1e3' is not a valid integer. (see",
    "train cat.txt —steps 2": '—steps: typographic dash or quotation mark; type -- or " instead',
    "train “cat.txt”": "“cat.txt”: typographic dash",
    "train cat.txt --out=": "--out '': empty; give a path",
    "sample cat fox": "extra argument (fox); a text to continue belongs after --prompt (see",
    "compare a b": "(a b); chargen probe-longrange RUN RUN compares runs (see",
    "compare --task flipflop --steps 5 --minutes 1": "--steps and --minutes: give one budget",
    "compare --task flipflop --parameters 1": "--parameters 1: must be at least ",
    "compare --task flipflop --learning-rates 0.1,x": "--learning-rates 0.1,x: must be numbers",
    "compare --task flipflop --json nowhere/a.json": "nowhere/a.json: ",
    "compare --task flipflop --jobs 0": "--jobs",
    "train cat.txt --units 64 64": "--units 64 64: write the list with commas, as --units 64,64",
    "train cat.txt --steps 2 --cell gru-before": "--cell gru-before: removed; use gru (reset_after",
    "sample --temp 1": "No such option --temp: did you mean --temperature?",
    "sample ROMEO:": "if it is a text to continue: chargen sample --prompt ROMEO:",
    "sample -i": "--interactive: needs a terminal; give --prompt or --prompt-file",
    "sample -i --beam 3": "--interactive and --beam: give one",
    "watch none --out folder": "folder: cannot be written; name a file in it",
    "watch none --out no/x.html": "no/x.html: cannot be written",
    "inspect nothing": "nothing: no such run; chargen runs lists them",
    "inspect --out x.html": "--out needs a text; give --memory TEXT too",
    "inspect --seed 0": "--seed needs a text",
    "inspect --memory a --memory-file b": "--memory and --memory-file: give one",
    "inspect --memory=": "--memory '': empty",
    "inspect --memory a --cue=": "--cue '': empty",
    "inspect --memory a --out none/x.html": "cannot be written",
    "inspect --memory-file none.txt": "none.txt: cannot be read",
    "inspect fables": "fables: no such run; train it with chargen train fables",
    "sample --prompt": "Option '--prompt' requires an argument. (see chargen sample --help)",
    "help": "No such command help: chargen --help lists the commands",
    "list": "No such command list: chargen runs lists the runs, chargen corpora list",
    "train cat.txt --out cat.txt/run": "cat.txt: exists and is not a directory",
    "sample --temperature -1": "--temperature -1.0: must be",
    "sample --prompt a --prompt-file b": "--prompt and --prompt-file: give one",
    "sample --prompt-file nothing.txt": "nothing.txt: cannot be read",
    "corpora write fables --out cat.txt": "cat.txt: the file exists",
    "runs delete x": "No such command 'delete': did you mean chargen runs rm RUN?",
    "corpora get fables": "No such command 'get': did you mean chargen corpora fetch NAME?",
    "dance": "No such command 'dance'",
}


@pytest.mark.parametrize("line", WRONG)
def test_user_error_is_one_line_exit_2_and_nothing_written(home, fails, line):
    Path("three.txt").write_text("abc")
    Path("folder").mkdir()
    fails(line, WRONG[line])


def test_user_error_leaves_a_run_unchanged(at_run, fails):
    Path("other.txt").write_text("quite another text")
    for line, message in (
        ("train cat.txt", "runs/cat: a run exists already; resume it with --resume"),
        ("train cat.txt --resume --units 9", "--units 9: the run in runs/cat uses 8;"),
        ("train cat.txt --overwrite --units 2000000", "out of memory"),
        ("train cat.txt --overwrite --device meta", "--device meta"),
        ("sample --prompt the€", "prompt: character '€' at position 3 is not in the model's"),
        ("sample --prompt th\udce9 --unknown skip", "--prompt: invalid text at position 2"),
        ("evaluate runs/cat other.txt", "other.txt: character 'q' (U+0071) at position 0"),
        ("sample runs/cat/run.json", "run.json: a file, not a run; name runs/cat"),
        ("sample cat.txt", "cat.txt: a file, not a run; train on it with chargen train cat.txt"),
        ("watch cat.txt", "train cat.txt; chargen runs lists the runs"),
        ("train runs/cat", "runs/cat: a run, not a text; resume it with chargen train --resume"),
        ("evaluate cat runs/cat", "runs/cat: a run, not a text"),
        ("export cat --to page --prompt Zß", "--prompt: character 'Z' at position 0 is not in the"),
        ("export cat --to page --longrange nowhere.json", "nowhere.json: no such file"),
        ("export cat --to page --out no/such/x.html", "create its directory first"),
        ("export cat --to onnx --weights int8", "--weights cannot be used with --to onnx"),
        ("train other.txt --resume --out runs/cat", "txt --init-from runs/cat --out runs/NAME"),
    ):
        fails(line, message)


# Other commands


def test_a_folder_without_permission_is_a_user_error(own_run, monkeypatch, cli):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    found = cli(["inspect", "runs/cat"], 2).err
    assert "runs/cat: Permission denied; check the permissions of its folder" in found


def test_commands_that_are_printed_survive_a_shell(own_run, capsys):
    Path("cat.txt").rename("a & b.txt")
    Path("a & b").mkdir()
    for arguments, command in (
        (["train", "a & b.txt", "--steps=2", "--units=8"], "train --resume --out 'runs/a & b'"),
        (["train", "runs/a & b"], "train --resume --out 'runs/a & b'"),
        (["train", "https://a.org/a & b.txt"], "train 'a & b.txt'"),
        (["sample", "a & b.txt"], "chargen train 'a & b.txt'"),
        (["sample", "a & b c"], "sample --prompt 'a & b c'"),
        (["export", "runs/a & b", "--to", "page"], "longrange 'runs/a & b' --json 'runs/a & b/"),
    ):
        main(arguments)
        err = capsys.readouterr().err
        assert command in err
        # No name stands unquoted in any other command.
        clauses = [clause for clause in re.split(", or |; |: ", err) if "chargen " in clause]
        for clause in clauses:
            words = shlex.split(clause[clause.index("chargen ") :])
            assert clause.count("a & b") == sum("a & b" in word for word in words)


POSIX = {
    os: ("fork", "getuid", "kill", "killpg", "setsid", "O_NOFOLLOW", "sched_getaffinity"),
    signal: ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "pthread_sigmask"),
    mmap: ("MADV_DONTNEED",),
}


def test_no_command_needs_what_windows_lacks(home, monkeypatch):
    for module, names in POSIX.items():
        for name in names:
            monkeypatch.delattr(module, name, raising=False)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    ctypes = SimpleNamespace(CDLL=lambda name: object())
    monkeypatch.setattr("chargen.cli.terminal.ctypes", ctypes)
    for line in ("train cat.txt --steps 2 --units 8", "train --resume --steps 4",
                 "sample --length 40", "watch --once", "score cat.txt"):  # fmt: skip
        assert main(line.split()) == 0


def test_probe_of_a_chinese_model_uses_the_chinese_bank(home, cli):
    assert main(["corpora", "write", "longrange-zh", "--chars", "9000", "--out", "zh.txt"]) == 0
    assert main(["train", "zh.txt", "--out", "zh", "--steps", "2", *TINY]) == 0
    out = cli(["probe-longrange", "zh", "--only", "templates", "--json", "zh.json"]).out
    assert "not learned: train on the longrange-zh corpus," in out
    templates = json.loads(Path("zh.json").read_text())["templates"]
    assert templates["bank"] == "chinese.bank"
    assert [row["span_chars"] for row in templates["spans"]] == [4]


# The Python interface


def test_python_trains_samples_and_evaluates(home):
    seen = []
    model = chargen.train(
        "cat.txt", steps=30, units=(8,), run=lambda session: seen.extend(session.trainer.reports())
    )
    assert [report.step for report in seen] == list(range(1, 31))
    shape = "lstm of 8 units, 862 parameters, vocabulary 14"
    assert repr(model) == f"<TrainedModel runs/cat: {shape}>"
    text = model.sample("the ", 20, temperature=0.5, seed=3)
    assert text == chargen.load("runs/cat").sample("the ", 20, temperature=0.5, seed=3)
    assert len(model.sample()) == 500  # as on the command line
