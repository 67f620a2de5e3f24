"""Mining of natural dependencies: closing brackets and quotes, and words that return."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from chargen.evaluation import check_swap_text
from chargen.text.brackets import PAIRS, parse_brackets

CLOSERS, WORDS = "closing bracket or quote", "returning word"
KINDS = (WORDS, CLOSERS)
LONGEST = 1024  # every distance is below it
CASES = 128  # maximum number of cases per kind and power of two of the distance
TEXT_CHARS = 2**17  # maximum length of the mined text
SWAPS = 64  # replacement texts
DRAWS = 8  # cues drawn to find one that differs
WORD = re.compile(r"[^\W\d_]{3,}")  # three letters or more of any script


class Case(NamedTuple):
    """A target that depends on a cue, as indices in a text."""

    cue_start: int
    cue_end: int  # one past the cue
    start: int  # of the target
    end: int  # one past the target

    @property
    def distance(self) -> int:
        """Characters from the end of the cue to the start of the target."""
        return self.start - self.cue_end


class Found(NamedTuple):
    """The cases of one kind in a text, and what may stand in their place."""

    kind: str
    cases: Sequence[Case]
    # Do parts ``starts .. ends - 1`` of the replacement text, ``(P,)``, hold the cue of a case?
    unfit: Callable[[Case, np.ndarray, np.ndarray], np.ndarray]
    others: Callable[[Case], Sequence[str]]  # other cues of the same kind and length


def returning_words(text: str, reach: int, source: str | None = None) -> Found:
    """Find words that occur exactly once within the ``reach`` characters before them.

    The replacement text is ``source``, by default the text itself.
    """
    uses: dict[str, list[int]] = {}
    lengths: dict[int, list[str]] = {}
    cases = []
    for found in WORD.finditer(text):
        word, start = found[0], found.start()
        earlier = uses.setdefault(word, [])
        in_reach = [place for place in earlier[-2:] if place >= start - reach]
        if len(in_reach) == 1:
            cases.append(Case(in_reach[0], in_reach[0] + len(word), start, found.end()))
        earlier.append(start)
        lengths.setdefault(len(word), []).append(word)
    words = uses if source is None else dict[str, list[int]]()
    for found in WORD.finditer(source or ""):
        words.setdefault(found[0], []).append(found.start())
    places = {word: np.array(starts) for word, starts in words.items()}

    def unfit(case: Case, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        own = places.get(text[case.start : case.end], ())
        return np.asarray(np.searchsorted(own, starts) < np.searchsorted(own, ends))

    return Found(WORDS, cases, unfit, lambda case: lengths[case.end - case.start])


def closers(text: str, source: str | None = None) -> Found:
    """Find closing brackets and quotation marks; for ``source`` see `returning_words`."""
    found = parse_brackets(text)
    left_open = (found if source is None else parse_brackets(source)).open_before
    cases = [Case(opened, opened + 1, end, end + 1) for opened, end in found.pairs]
    marks = {char for char in {*text} if not char.isalnum() and not char.isspace()}
    opening, plain = sorted(marks & PAIRS.keys()), sorted(marks - {*PAIRS, *PAIRS.values()})

    def unfit(case: Case, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return np.asarray(left_open[text[case.start]][ends] > 0)

    def others(case: Case) -> Sequence[str]:
        return [mark for mark in opening if mark != text[case.cue_start]] or plain or [" "]

    return Found(CLOSERS, cases, unfit, others)


@dataclass(frozen=True, eq=False)
class Group:
    """Cases of one kind at distances of one power of two, ascending by distance."""

    kind: str
    distance: int  # the shortest
    cases: np.ndarray  # (N, 4) as `Case`
    swaps: np.ndarray  # (N,) index of each case's replacement text
    cues: Sequence[str]  # (N,) what each cue is replaced by

    def __len__(self) -> int:
        return len(self.cases)


@dataclass(frozen=True, eq=False)
class Plan:
    """The cases of one text and their replacement texts."""

    ids: np.ndarray  # (L,) the mined text
    full: int  # fewest characters of full context, unless the document begins
    documents: np.ndarray  # (D,) first characters of documents
    source: np.ndarray  # (M,) the text that replacements are from, the same or another
    swaps: np.ndarray  # (P,) where replacement texts of ``full`` characters start in it
    groups: tuple[Group, ...] = ()  # by kind, then distance

    @classmethod
    def of(
        cls,
        decode: Callable[[np.ndarray], str],
        ids: np.ndarray,
        longest: int,
        seed: int,
        documents: np.ndarray | None = None,
        swap_ids: np.ndarray | None = None,
    ) -> "Plan":
        """Mine a text; one shorter than six times ``longest`` gets shorter distances.

        `ChargenError` if the text ``swap_ids``, from which replacements are taken, is too short.
        """
        ids = np.asarray(ids[:TEXT_CHARS], dtype=np.int64)
        while longest > 1 and 6 * longest > len(ids):
            longest //= 2
        starts = np.zeros(1, dtype=np.int64) if documents is None else documents
        starts, full = starts[starts < len(ids)], 2 * longest
        if longest < 2:
            return cls(ids, 0, starts, ids, np.zeros(0, dtype=np.int64))
        source = ids if swap_ids is None else swap_ids[:TEXT_CHARS]
        check_swap_text(len(source), full)
        rng = np.random.default_rng([seed, 0])
        shares = np.arange(SWAPS + 1) * (len(source) - full) // SWAPS
        plan = cls(ids, full, starts, source, rng.integers(shares[:-1], shares[1:] + 1))
        text, other = decode(ids), None if swap_ids is None else decode(source)
        kinds = returning_words(text, full, other), closers(text, other)
        groups = (group for found in kinds for group in plan._groups(found, text, longest, seed))
        return replace(plan, groups=tuple(groups))

    def swap_chars(self, distance: int) -> int:
        """Return how much of a replacement text is read before cases at these distances."""
        return self.full - 2 * distance

    def _groups(self, found: Found, text: str, longest: int, seed: int) -> Iterator[Group]:
        """Yield the groups of one kind, without cases that nothing can replace."""
        alone, edges = len(self.documents) == 1, np.append(self.documents, len(self.ids))
        document = np.searchsorted(self.documents, np.arange(len(self.ids)), side="right")
        # By powers of two of the distance: 1, 2 to 3, 4 to 7 …
        groups: dict[int, list[Case]] = {1 << b: [] for b in range((longest - 1).bit_length())}
        for case in found.cases:
            whole = document[case.cue_start] == document[case.end - 1]
            if whole and 0 < case.distance < longest and case.start >= self.full * alone:
                groups[1 << case.distance.bit_length() - 1].append(case)
        for distance, some in groups.items():
            rng = np.random.default_rng([seed, 1, found.kind == WORDS, distance])
            ends = self.swaps + self.swap_chars(distance)
            kept: list[tuple[Case, int, str]] = []
            for case in (some[place] for place in rng.permutation(len(some))):
                own = document[case.start]
                low, high = case.start - self.full, case.end
                if not alone:
                    low, high = edges[own - 1], edges[own]
                apart = (ends <= low) | (self.swaps >= high) | (self.source is not self.ids)
                fit = np.flatnonzero(apart & ~found.unfit(case, self.swaps, ends))
                cue, others = text[case.cue_start : case.cue_end], found.others(case)
                drawn = [others[place] for place in rng.integers(len(others), size=DRAWS)]
                other = next((one for one in drawn if one != cue), None)
                if len(fit) and other:
                    kept.append((case, int(rng.choice(fit)), other))
                if len(kept) == CASES:
                    break
            kept.sort(key=lambda one: (one[0].distance, one[0].start))
            chosen = np.array([one[0] for one in kept], dtype=np.int64).reshape(-1, 4)
            swaps = np.array([one[1] for one in kept], dtype=np.int64)
            yield Group(found.kind, distance, chosen, swaps, [one[2] for one in kept])
