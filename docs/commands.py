"""Generate docs/reference/commands.md from the commands: ``python -m docs.commands``."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from chargen.cli import chargen

PAGE = Path(__file__).with_name("reference") / "commands.md"
HEAD = """# Commands

Every command and option, generated from the code. `chargen COMMAND --help` prints the same.
"""


def page() -> str:
    """Return the reference of every command, in Markdown, with a heading per option."""
    return "\n".join([HEAD, *_sections(chargen, "chargen", None)])


def _sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": 96}
    context = click.Context(command, parent, info_name=name.rpartition(" ")[2], **settings)
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"## {name}\n\n```text\n{usage}\n```\n\n{_description(command)}"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield _option(parameter, name.removeprefix("chargen ").strip(), context)
    if isinstance(command, click.Group):
        for below in command.commands:  # in the order in which they are useful, train first
            yield from _sections(command.commands[below], f"{name} {below}", context)


def _description(command: click.Command) -> str:
    """Return a command's help as paragraphs; what click keeps verbatim becomes a code block."""
    texts = (inspect.cleandoc(text) for text in (command.help, command.epilog) if text)
    blocks = "\n\n".join(texts).split("\n\n")
    shown = []
    for block in blocks:
        first, _, rest = block.strip("\n").partition("\n")
        if first == "\b":
            title, _, lines = rest.partition("\n")
            code = lines if title.endswith(":") else rest
            shown += [title] * title.endswith(":") + [f"```text\n{textwrap.dedent(code)}\n```"]
        elif block.strip():
            shown.append(" ".join(block.split()))
    return "\n\n".join(shown) + "\n"


def _option(option: click.Option, command: str, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    facts = option.get_help_extra(context)
    kind = "" if option.is_flag else f" `{option.make_metavar(context)}`"
    default = f" Default: {facts['default']}." if facts.get("default") else ""
    told = re.sub(r" +\[default: (.*)\]$", r" Default: \1.", option.help or "")
    return f"### {command} {option.opts[-1]}\n\n{names}{kind}: {told}{default}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
