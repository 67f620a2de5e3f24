"""What ``chargen probe-longrange --json`` wrote, read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chargen.errors import ChargenError
from chargen.files import parse_json, read_bytes, reason
from chargen.probes.context.result import ContextResult
from chargen.probes.runner.results import Probed
from chargen.probes.templates.result import TemplatesResult

LARGEST = 2**24  # bytes


def read_probed(file: Path, run: Path) -> Probed:
    """What templates and context found in ``run``; other instruments are not read.

    ``run`` is looked for by the name of its folder where the file tells of several, or of one that
    is called otherwise. `ChargenError` where it is not there, or the file is something else.
    """
    try:
        values = parse_json(read_bytes(file, LARGEST, follow=True))
        told = values.get("runs", [values])
        found = [_probed(one) for one in told if Path(one["run"]).name == run.resolve().name]
        names = ", ".join(one["run"] for one in told)
    except FileNotFoundError:
        raise ChargenError(
            f"{file}: no such file; chargen probe-longrange --json writes it"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChargenError(
            f"{file}: not what probe-longrange --json writes, or damaged "
            f"({type(error).__name__}: {reason(error)}); write it again"
        ) from None
    if not found:
        raise ChargenError(f"{file}: tells of {reason(names)}, not of {run}; probe that run")
    return found[0]


def _probed(values: Mapping[str, Any]) -> Probed:
    templates = values["templates"]
    return Probed(
        values["run"],
        templates=None if templates is None else TemplatesResult.from_json(templates),
        context={name: ContextResult.from_json(found) for name, found in values["context"].items()},
    )
