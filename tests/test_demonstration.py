"""The classic sentences, shown and not scored."""

import json

import pytest

from chargen.predictors import UniformPredictor
from chargen.probes.templates.demonstration import CHINESE, ENGLISH, demonstrate
from chargen.text.vocabulary import Vocabulary


def test_the_classic_sentences_are_shown_without_a_score():
    text = "".join(context + "".join(ends) for context, ends in ENGLISH)
    sky, france = demonstrate(UniformPredictor(Vocabulary.of(text)))
    assert sky.shares == pytest.approx([1 / 3] * 3)
    assert "French" in france.candidates
    assert france.note == ""
    assert "accuracy" not in json.dumps([sky.to_json(), france.to_json()])


def test_what_a_vocabulary_lacks_is_left_out_of_the_sentences_and_told():
    known = Vocabulary.of("the clouds are in a sky of mud")
    sky, france = demonstrate(UniformPredictor(known))
    assert "sea" in sky.candidates
    assert "cannot be spelled: French" in france.note
    assert "not in the vocabulary: , F I" in france.note
    assert france.candidates == ()


def test_a_chinese_vocabulary_is_shown_the_sentences_in_chinese():
    text = "".join(context + "".join(ends) for context, ends in CHINESE)
    sky, france = demonstrate(UniformPredictor(Vocabulary.of(text)))
    assert (sky.candidates, sky.note) == (("天空", "大海", "泥土"), "")
    assert france.candidates[0] == "法语"
    assert france.shares == pytest.approx([1 / 4] * 4)
    without = Vocabulary.of(text.replace("云", "") + "the sky")
    assert demonstrate(UniformPredictor(without))[0].note.endswith("not in the vocabulary: 云")
    both = Vocabulary.of(text + "".join(context + "".join(ends) for context, ends in ENGLISH))
    assert demonstrate(UniformPredictor(both))[0].candidates[0] == "sky"


@pytest.mark.parametrize("sentences", [ENGLISH, CHINESE])
def test_the_endings_of_a_sentence_are_equally_long(sentences):
    for _, ends in sentences:
        assert len({len(end) for end in ends}) == 1
