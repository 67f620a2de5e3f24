"""Phrase banks: files of facts and fillers. `corpora/english.bank` documents the format."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from chargen.errors import ChargenError
from chargen.files import cannot_read, read_bytes, reason

LARGEST = 2**18  # bytes of a bank
MOST_LINES = 2000  # with content
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
        raise cannot_read(path, error) from error
    return parse_bank(text, str(path))


class _Line(NamedTuple):
    file: str
    number: int
    text: str

    def error(self, message: str) -> ChargenError:
        return ChargenError(f"{self.file}, line {self.number}: {reason(message)}")

    def quoted(self) -> str:
        if not re.fullmatch('"..*"', self.text):
            raise self.error(f"expected text in double quotes, got {self.text!r}")
        return self.text[1:-1]


def parse_bank(text: str, name: str) -> Bank:
    """Parse a phrase bank; ``name`` is the name of its file in messages."""
    sections = _sections(text, name)
    end = _Line(name, text.count("\n") + 1, "")
    fillers = []
    for named in FILLER_SECTIONS:
        _, *lines = sections.pop(named, [end])
        if not lines:
            raise end.error(f"section {named} is missing or empty")
        fillers.append([line._replace(text=line.quoted()) for line in lines])
    if not sections:
        raise end.error("there is no section [facts NAME]")
    facts = [(lines[0], _fact_set(*lines)) for lines in sections.values()]
    pieces = [tuple(line.text for line in lines) for lines in fillers]
    bank = Bank(name, tuple(one for _, one in facts), *pieces)
    _check_halves(*fillers)
    language = FillerLanguage([*bank.training, *bank.test, *bank.links])
    for header, one in facts:
        for part in (one.lead, *one.cues, *one.targets):
            if language.contains(part):
                raise header.error(f"{part!r} can be read inside the fillers")
    known = set(replace(bank, test=()).characters(no_cue=False))
    for line in (*fillers[1], *(header._replace(text=one.no_cue) for header, one in facts)):
        if strange := sorted(set(line.text) - known):
            raise line.error(f"no training text holds {strange[0]!r} of {line.text!r}")
    return bank


def _sections(text: str, name: str) -> dict[str, list[_Line]]:
    lines = (_Line(name, n, line.strip()) for n, line in enumerate(text.splitlines(), start=1))
    filled = [line for line in lines if line.text and not line.text.startswith("#")]
    if len(filled) > MOST_LINES:
        raise filled[MOST_LINES].error(f"a bank has at most {MOST_LINES} lines")
    sections: dict[str, list[_Line]] = {}
    for line in filled:
        if line.text.startswith("["):
            if line.text not in FILLER_SECTIONS and not FACTS.fullmatch(line.text):
                known = ", ".join(["[facts NAME]", *FILLER_SECTIONS])
                raise line.error(f"unknown section {reason(line.text)}; choose from {known}")
            if line.text in sections:
                raise line.error(f"section {line.text} is repeated")
            current = sections[line.text] = [line]
        elif not sections:
            raise line.error("a line before the first [section]")
        else:
            current.append(line)
    return sections


def _fact_set(header: _Line, *lines: _Line) -> FactSet:
    settings: dict[str, re.Match[str]] = {}
    facts: dict[str, str] = {}
    for line in lines:
        if "=" not in line.text:
            _add_fact(facts, line)
            continue
        key, _, value = (part.strip() for part in line.text.partition("="))
        if key not in PATTERNS:
            raise line.error(f"unknown setting {key!r}; choose from {', '.join(PATTERNS)}")
        pattern, hint = PATTERNS[key]
        match = pattern.fullmatch(line._replace(text=value).quoted())
        if match is None or key in settings:
            raise line.error(f"{key} is repeated" if match else f"{key} {hint}")
        settings[key] = match
    for key in PATTERNS:
        if key not in settings:
            raise header.error(f'{header.text} has no line {key} = "..."')
    if len(facts) < 2:
        raise header.error("a set needs at least two facts")
    frame, before, after, no_cue = (settings[key] for key in PATTERNS)
    if len(no_cue[0]) != len(next(iter(facts))):
        raise header.error(f"no cue {no_cue[0]!r} is not as long as the cues")
    opening, lead, ending = frame.groups()
    around = (before["head"], before["tail"]), (after["head"], after["tail"])
    name, words = header.text[len("[facts ") : -1], (tuple(facts), tuple(facts.values()))
    return FactSet(name, opening, lead, ending + "\n", *around, no_cue[0], *words)


def _add_fact(facts: dict[str, str], line: _Line) -> None:
    cue, _, target = (part.strip() for part in line.text.partition("->"))
    if not (cue and target):
        raise line.error(f"expected CUE -> TARGET, got {line.text!r}")
    first = next(iter(facts.items()), (cue, target))
    if (len(cue), len(target)) != (len(first[0]), len(first[1])):
        raise line.error(f"{cue} -> {target} differs in length from {' -> '.join(first)}")
    if cue in facts:
        raise line.error(f"cue {cue} is repeated")
    if target[0] in (other[0] for other in facts.values()):
        raise line.error(f"another target begins with {target[0]!r} already")
    facts[cue] = target


def _check_halves(training: list[_Line], test: list[_Line], links: list[_Line]) -> None:
    """Check that no `WINDOW` characters of filler occur in both halves."""
    # The worst case is two phrases that lack one character each, with a link between.
    longest = (WINDOW - 1 - max(len(link.text) for link in links)) // 2 + 1
    for half, other in ((training, test), (test, training)):
        for phrase in half:
            if len(phrase.text) > longest:
                rule = f"longer than {longest} characters, so {WINDOW} could be shared"
                raise phrase.error(f"filler is {rule}: {phrase.text!r}")
        pieces = FillerLanguage([line.text for line in (*other, *links) if len(line.text) < WINDOW])
        for phrase in half:
            if pieces.contains(phrase.text):
                raise phrase.error(f"filler {phrase.text!r} is in the other half too")


class FillerLanguage:
    """All strings of pieces in any order; each piece has at most `WINDOW` characters."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._all = "\n".join(pieces)  # no piece contains a line feed
        self._whole = set(pieces)
        self._begins = {piece[:end] for piece in self._whole for end in range(1, len(piece) + 1)}
        self._ends = {piece[start:] for piece in self._whole for start in range(len(piece))}

    def contains(self, text: str) -> bool:
        """Return whether ``text`` is a substring of any string of pieces."""
        # Dynamic programming over the places at which a piece may end.
        reached = {end for end in range(1, len(text)) if text[:end] in self._ends}
        for place in range(1, len(text)):
            if place in reached:
                if text[place:] in self._begins:
                    return True
                ends = range(place + 1, min(len(text), place + WINDOW + 1))
                reached.update(end for end in ends if text[place:end] in self._whole)
        return text in self._all
