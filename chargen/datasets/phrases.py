"""Phrase banks: files of facts and fillers that long-range sentences are made of.

`corpora/english.bank` explains the format to those who write one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chargen.datasets.bank import Bank, FactSet
from chargen.errors import ChargenError
from chargen.files import read_bytes, reason

LARGEST = 2**18  # bytes of a bank
MOST_LINES, LONGEST_LINE = 5000, 1000  # that say something, and the characters of one
MOST_PIECES = 1000  # of one section
WINDOW = 30  # characters of filler that training and test never share
KEYS = ("frame", "decoy before", "decoy after", "no cue")
FRAME = re.compile(r"(?P<opening>.*)\{cue\}\{filler\}(?P<lead>.+)\{target\}(?P<ending>.*)")
DECOY = re.compile(r"(?P<head>.*)\{cue\}(?P<tail>.*)")
PATTERNS = {
    "frame": (FRAME, 'must be like "a letter from {cue}{filler} in {target}."'),
    "decoy before": (DECOY, "must hold {cue}"),
    "decoy after": (DECOY, "must hold {cue}"),
    "no cue": (re.compile(r"[^{}]+"), "must be a word"),
}
FILLER_SECTIONS = ("[training fillers]", "[test fillers]", "[links]")


def read(path: str | Path) -> Bank:
    """The bank in the UTF-8 file ``path``; what is wrong with it is said with its line."""
    try:
        text = read_bytes(Path(path), LARGEST, follow=True).decode("utf-8-sig")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else reason(error)
        raise ChargenError(f"{path}: cannot be read as a phrase bank: {why}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Bank:
    """The bank that ``text`` says; ``name`` is the file that messages name."""
    return _Parser(name).parse(text)


@dataclass
class _Line:
    number: int
    text: str


class _Parser:
    """Reads lines into sections, sections into a `Bank`, and says where a line is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name

    def wrong(self, line: int, message: str) -> ChargenError:
        return ChargenError(f"{self.name}, line {line}: {message}")

    def parse(self, text: str) -> Bank:
        sections = self._sections(text)
        fact_sets = tuple(self._facts(*item) for item in sections.items() if _is_facts(item[0]))
        end = text.count("\n") + 1
        if not fact_sets:
            raise self.wrong(end, "there is no section [facts NAME]")
        training = self._pieces(sections, "[training fillers]", end)
        test = self._pieces(sections, "[test fillers]", end)
        links = self._pieces(sections, "[links]", end)
        self._check_halves(training, test, links)
        self._check_leads(fact_sets, [*training, *test, *links])
        bank = Bank(self.name, fact_sets, tuple(training), tuple(test), tuple(links))
        self._check_characters(bank, test)
        return bank

    def _sections(self, text: str) -> dict[str, list[_Line]]:
        sections: dict[str, list[_Line]] = {}
        current: list[_Line] | None = None
        for count, line in enumerate(_lines(text)):
            if count >= MOST_LINES:
                raise self.wrong(line.number, f"a bank has {MOST_LINES} lines at most")
            if len(line.text) > LONGEST_LINE:
                raise self.wrong(line.number, f"longer than {LONGEST_LINE} characters")
            if line.text.startswith("["):
                if not (_is_facts(line.text) or line.text in FILLER_SECTIONS):
                    name, known = reason(line.text), ", ".join(["[facts NAME]", *FILLER_SECTIONS])
                    raise self.wrong(line.number, f"unknown section {name}: there are {known}")
                if line.text in sections:
                    raise self.wrong(line.number, f"section {line.text} comes a second time")
                current = sections[line.text] = [line] if _is_facts(line.text) else []
            elif current is None:
                raise self.wrong(line.number, "a line before the first [section]")
            else:
                current.append(line)
        return sections

    def _facts(self, header: str, lines: list[_Line]) -> FactSet:
        first, *lines = lines
        settings: dict[str, re.Match[str]] = {}
        for line in lines:
            if "=" in line.text:
                key, match = self._setting(line)
                if key in settings:
                    raise self.wrong(line.number, f"{key} comes a second time")
                settings[key] = match
        for key in KEYS:
            if key not in settings:
                raise self.wrong(first.number, f'{header} has no line {key} = "..."')
        frame, before, after, no_cue = (settings[key] for key in KEYS)
        facts = [(line.number, self._fact(line)) for line in lines if "=" not in line.text]
        self._check_facts(facts, first.number)
        if len(no_cue[0]) != len(facts[0][1][0]):
            raise self.wrong(first.number, f"no cue {no_cue[0]!r} is not as long as the cues")
        return FactSet(
            name=header.removeprefix("[facts ").removesuffix("]"),
            opening=frame["opening"],
            lead=frame["lead"],
            ending=frame["ending"] + "\n",
            decoy_before=(before["head"], before["tail"]),
            decoy_after=(after["head"], after["tail"]),
            no_cue=no_cue[0],
            cues=tuple(cue for _, (cue, _) in facts),
            targets=tuple(target for _, (_, target) in facts),
            line=first.number,
        )

    def _setting(self, line: _Line) -> tuple[str, re.Match[str]]:
        key, _, value = (part.strip() for part in line.text.partition("="))
        if key not in PATTERNS:
            raise self.wrong(line.number, f"unknown setting {key!r}: there are {', '.join(KEYS)}")
        pattern, hint = PATTERNS[key]
        match = pattern.fullmatch(self._quoted(line, value))
        if match is None:
            raise self.wrong(line.number, f"{key} {hint}")
        return key, match

    def _fact(self, line: _Line) -> tuple[str, str]:
        cue, arrow, target = (part.strip() for part in line.text.partition("->"))
        if not (cue and arrow and target):
            raise self.wrong(line.number, f"expected CUE -> TARGET, got {line.text!r}")
        return cue, target

    def _check_facts(self, facts: list[tuple[int, tuple[str, str]]], line: int) -> None:
        if len(facts) < 2:
            raise self.wrong(line, "a set holds two facts or more")
        _, (first_cue, first_target) = facts[0]
        cues: set[str] = set()
        initials: set[str] = set()
        for number, (cue, target) in facts:
            if len(cue) != len(first_cue) or len(target) != len(first_target):
                like = f"{first_cue} -> {first_target}"
                raise self.wrong(number, f"{cue} -> {target} differs in length from {like}")
            if cue in cues:
                raise self.wrong(number, f"cue {cue} comes a second time")
            if target[0] in initials:
                raise self.wrong(number, f"another target begins with {target[0]!r} already")
            cues.add(cue)
            initials.add(target[0])

    def _pieces(self, sections: dict[str, list[_Line]], header: str, end: int) -> list[_Piece]:
        if not sections.get(header):
            raise self.wrong(end, f"there is no section {header}, or nothing in it")
        lines = sections[header]
        if len(lines) > MOST_PIECES:
            raise self.wrong(lines[MOST_PIECES].number, f"{header} has more than {MOST_PIECES}")
        return [_Piece(self._quoted(line, line.text), line.number) for line in lines]

    def _quoted(self, line: _Line, value: str) -> str:
        if len(value) < 3 or value[0] != '"' or value[-1] != '"':
            raise self.wrong(line.number, f"expected text in double quotes, got {value!r}")
        return value[1:-1]

    def _check_halves(
        self, training: list[_Piece], test: list[_Piece], links: list[_Piece]
    ) -> None:
        """`WINDOW` characters of filler always hold a whole phrase, never one of both halves."""
        longest_link = max(len(link) for link in links)
        # Worst are two phrases, each lacking one character, with a link between.
        longest = (WINDOW - 1 - longest_link) // 2 + 1
        for phrase in (*training, *test):
            if len(phrase) > longest:
                rule = f"longer than {longest} characters, so {WINDOW} could be shared"
                raise self.wrong(phrase.line, f"filler {str(phrase)!r} is {rule}")
        for half, other in ((training, test), (test, training)):
            pieces = Strung([*other, *links])
            for phrase in half:
                if pieces.hold(phrase):
                    raise self.wrong(
                        phrase.line, f"filler {str(phrase)!r} is in the other half too"
                    )

    def _check_characters(self, bank: Bank, test: list[_Piece]) -> None:
        """A model of the training half can spell all that the probe asks."""
        known = set(replace(bank, test=()).characters(no_cue=False))
        for text, line in [
            *((str(phrase), phrase.line) for phrase in test),
            *((facts.no_cue, facts.line) for facts in bank.fact_sets),
        ]:
            if strange := sorted(set(text) - known):
                raise self.wrong(line, f"no training text holds {strange[0]!r} of {text!r}")

    def _check_leads(self, fact_sets: tuple[FactSet, ...], pieces: list[_Piece]) -> None:
        """Nothing that tells a fact can be read inside the fillers."""
        strung = Strung(pieces)
        for facts in fact_sets:
            for text in (facts.lead, *facts.cues, *facts.targets):
                if strung.hold(text):
                    raise self.wrong(facts.line, f"{text!r} can be read inside the fillers")


class _Piece(str):
    """A piece of filler that knows its line."""

    __slots__ = ("line",)
    line: int

    def __new__(cls, text: str, line: int) -> _Piece:
        piece = super().__new__(cls, text)
        piece.line = line
        return piece


class Strung:
    """Pieces, each `WINDOW` characters long at most, strung together in any order."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._all = "\n".join(pieces)  # a line feed is in no piece
        self._whole = {str(piece) for piece in pieces}
        self._begins = {piece[:end] for piece in self._whole for end in range(1, len(piece) + 1)}
        self._ends = {piece[start:] for piece in self._whole for start in range(len(piece))}

    def hold(self, text: str) -> bool:
        """Whether ``text`` can be read somewhere in them."""
        if text in self._all:
            return True
        # Places of the text at which a piece may end, from the first to the last: each is looked
        # at once, however many ways lead to it.
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


def _lines(text: str) -> Iterator[_Line]:
    """The lines that say something, stripped; a comment is a line that begins with ``#``."""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield _Line(number, stripped)


def _is_facts(header: str) -> bool:
    return re.fullmatch(r"\[facts \S[^\]]*\]", header) is not None
