"""Run the code blocks of docs/tutorial.md in order and compare or update their outputs.

``python -m docs.lesson`` writes the outputs into the English and the Chinese page, which share
their code. ``python`` blocks share one namespace; each line of a ``sh`` block is a `chargen`
command. A ``text`` block directly below is the output. An HTML comment between the two states the
tolerance of numbers that depend on a training. An output that ends with ``…`` is shortened.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tempfile
from code import InteractiveInterpreter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path

HERE = Path(__file__).parent
PAGES = (HERE / "tutorial.md", HERE / "tutorial.zh.md")
BLOCK = re.compile(
    r"^```(?P<language>python|sh)\n(?P<code>.*?)^```\n"
    r"(?P<between>\n(?:<!-- numbers within (?P<within>[\d.]+) -->\n\n)?)"
    r"(?:```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
CUT = "…"
BRACKETS = re.compile(r" \([^)]*\)")  # an interval
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
TO = re.compile(r"(?<=\d) to (?=-?\d)")  # between two numbers, else a dash


@dataclass(frozen=True)
class Block:
    """A block of code and the output that the page shows."""

    language: str
    code: str
    output: str
    within: float  # tolerance of the numbers in the output
    line: int  # line number in the page


class _Python(InteractiveInterpreter):
    def showtraceback(self) -> None:
        """Raise the error instead of printing it."""
        raise  # noqa: PLE0704  re-raises the current error


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page."""
    return [
        Block(
            found["language"],
            found["code"],
            found["output"] or "",
            float(found["within"] or 0),
            page.count("\n", 0, found.start()) + 1,
        )
        for found in BLOCK.finditer(page)
    ]


def outputs(lesson: list[Block]) -> Iterator[str]:
    """Run the blocks in order in the working directory and yield their standard output."""
    names = _Python({"__name__": "lesson"})
    for block in lesson:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(io.StringIO()):
            if block.language == "python":
                names.runcode(compile(block.code, f"tutorial.md, line {block.line}", "exec"))
            else:
                _commands(block.code)
        yield said.getvalue()


def _commands(lines: str) -> None:
    from chargen.cli import main

    for line in lines.splitlines():
        program, *arguments = shlex.split(line)
        if program != "chargen" or main(arguments):
            raise ValueError(f"{line}: not a chargen command, or it failed")


def agrees(block: Block, output: str) -> bool:
    """Return whether an output matches the page within the tolerance."""
    output = _cut(output, block.output)
    if not block.within:
        return output == block.output
    texts = [TO.sub("–", BRACKETS.sub("", text)) for text in (output, block.output)]
    words, said = (NUMBER.sub("#", text).split() for text in texts)
    here, there = ([float(number) for number in NUMBER.findall(text)] for text in texts)
    near = (abs(a - b) <= block.within for a, b in zip(here, there, strict=False))
    return words == said and all(near)  # equal words imply equally many numbers


def _cut(output: str, said: str) -> str:
    """Shorten an output to the lines that the page shows."""
    if not said.endswith(f"{CUT}\n"):
        return output
    return "".join(output.splitlines(keepends=True)[: said.count("\n") - 1]) + f"{CUT}\n"


def written(page: str, made: list[str]) -> str:
    """Return the page with new outputs."""
    number = count()

    def put(found: re.Match[str]) -> str:
        output = _cut(made[next(number)], found["output"] or "")
        page = f"```{found['language']}\n{found['code']}```\n{found['between']}"
        page += f"```text\n{output}```\n" if output else ""
        return page if found["output"] is not None else page + "\n" * bool(output)

    return BLOCK.sub(put, page)


if __name__ == "__main__":
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = list(outputs(blocks(pages[0])))
        os.chdir(before)
    for path, page in zip(PAGES, pages, strict=True):
        path.write_text(written(page, made), encoding="utf-8")
