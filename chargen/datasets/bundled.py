"""The texts that come with chargen, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources

from chargen.datasets.bank import Bank
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError

PACKAGE = "chargen.corpora"
ENGLISH_BANK, CHINESE_BANK = "english.bank", "chinese.bank"
BANKS = {"longrange": ENGLISH_BANK, "longrange-zh": CHINESE_BANK}  # and the corpora made from them
GENERATED_CHARS = 1_000_000  # of a text that is made on the spot, unless told


def names() -> tuple[str, ...]:
    """The names that `read` knows, in the order in which they are listed."""
    return tuple(_TEXTS)


def describe(name: str) -> str:
    """What the text ``name`` is good for, in one line."""
    return _text(name).purpose


def read(name: str, chars: int | None = None, seed: int = 0) -> str:
    """The text ``name``: its first ``chars`` characters, or all of it.

    ``longrange``, ``longrange-zh`` and the tasks are made on the spot, as many characters as are
    asked for (1,000,000 when none are), and are a function of ``seed``; the others are what they
    are, and no ``seed`` changes them. An unknown name, a ``chars`` under 1 and one beyond the end
    of a text are refused.
    """
    if chars is not None and chars < 1:
        raise ChargenError(f"{name}: {chars} characters were asked for: ask for 1 or more")
    text = _text(name).make(chars, seed)
    if chars is not None and len(text) < chars:
        raise ChargenError(f"{name}: holds {len(text):,} characters, fewer than {chars:,}")
    return text[:chars]


def size(name: str) -> int:
    """The characters that `read` gives: of a text that is made on the spot, a line more or less.

    Nothing is made to find out.
    """
    text = _text(name)
    return GENERATED_CHARS if text.generated else len(text.make(None, 0))


def resource(name: str) -> str:
    """The text of the file ``name`` among the package's corpora, exactly as it is written."""
    return resources.files(PACKAGE).joinpath(name).read_bytes().decode("utf-8")


def bank(name: str) -> Bank:
    """The phrase bank in the file ``name`` among the package's corpora."""
    from chargen.datasets import phrases

    return phrases.parse(resource(name), name)


def made_from(file: str) -> str | None:
    """The name of the text that is made from the bundled bank ``file``, None if there is none."""
    return next((name for name, bank_file in BANKS.items() if bank_file == file), None)


@dataclass(frozen=True)
class _Text:
    purpose: str
    make: Callable[[int | None, int], str]  # (chars or None, seed) → at least so much text
    generated: bool = False  # on the spot, as much as is asked for


def _text(name: str) -> _Text:
    if name not in _TEXTS:
        known = f"there are {', '.join(_TEXTS)}; phrase banks are {', '.join(BANKS.values())}"
        raise ChargenError(f"no bundled corpus {name!r}: {known}")
    return _TEXTS[name]


def _longrange(name: str, chars: int | None, seed: int) -> str:
    from chargen.datasets import longrange

    return longrange.corpus(bank(BANKS[name]), GENERATED_CHARS if chars is None else chars, seed)


def _task(name: str, chars: int | None, seed: int) -> str:
    return TASKS[name].corpus(GENERATED_CHARS if chars is None else chars, seed)


def _python_docs(chars: int | None, seed: int) -> str:
    from pydoc_data import topics

    return "\n".join(topics.topics[topic].rstrip("\n") + "\n" for topic in sorted(topics.topics))


def _fables(chars: int | None, seed: int) -> str:
    return resource("fables.txt")


_TEXTS = {
    "longrange": _Text(
        "sentences whose end hangs on their beginning: what probe-longrange can measure",
        partial(_longrange, "longrange"),
        generated=True,
    ),
    "longrange-zh": _Text(
        "the same in Chinese, from the phrase bank chinese.bank",
        partial(_longrange, "longrange-zh"),
        generated=True,
    ),
    "python-docs": _Text(
        "the help pages of the Python that runs chargen: technical English, lists, code",
        _python_docs,
    ),
    "fables": _Text(
        "short original tales: prose with quotation, names that return, things remembered",
        _fables,
    ),
    **{name: _Text(task.purpose, partial(_task, name), True) for name, task in TASKS.items()},
}
