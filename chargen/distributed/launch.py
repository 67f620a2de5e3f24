"""``chargen`` in several processes of this machine, by torch's own launcher."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from chargen.distributed import BROKEN, TOLD

RESTARTS = 3
SAVING_SECONDS = 600  # that a process may take to end after Ctrl-C, before it is killed
HERE = "127.0.0.1"
STOPPED = (signal.SIGINT, signal.SIGTERM)  # 130 and 143 where a process ends of them in order
HANDLED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


def launch(
    processes: int,
    arguments: Sequence[str],
    say: Callable[[str], None],
    command: Sequence[str] = ("-m", "chargen"),
) -> int:
    """Run ``chargen`` with ``arguments`` in each process of a group; returns its exit code.

    The group begins again, up to `RESTARTS` times, where a process was lost, which ``say`` is
    told in a line. A mistake of the user's (2) and a bug (1) end it. Signals reach each process
    once; the code is then 128 and the signal's number. Rank 0 has the terminal and standard
    input; what the others print is shown where one of them, and not rank 0, ended the group.
    ``command`` is what Python runs.

    Nothing listens on any address but the loopback's.
    """
    from torch.distributed.elastic.multiprocessing import SignalException

    before = {name: signal.getsignal(getattr(signal, name)) for name in HANDLED}
    logging.disable(logging.CRITICAL)  # torch tells of each end and restart at length
    try:
        with _environment(processes), _job() as port:
            return _attempts(processes, [*command, *arguments], port, say)
    except SignalException as error:
        return 128 + error.sigval
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        logging.disable(logging.NOTSET)
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _attempts(processes: int, command: list[str], port: int, say: Callable[[str], None]) -> int:
    for attempt in range(RESTARTS + 1):
        with tempfile.TemporaryDirectory(prefix="chargen-") as folder:
            codes = _attempt(processes, command, port, folder)
            lost = _lost(codes)
            if not lost or attempt == RESTARTS:
                _show(codes, Path(folder))
                break
        say(f"{lost}: beginning again where it saved last (restart {attempt + 1} of {RESTARTS})")
    if lost:
        say(f"{lost}, after {RESTARTS} restarts; --resume goes on where it saved last")
    return _code(codes)


def _attempt(processes: int, command: list[str], port: int, folder: str) -> dict[int, int]:
    """The exit codes of the ranks that did not end with 0."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"chargen-{os.getpid()}",
        role="chargen",
        rdzv_backend="static",
        rdzv_endpoint=f"{HERE}:{port}",
        rdzv_configs={"rank": 0, "timeout": 60},
        # The launcher would restart a group that a mistake ended: which it cannot tell.
        max_restarts=0,
        monitor_interval=0.1,
        local_addr=HERE,
        logs_specs=DefaultLogsSpecs(folder, dict.fromkeys(range(1, processes), Std.ALL)),
    )
    # The launcher reads arguments as templates.
    escaped = [argument.replace("$", "$$") for argument in command]
    try:
        elastic_launch(config, sys.executable)(*escaped)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    return {}


def _final(code: int) -> bool:
    return code > 0 and code not in (BROKEN, TOLD) and code - 128 not in STOPPED


def _lost(codes: Mapping[int, int]) -> str:
    """How a process was lost, where that ended the group and a new one may fare better."""
    if any(_final(code) for code in codes.values()):
        return ""
    for rank, code in sorted(codes.items()):
        if code < 0 and code != -signal.SIGTERM:  # which the launcher sends the others
            return f"process {rank + 1} was killed ({signal.Signals(-code).name})"
    return "a process was lost" if BROKEN in codes.values() else ""


def _speaker(codes: Mapping[int, int]) -> int | None:
    return min((rank for rank, code in codes.items() if _final(code)), default=None)


def _code(codes: Mapping[int, int]) -> int:
    """The exit code of a group: of the first rank that ended it, as a shell counts."""
    speaker = _speaker(codes)
    if speaker is not None:
        return codes[speaker]
    killed = [-code for code in codes.values() if code < 0 and code != -signal.SIGTERM]
    if killed:
        return 128 + killed[0]
    return next((code if code > 0 else 128 - code for _, code in sorted(codes.items())), 0)


def _show(codes: Mapping[int, int], folder: Path) -> None:
    """What the rank that ended the group printed, unless that is rank 0, which is seen."""
    speaker = _speaker(codes)
    if speaker:
        for file in folder.glob(f"*/attempt_*/{speaker}/stderr.log"):
            sys.stderr.write(file.read_text("utf-8", "replace"))


@contextlib.contextmanager
def _job() -> Iterator[int]:
    """The port of a store that lives as long as the job, and listens on the loopback alone."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    listening = socket.create_server((HERE, 0))
    port = listening.getsockname()[1]
    store = TCPStore(
        HERE,
        port,
        is_master=True,
        timeout=timedelta(seconds=60),
        wait_for_workers=False,
        multi_tenant=True,  # the launcher, which asks for a server of this port, gets this one
        master_listen_fd=listening.detach(),
    )
    yield port
    del store


@contextlib.contextmanager
def _environment(processes: int) -> Iterator[None]:
    """What the processes, and the launcher itself, read from the environment."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    threads = max(1, cores // processes)
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")
    wanted = {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SAVING_SECONDS),
    }
    before = dict(os.environ)
    os.environ.update(wanted)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
