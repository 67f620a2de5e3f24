"""How the command line's process uses the machine."""

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
{settled}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    np.ones(10_000_000)  # 80 MB, given back at once
use()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


def faults(settled):
    program = FAULTS.format(settled=settled)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_was_freed_is_taken_again():
    """Without a page fault, in which the system would fill it with zeros."""
    assert faults("") > 150  # of five times 80 MB, even with pages of 2 MB
    assert faults("set_up_torch(None)") < 50


@pytest.mark.parametrize("own", [None, "77"])
def test_threads_do_not_spin_for_long_unless_the_user_says_so(monkeypatch, own):
    """Or two programs on the same cores would stop each other."""
    monkeypatch.setenv("GOMP_SPINCOUNT", own or "")
    if own is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    assert main(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == (own or "3000")
