"""Groups of processes for tests, forked from a server that has torch loaded."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from torch.distributed import TCPStore

from chargen.cli import main
from chargen.cli.environment import run_in_group
from chargen.distributed.group import join
from chargen.distributed.launch import launch
from chargen.errors import ChargenError

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["chargen.api", "chargen.cli.training_display", "torch.distributed.run"]
)
HOST = "127.0.0.1"
SLOW = """
import sys, time
from chargen.cli import main
from chargen.cli.environment import run_in_group
from chargen.training.loop import Trainer
reports = Trainer.reports
Trainer.reports = lambda *given: (time.sleep(0.02) or report for report in reports(*given))
sys.exit(main(sys.argv[1:]))
"""  # chargen, 20 ms a step slower
SECONDS = 60  # after which a process that has not ended fails the test


class Forked:
    """A forked process with files as its standard streams; ``work`` returns its exit code."""

    def __init__(self, folder, name, work, *arguments, stdin="", environment=None):
        self.files = [folder / f"{name}.{stream}" for stream in ("in", "out", "err")]
        for file, text in zip(self.files, (stdin, "", ""), strict=True):
            file.write_text(text)
        given = (self.files, environment or {}, work, arguments)
        self.process = SERVER.Process(target=_run, args=given, daemon=True)
        self.process.start()
        self.pid = self.process.pid

    @property
    def out(self):
        return self.files[1].read_text()

    @property
    def err(self):
        return self.files[2].read_text()

    def ended(self):
        """Wait; return the exit code, standard output and standard error."""
        self.process.join(SECONDS)
        if self.process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"still running after {SECONDS} s: {self.out}{self.err}")
        return self.process.exitcode, self.out, self.err


def _run(files, environment, work, arguments):
    os.setsid()  # its own group, as in a terminal
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR), number)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, os.fdopen(number, "w" if number else "r", buffering=1))
    os.environ |= {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL", **environment}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run_in_group(lambda: work(*arguments)))


def ranks(folder, size, work, *arguments, **options):
    """Start ``work(group, *arguments)``, or ``main(arguments)``, in each rank of a group."""
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    found = {"WORLD_SIZE": size, "MASTER_ADDR": HOST, "MASTER_PORT": store.port}
    found |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
    started = []
    for rank in range(size):
        own = {**found, "RANK": rank, "LOCAL_RANK": rank}
        own = {name: str(value) for name, value in own.items()}
        given = (folder, f"rank{rank}", *([] if work is main else [_rank]), work, *arguments)
        started.append(Forked(*given, environment=own, **options))
    started[0].store = store  # lives as long
    return started


def _rank(work, *arguments):
    try:
        with join("cpu") as group:
            print(json.dumps(work(group, *arguments)))
    except ChargenError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def chargen(folder, *arguments, name="chargen", **options):
    """Start the command line."""
    return Forked(folder, name, main, list(map(str, arguments)), **options)


def launched(folder, size, script, *arguments, **options):
    """Start ``script`` in each of ``size`` processes, through `chargen.distributed.launch`."""
    command = ["-c", script, *map(str, arguments)]
    return Forked(folder, "launcher", launch, size, command, _say, **options)


def _say(line):
    print(line, file=sys.stderr)


def torchrun(folder, name, arguments):
    """Start torchrun."""
    own = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # see docs/scaling.md
    return Forked(folder, name, _torchrun, list(map(str, arguments)), environment=own)


def _torchrun(arguments):
    from torch.distributed.run import main as torchrun_main

    torchrun_main(arguments)
    return 0


def children(pid):
    """The processes that a process started, by number."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def listening():
    """The addresses of listening sockets, as Linux writes them."""
    tables = (Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6"))
    lines = [line.split() for table in tables for line in table]
    return {line[1] for line in lines if line[3] == "0A"}


def wait_for(holds, seconds=SECONDS):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "the condition did not come true"
        time.sleep(0.02)
