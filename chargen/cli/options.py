"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chargen.errors import ChargenError

run_argument = click.argument("run", required=False, type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, or auto: a GPU where there is one.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Processor threads.  [default: torch's choice]"
)


def use_threads(threads: int | None) -> None:
    """Have torch compute on this many processor threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


class UnitsParam(click.ParamType):
    """``256`` or ``256,128``: one number a layer."""

    name = "units"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[int, ...]:
        """Text to a tuple; what the numbers must be is the settings' to say."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            raise ChargenError(
                f"--units {value}: must be one whole number a layer, as in 256 or 256,128"
            ) from None


class LossOnParam(click.ParamType):
    """``all``, ``last`` or a number."""

    name = "all|last|K"

    def convert(self, value: Any, param: Any, context: Any) -> str | int:
        """A number where it is one; whether the rest is a name is the settings' to say."""
        text = str(value)
        return int(text) if text.isdecimal() else text
