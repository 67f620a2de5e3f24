"""Where documents begin, however the text is cut into blocks."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chargen.text.documents import DocumentSplitter

TEXTS = st.text(st.sampled_from("ab\n\n\r\r é日"), max_size=40)
FILES = st.lists(TEXTS.filter(bool), min_size=1, max_size=4)


def starts(how, files, cuts=()):
    """What `Boundaries` finds in texts, each cut at all ``cuts`` that are inside it."""
    boundaries, found = DocumentSplitter(how), []
    for number, text in enumerate(files):
        at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
        for begin, end in itertools.pairwise(at):
            found.append(boundaries.split(number, text[begin:end]))
    return np.concatenate(found).tolist()


def after_blank_lines(text):
    """The same by a regular expression: after an empty line, where something other follows."""
    ends = re.finditer(r"(?<=[^\n\r])[\n\r]+(?=[^\n\r])", text)
    return [m.end() for m in ends if max(map(m[0].count, "\n\r")) > 1]


def test_all_is_one_document():
    assert starts("none", ["ab\n\nc", "d"]) == [0]


def test_each_file_is_a_document():
    assert starts("file", ["ab\n\nc", "d", "ef"]) == [0, 5, 6]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_document_begins_after_a_blank_line(end):
    text = f"one{end}two{end}{end}three{end}{end}{end}{end}four{end}"
    assert starts("blank-line", [text]) == [0, text.index("three"), text.index("four")]


def test_blank_lines_at_the_ends_of_a_file_begin_nothing():
    assert starts("blank-line", ["\n\nab\n\n", "\r\n\r\ncd"]) == [0, 6]


def test_a_line_of_spaces_is_not_blank():
    assert starts("blank-line", ["ab\n \ncd"]) == [0]


@example(["a\r\n\r\nb"], [3])
@example(["a\n\nb"], [2])
@example(["a\r\nb"], [2])
@example(["\n\na"], [1])
@example(["a" + "\n" * 20 + "b"], [3, 9, 15])
@given(FILES, st.lists(st.integers(1, 40), max_size=6))
def test_blank_lines_are_found_wherever_blocks_are_cut(files, cuts):
    expected, base = [], 0
    for text in files:
        expected += [base, *(base + at for at in after_blank_lines(text))]
        base += len(text)
    assert starts("blank-line", files) == expected
    assert starts("blank-line", files, cuts) == expected
    assert starts("blank-line", files, range(1, 41)) == expected


@given(FILES, st.lists(st.integers(1, 40), max_size=6))
def test_files_are_found_wherever_blocks_are_cut(files, cuts):
    assert starts("file", files, cuts) == np.cumsum([0, *map(len, files)])[:-1].tolist()
