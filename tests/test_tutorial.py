"""The lesson says what is so: its code runs, puts out what the page shows, and is one in both
languages."""

import ast
from dataclasses import replace

import pytest

from docs.lesson import PAGES, agrees, blocks, outputs, written

ENGLISH, CHINESE = (blocks(page.read_text(encoding="utf-8")) for page in PAGES)


def bare(code):
    """Python without what is written for a reader alone: comments and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


def test_every_block_puts_out_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block, output in zip(ENGLISH, outputs(ENGLISH), strict=True):
        assert agrees(block, output), f"line {block.line}, see docs/lesson.py:\n{output}"


def test_both_languages_show_the_same_code_and_outputs():
    for here, there in zip(ENGLISH, CHINESE, strict=True):
        same = bare if here.language == "python" else str
        assert same(here.code) == same(there.code), f"lines {here.line} and {there.line}"
        assert replace(here, code="", line=0) == replace(there, code="", line=0), there.line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_output_is_of_no_code(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("```text\n") == sum(bool(block.output) for block in blocks(text)) > 20


PAGE = """
```python
print(1)
```

```text
old
```

between

```sh
chargen x
```

<!-- numbers within 0.5 -->

```text
a 1.0 (0–2) b
…
```

```python
x = 1
```

after
"""


def test_outputs_are_put_where_they_belong_and_the_rest_of_the_page_stays():
    page = written(PAGE, ["1\n", "a 2 b\nc\n", "new\n"])
    wanted = PAGE.replace("old", "1").replace("a 1.0 (0–2) b", "a 2 b")
    assert page == wanted.replace("x = 1\n```\n", "x = 1\n```\n\n```text\nnew\n```\n")


def test_numbers_may_differ_where_and_as_far_as_the_page_says():
    exact, near, _ = blocks(PAGE)
    assert agrees(exact, "old\n")
    assert not agrees(exact, "old")
    assert agrees(near, "a 1.4 b\nc\n")
    assert agrees(near, "a 0.6  (1–9) b\n")
    assert not agrees(near, "a 1.6 b\n")
    assert not agrees(near, "a 1.0 c\n")
    interval = replace(near, output="0.1–0.2\n")
    assert agrees(interval, "-0.1 to 0.2\n")
    assert not agrees(interval, "-0.1 or 0.2\n")


def test_a_block_that_fails_ends_the_lesson():
    (block,) = blocks("```python\n1 / 0\n```\n\n")
    with pytest.raises(ZeroDivisionError):
        list(outputs([block]))
    for line in ("chargen sample no-such-run", "rm x"):
        with pytest.raises(ValueError, match=line.split()[1]):
            list(outputs([replace(block, language="sh", code=line)]))
