"""Runs the lesson: every block of code of docs/tutorial.md, in order, and what each puts out.

``python -m docs.lesson`` writes the outputs into the page anew, and into its Chinese sister, whose
code is the same. Blocks marked ``python`` share one set of names; in a block marked ``sh`` each
line is a `chargen` command. A block marked ``text`` right below is the output. Where that hangs on
a training, whose last digits another processor changes, a comment between the two, which no
reader sees, says how far the numbers may lie apart. An output that ends with a line ``…`` is only
the beginning of what is put out.
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
BRACKETS = re.compile(r" \([^)]*\)")  # an interval, which not every fit has
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
TO = re.compile(r"(?<=\d) to (?=-?\d)")  # between numbers of which one is negative, else a dash


@dataclass(frozen=True)
class Block:
    """A block of code and what the page says that it puts out."""

    language: str
    code: str
    output: str
    within: float  # how far the numbers of another run may be from those of the output
    line: int  # of the page


class _Python(InteractiveInterpreter):
    def showtraceback(self) -> None:
        """An error ends the lesson."""
        raise  # noqa: PLE0704  what is being handled


def blocks(page: str) -> list[Block]:
    """The blocks of a page."""
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
    """What each block puts out on standard output, run one after the other where you are."""
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
            raise ValueError(f"{line}: is no command, or failed")


def agrees(block: Block, output: str) -> bool:
    """Whether an output is the one in the page, its numbers as near as they should be."""
    output = _cut(output, block.output)
    if not block.within:
        return output == block.output
    texts = [TO.sub("–", BRACKETS.sub("", text)) for text in (output, block.output)]
    words, said = (NUMBER.sub("#", text).split() for text in texts)
    here, there = ([float(number) for number in NUMBER.findall(text)] for text in texts)
    near = (abs(a - b) <= block.within for a, b in zip(here, there, strict=False))
    return words == said and all(near)  # the same words have as many numbers


def _cut(output: str, said: str) -> str:
    """As many lines of an output as the page shows."""
    if not said.endswith(f"{CUT}\n"):
        return output
    return "".join(output.splitlines(keepends=True)[: said.count("\n") - 1]) + f"{CUT}\n"


def written(page: str, made: list[str]) -> str:
    """The page with these outputs."""
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
