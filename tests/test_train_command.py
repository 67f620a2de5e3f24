"""`chargen train` in everyday use: lost terminals, configuration files, more training, no held-out
text, little memory, and errors that speak the language of their user."""

import json
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest
from groups import Forked
from tiny import FLAGS, TINY, state_of

import chargen
from chargen.cli import main
from chargen.cli.watch import RunObserver
from chargen.errors import ChargenError
from chargen.pages.watch_page import watch_page
from chargen.runs.directory import BEST, LAST, Run
from chargen.training.loop import Trainer

pytestmark = pytest.mark.usefixtures("often")
linux = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")


def train(cli, *words, code=0):
    given = words if {"--resume", "--config"} & set(words) else (*FLAGS, *words)
    return cli(["train", "cat.txt", *given], code)


STREAMS = ("stdin", "stdout", "stderr")


def without_streams(home, lost, *commands):
    """Run commands in a process whose standard streams are lost; return the exit codes."""
    os.chdir(home)
    kept = [sys.stdin, sys.stdout, sys.stderr]  # they would close their descriptors
    for number, how in lost.items():
        os.close(number)
        if how != "closed":
            read, write = os.pipe()
            os.close(read)
            os.dup2(os.open("/dev/full", os.O_WRONLY) if how == "full" else write, number)
        stream = None if how == "closed" else os.fdopen(number, "w", closefd=False)
        for name in (STREAMS[number], f"__{STREAMS[number]}__"):
            setattr(sys, name, stream)
    (home / "codes").write_text(json.dumps([main(words) for words in commands]))
    return 0 if kept else 1


@linux
@pytest.mark.parametrize(
    ("lost", "result"),
    [
        ({2: "full"}, 0), ({0: "closed", 1: "full"}, 2), ({1: "closed", 2: "closed"}, 2),
        ({1: "pipe", 2: "pipe"}, 0),
    ],
    ids=str,
)  # fmt: skip
def test_a_lost_log_or_pipe_ends_no_training_and_shows_no_traceback(home, lost, result):
    commands = [["train", "cat.txt", *FLAGS], ["sample", "--length=9"], ["nothing"]]
    process = Forked(home, without_streams, home, lost, *commands)
    code, _, err = process.ended()
    assert (code, "Traceback" in err) == (0, False), err
    assert json.loads((home / "codes").read_text()) == [0, result, 2]
    files = [path.read_bytes() for path in (home / "runs" / "cat").iterdir()]
    assert not any(b"validation" in data and b"chars/s" in data for data in files)
    assert Run.open(home / "runs" / "cat").read_checkpoint(LAST).values["step"] == 5


def hang_up(home):
    os.chdir(home)
    step = Trainer._report
    Trainer._report = lambda *given: (os.kill(os.getpid(), signal.SIGHUP), step(*given))[1]
    code = main(["train", "cat.txt", *FLAGS])
    print("torch._dynamo" in sys.modules)
    return code


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of POSIX")
def test_training_continues_when_its_terminal_is_closed_and_loads_no_compiler(home):
    code, out, err = Forked(home, hang_up, home).ended()
    assert (code, out, "Done: step budget reached" in err) == (0, "False\n", True)


def test_more_training_is_counted_from_where_the_run_is(home, cli):
    train(cli, "--patience=0", "--validation=0.2")
    hint = "No step was needed; to train longer: chargen train --resume --out runs/cat"
    assert f"{hint} --more-steps 5" in train(cli, "--resume", "--steps=3").err.splitlines()
    path = home / "runs" / "cat"
    assert "No step" not in train(cli, "--resume", "--more-steps=4").err
    assert (Run.open(path).description.training.steps, len(Run.open(path).progress())) == (9, 6)
    seconds = Run.open(path).read_checkpoint(LAST).values["seconds"]
    train(cli, "--resume", "--more-minutes=0.001")
    settings = Run.open(path).description.training
    assert (settings.steps, settings.minutes) == (None, pytest.approx(0.001 + seconds / 60))
    refusal = "--more-steps and --steps: give one budget"
    assert refusal in train(cli, "--resume", "--more-steps=4", "--steps=9", code=2).err
    with pytest.raises(ChargenError, match=r"^more_steps: extends a run; give resume=True too"):
        chargen.train("cat.txt", more_steps=4, out="runs/new")


