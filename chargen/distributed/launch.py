"""Start ``chargen`` in several processes of this machine, through torchrun."""

import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence

from chargen.distributed import PEER_LOST

RESTARTS = 3
HOST = "127.0.0.1"


def launch(processes: int, command: Sequence[str], say: Callable[[str], None]) -> int:
    """Run Python with ``command`` in each process of a group; return the group's exit code.

    If a process is killed or lost, all start again, up to `RESTARTS` times; an error ends them.
    The environment and signal handlers of this process change.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException

    logging.disable(logging.CRITICAL)  # torchrun logs each failure with a traceback
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM,SIGINT,SIGQUIT"  # a hangup ends nothing
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "600"  # seconds to save after a signal
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    # --rdzv-id names the job: restarted processes resume its run. Words are string.Templates.
    words = [f"--rdzv-id={uuid.uuid4()}", "--no-python", sys.executable]
    words += [word.replace("$", "$$") for word in command]
    try:
        for left in range(RESTARTS, -1, -1):
            code, loss = _outcome(_exit_codes(processes, words))
            if not loss:
                break
            then = f"restarting, {left} left" if left else "--resume continues"
            say(f"{loss}; {then} from the last save")
    except SignalException as error:
        code = 128 + error.sigval
    return code


def _exit_codes(processes: int, words: Sequence[str]) -> dict[int, int]:
    """Run the processes; return the exit codes other than 0 by rank, in the order observed."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun's own store would listen on all interfaces; with multi_tenant it uses this one.
    server = socket.create_server((HOST, 0))
    how: dict[str, int] = {"multi_tenant": True, "wait_for_workers": False}
    port, how["master_listen_fd"] = server.getsockname()[1], server.detach()
    store = TCPStore(HOST, port, None, True, **how)  # type: ignore[arg-type]
    flags = f"--nproc-per-node={processes} --master-addr={HOST} --master-port={store.port} "
    flags += f"--local-addr={HOST} --role=chargen --log-dir={os.devnull}"
    try:
        torchrun.run(torchrun.parse_args([*flags.split(), *words]))
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
