"""Shell completion of runs, corpora and devices, and its installation. Imports no torch."""

import glob
import os
import shlex
from pathlib import Path

import click
from click import Context, Parameter
from click.shell_completion import CompletionItem, get_completion_class

from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.files import writing
from chargen.render.text import visible_line

Suggestions = list[CompletionItem] | list[str]
ZSH_START = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"


def runs(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    """Suggest run directories under ``runs/`` and at the typed path, or else directories."""
    from chargen.runs.directory import RUNS, is_run

    known = [path for path in map(str, sorted(RUNS.glob("*"))) if path.startswith(typed)]
    found = [path for path in dict.fromkeys(known + _paths(typed)) if is_run(Path(path))]
    return found or [CompletionItem(typed, type="dir")]


def texts(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    from chargen.datasets import bundled

    names = [name for name in bundled.TEXTS if name.startswith(typed)]
    # bash completes files itself only without other suggestions
    found = [*dict.fromkeys(names + _paths(typed))] if names else None
    return found or [CompletionItem(typed, type="file")]


def bundled_texts(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    from chargen.datasets import bundled

    names = (*bundled.TEXTS, *bundled.BANKS.values())
    return [name for name in names if name.startswith(typed)]


def devices(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(typed)]


def _paths(typed: str) -> list[str]:
    return sorted(glob.glob(f"{glob.escape(typed)}*"))


@click.group("completion")
def shell_completion() -> None:
    """Install shell completion. Example: chargen completion install"""


@shell_completion.command()
@click.argument("shell", required=False, type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def install(context: Context, shell: str | None) -> None:
    """Install completion for SHELL, by default the one that $SHELL names.

    Writes the script below ~/.local/share/chargen and one line that reads it at the end of
    ~/.bashrc or ~/.zshrc; for fish, the script alone below ~/.config/fish.

    Example: chargen completion install zsh
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name)
    if kind is None:
        raise ChargenError("completion: name the shell: chargen completion install bash")
    source = kind(context.find_root().command, {}, "chargen", "_CHARGEN_COMPLETE").source()
    home = Path.home()
    if name == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        _write(config / "fish" / "completions" / "chargen.fish", source)
        return
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    script = data / "chargen" / f"completion.{name}"
    _write(script, ZSH_START + source if name == "zsh" else source)
    folder = Path(os.environ.get("ZDOTDIR") or home) if name == "zsh" else home
    line, rc = f"\nsource {shlex.quote(str(script))}\n", folder / f".{name}rc"
    if not rc.exists() or line not in rc.read_text(encoding="utf-8", errors="replace"):
        _write(rc, line, "a")


def _write(file: Path, text: str, mode: str = "w") -> None:
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open(mode, encoding="utf-8", newline="") as opened:
            opened.write(text)
    say(f"{visible_line(str(file))}: written; it takes effect in new shells")
