"""A corpus to ids, in a stream."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargen.errors import ChargenError
from chargen.text import UnknownCharacterError, Vocabulary, read_corpus, sources
from chargen.text.encoding import encode, encode_with, scan

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
SAME_FOLDER = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def quiet(done, of):
    pass


def written(path, text):
    path.write_bytes(text.encode())
    return read_corpus([path])


@SAME_FOLDER
@given(st.text(st.sampled_from("ab\n\n\r") | CHARACTERS, min_size=3), st.integers(1, 40))
def test_ids_are_those_of_the_text_whatever_the_size_of_blocks(tmp_path, text, block):
    corpus = written(tmp_path / "x.txt", text)
    known = Vocabulary.of(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK", block)
        found = scan(corpus, "blank-line", quiet)
        made = np.concatenate(list(encode(corpus, found, quiet)))
        again = encode_with(corpus, known, "blank-line")
    assert found.vocabulary == known
    assert found.chars == len(text)
    assert found.sha256 == again.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert made.dtype == again.ids.dtype == known.dtype
    assert made.tolist() == again.ids.tolist() == known.encode(text).tolist()
    assert found.starts.tolist() == again.starts.tolist()


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)],
)
def test_ids_take_no_wider_integers_than_they_must(tmp_path, size, dtype):
    text = "".join(chr(0x10000 + n) for n in range(size))
    corpus = written(tmp_path / "x.txt", text)
    found = scan(corpus, "none", quiet)
    made = np.concatenate(list(encode(corpus, found, quiet)))
    assert made.dtype == dtype
    assert made.tolist() == list(range(size))


def test_an_unknown_character_is_told_with_its_place_in_the_whole_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", 10)
    corpus = written(tmp_path / "x.txt", "ab" * 50 + "é" + "ab" * 50)
    with pytest.raises(UnknownCharacterError) as caught:
        encode_with(corpus, Vocabulary("ab"))
    assert (caught.value.character, caught.value.position) == ("é", 100)


@pytest.mark.parametrize("after", ["bab" * 9, "abc" * 9, "ab", "aba" * 10])
def test_a_file_that_changed_since_it_was_scanned_is_told(tmp_path, after):
    corpus = written(tmp_path / "x.txt", "aba" * 9)
    found = scan(corpus, "none", quiet)
    (tmp_path / "x.txt").write_text(after)
    with pytest.raises(ChargenError, match=r"x\.txt: (changed while it was read|2 characters)"):
        list(encode(corpus, found, quiet))


def test_a_file_that_changes_while_it_is_scanned_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", 9)
    corpus = written(tmp_path / "x.txt", "aba" * 9)

    def change(done, of):
        with (tmp_path / "x.txt").open("a") as file:
            file.write("more" if done < 20 else "")

    with pytest.raises(ChargenError, match=r"x\.txt: changed while it was read; try again"):
        scan(corpus, "none", change)


def test_each_block_is_told_of_with_the_bytes_that_lie_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", 10)
    told = []
    scan(written(tmp_path / "x.txt", "é" * 15), "none", lambda *both: told.append(both))
    assert told == [(10, 30), (20, 30), (30, 30)]
