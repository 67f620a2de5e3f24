"""Bundled and generated texts, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from chargen.datasets import longrange
from chargen.datasets.phrase_bank import Bank, parse_bank, read_bank
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError

ENGLISH_BANK, CHINESE_BANK = "english.bank", "chinese.bank"
BANKS = {"longrange": ENGLISH_BANK, "longrange-zh": CHINESE_BANK}  # by generated corpus
GENERATED_CHARS = 1_000_000  # default length of a generated text


def read(name: str, chars: int | None = None, seed: int = 0) -> str:
    """Return ``chars`` characters of a text: by default all of it, or 1,000,000 generated ones."""
    text = _text(name).make(chars or GENERATED_CHARS, seed)
    if chars is not None and len(text) < chars:
        raise ChargenError(f"{name}: holds {len(text):,} characters, fewer than {chars:,}")
    return text[:chars]


def size(name: str) -> int:
    """Return the default length of a text in characters, approximate if it is generated."""
    text = _text(name)
    return GENERATED_CHARS if text.generated else len(text.make(0, 0))


def resource(name: str) -> str:
    return resources.files("chargen.corpora").joinpath(name).read_bytes().decode("utf-8")


def bank(name: str) -> Bank:
    return parse_bank(resource(name), name)


def banks(name: str | Path | None) -> list[Bank]:
    """Return the phrase bank in a file or the bundled one of that name, by default all bundled."""
    if name is None:
        return [bank(file) for file in BANKS.values()]
    if str(name) in BANKS.values() and not Path(name).exists():
        return [bank(str(name))]
    return [read_bank(name)]


@dataclass(frozen=True)
class _BundledText:
    purpose: str
    make: Callable[[int, int], str]  # chars, seed → at least that much text if it is generated
    generated: bool = False


def _text(name: str) -> _BundledText:
    if name not in TEXTS:
        known = f"{', '.join(TEXTS)}, and the phrase banks {', '.join(BANKS.values())}"
        raise ChargenError(f"no bundled corpus {name!r}; there are {known}")
    return TEXTS[name]


def _python_docs(chars: int, seed: int) -> str:
    from pydoc_data import topics

    return "\n".join(topics.topics[topic].rstrip("\n") + "\n" for topic in sorted(topics.topics))


TEXTS = {
    "longrange": _BundledText(
        "sentences whose end depends on their beginning; what probe-longrange can measure",
        lambda chars, seed: longrange.corpus(bank(ENGLISH_BANK), chars, seed),
        generated=True,
    ),
    "longrange-zh": _BundledText(
        "the same in Chinese, from the phrase bank chinese.bank",
        lambda chars, seed: longrange.corpus(bank(CHINESE_BANK), chars, seed),
        generated=True,
    ),
    "python-docs": _BundledText(
        "the help pages of the running Python: technical English, lists, code", _python_docs
    ),
    "fables": _BundledText(
        "short original tales: prose with quotations, recurring names and long-range references",
        lambda chars, seed: resource("fables.txt"),
    ),
    **{name: _BundledText(task.purpose, task.corpus, True) for name, task in TASKS.items()},
}
