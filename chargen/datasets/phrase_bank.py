"""Phrase banks: files of facts and fillers from which long-range sentences are composed.

`corpora/english.bank` documents the format for authors of banks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from chargen.errors import ChargenError
from chargen.files import read_bytes, reason

LARGEST = 2**18  # bytes of a bank
MOST_LINES, LONGEST_LINE = 5000, 1000  # lines with content, and characters per line
MOST_PIECES = 1000  # per section
WINDOW = 30  # characters of filler that training and test text never share
FRAME = re.compile(r"(?P<opening>.*)\{cue\}\{filler\}(?P<lead>.+)\{target\}(?P<ending>.*)")
DISTRACTOR = re.compile(r"(?P<head>.*)\{cue\}(?P<tail>.*)")
PATTERNS = {
    "frame": (FRAME, 'must be like "a letter from {cue}{filler} in {target}."'),
    "decoy before": (DISTRACTOR, "must hold {cue}"),
    "decoy after": (DISTRACTOR, "must hold {cue}"),
    "no cue": (re.compile(r"[^{}]+"), "must be a word"),
}
FILLER_SECTIONS = ("[training fillers]", "[test fillers]", "[links]")
FACTS = re.compile(r"\[facts (\S[^\]]*)\]")

Half = Literal["training", "test"]


@dataclass(frozen=True)
class FactSet:
    """K facts, cue → target, and the sentence that states one of them."""

    name: str
    opening: str  # text before the cue
    lead: str  # text between the filler and the target; the shortest span
    ending: str  # text after the target
    distractor_before: tuple[str, str]  # text around a distractor's cue before the sentence
    distractor_after: tuple[str, str]  # text around a distractor's cue among the fillers
    no_cue: str  # a word of the cue's length that is no cue, for the control
    cues: tuple[str, ...]  # (K,) of equal length
    targets: tuple[str, ...]  # (K,) of equal length, with distinct first characters
    line: int = 0  # line in the bank

    @property
    def shortest_span(self) -> int:
        """The characters between cue and target without any filler."""
        return len(self.lead)


@dataclass(frozen=True)
class Bank:
    """The validated content of a phrase bank."""

    name: str
    fact_sets: tuple[FactSet, ...]
    training: tuple[str, ...]  # filler phrases of training text only
    test: tuple[str, ...]  # filler phrases of test sentences only
    links: tuple[str, ...]  # short pieces of both, never two in a row

    def characters(self, no_cue: bool = True) -> str:
        """Return the sorted characters of all sentences, with or without those of ``no_cue``."""
        texts = [*self.training, *self.test, *self.links]
        for facts in self.fact_sets:
            texts += [facts.opening, facts.lead, facts.ending, *facts.distractor_before]
            texts += [*facts.distractor_after, *facts.cues, *facts.targets]
            texts += [facts.no_cue] if no_cue else []
        return "".join(sorted(set("".join(texts))))


def read_bank(path: str | Path) -> Bank:
    """Read a UTF-8 phrase bank; `ChargenError` names the line if it is invalid."""
    try:
        text = read_bytes(Path(path), LARGEST, follow=True).decode("utf-8-sig")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else reason(error)
        raise ChargenError(f"{path}: cannot be read as a phrase bank: {why}") from error
    return parse_bank(text, str(path))


def parse_bank(text: str, name: str) -> Bank:
    """Parse a phrase bank; ``name`` is the name of its file in messages."""
    try:
        return _parsed(text, name)
    except _LineError as error:
        raise ChargenError(f"{name}, line {error.line}: {error}") from None


class _LineError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Line(NamedTuple):
    number: int
    text: str


def _parsed(text: str, name: str) -> Bank:
    sections = _sections(text)
    end = text.count("\n") + 1
    facts = [_fact_set(header, *lines) for header, lines in sections.items() if FACTS.match(header)]
    if not facts:
        raise _LineError(end, "there is no section [facts NAME]")
    fillers = []
    for header in FILLER_SECTIONS:
        lines = sections.get(header)
        if not lines:
            raise _LineError(end, f"section {header} is missing or empty")
        if len(lines) > MOST_PIECES:
            raise _LineError(lines[MOST_PIECES].number, f"{header} has more than {MOST_PIECES}")
        fillers.append([line._replace(text=_quoted(line)) for line in lines])
    bank = Bank(name, tuple(facts), *(tuple(line.text for line in lines) for lines in fillers))
    _check_halves(*fillers)
    language = FillerLanguage([*bank.training, *bank.test, *bank.links])
    for one in bank.fact_sets:
        for part in (one.lead, *one.cues, *one.targets):
            if language.contains(part):
                raise _LineError(one.line, f"{part!r} can be read inside the fillers")
    known = set(replace(bank, test=()).characters(no_cue=False))
    for number, part in (*fillers[1], *((one.line, one.no_cue) for one in bank.fact_sets)):
        if strange := sorted(set(part) - known):
            raise _LineError(number, f"no training text holds {strange[0]!r} of {part!r}")
    return bank


def _sections(text: str) -> dict[str, list[_Line]]:
    """Return the lines of each section; those of facts begin with the header."""
    lines = (_Line(n, line.strip()) for n, line in enumerate(text.splitlines(), start=1))
    filled = [line for line in lines if line.text and not line.text.startswith("#")]
    if len(filled) > MOST_LINES:
        raise _LineError(filled[MOST_LINES].number, f"a bank has at most {MOST_LINES} lines")
    sections: dict[str, list[_Line]] = {}
    current: list[_Line] | None = None
    for line in filled:
        if len(line.text) > LONGEST_LINE:
            raise _LineError(line.number, f"longer than {LONGEST_LINE} characters")
        if line.text.startswith("["):
            is_facts = FACTS.fullmatch(line.text)
            if not is_facts and line.text not in FILLER_SECTIONS:
                named, known = reason(line.text), ", ".join(["[facts NAME]", *FILLER_SECTIONS])
                raise _LineError(line.number, f"unknown section {named}; choose from {known}")
            if line.text in sections:
                raise _LineError(line.number, f"section {line.text} is repeated")
            current = sections[line.text] = [line] if is_facts else []
        elif current is None:
            raise _LineError(line.number, "a line before the first [section]")
        else:
            current.append(line)
    return sections


def _fact_set(header: str, first: _Line, *lines: _Line) -> FactSet:
    settings: dict[str, re.Match[str]] = {}
    facts: dict[str, str] = {}
    for line in lines:
        if "=" not in line.text:
            _add_fact(facts, line)
            continue
        key, _, value = (part.strip() for part in line.text.partition("="))
        if key not in PATTERNS:
            raise _LineError(
                line.number, f"unknown setting {key!r}; choose from {', '.join(PATTERNS)}"
            )
        pattern, hint = PATTERNS[key]
        match = pattern.fullmatch(_quoted(line._replace(text=value)))
        if match is None or key in settings:
            raise _LineError(line.number, f"{key} is repeated" if match else f"{key} {hint}")
        settings[key] = match
    for key in PATTERNS:
        if key not in settings:
            raise _LineError(first.number, f'{header} has no line {key} = "..."')
    if len(facts) < 2:
        raise _LineError(first.number, "a set needs at least two facts")
    frame, before, after, no_cue = (settings[key] for key in PATTERNS)
    if len(no_cue[0]) != len(next(iter(facts))):
        raise _LineError(first.number, f"no cue {no_cue[0]!r} is not as long as the cues")
    return FactSet(
        header[len("[facts ") : -1],
        frame["opening"],
        frame["lead"],
        frame["ending"] + "\n",
        (before["head"], before["tail"]),
        (after["head"], after["tail"]),
        no_cue[0],
        tuple(facts),
        tuple(facts.values()),
        first.number,
    )


def _add_fact(facts: dict[str, str], line: _Line) -> None:
    cue, arrow, target = (part.strip() for part in line.text.partition("->"))
    if not (cue and arrow and target):
        raise _LineError(line.number, f"expected CUE -> TARGET, got {line.text!r}")
    first, first_target = next(iter(facts.items()), (cue, target))
    if (len(cue), len(target)) != (len(first), len(first_target)):
        like = f"{first} -> {first_target}"
        raise _LineError(line.number, f"{cue} -> {target} differs in length from {like}")
    if cue in facts:
        raise _LineError(line.number, f"cue {cue} is repeated")
    if target[0] in (other[0] for other in facts.values()):
        raise _LineError(line.number, f"another target begins with {target[0]!r} already")
    facts[cue] = target


def _quoted(line: _Line) -> str:
    if len(line.text) < 3 or line.text[0] != '"' or line.text[-1] != '"':
        raise _LineError(line.number, f"expected text in double quotes, got {line.text!r}")
    return line.text[1:-1]


def _check_halves(training: list[_Line], test: list[_Line], links: list[_Line]) -> None:
    """Check that no `WINDOW` characters of filler occur in both halves."""
    longest_link = max(len(link.text) for link in links)
    # The worst case is two phrases that lack one character each, with a link between.
    longest = (WINDOW - 1 - longest_link) // 2 + 1
    for phrase in (*training, *test):
        if len(phrase.text) > longest:
            rule = f"longer than {longest} characters, so {WINDOW} could be shared"
            raise _LineError(phrase.number, f"filler {phrase.text!r} is {rule}")
    for half, other in ((training, test), (test, training)):
        pieces = FillerLanguage([line.text for line in (*other, *links)])
        for phrase in half:
            if pieces.contains(phrase.text):
                raise _LineError(phrase.number, f"filler {phrase.text!r} is in the other half too")


class FillerLanguage:
    """All strings of pieces in any order; each piece has at most `WINDOW` characters."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._all = "\n".join(pieces)  # no piece contains a line feed
        self._whole = set(pieces)
        self._begins = {piece[:end] for piece in self._whole for end in range(1, len(piece) + 1)}
        self._ends = {piece[start:] for piece in self._whole for start in range(len(piece))}

    def contains(self, text: str) -> bool:
        """Return whether ``text`` is a substring of any string of pieces."""
        if text in self._all:
            return True
        # Dynamic programming over the places at which a piece may end.
        reached = [text[:end] in self._ends for end in range(min(len(text), WINDOW + 1))]
        reached += [False] * (len(text) - len(reached))
        for place in range(1, len(text)):
            if not reached[place]:
                continue
            if text[place:] in self._begins:
                return True
            for end in range(place + 1, min(len(text), place + WINDOW + 1)):
                reached[end] = reached[end] or text[place:end] in self._whole
        return False
