"""Text for people: escaped control characters, plurals and lists."""

from __future__ import annotations

import re

# C0 but line feed and tab, DEL, C1; separators and what turns the direction of a line, which
# can make it read as another one; halves of surrogate pairs, as in file names that are no UTF-8.
ACTING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LINE = re.compile(f"[\n\t]|{ACTING.pattern}")


def visible(text: str) -> str:
    r"""``text`` with each character that acts spelled as Python does, such as ``\x1b``.

    Line feed and tab stay; all else that is printed stays as it is.
    """
    return ACTING.sub(_spelled, text)


def visible_line(text: str) -> str:
    r"""`visible` text in one line: line feed and tab are spelled out too."""
    return LINE.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def counted(number: int, noun: str) -> str:
    """``1 character``, ``2 characters``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
