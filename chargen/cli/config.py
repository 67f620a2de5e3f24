"""TOML files with the options of a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from chargen.errors import ChargenError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXCLUDED = ("config", "print_config")


def read_config(context: click.Context, option: click.Parameter, file: Path | None) -> None:
    """Use a file's values where the command line gives none; the callback of ``--config``."""
    if file is None or context.resilient_parsing:  # the latter completes a command line
        return
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ChargenError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ChargenError(f"{file}: not a TOML file ({error})") from None
    known = {str(one.name): one for one in context.command.params if one.name not in EXCLUDED}
    context.default_map = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0].replace('_', '-')}?" if near else "see chargen train -h"
            raise ChargenError(f"{file}: {key}: no such option; {hint}")
        context.default_map[name] = _converted(context, known[name], value, f"{file}: {key}")


def _converted(context: click.Context, option: click.Parameter, value: Any, place: str) -> Any:
    if isinstance(value, bool) != getattr(option, "is_flag", False):
        raise ChargenError(f"{place}: must {'not ' * isinstance(value, bool)}be true or false")
    if isinstance(value, list) and option.nargs == 1:
        value = ",".join(map(str, value)) if value else ()
    try:
        return option.type_cast_value(context, value)
    except (click.BadParameter, ChargenError) as error:
        raise ChargenError(f"{place}: {error.message}") from None


def to_toml(values: Mapping[str, Any]) -> str:
    """Return options as a TOML file, without those that are None."""
    given = {name.replace("_", "-"): one for name, one in values.items() if one is not None}
    lines = (f"{name} = {json.dumps(one, default=str)}\n" for name, one in given.items())
    return "".join(["# chargen train --config FILE\n", *lines])
