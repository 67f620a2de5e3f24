"""Novelty of a sample, against exhaustive search on small alphabets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import LINES

import chargen
from chargen.cli import main
from chargen.errors import ChargenError
from chargen.sampling.novelty import measure, novelty_table
from chargen.text import Vocabulary, suffix_automaton
from chargen.text.suffix_automaton import matches

IDS = st.lists(st.integers(0, 2), max_size=40).map(lambda ids: np.array(ids, dtype=np.uint8))


@settings(deadline=None)  # the first call compiles
@given(IDS, IDS, st.integers(1, 9))
@example(np.array([0, 0, 1, 0, 0], dtype=np.uint8), np.array([0, 0], dtype=np.uint8), 1)
def test_the_longest_match_that_ends_at_each_character(short, long, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suffix_automaton, "BLOCK", block)
        patch.setattr(suffix_automaton, "BEYOND", 1)
        patch.setattr("os.cpu_count", lambda: 3)
        lengths, ends = matches(short, long, 3)
    for i, (length, end) in enumerate(zip(lengths, ends, strict=True), 1):
        part = short[i - length : i]
        assert bytes(long[end - length : end]) == bytes(part)
        assert length == i or bytes(short[i - length - 1 : i]) not in bytes(long)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_large_alphabets(dtype):
    top = np.iinfo(dtype).max if dtype != np.uint32 else 1_114_110
    long = np.array([top, 5, top, top], dtype=dtype)
    lengths, ends = matches(np.full(5, top, dtype=dtype), long, top + 1)
    assert lengths.tolist() == [1, 2, 2, 2, 2]
    assert ends[1:].tolist() == [4] * 4


TRAINING = "the cat sat on the mat, the dog sat on the log. " * 3
VOCABULARY = Vocabulary.of(TRAINING + "xyz")


def measured(*texts, held_out="", training=TRAINING):
    ids = [VOCABULARY.encode(text) for text in texts]
    return measure(ids, VOCABULARY.encode(training), VOCABULARY.encode(held_out), VOCABULARY)


def new_share(texts, chars, training=TRAINING):
    parts = [text[i : i + chars] for text in texts for i in range(len(text) - chars + 1)]
    return sum(part not in training for part in parts) / len(parts)


@given(st.lists(st.text("tcaeh ", max_size=30), min_size=1, max_size=3).filter(any))
@settings(deadline=None)
def test_shares_and_the_longest_copy(texts):
    found = measured(*texts)
    longest = max(map(len, texts))
    for row in found.new:
        assert row.sample_share == pytest.approx(new_share(texts, row.chars))
    assert (
        len(found.new) == 0 or found.new[-1].sample_share == 1 or found.new[-1].chars * 2 > longest
    )
    copy = found.longest_copy
    n = len(copy.text)
    assert copy.text == texts[copy.sample][copy.position : copy.position + n]
    assert copy.text == TRAINING[copy.training_position : copy.training_position + n]
    assert all(new_share([text], n + 1) == 1 for text in texts if len(text) > n)


def test_held_out_parts_are_as_long_as_the_sample():
    held_out = "the cat sat on the cat, xx dogs sat on a log. xyz zyx; the mat".replace(";", "x")
    found = measured("the dog sat on the mat, ", held_out=held_out)
    assert found.held_out_stretch_chars == 24
    parts = [held_out[:24], held_out[24:48]]
    for row in found.new:
        expected = [new_share([part], row.chars) for part in parts]
        np.testing.assert_allclose(row.held_out_shares, expected)
    assert found.held_out_longest_copy_chars == tuple(map(longest_copy, parts))


def longest_copy(text):
    starts = range(len(text))
    return max(len(text[i:j]) for i in starts for j in starts if text[i:j] in TRAINING)


def test_copies_are_not_new_nonsense_is_and_an_empty_sample_is_refused():
    copied = measured(TRAINING[5:105])
    assert {row.sample_share for row in copied.new} == {0}
    assert copied.longest_copy.text == TRAINING[5:105]
    nonsense = measured("xyzzyx")
    assert [(row.chars, row.sample_share) for row in nonsense.new] == [(2, 1)]
    assert nonsense.longest_copy.text == ""
    assert "0 characters of 6" in novelty_table(nonsense)
    with pytest.raises(ChargenError, match="raise length"):
        measured("", "")


def test_command_prints_the_sample_and_the_table(at_run, capsys):
    given = ["sample", "--length", "200", "--seed", "0", "--novelty"]
    assert main([*given, "--count", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    model = chargen.load("runs/cat")
    rows = model.stream("", 200, 2)
    assert said["texts"] == ["".join(text) for text in zip(*rows, strict=True)]
    training = LINES[: said["novelty"]["training_chars"]]
    assert len(training) == model.run.description.corpus.training_chars
    for row in said["novelty"]["new"]:
        share = new_share(said["texts"], row["chars"], training)
        assert row["sample_share"] == pytest.approx(share)
    assert main([*given, "--prompt", "the "]) == 0
    assert f"{model.sample('the ', 200)}\n\nlongest copy: " in capsys.readouterr().out


def test_missing_corpus_is_refused_before_sampling(own_run, capsys):
    said = json.loads(Path("runs/cat/run.json").read_text())
    said["corpus"]["sources"] = [str(own_run / "gone.txt")]
    Path("runs/cat/run.json").write_text(json.dumps(said))
    shutil.rmtree("runs/.corpora")
    assert main(["sample", "--novelty"]) == 2
    out, err = capsys.readouterr()
    assert (out, "gone.txt: no such file" in err) == ("", True)
