"""What a shell is told while a command is typed, asked as a shell asks: by the environment."""

import os
import shutil
import subprocess
import sys

import pytest

from chargen.settings import CELL_NAMES

PROGRAM = """
import sys
from chargen.cli import main
try:
    main()
finally:
    loaded = {"torch", "matplotlib", "numba"} & set(sys.modules)
    print(f"loaded {loaded}" if loaded else "", end="", file=sys.stderr)
"""


@pytest.fixture
def home(tmp_path):
    """Two runs, a folder that is none, and texts."""
    for folder in ("runs/fables", "runs/poems", "other/lstm"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "run.json").touch()
    (tmp_path / "runs/.corpora").mkdir()
    (tmp_path / "runs/unfinished").mkdir()
    (tmp_path / "fab.txt").touch()
    return tmp_path


def offered(folder, line):
    """The kinds and values that are offered for the last word of ``line``."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, **words, "_CHARGEN_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return [tuple(item.split(",", 1)) for item in ran.stdout.splitlines()]


def plain(*values):
    return [("plain", value) for value in values]


def test_runs_are_offered_for_a_run(home):
    assert offered(home, "chargen sample ") == plain("runs/fables", "runs/poems")
    assert offered(home, "chargen probe-longrange runs/fables runs/p") == plain("runs/poems")
    assert offered(home, "chargen inspect other/") == plain("other/lstm")
    assert offered(home, "chargen evaluate o") == [("dir", "o")]  # on the way to one


def test_bundled_corpora_and_files_are_offered_for_a_corpus(home):
    assert offered(home, "chargen train fa") == plain("fables", "fab.txt")
    assert offered(home, "chargen train other/") == [("file", "other/")]
    assert offered(home, "chargen corpora write en") == plain("english.bank")


def test_choices_and_flags_are_offered(home):
    assert offered(home, "chargen train --cell ") == plain(*CELL_NAMES)
    assert offered(home, "chargen evaluate --device c") == plain("cpu", "cuda")
    assert offered(home, "chargen sample --prompt-") == plain("--prompt-file")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script_and_completes_a_run(home):
    program = home / "chargen"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m chargen \"$@\"\n")
    program.chmod(0o755)
    script = """
        eval "$(_CHARGEN_COMPLETE=bash_source chargen)"
        COMP_WORDS=(chargen sample runs/f) COMP_CWORD=2
        _chargen_completion chargen
        echo "${COMPREPLY[@]}"
    """
    env = {**os.environ, "PATH": f"{home}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", script], cwd=home, env=env, capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("runs/fables\n", "")
