"""The tutorial is correct: its code runs, prints what the page shows, and both languages agree."""

import ast
from dataclasses import replace

from docs.lesson import PAGES, agrees, blocks, outputs

ENGLISH, CHINESE = (blocks(page.read_text(encoding="utf-8")) for page in PAGES)


def bare(code):
    """Return Python without comments and docstrings, which are translated."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


def test_every_block_prints_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block, output in zip(ENGLISH, outputs(ENGLISH), strict=True):
        assert agrees(block, output), f"line {block.line}, see docs/lesson.py:\n{output}"


def test_both_languages_show_the_same_code_and_outputs():
    for here, there in zip(ENGLISH, CHINESE, strict=True):
        same = bare if here.language == "python" else str
        assert same(here.code) == same(there.code), f"lines {here.line} and {there.line}"
        assert replace(here, code="", line=0) == replace(there, code="", line=0), there.line
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("```text\n") == sum(bool(one.output) for one in blocks(text)) > 20


def test_numbers_may_differ_as_far_as_the_page_allows():
    exact = replace(ENGLISH[0], output="old\n", within=0.0)
    near = replace(exact, output="a 1.0 (0–2) b\n…\n", within=0.5)
    interval = replace(near, output="0.1–0.2\n")
    for block, output, expected in (
        (exact, "old\n", True),
        (exact, "old", False),
        (near, "a 1.4 b\nc\n", True),
        (near, "a 0.6  (1–9) b\n", True),
        (near, "a 1.6 b\n", False),
        (near, "a 1.0 c\n", False),
        (interval, "-0.1 to 0.2\n", True),
        (interval, "-0.1 or 0.2\n", False),
    ):
        assert agrees(block, output) == expected, output
