"""Corpora that are kept encoded, as a user of the command line meets them."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chargen.cli import main
from chargen.text.cache import FOLDER

TEXT = "the cat sat on the mat,\nthe rat sat on the cat.\n\n" * 25
TINY = ["--units", "8", "--timesteps", "8", "--batch-size", "4"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cat.txt").write_text(TEXT)
    return tmp_path


def measured(capsys, *arguments):
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_packed_text_is_learned_like_a_plain_one(home, capsys):
    Path("packed.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    for corpus in ("packed.txt.gz", "cat.txt"):
        assert main(["train", corpus, "--steps", "5", *TINY]) == 0
    assert measured(capsys, "runs/packed") == {**measured(capsys, "runs/cat"), "run": "runs/packed"}


def test_a_run_is_measured_and_gone_on_with_when_its_text_is_gone(home, capsys):
    assert main(["train", "cat.txt", "--steps", "5", *TINY]) == 0
    before = measured(capsys)
    Path("cat.txt").unlink()
    assert measured(capsys) == before
    assert main(["train", "--resume", "--steps", "6"]) == 0


def test_a_cache_is_used_by_every_run_that_names_it(home, capsys):
    for out in ("a", "b"):
        assert (
            main(["train", "cat.txt", "--cache", "kept", "--out", out, "--steps", "5", *TINY]) == 0
        )
    assert len(list(Path("kept").glob("*.ids"))) == 1
    assert not list(home.rglob(FOLDER))
    Path("cat.txt").unlink()
    assert main(["train", "--resume", "--out", "b", "--steps", "6"]) == 0
    measured(capsys, "a")


def test_documents_are_learned_and_measured_each_from_its_beginning(home, capsys):
    flags = ["--documents", "blank-line", "--steps", "5", *TINY]
    assert main(["train", "cat.txt", "--out", "cut", *flags]) == 0
    assert json.loads(Path("cut/run.json").read_text())["training"]["documents"] == "blank-line"
    own = measured(capsys, "cut")
    assert main(["train", "cat.txt", "--out", "whole", "--steps", "5", *TINY]) == 0
    assert own["loss_nats"] != measured(capsys, "whole")["loss_nats"]


def test_killed_while_it_encodes_it_starts_over_cleanly(home, capsys):
    """The child stops for ever in the middle of the second reading, and is killed there."""
    code = (
        "import sys, time; from chargen.text import cache, sources; sources.BLOCK = 64\n"
        "from chargen.cli import main\n"
        "old = cache.encode\n"
        "def slow(*given):\n"
        "    for number, block in enumerate(old(*given)):\n"
        "        yield block\n"
        "        if number == 3: print('here', flush=True); time.sleep(60)\n"
        "cache.encode = slow\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "train", "cat.txt", "--steps", "5", *TINY]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout.readline() == b"here\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert list(Path("runs", FOLDER).glob("*.new"))
    assert not list(Path("runs", FOLDER).glob("*.jsonl"))
    assert main(["train", "cat.txt", "--steps", "5", *TINY]) == 0
    assert not list(Path("runs", FOLDER).glob("*.new"))
    after = measured(capsys)
    assert main(["train", "cat.txt", "--out", "other", "--cache", "k", "--steps", "5", *TINY]) == 0
    assert {**measured(capsys, "other"), "run": after["run"]} == after