def test_a_run_without_a_held_out_text_says_so_everywhere(home, cli, monkeypatch):
    err = train(cli, "--validation=0").err
    assert "cat: 192 characters, 0 held out" in err
    assert "note: no text is held out: the model is the last one" in err
    assert "No text is held out: the model is the last one, and its loss is unknown." in err
    run = Run.open(home / "runs" / "cat")
    assert (run.path / LAST).exists()
    assert not (run.path / BEST).exists()
    assert [line["validation_loss_nats"] for line in run.progress()] == [None] * 3
    assert "none held out" in cli(["inspect"]).out
    assert len(cli(["sample", "--length=20", "--seed=1"]).out) > 9
    nothing = "runs/cat: no text is held out (--validation 0); name another text"
    for command, code in (("evaluate", 2), ("export --to page --out x.html", 0)):
        assert nothing in cli(command.split(), code).err
    whole = json.loads(cli(["evaluate", "--json", "runs/cat", "cat.txt"]).out)
    assert whole["chars"] == 191
    assert "No text is held out." in watch_page(RunObserver(run.path).observe(1))
    train(cli, "--resume", "--more-steps=1")
    assert run.read_checkpoint(LAST).values["step"] == 6


def test_the_printed_configuration_reproduces_a_run(home, cli, finished):
    out = train(cli, "--threads=1", "--print-config").out
    assert not (home / "runs").exists() or not (home / "runs" / "cat").exists()
    (home / "run.toml").write_text(out)
    assert main(["train", "--config", "run.toml"]) == 0
    assert state_of(home / "runs" / "cat")[LAST] == state_of(finished)[LAST]
    again = cli(["train", "--resume", "--print-config"]).out
    assert set(again.splitlines()) <= set(out.splitlines())
    words = ("train", "--config=run.toml", "--epochs=2", "--units=4", "--print-config")
    printed = cli(words).out
    assert {"epochs = 2.0", "units = [4]"} <= set(printed.splitlines())
    assert "\nsteps =" not in printed  # the budget replaces the file's


def test_a_wrong_configuration_is_one_line(home, error):
    for text, message in (
        ("unit = 3", "unit: no such option; did you mean units?"),
        ("colour = 3", "colour: no such option; see chargen train -h"),
        ("steps = 'x'", "steps: 'x' is not a valid integer."),
        ("steps = true", "steps: must not be true or false"),
        ("overwrite = 1", "overwrite: must be true or false"),
        ("units = ['a']", "units: --units a: must be whole numbers with commas"),
        ("steps", "not a TOML file ("),
    ):
        (home / "run.toml").write_text(text)
        line = error(["train", "cat.txt", "--config", "run.toml"])
        assert line.startswith(f"chargen: run.toml: {message}")
    assert "run.toml: cannot be read" in error(["train", "cat.txt", "--config=no/run.toml"])


@linux
def test_a_memory_limit_is_one_line_before_torch_is_loaded(home):
    command = f"ulimit -v 800000; {sys.executable} -m chargen train cat.txt"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("chargen: not enough memory: the limit of ")
    assert done.stderr.count("\n") == 1


def test_memory_that_runs_out_anywhere_is_one_line(home, cli, monkeypatch):
    mapping = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    for error in (mapping, OSError(12, "Cannot allocate memory")):
        monkeypatch.setattr("chargen.api.train", Mock(side_effect=error))
        assert "chargen: not enough memory: close other programs" in train(cli, code=2).err
    missing = ImportError("No module named 'torch'")  # another error
    monkeypatch.setattr("chargen.api.train", Mock(side_effect=missing))
    with pytest.raises(ImportError, match="torch"):
        train(cli)


def test_errors_in_python_name_arguments(home):
    for given, message in (
        ({"units": "x"}, "units=x: must be a whole number of 1 or more"),
        ({"batch_size": 10**6}, "batch_size=1000000: the training text of 172 characters"),
        ({"device": "quantum"}, "device=quantum: torch has no such device here"),
        ({"unit": 3}, "unit: no such setting; did you mean units?"),
        ({"resume": True}, "runs/cat: no such run; chargen runs lists them"),
    ):
        with pytest.raises(ChargenError, match=f"^{message}"):
            chargen.train("cat.txt", **given)


def test_python_takes_one_number_for_one_layer(home):
    model = chargen.train("cat.txt", **{**TINY, "units": 16, "steps": 1})
    assert model.run.description.model.units == (16,)
    with pytest.raises(ChargenError, match=r"give another out$") as error:
        chargen.train("cat.txt")
    assert "resume it with resume=True, start over with overwrite=True" in str(error.value)
    assert "resume it with --resume, start over with --overwrite" in error.value.message
