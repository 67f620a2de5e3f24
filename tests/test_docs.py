"""What the documentation says of the program is what the program says of itself."""

import re
from pathlib import Path

import pytest

from chargen.cli import chargen
from docs.help import PAGE, page

ROOT = Path(__file__).parent.parent


def test_the_help_pages_are_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_every_command_has_an_example():
    commands = {**chargen.commands, **chargen.commands["corpora"].commands}
    for name, command in commands.items():
        assert f" {name}" in command.help.split("Example")[1], name


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_and_make_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets


def test_every_flag_that_the_readme_shows_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    shown = re.findall(r"^chargen ([a-z-]+)(.*)$", blocks, re.MULTILINE)
    assert shown
    for name, rest in shown:
        known = {flag for option in chargen.commands[name].params for flag in option.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known | {"--help"}, (name, rest)
