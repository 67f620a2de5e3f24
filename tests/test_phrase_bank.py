"""Phrase banks, sentences of exact spans, and the bundled corpora."""

import hashlib
import re
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.datasets import bundled, longrange, phrase_bank
from chargen.datasets.longrange import Composer, Distractor
from chargen.errors import ChargenError

HALVES = ("training", "test")
TEXT = bundled.resource(bundled.ENGLISH_BANK)
BANK = phrase_bank.parse_bank(TEXT, "english.bank")
ZH_TEXT = bundled.resource(bundled.CHINESE_BANK)
ZH = phrase_bank.parse_bank(ZH_TEXT, "chinese.bank")
BANKS = {"longrange": BANK, "longrange-zh": ZH}
COMPOSERS = {(name, half): Composer(bank, half) for name, bank in BANKS.items() for half in HALVES}


def fillers_of(frame):
    """Return the fillers of a sentence without its distractor."""
    filler = frame.text[len(frame.text) - frame.span : -len(frame.facts.lead)]
    if frame.distractor and frame.distractor.place == "after":
        return filler.split(
            frame.facts.cues[frame.distractor.fact].join(frame.facts.distractor_after)
        )
    return [filler]


def windows(text):
    return {text[i : i + phrase_bank.WINDOW] for i in range(len(text) - phrase_bank.WINDOW + 1)}


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(BANKS)),
    half=st.sampled_from(HALVES),
    which=st.integers(0, 1),
    span=st.integers(4, 1100),
    answer=st.integers(0, 7),
    other=st.one_of(st.none(), st.integers(1, 7)),
    place=st.sampled_from(["before", "after"]),
    seed=st.integers(0, 2**32),
)
def test_a_sentence_has_exactly_its_span(name, half, which, span, answer, other, place, seed):
    facts, composer = BANKS[name].fact_sets[which], COMPOSERS[name, half]
    distractor = None if other is None else Distractor((answer + other) % 8, place)
    rng = np.random.default_rng(seed)
    if not composer.reaches(facts, span):
        with pytest.raises(ValueError, match="no filler"):
            composer.frame(facts, answer, span, rng, distractor)
        return
    frame = composer.frame(facts, answer, span, rng, distractor)
    cue, stated = facts.cues[answer], facts.opening + facts.cues[answer]
    assert frame.text[-span - len(cue) : -span] == cue
    assert frame.text[:-span].endswith(stated)
    assert frame.text.endswith(facts.lead)
    assert frame.target == facts.targets[answer]
    assert frame.text.count(facts.lead) == 1
    if distractor:
        assert facts.cues[distractor.fact] in frame.text
        assert (facts.cues[distractor.fact] in frame.text[-span:]) == (
            frame.distractor.place == "after"
        )


@pytest.mark.parametrize("name", BANKS)
def test_halves_share_no_thirty_characters_of_filler(name):
    corpus = windows(bundled.read(name, 50_000))
    rng = np.random.default_rng(0)
    composer = COMPOSERS[name, "test"]
    asked = [*islice(composer.sentences(rng), 250)]
    asked += [composer.frame(BANKS[name].fact_sets[0], 0, 1024, rng) for _ in range(5)]
    stretches = [stretch for frame in asked for stretch in fillers_of(frame)]
    assert sum(len(windows(stretch)) for stretch in stretches) > 1_500
    assert not any(windows(stretch) & corpus for stretch in stretches)


@pytest.mark.parametrize(
    ("name", "seed", "chars", "sha256"),
    [
        ("longrange", 0, None, "22afc41e3a6c8038"),  # the one that earlier runs were trained on
        ("longrange", 7, 30_000, "33e9d34bf35f287a"),
        ("longrange-zh", 0, 30_000, "1fa6012b7c71b306"),
    ],
)
def test_a_generated_corpus_is_a_function_of_its_seed(name, seed, chars, sha256):
    text = bundled.read(name, chars, seed)
    assert len(text) == (chars or 1_000_024)
    assert hashlib.sha256(text.encode()).hexdigest().startswith(sha256)
    assert bundled.read(name, 20_000, seed) == text[:20_000]


def test_requests_for_bundled_texts_are_checked():
    for name in bundled.TEXTS:
        assert len(bundled.read(name, 1000)) == 1000
        assert "\n" not in bundled.TEXTS[name].purpose
    for request, message in {
        ("odes",): r"no bundled corpus 'odes'.*longrange",
        ("fables", 10**9): "fewer than",
    }.items():
        with pytest.raises(ChargenError, match=message):
            bundled.read(*request)
    assert len(longrange.corpus(BANK, 5000, 0)) >= 5000
    assert longrange.corpus(BANK, 5000, 0).endswith(".\n")


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (TEXT, "Latvia -> Latvian", "Latvia > Latvian", "expected CUE -> TARGET"),
        (TEXT, "Latvia -> Latvian", "Persia -> Latvian", "cue Persia is repeated"),
        (TEXT, "Latvia -> Latvian", "Latvia -> Russet!", "begins with 'R' already"),
        (TEXT, 'decoy after = ", past {cue}"', 'decoy past = "{cue}"', "unknown setting"),
        (TEXT, 'decoy after = ", past {cue}"', 'decoy after = "past"', "must hold {cue}"),
        (TEXT, 'no cue = "abroad"', 'no cue = "XXXXXX"', "no training text holds 'X'"),
        (TEXT, '", sent late"', '", sent Xate"', "no training text holds 'X'"),
        (TEXT, 'frame = "a letter from {cue}', 'frame = "a letter', "must be like"),
        (TEXT, "[facts spelled alike]", "[fact spelled alike]", "unknown section"),
        (TEXT, "[facts spelled alike]", "Peru", "a line before the first"),
        (TEXT, '", sent dry"', '", sent dryly at last"', "longer than"),
        (TEXT, '", sent dry"', f'", {2000 * "d"}"', "could be shared: ', ddd"),
        (TEXT, '", sent dry"', '", sent late"', "is in the other half too"),
        (TEXT, '", sent dry"', '", put in it"', "' in ' can be read inside the fillers"),
        (ZH_TEXT, "泰国 -> 泰语", "泰国 -> 德语", "another target begins with '德' already"),
    ],
    ids=lambda value: value[:20],
)
def test_a_mistake_in_a_bank_is_reported_with_its_line(text, old, new, message):
    with pytest.raises(ChargenError, match=re.escape(message)) as caught:
        phrase_bank.parse_bank(text.replace(old, new, 1), "my.bank")
    number = re.match(r"my\.bank, line (\d+): ", str(caught.value))
    assert number
    assert len(str(caught.value)) < 300
    # A mistake between lines is reported at the header.
    lines = {text[: text.index(found)].count("\n") + 1 for found in (old, "[facts spelled alike]")}
    assert int(number[1]) in lines


def test_a_bank_that_is_not_text_or_lacks_a_section_is_refused(tmp_path):
    for section in phrase_bank.FILLER_SECTIONS:
        with pytest.raises(ChargenError, match=re.escape(section)):
            phrase_bank.parse_bank(TEXT[: TEXT.index(section)], "my.bank")
    path = tmp_path / "my.bank"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ChargenError, match=r"my\.bank"):
        phrase_bank.read_bank(path)
    with pytest.raises(ChargenError, match="none"):
        phrase_bank.read_bank(tmp_path / "none")
    path.write_text(TEXT)
    assert phrase_bank.read_bank(path).fact_sets == BANK.fact_sets
