"""The documentation agrees with the program: commands, options, links and make targets."""

import re
from pathlib import Path

import pytest

from chargen.cli import chargen
from docs import commands

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = ["README.md", "README.zh.md"]


def test_the_command_reference_is_up_to_date():
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "run `make docs`"


def test_every_command_has_an_example():
    commands = {**chargen.commands, **chargen.commands["corpora"].commands}
    for name, command in commands.items():
        assert f" {name}" in command.help.split("Example")[1], name


def anchors(page):
    """Return the anchors of a page's headings, as repositories and the site spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_and_anchors_exist():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert link.startswith("https://") or target.exists(), (page, link)
            assert not anchor or anchor in anchors(target), (page, link)


@pytest.mark.parametrize("name", [*READMES, "CONTRIBUTING.md", "docs/how-to/measure-speed.md"])
def test_make_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", text, re.MULTILINE))
    assert {target for pair in named for target in pair if target} <= targets


def facts(text):
    """Return the numbers of each table row, the code blocks, and the commands of a README."""
    rows = [row.split("|")[2:] for row in re.findall(r"^\|.*$", text, re.MULTILINE)]
    numbers = [sorted(re.findall(r"\d+(?:[,.]\d+)*", " ".join(row))) for row in rows]
    blocks = re.findall(r"^```(?:python|text)\n.*?^```", text, re.MULTILINE | re.DOTALL)
    blocks = [re.sub(r"#.*", "", block) for block in blocks]
    return numbers, blocks, sorted(re.findall(r"`(?:chargen|make) .*?`", text))


def test_both_readmes_state_the_same_facts():
    english, chinese = (facts((ROOT / name).read_text(encoding="utf-8")) for name in READMES)
    assert english == chinese
    assert all(english)


def test_chinese_pages_break_no_line_inside_a_sentence():
    text = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    assert not re.search(r"[\u4e00-\u9fff，、；：]\n[\u4e00-\u9fff]", text)


def test_every_option_that_a_page_shows_exists():
    """Commands in code blocks and code spans use options that their command has."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = "\n".join([*blocks, *re.findall(r"`(chargen [^`]*)`", text)])
        for name, rest in re.findall(r"^\s*chargen ([a-z-]+)(.*)$", lines, re.MULTILINE):
            if name not in chargen.commands:
                continue
            command = chargen.commands[name]
            below = getattr(command, "commands", {}).get((rest.split() or [""])[0])
            options = {flag for option in (below or command).params for flag in option.opts}
            shown = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", rest))
            assert shown <= options | {"--help"}, (page, name, rest)
