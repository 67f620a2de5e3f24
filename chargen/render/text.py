"""Text for people: escaped control characters, plurals and lists."""

import re
import shlex

# C0 without newline and tab, DEL, C1; line separators; bidirectional controls, which can make a
# line read as another one; lone surrogates, as in file names that are not UTF-8.
ACTING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LINE = re.compile(f"[\n\t]|{ACTING.pattern}")


def visible(text: str) -> str:
    r"""Escape control characters as in Python, ``\x1b``, but for newlines and tabs."""
    return ACTING.sub(_escaped, text)


def visible_line(text: str) -> str:
    r"""Return `visible` text in one line: newlines and tabs are escaped too."""
    return LINE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def command(*parts: object) -> str:
    """Return a command of chargen, quoted so that a shell passes on these arguments."""
    return visible_line(shlex.join(["chargen", *map(str, parts)]))


def about(number: float) -> str:
    """Return a number with two significant digits, as in 1,600,000."""
    return f"{float(f'{number:.2g}'):,.0f}"


def counted(number: int, noun: str) -> str:
    """Return ``1 character`` or ``2 characters``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: list[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
