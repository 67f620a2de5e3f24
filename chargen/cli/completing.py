"""What a shell offers while a command is typed: runs, texts, names. Loads no torch.

Each function is a ``shell_complete`` of click's. A shell looks for files by itself where it is told
to, which bash does only if there are no names beside; so where there are, files are named here.
"""

from __future__ import annotations

from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem


def runs(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Folders of runs, under ``runs/`` or where ``typed`` leads; without any, folders."""
    from chargen.runs.directory import RUNS, is_run

    known = [path for path in map(str, sorted(RUNS.glob("*"))) if path.startswith(typed)]
    found = [path for path in dict.fromkeys(known + _paths(typed)) if is_run(Path(path))]
    return _items(found) or [CompletionItem(typed, type="dir")]


def texts(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Bundled corpora, and files and folders; where no corpus is meant, files alone."""
    from chargen.datasets import bundled

    names = [name for name in bundled.names() if name.startswith(typed)]
    if not names:
        return [CompletionItem(typed, type="file")]
    return _items(list(dict.fromkeys(names + _paths(typed))))


def bundled_texts(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Bundled corpora and phrase banks."""
    from chargen.datasets import bundled

    names = (*bundled.names(), *bundled.BANKS.values())
    return _items([name for name in names if name.startswith(typed)])


def devices(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """The kinds of device."""
    return _items([name for name in ("auto", "cpu", "cuda") if name.startswith(typed)])


def _items(values: list[str]) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values]


def _paths(typed: str) -> list[str]:
    """What lies in the folder that ``typed`` leads to and begins like the rest; nothing hidden."""
    folder, slash, beginning = typed.rpartition("/")
    try:
        names = sorted(path.name for path in Path(folder + slash).iterdir())
    except OSError:
        return []
    shown = (name for name in names if name.startswith(beginning) and not name.startswith("."))
    return [folder + slash + name for name in shown]
