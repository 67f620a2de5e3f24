"""Start ``chargen`` in several processes of this machine, through torchrun."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from chargen.distributed import PEER_LOST

RESTARTS = 3
HOST = "127.0.0.1"


def launch(processes: int, command: Sequence[str], say: Callable[[str], None]) -> int:
    """Run Python with ``command`` in each process of a group; return the group's exit code.

    If a process is killed or lost, all start again, up to `RESTARTS` times, and ``say`` prints a
    line; an error ends them. Signals are forwarded to every process. Sockets listen on the
    loopback interface alone. The environment and signal handlers of this process change.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "600"  # seconds to save after a signal
    logging.disable(logging.CRITICAL)  # torchrun logs each failure with a traceback
    from torch.distributed.elastic.multiprocessing import SignalException

    try:
        for left in range(RESTARTS, -1, -1):
            code, loss = _outcome(_exit_codes(processes, command))
            if not loss:
                break
            then = f"restarting, {left} left" if left else "--resume continues"
            say(f"{loss}; {then} from the last save")
    except (SignalException, KeyboardInterrupt) as error:
        code = 128 + getattr(error, "sigval", signal.SIGINT)
    return code


def _exit_codes(processes: int, command: Sequence[str]) -> dict[int, int]:
    """Run the processes; return the exit codes other than 0 by rank, in the order observed."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun's own store would listen on all interfaces; with multi_tenant it uses this one.
    listener = socket.create_server((HOST, 0))
    port, how = listener.getsockname()[1], {"multi_tenant": True, "wait_for_workers": False}
    store = TCPStore(HOST, port, None, True, master_listen_fd=listener.detach(), **how)  # type: ignore[arg-type]
    flags = f"--nproc-per-node={processes} --master-addr={HOST} --master-port={store.port} "
    flags += f"--local-addr={HOST} --role=chargen --log-dir={os.devnull} --no-python"
    escaped = [word.replace("$", "$$") for word in command]  # for string.Template
    try:
        torchrun.run(torchrun.parse_args([*flags.split(), sys.executable, *escaped]))
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    return {}


def _outcome(codes: Mapping[int, int]) -> tuple[int, str]:
    """Return the exit code of the group and, if a process was lost, a description of the loss."""
    stopped = (128 + signal.SIGINT, 128 + signal.SIGTERM)
    for code in codes.values():
        if code > 0 and code not in (PEER_LOST, *stopped):
            return code, ""
    for rank, code in codes.items():
        if code < 0 and code != -signal.SIGTERM:  # which torchrun sends to the others
            return 128 - code, f"process {rank + 1} was killed ({signal.Signals(-code).name})"
    if PEER_LOST in codes.values():
        return PEER_LOST, "a process was lost"
    return next((code if code > 0 else 128 - code for code in codes.values()), 0), ""
