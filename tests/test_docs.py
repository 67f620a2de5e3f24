"""What the documentation says of the program is what the program says of itself."""

import re
from pathlib import Path

import pytest

from chargen.cli import chargen
from docs.commands import PAGE, page

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = ["README.md", "README.zh.md"]


def test_the_help_pages_are_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_every_command_has_an_example():
    commands = {**chargen.commands, **chargen.commands["corpora"].commands}
    for name, command in commands.items():
        assert f" {name}" in command.help.split("Example")[1], name


def anchors(page):
    """What a link may name of a page: its headings, as repositories and the site spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert link.startswith("https://") or target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md"])
def test_make_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets


def figures(text):
    """What the demo prints, the figures and commands of each table's row, the code in Python."""
    rows = [row.split("|")[2:] for row in re.findall(r"^\|.*$", text, re.MULTILINE)]
    return [
        re.findall(r"^remembers .*?^```", text, re.MULTILINE | re.DOTALL),
        [re.findall(r"\d[\d,.]*", " ".join(row)) for row in rows],
        [re.findall(r"`(?:chargen|make) .*?`", " ".join(row)) for row in rows],
        re.findall(r"^```python\n.*?^```", text, re.MULTILINE | re.DOTALL),
    ]


def test_both_readmes_show_the_same_figures_and_commands():
    english, chinese = (figures((ROOT / name).read_text(encoding="utf-8")) for name in READMES)
    assert english == chinese
    assert all(english)


@pytest.mark.parametrize("name", READMES)
def test_every_flag_that_the_readme_shows_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    shown = re.findall(r"^chargen ([a-z-]+)(.*)$", blocks, re.MULTILINE)
    assert shown
    for command, rest in shown:
        known = {flag for option in chargen.commands[command].params for flag in option.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known | {"--help"}, (command, rest)
