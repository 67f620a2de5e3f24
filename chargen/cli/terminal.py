"""The process of a command: its output, escaped so that none controls the terminal, and settings
of the libraries underneath: threads, signals and memory.
"""

import contextlib
import ctypes
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from chargen.errors import ChargenError
from chargen.files import writing
from chargen.render.text import visible

# Spin count of torch's threads before they sleep. With the library's default, two programs on the
# same cores slow each other down (measured: 12 times); this value is as fast for one program.
SPIN_COUNT = "3000"

LEAST_MEMORY = 9e8  # bytes of address space that torch takes when it is loaded
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
LARGEST_THRESHOLD = 2**31 - 1  # that `mallopt` accepts


class _Stream(io.FileIO):
    """A standard stream: results must be written; notes are dropped if they cannot be."""

    def write(self, data: Any) -> int:
        try:
            return os.write(self.fileno(), data)
        except BrokenPipeError:
            if self.fileno() == 1:
                raise
        except OSError as error:
            if self.fileno() == 1:
                drop_results()
                message = f"standard output: cannot be written ({error.strerror})"
                raise ChargenError(message) from None
        return len(data)


def drop_results() -> None:
    """Send later results nowhere: Python flushes standard output again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def prepare() -> None:
    """Configure the standard streams: UTF-8 and unchanged line ends for files and pipes.

    Nothing fails because standard error is closed, full or a lost terminal.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # or the next file that is opened, such as a checkpoint, gets the number
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    if os.name == "posix":
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = getattr(sys, name)
            if stream is getattr(sys, f"__{name}__") and not (number == 1 and os.isatty(1)):
                encoding = stream.encoding if stream else "utf-8"
                raw = io.BufferedWriter(_Stream(number, "w", closefd=False))
                setattr(sys, name, io.TextIOWrapper(raw, encoding, line_buffering=number == 2))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if not stream.isatty():
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")


def say(text: object, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text for people, escaped, to standard error if ``err``, in a `click.style`."""
    shown = visible(str(text))
    if style and not os.environ.get("NO_COLOR"):  # no-color.org
        shown = click.style(shown, **style)
    click.echo(shown, err=err, nl=nl)


@contextlib.contextmanager
def progress_bar(**style: Any) -> Iterator[Callable[[int, int], None]]:
    """Show a tqdm bar on terminals; yield a callback of the work done and in total, or 0."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False, **style) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield progress


def say_json(value: Any) -> None:
    print(json.dumps(value))


def put(text: str) -> None:
    """Write a result to standard output: unchanged to files, escaped and at once to terminals."""
    if sys.stdout.isatty():
        sys.stdout.write(visible(text))
        sys.stdout.flush()
    else:
        sys.stdout.write(text)


def write_text(file: Path, text: str) -> None:
    with writing(file):
        file.write_text(text, encoding="utf-8", newline="")


def configure_torch() -> None:
    """Set the spin count of torch's threads, and keep C++ messages off standard error."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")


def set_up_memory() -> None:
    """Refuse a memory limit under which torch aborts, and on glibc keep freed memory."""
    # The kernel zeroes every page that it hands out again, half of a step over 512 timesteps.
    if os.name != "posix":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY and "torch" not in sys.modules:
        problem = f"not enough memory: the limit of {limit / 1e6:,.0f} MB is too low for PyTorch"
        more = f"raise it to {2 * LEAST_MEMORY / 1e6:,.0f} MB or more (ulimit -v)"
        raise ChargenError(f"{problem}; {more}")
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_TRIM_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)


@contextlib.contextmanager
def handled(handler: Any, *numbers: int) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


# A program continues when its terminal is closed, as under nohup; Windows has no SIGHUP.
hangup_ignored = handled(signal.SIG_IGN, *(one for one in signal.Signals if one.name == "SIGHUP"))


def run_in_group(work: Callable[[], int]) -> int:
    """Return the exit code of ``work``; a process of a group exits with it instead."""
    # In a broken group, torch's threads can abort Python's finalization and replace the exit code.
    code = 1
    try:
        code = work()
    except BaseException:
        if not _in_group():
            raise
        traceback.print_exc()
    if _in_group():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _in_group() -> bool:
    torch_distributed = sys.modules.get("torch.distributed")
    return torch_distributed is not None and torch_distributed.is_initialized()
