"""Options and parameter types shared by several commands."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from chargen.cli import completion
from chargen.cli.terminal import say, set_up_memory, write_text
from chargen.errors import ChargenError
from chargen.render.text import visible_line
from chargen.settings import flag, shown

device_help = "Device: cpu, cuda, or auto for a GPU if there is one."
threads_help = "Number of CPU threads.  [default: chosen by torch]"


class PathParam(click.Path):
    """A path; an empty one, as of a shell variable that is not set, is refused.

    If it is ``writable``, it is a file to write; one whose directory does not exist is refused
    before any slow work.
    """

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        if value == "":
            raise ChargenError(f"{param.opts[0]} '': empty; give a path")
        file = Path(value)
        if self.writable and (file.is_dir() or not file.absolute().parent.is_dir()):
            remedy = "name a file in it" if file.is_dir() else "create its directory first"
            raise ChargenError(f"{file}: cannot be written; {remedy}")
        return file


PATH, OUTPUT = PathParam(), PathParam(writable=True)


def option(name: str, kind: Any, default: Any, help: str, *names: str, **given: Any) -> Any:
    """Return a decorator for an option: name, type (`bool` for a flag), default and help."""
    given |= {"is_flag": True} if kind is bool else {"type": kind}
    if default is not None:
        given |= {"default": default, "show_default": default != ""}
    return click.option(name, *names, help=help, **given)


def unknown_option(help: str) -> Any:
    return option("--unknown", click.Choice(["error", "skip"]), "error", help)


def model_options(command: Any) -> Any:
    """Add ``--mix-ngram`` and ``--device`` of `load`, and ``--threads``, set when it is read."""

    def set_up(context: click.Context, parameter: click.Parameter, threads: int | None) -> None:
        if context.resilient_parsing:  # which completes a command line
            return
        set_up_memory()
        if threads is not None:
            import torch

            torch.set_num_threads(threads)

    how = {"callback": set_up, "expose_value": False}
    command = option("--threads", click.IntRange(1), None, threads_help, **how)(command)
    device = option("--device", str, "auto", device_help, shell_complete=completion.devices)
    return mix_option(device(command))


run_argument = click.argument("run", required=False, type=PATH, shell_complete=completion.runs)
mix_option = option("--mix-ngram", float, 0.0, "Weight of the n-gram baseline, 0 to below 1.")
json_option = option("--json", bool, None, "Print one JSON object.", "as_json")
encoding_help = "Encoding of files without a byte order mark, such as cp1252.  [default: utf-8]"
encoding_option = option("--encoding", str, "", encoding_help, metavar="NAME")


def default(value: object) -> str:
    """Return the end of an option's help for a default that is set elsewhere."""
    return "" if value is None else f"  [default: {shown(value)}]"


RESULTS = {
    "json": "Write the results as JSON.",
    "plot": "Write the figures as PNG.",
    "report": "Write an HTML report.",
}


def result_options(command: Any) -> Any:
    for name, help in reversed(RESULTS.items()):
        command = option(f"--{name}", OUTPUT, None, help)(command)
    return command


def write_results(
    files: Mapping[str, Path | None], page: Callable[[], str], values: Any, *figures: Any
) -> None:
    """Write the requested ``files``; ``figures`` are arguments of `save_figures`."""
    from chargen.render.report import save_figures

    if files["json"] is not None:
        write_text(files["json"], json.dumps(values, indent=1) + "\n")
    if files["plot"] is not None:
        written = ", ".join(map(str, save_figures(figures[0], files["plot"], *figures[1:])))
        say(f"figures: {visible_line(written) or 'none'}", err=True)
    if files["report"] is not None:
        write_text(files["report"], page())


class ListParam(click.ParamType):
    """Values separated by commas, each converted by ``kind``; errors say "must be ``rule``"."""

    name = "list"

    def __init__(self, kind: Callable[[str], Any], rule: str) -> None:
        self.kind, self.rule = kind, rule

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part.strip()) for part in str(value).split(","))
        except ValueError:
            raise ChargenError(f"{param.opts[0]} {value}: must be {self.rule}") from None


class LossOnParam(click.ParamType):
    """``all``, ``last`` or a number; the settings check the name."""

    name = "all|last|K"

    def convert(self, value: Any, param: Any, ctx: Any) -> str | int:
        return int(value) if str(value).isdecimal() else str(value)


LISTS = {
    int: ListParam(int, "whole numbers with commas between, as in 256,128"),
    float: ListParam(float, "numbers with commas between, as in 0.002,0.004"),
    str: ListParam(str, "names with commas between"),
}


def settings_options(
    types: Mapping[str, Any], helps: dict[str, str], shown: Callable[[str], object]
) -> Callable[[Any], Any]:
    """Return a decorator that adds an option per setting, with its default as ``shown`` by name."""

    def add(command: Any) -> Any:
        for name, help in reversed(helps.items()):
            kind, text = _option_type(types[name]), help + default(shown(name))
            command = option(flag(name), kind, None, text)(command)
        return command

    return add


def _option_type(kind: Any) -> Any:
    for meta in getattr(kind, "__metadata__", ()):
        if meta.extra:
            return click.Choice([name for name in meta.extra["names"] if name], False)
    inner = get_args(kind)
    if get_origin(kind) is tuple:
        return LISTS[get_args(inner[0])[0]]
    if get_origin(kind) is Literal:
        return LossOnParam()
    return _option_type(inner[0]) if inner else kind
