"""The scripts of the how-to pages run, with smaller budgets, and the pages show them whole."""

import io
import runpy
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from chargen.cli import main

HOW_TO = Path(__file__).parent.parent / "docs" / "how-to"
SMALLER = {"--minutes 1": "--steps 30 --units 16", " --new": " --new --length 20"}


def run(line):
    """Run a line of a script in this process; return what it prints."""
    for given, smaller in SMALLER.items():
        line = line.replace(given, smaller)
    words, _, file = line.partition(" > ")
    program, *arguments = shlex.split(words)
    said = io.StringIO()
    with redirect_stdout(said):
        if program == "python":
            runpy.run_path(HOW_TO / arguments[0])
        else:
            assert main(arguments) == 0
    if file:
        Path(file).write_text(said.getvalue())
    return said.getvalue()


@pytest.mark.parametrize("name", ["names", "tunes"])
def test_script_runs_and_is_shown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = (HOW_TO / f"{name}.sh").read_text(encoding="utf-8")
    assert script in (HOW_TO / "lists-and-records.md").read_text(encoding="utf-8")
    said = [run(line) for line in script.splitlines() if line.startswith(("python", "chargen"))]
    if name == "names":
        training, _, unprompted, prompted = (text.splitlines() for text in said)
        assert len(set(training)) == 2000
        assert (len(unprompted), len(prompted)) == (20, 5)
        assert not set(unprompted) & set(training)
        assert all(line.startswith("Ma") for line in prompted)
    else:
        assert said[0].count("\n\n") == 300
        assert said[-1].startswith("X:1\nT:Reel")
        assert "\n\n" not in said[-1].removesuffix("\n")
