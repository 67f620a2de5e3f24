"""Shell completion of runs, corpora and devices. Imports no torch.

Each function is a ``shell_complete`` callback of click. bash completes file names on its own only
if there are no other suggestions; otherwise the functions list files too.
"""

from __future__ import annotations

import glob
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

Suggestions = list[CompletionItem] | list[str]


def runs(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    """Suggest run directories under ``runs/`` and at the typed path, or else directories."""
    from chargen.runs.directory import RUNS, is_run

    known = [path for path in map(str, sorted(RUNS.glob("*"))) if path.startswith(typed)]
    found = [path for path in dict.fromkeys(known + _paths(typed)) if is_run(Path(path))]
    return found or [CompletionItem(typed, type="dir")]


def texts(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    """Suggest bundled corpora, files and directories."""
    from chargen.datasets import bundled

    names = [name for name in bundled.names() if name.startswith(typed)]
    if not names:
        return [CompletionItem(typed, type="file")]
    return list(dict.fromkeys(names + _paths(typed)))


def bundled_texts(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    """Suggest bundled corpora and phrase banks."""
    from chargen.datasets import bundled

    names = (*bundled.names(), *bundled.BANKS.values())
    return [name for name in names if name.startswith(typed)]


def devices(context: Context, parameter: Parameter, typed: str) -> Suggestions:
    """Suggest device types."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(typed)]


def _paths(typed: str) -> list[str]:
    """Return the visible paths that begin with ``typed``."""
    return sorted(glob.glob(f"{glob.escape(typed)}*"))
