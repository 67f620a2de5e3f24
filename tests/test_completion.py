"""Shell completion of runs, corpora, choices and flags."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from chargen.cells import CELL_NAMES
from chargen.cli import chargen, main

PROGRAM = f"""#!{sys.executable}
import sys
sys.path[:0] = {sys.path}
from chargen.cli import main
try:
    main()
finally:
    sys.exit({{"torch", "matplotlib", "numba"}} & set(sys.modules) and "slow imports" or 0)
"""
SCRIPT = """
eval "$(_CHARGEN_COMPLETE=bash_source chargen)"
COMP_WORDS=(chargen sample runs/f) COMP_CWORD=2
_chargen_completion chargen
echo "${COMPREPLY[@]}"
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory with runs, an unfinished run and a text."""
    for folder in ("runs/fables", "runs/poems", "other/lstm"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "run.json").touch()
    (tmp_path / "runs/.corpora").mkdir()
    (tmp_path / "fab.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completions(line):
    """Return the types and values that click suggests for the last word of ``line``."""
    *words, incomplete = line.split(" ")[1:]
    shell = ShellComplete(chargen, {}, "chargen", "_CHARGEN_COMPLETE")
    return [(item.type, item.value) for item in shell.get_completions(words, incomplete)]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("chargen sample ", ["runs/fables", "runs/poems"]),
        ("chargen probe-longrange runs/fables runs/p", ["runs/poems"]),
        ("chargen inspect other/", ["other/lstm"]),
        ("chargen train fa", ["fables", "fab.txt"]),
        ("chargen corpora write en", ["english.bank"]),
        ("chargen train --cell ", list(CELL_NAMES)),
        ("chargen evaluate --device c", ["cpu", "cuda"]),
        ("chargen sample --prompt-", ["--prompt-file"]),
    ],
)
def test_values_are_suggested(home, line, values):
    assert completions(line) == [("plain", value) for value in values]


def test_shell_completes_paths_where_no_value_matches(home):
    assert completions("chargen evaluate o") == [("dir", "o")]
    assert completions("chargen train other/") == [("file", "other/")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_script_completes_a_run_without_slow_imports(home):
    (home / "chargen").write_text(PROGRAM)
    (home / "chargen").chmod(0o755)
    env = {**os.environ, "PATH": f"{home}{os.pathsep}{os.environ['PATH']}"}
    given = {"cwd": home, "env": env, "capture_output": True, "text": True}
    ran = subprocess.run(["bash", "-c", SCRIPT], check=True, **given)
    assert (ran.stdout, ran.stderr) == ("runs/fables\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_once(home, monkeypatch, shell, cli):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home / "a & b"))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    out = cli(["completion", "install"]).out
    paths = [line.partition(": written")[0] for line in out.splitlines()]
    files = {path: path.read_text() for path in (home / "a & b").rglob("*") if path.is_file()}
    assert set(paths) == set(map(str, files))
    assert any("_CHARGEN_COMPLETE" in text for text in files.values())
    assert len(files) == (1 if shell == "fish" else 2)
    if shell != "fish":
        assert shlex.split(files[home / "a & b" / f".{shell}rc"]) == ["source", paths[0]]
    assert main(["completion", "install", shell]) == 0
    assert files == {path: path.read_text() for path in files}
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    err = cli(["completion", "install"], 2).err
    assert "name the shell: chargen completion install bash" in err
