"""Shared by all tests: one thread, since the models here are tiny, signals, a browser for pages."""

import os
import shutil
import signal

import pytest
import tiny
import torch
from hypothesis import settings

from chargen.cli import main
from chargen.recurrent import CharModel

settings.register_profile("patient", deadline=None)  # how busy a machine is fails no test
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_fsync():
    """Skip fsync in this process: the durability tests simulate a disk, see disk.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _can_be_interrupted():
    """A shell's background jobs ignore Ctrl-C, and so would all that the tests start from there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cat(tmp_path_factory):
    """The corpus of tiny runs."""
    path = tmp_path_factory.mktemp("corpus") / "cat.txt"
    path.write_text(tiny.TEXT)
    return path


@pytest.fixture
def home(cat, tmp_path, monkeypatch):
    """A working directory that is empty but for the corpus."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.txt").write_text(cat.read_text())
    return tmp_path


@pytest.fixture
def here(home, monkeypatch):
    """The ``home`` of a module, as the working directory."""
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def cli(capsys):
    """Run a command, which ends with a code; return what it printed on both streams."""

    def run(words, code=0):
        capsys.readouterr()
        assert main([*map(str, words)]) == code, capsys.readouterr().err
        return capsys.readouterr()

    return run


@pytest.fixture
def error(cli):
    """Run a command that fails with code 2; return the one line that it prints."""

    def run(words):
        out, err = cli(words, 2)
        assert (out, err.count("\n")) == ("", 1)
        return err

    return run


@pytest.fixture
def often(monkeypatch):
    """Validate at every second step."""
    tiny.often(monkeypatch)


@pytest.fixture
def windows(monkeypatch):
    """A list that fills with the ids, whether a state is carried, and the resets of each batch."""
    seen, forward = [], CharModel.forward

    def spy(self, ids, state=None, *rest):
        if torch.is_grad_enabled():  # not in validation
            seen.append((ids, state is not None, rest[2]))
        return forward(self, ids, state, *rest)

    monkeypatch.setattr(CharModel, "forward", spy)
    return seen


@pytest.fixture(scope="session")
def finished(cat, tmp_path_factory):
    """A finished tiny run of 5 steps."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        tiny.often(patch)
        tiny.train(cat, path)
    return path


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of the finished run, which a test may change, as the only run."""
    monkeypatch.chdir(tmp_path)
    ignored = shutil.ignore_patterns(".*")
    return shutil.copytree(finished, tmp_path / "runs" / "cat", ignore=ignored)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A directory with a trained run, for tests that do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "cat.txt").write_text(tiny.LINES)
    out = str(folder / "runs" / "cat")
    assert main(["train", str(folder / "cat.txt"), "--out", out, "--steps", "60", *tiny.SMALL]) == 0
    return folder


@pytest.fixture
def at_run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def own_run(trained, tmp_path, monkeypatch):
    """A copy of the trained run, for tests that change it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A `browser.Browser`; without one, the tests that ask for it are skipped."""
    from browser import Browser, missing

    if reason := missing():
        pytest.skip(reason)
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()
