"""How findings are worded."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 character``, ``2 characters``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
