"""The texts that come with chargen, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from chargen.errors import ChargenError

PACKAGE = "chargen.corpora"
ENGLISH_BANK = "english.bank"
LONGRANGE_CHARS = 1_000_000


def names() -> tuple[str, ...]:
    """The names that `read` knows, in the order in which they are listed."""
    return tuple(_TEXTS)


def describe(name: str) -> str:
    """What the text ``name`` is good for, in one line."""
    return _text(name).purpose


def read(name: str, chars: int | None = None, seed: int = 0) -> str:
    """The text ``name``: its first ``chars`` characters, or all of it.

    ``longrange`` is made on the spot, as many characters as are asked for (1,000,000 when none
    are), and is a function of ``seed``; the others are what they are, and no ``seed`` changes
    them. An unknown name, a ``chars`` under 1 and one beyond the end of a text are refused.
    """
    if chars is not None and chars < 1:
        raise ChargenError(f"{name}: {chars} characters were asked for: ask for 1 or more")
    text = _text(name).make(chars, seed)
    if chars is not None and len(text) < chars:
        raise ChargenError(f"{name}: holds {len(text):,} characters, fewer than {chars:,}")
    return text[:chars]


def resource(name: str) -> str:
    """The text of the file ``name`` among the package's corpora, exactly as it is written."""
    return resources.files(PACKAGE).joinpath(name).read_bytes().decode("utf-8")


@dataclass(frozen=True)
class _Text:
    purpose: str
    make: Callable[[int | None, int], str]  # (chars or None, seed) → at least so much text


def _text(name: str) -> _Text:
    if name not in _TEXTS:
        raise ChargenError(f"no bundled corpus {name!r}: there are {', '.join(_TEXTS)}")
    return _TEXTS[name]


def _longrange(chars: int | None, seed: int) -> str:
    from chargen.text import longrange, phrases

    bank = phrases.parse(resource(ENGLISH_BANK), ENGLISH_BANK)
    return longrange.corpus(bank, LONGRANGE_CHARS if chars is None else chars, seed)


def _python_docs(chars: int | None, seed: int) -> str:
    from pydoc_data import topics

    return "\n".join(topics.topics[topic].rstrip("\n") + "\n" for topic in sorted(topics.topics))


def _fables(chars: int | None, seed: int) -> str:
    return resource("fables.txt")


_TEXTS = {
    "longrange": _Text(
        "sentences whose end hangs on their beginning: what probe-longrange can measure",
        _longrange,
    ),
    "python-docs": _Text(
        "the help pages of the Python that runs chargen: technical English, lists, code",
        _python_docs,
    ),
    "fables": _Text(
        "short original tales: prose with quotation, names that return, things remembered",
        _fables,
    ),
}
