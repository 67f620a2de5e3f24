"""Plain values as they stand in JSON, taken for what they should be."""

from __future__ import annotations

from typing import Any


def number(value: Any) -> float:
    """A finite number; `TypeError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:20]!r} is no number")
    return value


def count(value: Any) -> int:
    """A whole number of 0 or more; `TypeError` for anything else."""
    if type(value) is not int or value < 0:
        raise TypeError(f"{str(value)[:20]!r} is no count")
    return value


def maybe_count(value: Any) -> int | None:
    """A whole number of 0 or more, or None."""
    return None if value is None else count(value)
