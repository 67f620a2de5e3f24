"""Collectives of the processes that train one model, on torch.distributed."""

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from chargen.distributed import PeerError
from chargen.errors import ChargenError

TIMEOUT = timedelta(minutes=5)  # of a collective in training, and of starting all processes
WORK_TIMEOUT = timedelta(days=1)  # of work that other ranks wait for, such as encoding a corpus

T = TypeVar("T")


@contextlib.contextmanager
def peer_errors() -> Iterator[None]:
    """Translate torch's errors about lost processes, which gloo raises as `RuntimeError`."""
    try:
        yield
    except RuntimeError as error:
        is_loss = isinstance(error, dist.DistError) or "/gloo/" in str(error)
        if not is_loss or "out of memory" in str(error):
            raise
        remedy = "torchrun --max-restarts and --resume continue from the last save"
        raise PeerError(f"another process failed or was lost; {remedy}") from None


class ProcessGroup:
    """The ranks that train together; a single process does without torch.distributed.

    Every rank calls the same collectives in the same order. An exception must end its process.
    """

    @peer_errors()
    def __init__(self, device: torch.device | None = None) -> None:
        """Represent torch's default process group, or a single process if ``device`` is None."""
        self.device = device or torch.device("cpu")
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if device else (0, 1)
        self.leads = self.rank == 0  # writes files and prints
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.launchers: tuple[str, ...] = ()  # digests of those that started the ranks; at rank 0
        if device:
            self._patient = dist.new_group(timeout=WORK_TIMEOUT, backend="gloo")
        if device and (run_id := os.environ.get("TORCHELASTIC_RUN_ID")):
            launcher = f"{socket.gethostname()} {os.getppid()} {run_id}".encode()
            gathered = self.gather(hashlib.sha256(launcher).hexdigest()[:16]) or ()
            self.launchers = tuple(sorted(set(gathered)))

    def rows(self, count: int) -> slice:
        """Return this rank's share of ``count`` rows; shares differ by at most one row."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    @peer_errors()
    def synchronize(self, model: nn.Module) -> None:
        for parameter in model.parameters() if self.size > 1 else ():
            dist.broadcast(parameter.detach(), 0)

    @peer_errors()
    def sum_gradients(self, model: nn.Module, numbers: list[float]) -> list[float]:
        """Sum gradients over ranks in place; return the sums of ``numbers``, in one all-reduce."""
        if self.size == 1:
            return numbers
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        parts = [*gradients, gradients[0].new_tensor(numbers)]
        sums = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(sums)
        for part, total in zip(parts, sums.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view(part.shape))
        return parts[-1].tolist()

    @peer_errors()
    def sum(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of the ranks' arrays of one shape, in float64."""
        sums = torch.tensor(array, dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(sums)
        return sums.numpy()

    @peer_errors()
    def gather(self, value: T) -> list[T] | None:
        """Return the ranks' values in their order at rank 0, None elsewhere."""
        values = [value] * self.size if self.leads else None
        if self.size > 1:
            dist.gather_object(value, values)
        return values

    @peer_errors()
    def broadcast(self, value: T) -> T:
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, 0, self._patient)
        return values[0]

    def run_on_lead(self, work: Callable[[], T]) -> T:
        """Return at every rank what ``work`` returns at rank 0, where it may take hours."""
        return self.broadcast(work() if self.leads else None)  # type: ignore[return-value]

    @peer_errors()
    def wait(self) -> None:
        if self.size > 1:
            dist.barrier(self._patient)


@contextlib.contextmanager
def join(device_type: str) -> Iterator[ProcessGroup]:
    """Join the group that torchrun's environment variables describe; at the end wait for all ranks.

    Raises `ChargenError` for variables of no group, or without a GPU that ``device_type`` asks for.
    """
    is_launched = "TORCHELASTIC_RUN_ID" in os.environ
    if is_launched and sys.platform == "linux":
        # PR_SET_PDEATHSIG: processes of a killed launcher would continue unsupervised.
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
    if not (is_launched or dist.is_initialized() or os.getenv("WORLD_SIZE", "1") != "1"):
        yield ProcessGroup()
        return
    device = torch.device("cpu")
    if device_type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if device.index >= torch.cuda.device_count():
            problem = f"process {device.index + 1} of this machine has no GPU"
            raise ChargenError(f"{problem}; start fewer processes, or use --device cpu")
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        _initialize()
    group = ProcessGroup(device)
    yield group
    group.wait()


def _initialize() -> None:
    try:
        if int(os.environ.get("RANK", "0")) >= int(os.environ["WORLD_SIZE"]):
            raise ValueError("RANK must be less than WORLD_SIZE")
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # This store outlives a restart, and so do the addresses of ended processes in it.
            store = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, None, TIMEOUT, size, rank, store)
    except ValueError as error:
        raise ChargenError(f"{error}; start with torchrun, or unset WORLD_SIZE") from None
    except RuntimeError:
        address = "{MASTER_ADDR}:{MASTER_PORT}".format_map(os.environ)
        problem = f"the other processes do not answer at {address}; are all running?"
        raise PeerError(problem) from None
