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
{setup}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    np.ones(10_000_000)  # 80 MB, freed at once
use()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


def page_faults(setup):
    program = FAULTS.format(setup=setup)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's mallopt")
def test_freed_memory_is_reused_without_page_faults():
    assert page_faults("") > 150  # for five times 80 MB, even with pages of 2 MB
    assert page_faults("set_up_torch(None)") < 50


@pytest.mark.parametrize("own", [None, "77"])
def test_threads_spin_briefly_unless_the_user_sets_the_count(monkeypatch, own):
    monkeypatch.setenv("GOMP_SPINCOUNT", own or "")
    if own is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    assert main(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == (own or "3000")
