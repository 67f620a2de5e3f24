"""The vocabulary: characters to ids and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text import UnknownCharacterError, Vocabulary

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


@given(TEXTS)
def test_a_vocabulary_has_the_sorted_distinct_characters(text):
    vocabulary = Vocabulary.of(text)
    assert vocabulary.characters == "".join(sorted(set(text)))
    assert len(vocabulary) == len(set(text))
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(TEXTS, TEXTS)
def test_unknown_characters_are_named_or_skipped(known, text):
    vocabulary = Vocabulary.of(known)
    text = known + text  # else the first character is unknown nearly always
    unknown = [position for position, character in enumerate(text) if character not in known]
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == "".join(
        character for character in text if character in known
    )
    if unknown:
        with pytest.raises(UnknownCharacterError, match=f"position {unknown[0]} ") as caught:
            vocabulary.encode(text)
        assert caught.value.position == unknown[0]
        assert caught.value.character == text[unknown[0]]


@pytest.mark.parametrize(
    ("size", "dtype"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)]
)
def test_ids_have_the_narrowest_type(size, dtype):
    points = [point for point in range(size + 0x800) if not 0xD800 <= point < 0xE000][:size]
    assert Vocabulary("".join(map(chr, points))).encode(chr(1)).dtype == dtype


@pytest.mark.parametrize("characters", ["", "ba", "aa", *"\ud800\udbff\udc00\udfff"], ids=ascii)
def test_invalid_vocabularies_are_refused(characters):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(characters)
    if characters > "b":
        with pytest.raises(UnknownCharacterError):
            Vocabulary("a\ud7ff\ue000").encode(characters)


def test_vocabularies_are_compared_by_value_and_decode_no_other_ids():
    for ids in ([-1], [2]):
        with pytest.raises(IndexError):
            Vocabulary("ab").decode(np.array(ids))
    assert len({Vocabulary("ab"), Vocabulary.of("bab"), Vocabulary("abc")}) == 2
