"""Check the language of docstrings, comments, messages and pages: ``python -m tests.prose``.

It counts the phrases of tests/prose.txt, which the style of this project avoids, per 1,000 words
of each part of the repository, and fails above `LIMIT`. It also fails if a docstring opens with one
of `OPENERS`. ``--list`` prints every hit.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT = 1.0  # hits per 1,000 words
OPENERS = ("What", "Whether", "That", "Who", "Whose", "Whom", "Those", "Of", "Beside", "So")
PHRASES = (ROOT / "tests" / "prose.txt").read_text().split("\n")
FLAGGED = re.compile(rf"\b({'|'.join(filter(None, PHRASES))})\b", re.IGNORECASE)


def markdown(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a page outside code."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith(("    ", "#", "!", "| --")):
            yield number, line


def python(text: str) -> Iterator[tuple[int, str]]:
    """Yield docstrings, string literals with spaces and comments, with their line numbers."""
    for node in ast.walk(ast.parse(text)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and value.count(" ") > 2:
            yield node.lineno, value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def openers(text: str) -> Iterator[tuple[int, str]]:
    """Yield docstrings that open with one of `OPENERS`."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        doc = ast.get_docstring(node) if isinstance(node, kinds) else None
        if doc and doc.split()[0] in OPENERS:
            yield getattr(node, "lineno", 1), doc.splitlines()[0]


def main(arguments: list[str]) -> int:
    """Print the rate of each part and return 1 if one exceeds `LIMIT`, else 0."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words: dict[str, int] = defaultdict(int)
    hits: dict[str, list[str]] = defaultdict(list)
    opened: list[str] = []
    for name in listed.stdout.split():
        if name.endswith(".zh.md") or name == "tests/prose.py" or not (ROOT / name).exists():
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        part = "docs" if name.endswith(".md") else name.split("/")[0]
        for number, line in markdown(text) if name.endswith(".md") else python(text):
            words[part] += len(line.split())
            found = [match[0] for match in FLAGGED.finditer(line)]
            hits[part] += [f"{name}:{number}: {phrase}" for phrase in found]
        if name.endswith(".py"):
            opened += [f"{name}:{number}: {line}" for number, line in openers(text)]
    rates = {part: 1000 * len(hits[part]) / words[part] for part in sorted(words)}
    if "--list" in arguments:
        print("\n".join(hit for part in hits.values() for hit in part))
    for part, rate in rates.items():
        print(f"{part}: {rate:.1f} flagged phrases per 1,000 words (limit {LIMIT})")
    print("\n".join([f"{len(opened)} docstrings open with {', '.join(OPENERS)}", *opened]))
    return int(bool(opened) or any(rate > LIMIT for rate in rates.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
