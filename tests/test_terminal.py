"""Printed text never controls the terminal, whether from a model, a file name or a run."""

import json
import os
import pty
import shutil
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import chargen
from chargen.render.text import visible, visible_line

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x1b[0m\x9b2J\x08\x7f\r\u202eevil\u2066\u2028"
TEXT = f"a cat{ESCAPES}sat, ünd «日本» 😀\tso\n" * 180
NAME = "red\x1b[31m\nnext\x9b\x7f\u202e"
SPELLED = r"red\x1b[31m\nnext\x9b\x7f\u202e"
TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def acts(char):
    """Return whether a character controls the terminal, by its Unicode category."""
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in TURNING


def acting(text):
    return {char for char in text if acts(char)} - {"\n", "\t"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with a corpus full of escapes and runs trained on it, with such names."""
    home = tmp_path_factory.mktemp("home")
    (home / f"{NAME}.txt").write_text(TEXT, newline="")
    sizes = {"units": (8,), "timesteps": 8, "batch_size": 4}
    chargen.train(home / f"{NAME}.txt", home / "runs" / NAME, steps=20, seed=1, **sizes)
    chargen.train(home / f"{NAME}.txt", home / "runs" / "other\x1b", steps=2, **sizes)
    return home


@given(st.text(st.characters(codec=None)))
@example("".join(map(chr, range(0x2100))) + "\ud800\udcff\udfff")
def test_control_characters_are_escaped_and_others_stay(text):
    shown = visible(text)
    assert not acting(shown)
    assert shown == "".join(repr(c)[1:-1] if acting(c) else c for c in text)
    assert visible(shown) == shown
    assert not {"\n", "\t"} & set(visible_line(text))
    assert visible_line(text) == shown.replace("\n", r"\n").replace("\t", r"\t")
    shown.encode()


SAMPLE = ["sample", f"runs/{NAME}", "--length", "400", "--seed", "3", "--temperature", "2"]


def on_a_terminal(home, *arguments, **environment):
    """Return what a successful command sends to a terminal."""
    own, its = pty.openpty()
    command = [sys.executable, "-m", "chargen", *arguments]
    given = dict.fromkeys(("stdin", "stdout", "stderr"), its)
    process = subprocess.Popen(command, cwd=home, env=os.environ | environment, **given)
    os.close(its)
    sent = b""
    with suppress(OSError):  # Linux, when the other end is closed
        while piece := os.read(own, 65536):
            sent += piece
    os.close(own)
    assert process.wait() == 0
    return sent.replace(b"\r\n", b"\n")  # the terminal translates newlines


def test_sample_is_escaped_on_a_terminal_only(home, here, cli):
    prompted = [*SAMPLE, "--prompt", "a cat\r\n", "--begin"]
    model = chargen.load(home / "runs" / NAME)
    text = model.sample("a cat\r\n", 400, 3, temperature=2.0, begin=True) + "\n"
    assert acting(text) >= {"\x1b", "\x9b", "\r", "\x7f", "\u202e", "\u2028"}
    assert cli(prompted).out == text
    limited = visible(text).encode("ascii", "backslashreplace")
    assert on_a_terminal(home, *prompted, PYTHONIOENCODING="ascii") == limited


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", f"runs/{NAME}"],
        ["inspect", f"runs/{NAME}", "--json"],
        ["inspect", f"runs/{NAME}", "--memory", "a cat\x1b[", "--cue", "cat\x1b"],
        ["probe-longrange", f"runs/{NAME}", "--only", "mined,gradient", "--plot", f"{NAME}.png"],
        ["probe-longrange", f"runs/{NAME}", "runs/other\x1b", "--only", "gradient"],
        ["score", f"runs/{NAME}", "runs/other\x1b", f"{NAME}.txt", "--top", "30"],
    ],
    ids=lambda arguments: visible_line(" ".join(arguments)),
)
def test_output_of_commands_is_escaped(here, cli, recwarn, arguments):
    out, err = cli(arguments)
    assert out
    assert not acting(out + err)
    assert not acting("".join(str(warning.message) for warning in recwarn))
    assert NAME not in out + err
    if "--json" in arguments:
        assert json.loads(out)["run"] == f"runs/{NAME}"
    else:
        assert SPELLED in out + err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", NAME],
        ["train", "-", NAME, "--resume", "--overwrite", f"--{NAME}"],
        ["score", f"runs/{NAME}", f"runs/{NAME}"],
        ["sample", f"runs/{NAME}", "--prompt-file", NAME],
        ["probe-longrange", f"runs/{NAME}", "--report", f"{NAME}/x.html"],
        [NAME],
    ],
    ids=lambda arguments: visible_line(" ".join(arguments)),
)
def test_user_error_is_one_line_with_an_escaped_name(here, error, arguments):
    err = error(arguments)
    assert not acting(err)
    assert r"red\x1b[31m" in err


def test_run_of_a_stranger_is_printed_escaped(home, tmp_path, monkeypatch, cli, error):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "runs" / "other\x1b", ".", dirs_exist_ok=True)
    record = json.loads(Path("run.json").read_text())
    record["corpus"]["name"] = record["corpus"]["sources"][0] = NAME
    Path("run.json").write_text(json.dumps(record | {"versions": {NAME: NAME}}))
    out = cli(["inspect", "."]).out
    assert out.count(SPELLED) == 4
    assert f"versions          {SPELLED} {SPELLED}\n" in out
    assert not acting(out)
    assert not acting(error(["evaluate", "."]))


def test_names_that_are_not_utf8(home, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    name, shown = os.fsdecode(b"caf\xe9\xff"), r"caf\udce9\udcff"
    shutil.copytree(home / "runs" / NAME, name)
    for arguments in (["evaluate"], ["inspect", "--memory", "a cat"]):
        out, err = cli([arguments[0], name, *arguments[1:]])
        assert (acting(out + err), shown in out) == (set(), True)
    Path(f"{name}.txt").write_text(TEXT)
    for file, message in ((f"{name}.none", "no such file"), (f"{name}.txt", "the name is not UTF")):
        assert f"{visible_line(file)}: {message}" in cli(["train", file], 2).err


def test_progress_of_training_is_escaped(here, cli, monkeypatch):
    monkeypatch.setattr("chargen.cli.training_display.SECONDS_BETWEEN_SAMPLES", 0)
    out = f"new{NAME}"
    sizes = ["--units", "4", "--timesteps", "8", "--batch-size", "4", "--steps", "4"]
    _, err = cli(["train", f"{NAME}.txt", "--out", out, *sizes])
    assert not acting(err)
    assert err.count("\\x1b") > 2  # in names and samples
    assert f"'new{SPELLED}'" in err.splitlines()[-1]
