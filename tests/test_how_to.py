"""The commands of the how-to pages: each is parsed, and most are run on tiny texts and budgets."""

import re
import shlex
import string
from pathlib import Path

import pytest
import tiny

from chargen.cli import chargen, main

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
# They take long, or read what another program makes: their own tests run them.
PARSED_ONLY = {"compare", "probe-longrange", "import-keras", "watch", "completion"}
SIZES = {"units": "3", "timesteps": "4", "batch-size": "2", "device": "cpu", "steps": "2"}
BUDGETS = ("minutes", "epochs", "processes", "more-steps", "more-minutes")
TEXT = tiny.TEXT + string.printable + "The miller.\n" * 9


def commands(page):
    """Yield the arguments of each chargen command in the shell blocks, and its output file."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for part in re.split(r" \| | && ", line):
            typed, _, target = part.partition(" > ")
            program, *words = shlex.split(typed, comments=True) or [""]
            if program == "chargen":
                yield words, target.strip()


def reduced(words):
    """Return a training with a tiny model and budget."""
    resumes = "--resume" in words
    sizes = {"steps": "4"} if resumes else SIZES
    kept, rest = [], iter(words)
    for word in rest:
        if word.removeprefix("--") in {*SIZES, *BUDGETS}:
            next(rest)
        else:
            kept.append(word)
    kept += [f"--{name}={value}" for name, value in sizes.items()]
    return kept if resumes else [*kept, "--overwrite"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with the run that the pages name."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "corpus.txt").write_text(TEXT)
    tiny.train(folder / "corpus.txt", folder / "runs" / "fables")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_accepted_and_works(page, home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    for (name, *words), target in commands(page):
        for file in (word for word in words if re.fullmatch(r"[\w-]+\.(txt|abc|csv)", word)):
            Path(file).write_text(TEXT)
        command, own = chargen.commands.get(name), list(words)
        while command and own and own[0] in getattr(command, "commands", {}):
            command = command.commands[own.pop(0)]
        if command:
            command.make_context(name, own)  # raises an error for an option that does not exist
        if name not in PARSED_ONLY and not any(word.startswith("runs/mine") for word in words):
            status = main([name, *(reduced(words) if name == "train" else words)])
            out, err = capsys.readouterr()
            assert status == 0, f"chargen {shlex.join([name, *words])}: {err}"
            if target:
                Path(target).write_text(out)
