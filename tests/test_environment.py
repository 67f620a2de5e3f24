"""Process-wide settings of the command line: memory and threads."""

import os
import platform
import subprocess
import sys

import pytest

from chargen.cli import main

FAULTS = """
import resource
import numpy as np
from chargen.cli.options import set_up_torch
def faults():
    np.ones(10_000_000)  # 80 MB, freed at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
set_up_torch(None)
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's mallopt")
def test_freed_memory_is_reused_without_page_faults():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    without, reused = map(int, done.stdout.split())
    assert without > 150  # for five times 80 MB, even with pages of 2 MB
    assert reused < 50


@pytest.mark.parametrize("own", [None, "77"])
def test_threads_spin_briefly_unless_the_user_sets_the_count(monkeypatch, own):
    monkeypatch.setenv("GOMP_SPINCOUNT", own or "")
    if own is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    assert main(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == (own or "3000")
