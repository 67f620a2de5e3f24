"""Writes docs/help.md from the commands themselves: ``python -m docs.help``, or ``make docs``."""

from __future__ import annotations

from pathlib import Path

import click

from chargen.cli import chargen

PAGE = Path(__file__).with_name("help.md")


def page() -> str:
    """The help of every command, in Markdown."""
    sections = [
        f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
        for name, command, context in _commands(chargen, "chargen", None)
    ]
    head = "# Commands\n\nWhat `--help` says, written by `make docs`.\n"
    return "\n".join([head, *sections])


def _commands(command: click.Command, name: str, parent: click.Context | None):
    settings = {**command.context_settings, "terminal_width": 96}
    context = click.Context(command, parent, info_name=name.rpartition(" ")[2], **settings)
    yield name, command, context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _commands(command.commands[below], f"{name} {below}", context)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
