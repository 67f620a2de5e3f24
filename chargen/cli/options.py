"""What several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chargen.cli import completing
from chargen.cli.process import keep_memory
from chargen.errors import ChargenError

run_argument = click.argument(
    "run", required=False, type=click.Path(path_type=Path), shell_complete=completing.runs
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=completing.devices,
    help="cpu, cuda, or auto: a GPU where there is one.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Processor threads.  [default: torch's choice]"
)


def default(value: object) -> str:
    """How a flag's help ends whose default is set elsewhere."""
    said = ",".join(map(str, value)) if isinstance(value, tuple) else value
    return f"  [default: {said}]"


def set_up_torch(threads: int | None) -> None:
    """Have torch compute on this many processor threads, and keep the memory that it frees."""
    keep_memory()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def check_writable(*files: Path | None) -> None:
    """Refuse a file whose folder is not there before anything slow is done."""
    for file in files:
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise ChargenError(f"{file}: no file can be written there; make its folder first")


def write_text(file: Path, text: str) -> None:
    """Write a result; `ChargenError` where it cannot be."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ChargenError(f"{file}: cannot be written ({error.strerror})") from error


class ListParam(click.ParamType):
    """Values with commas between, each made by ``kind``; ``rule`` says what they must be."""

    name = "list"

    def __init__(self, kind: Callable[[str], Any], rule: str) -> None:
        self.kind = kind
        self.rule = rule

    def convert(self, value: Any, param: Any, context: Any) -> tuple[Any, ...]:
        """Text to a tuple; which values there may be is the settings' to say."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part.strip()) for part in str(value).split(","))
        except ValueError:
            raise ChargenError(f"{param.opts[0]} {value}: must be {self.rule}") from None


class LossOnParam(click.ParamType):
    """``all``, ``last`` or a number."""

    name = "all|last|K"

    def convert(self, value: Any, param: Any, context: Any) -> str | int:
        """A number where it is one; whether the rest is a name is the settings' to say."""
        text = str(value)
        return int(text) if text.isdecimal() else text
