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
from chargen.cli.terminal import run_in_group
from chargen.distributed.group import join
from chargen.distributed.launch import launch
from chargen.errors import ChargenError

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # as chargen does before it loads torch
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["chargen.api", "torch.distributed.run", "hypothesis", "pytest"])
HOST = "127.0.0.1"
SECONDS = 120  # time limit of every wait


class Forked:
    """A forked process with files as its standard streams; ``work`` returns its exit code."""

    def __init__(self, folder, work, *arguments, name="process", stdin="", environment=None):
        self.files = [folder / f"{name}.{stream}" for stream in ("in", "out", "err")]
        for file, text in zip(self.files, (stdin, "", ""), strict=True):
            file.write_text(text)
        own = {name: str(value) for name, value in (environment or {}).items()}
        given = (self.files, own, work, arguments)
        self.process = SERVER.Process(target=_run, args=given, daemon=True)
        self.process.start()

    @property
    def err(self):
        return self.files[2].read_text()

    def ended(self):
        """Wait; return the exit code, standard output and standard error."""
        self.process.join(SECONDS)
        if self.process.exitcode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.exitcode, self.files[1].read_text(), self.err


def _run(files, environment, work, arguments):
    os.setsid()  # its own process group, as in a terminal
    for number, (file, name) in enumerate(zip(files, ("stdin", "stdout", "stderr"), strict=True)):
        os.dup2(os.open(file, os.O_RDWR), number)
        setattr(sys, name, os.fdopen(number, "w" if number else "r", buffering=1))
    os.environ |= {"OMP_NUM_THREADS": "1", **environment}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run_in_group(lambda: work(*arguments)))


def ranks(folder, size, work, *arguments, **options):
    """Start ``work(group, *arguments)``, or ``main(arguments)``, in each rank of a group."""
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    found = {"WORLD_SIZE": size, "MASTER_ADDR": HOST, "MASTER_PORT": store.port}
    found |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
    works = (main,) if work is main else (_rank, work)
    started = []
    for rank in range(size):
        own = {**found, "RANK": rank, "LOCAL_RANK": rank}
        given = {"name": f"rank{rank}", "environment": own, **options}
        started.append(Forked(folder, *works, *arguments, **given))
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


def run_launcher(size, *command):
    return launch(size, ["-c", *map(str, command)], lambda line: print(line, file=sys.stderr))


def children(pid):
    """Return the process ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def listening():
    """Return the addresses of listening sockets, as Linux writes them."""
    tables = [Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    return {line.split()[1] for table in tables for line in table if line.split()[3] == "0A"}


def wait_for(holds):
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until, "the condition did not come true"
        time.sleep(0.02)
