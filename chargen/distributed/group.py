"""A group of processes that train one model: who they are, and what they tell each other."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from chargen import distributed as processes
from chargen.distributed import GroupBrokenError, PeerFailedError
from chargen.errors import ChargenError

PATIENCE_SECONDS = 60.0  # with a collective, and with a process that shows no life
MEETING_SECONDS = 300.0  # for every process to import what it needs and to come
BEAT_SECONDS = 5.0  # between a busy process's signs of life
POLL_SECONDS = 0.02
LAUNCHED = "TORCHELASTIC_RUN_ID"  # is in the environment where torch's launcher began a process
DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG

T = TypeVar("T")


def shares(count: int, size: int) -> list[slice]:
    """The rows of each of ``size`` ranks: contiguous, in order, as equal as they can be."""
    bounds = [rank * count // size for rank in range(size + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]


class Group:
    """One process by itself: sums are what they are, and nobody is waited for.

    `join` makes the group of several. Every rank must call its methods in the same order; `rows`
    and `told` are the rank's own. They raise `GroupBrokenError` where
    another process was lost, `PeerFailedError` where another failed and says why. That an
    exception leaves the group, as a context manager, is told to the others.
    """

    rank = 0
    size = 1
    local_rank = 0  # among the processes of this machine
    launchers: tuple[str, ...] = ()  # that began the ranks, and begin them again; rank 0 knows
    device = torch.device("cpu")  # where the group's own tensors are

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This rank's share of ``count`` rows."""
        return shares(count, self.size)[self.rank]

    def wrap(self, model: nn.Module) -> nn.Module:
        """``model`` with rank 0's weights, its gradients the mean of the ranks' after backward."""
        return model

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Within it, torch's error about a lost process is one of ours; others stay as they are."""
        yield

    def begin_sum(self, values: list[float]) -> Callable[[], list[float]]:
        """Start to add up the ranks' ``values`` in float64; what it returns waits for the sums."""
        return lambda: values

    def summed(self, array: np.ndarray) -> np.ndarray:
        """The sum of the ranks' arrays of one shape, in float64, at every rank."""
        return array.astype(np.float64)

    def gathered(self, tensor: Tensor) -> Tensor | None:
        """The ranks' rows, joined along axis 0 in their order, at rank 0; elsewhere None.

        The ranks may hold different numbers of rows, of one shape and type.
        """
        return tensor

    def gathered_bytes(self, data: bytes) -> list[bytes] | None:
        """What each rank gave, in their order, at rank 0; elsewhere None."""
        return [data]

    def sent(self, data: bytes | None) -> bytes:
        """Rank 0's ``data`` at every rank; what the others give is not looked at."""
        assert data is not None
        return data

    def led(self, work: Callable[[], bytes]) -> bytes:
        """What ``work`` returns at rank 0, which may take hours, at every rank.

        What it raises is raised at rank 0, and `PeerFailedError` elsewhere.
        """
        return work()

    def everywhere(self, work: Callable[[], T]) -> T:
        """What ``work``, which may take hours, returns here, once it is done at every rank.

        What it raises is raised where it was raised, and `PeerFailedError` elsewhere.
        """
        return work()

    def leave(self) -> None:
        """End the connections."""

    def __enter__(self) -> Group:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.leave()


ALONE = Group()


class Several(Group):
    """Ranks that reached each other through ``store``, which the launcher or rank 0 holds."""

    def __init__(self, store: Store, rank: int, size: int, device_type: str) -> None:
        self.rank, self.size = rank, size
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self._store = store
        self._job = f"chargen/{os.environ.get(LAUNCHED, '')}"
        self._works = 0  # so far, done together
        store.set_timeout(timedelta(seconds=PATIENCE_SECONDS))
        if device_type == "cuda":
            self.device = _own_gpu(self.local_rank)
        with self.told():
            self._attempt = self._meet()
            if size > 1:
                processes.ends_at_once = True
                dist.init_process_group(
                    "nccl" if device_type == "cuda" else "gloo",
                    store=PrefixStore(self._attempt, store),
                    rank=rank,
                    world_size=size,
                    timeout=timedelta(seconds=PATIENCE_SECONDS),
                )
        named = self.gathered_bytes(_launcher().encode()) or ()
        self.launchers = tuple(sorted({name.decode() for name in named} - {""}))

    def _meet(self) -> str:
        """A name for this gathering, which no process of an earlier one can have.

        The launcher's store outlives a restart, addresses of the dead in it included; no number
        that it gives is the same at every rank and new at every restart.
        """
        key, mine, ended = f"{self._job}/attempt", uuid.uuid4().hex, _after(MEETING_SECONDS)
        if self.leads:
            attempt = f"{self._job}/{mine}"
            self._store.set(key, attempt)
            came = [f"{attempt}/came/{rank}" for rank in range(1, self.size)]
            while not self._has(*came):
                self._pause(ended)
            for name in came:
                self._store.set(f"{attempt}/begin/{self._store.get(name).decode()}", "")
            return attempt
        while True:
            if self._has(key):
                attempt = self._store.get(key).decode()
                self._store.set(f"{attempt}/came/{self.rank}", mine)
                if self._has(f"{attempt}/begin/{mine}"):
                    return attempt
            self._pause(ended)

    def _has(self, *names: str) -> bool:
        return not names or self._store.check(list(names))

    def _pause(self, ended: Callable[[], bool]) -> None:
        if ended():
            raise self._broken()
        time.sleep(POLL_SECONDS)  # and not in the store, where no signal is heard

    def wrap(self, model: nn.Module) -> nn.Module:
        if self.size == 1:
            return model
        with self.told():
            return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if not _is_loss(error):
                raise
            raise self._broken() from None

    def _broken(self) -> ChargenError:
        failed = self._failed()
        return failed or GroupBrokenError(
            f"process {self.rank + 1} of {self.size}: another process of the group was lost; "
            "torchrun --max-restarts goes on from the last checkpoint, and so does --resume"
        )

    def _failed(self) -> PeerFailedError | None:
        """What is to be raised where a process said that it failed."""
        with contextlib.suppress(RuntimeError, AttributeError):  # no store, or none met yet
            if self._has(f"{self._attempt}/failed"):
                return PeerFailedError()
        return None

    def _say_failed(self) -> None:
        # The others, once told, may end first, and their launcher then ends this one, which has
        # not said why yet. Only the main thread may choose.
        if LAUNCHED in os.environ:
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(RuntimeError):
            self._store.set(f"{self._attempt}/failed", "")

    def begin_sum(self, values: list[float]) -> Callable[[], list[float]]:
        if self.size == 1:
            return lambda: values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        with self.told():
            work = dist.all_reduce(sums, async_op=True)

        def wait() -> list[float]:
            with self.told():
                work.wait()
                return sums.tolist()

        return wait

    def summed(self, array: np.ndarray) -> np.ndarray:
        sums = torch.tensor(array, dtype=torch.float64, device=self.device)
        if self.size > 1:
            with self.told():
                dist.all_reduce(sums)
        return sums.cpu().numpy()

    def gathered(self, tensor: Tensor) -> Tensor | None:
        parts = self._collected(tensor)
        return None if parts is None else torch.cat(parts)

    def gathered_bytes(self, data: bytes) -> list[bytes] | None:
        parts = self._collected(self._tensor(data))
        return None if parts is None else [part.cpu().numpy().tobytes() for part in parts]

    def _collected(self, rows: Tensor) -> list[Tensor] | None:
        if self.size == 1:
            return [rows]
        counts = [0.0] * self.size
        counts[self.rank] = float(len(rows))
        counts = self.begin_sum(counts)()
        # Every rank must send as much as the others.
        rows = rows.detach().to(self.device)
        padded = rows.new_zeros(int(max(counts)), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts] if self.leads else None
        with self.told():
            dist.gather(padded, parts)
        if parts is None:
            return None
        return [part[: int(count)] for part, count in zip(parts, counts, strict=True)]

    def sent(self, data: bytes | None) -> bytes:
        assert data is not None or not self.leads
        if self.size == 1:
            return data or b""
        given = data if self.leads and data is not None else b""
        length = int(self.begin_sum([float(len(given))])()[0])
        buffer = self._tensor(given if self.leads else bytes(length))
        with self.told():
            dist.broadcast(buffer, 0)
        return buffer.cpu().numpy().tobytes()

    def _tensor(self, data: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8)).to(self.device)

    def led(self, work: Callable[[], bytes]) -> bytes:
        return self.sent(self.everywhere(lambda: work() if self.leads else None))

    def everywhere(self, work: Callable[[], T]) -> T:
        self._works += 1
        keys = [f"{self._attempt}/work/{self._works}/{rank}" for rank in range(self.size)]
        own = keys[self.rank]
        with self._alive(own):
            result = work()
        with self.told():
            self._store.set(f"{own}/done", "")
            for key in keys:
                self._await(key)
        return result

    @contextlib.contextmanager
    def _alive(self, key: str) -> Iterator[None]:
        """Show life while the main thread works."""
        over = threading.Event()

        def beat() -> None:
            with contextlib.suppress(RuntimeError):  # a lost store is told by whoever needs it
                while not over.wait(BEAT_SECONDS):
                    self._store.add(f"{key}/beat", 1)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _await(self, key: str) -> None:
        beats, ended = 0, _after(PATIENCE_SECONDS)
        while not self._has(f"{key}/done"):
            failed = self._failed()
            if failed:
                raise failed
            if (now := self._store.add(f"{key}/beat", 0)) != beats:
                beats, ended = now, _after(PATIENCE_SECONDS)
            self._pause(ended)

    def leave(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:  # who went before the others are done would be lost to them
                self.everywhere(lambda: None)
            elif not isinstance(error, GroupBrokenError | PeerFailedError):
                self._say_failed()
        finally:
            self.leave()
            self._part()

    def _part(self) -> None:
        """Rank 0, whose own the store is unless a launcher has it, goes last."""
        if LAUNCHED in os.environ:
            return
        gone = [f"{self._attempt}/gone/{rank}" for rank in range(1, self.size)]
        ended = _after(BEAT_SECONDS)
        with contextlib.suppress(RuntimeError):
            if not self.leads:
                self._store.set(gone[self.rank - 1], "")
            while self.leads and not self._has(*gone) and not ended():
                time.sleep(POLL_SECONDS)


def join(device_type: str) -> Group:
    """The group that the environment names (``torchrun`` does), or `ALONE`; a context manager.

    A process that its launcher began ignores SIGTERM once an exception leaves the group, so that
    it can say what it was; `chargen.distributed.run` ends such a process.

    ``device_type`` is ``cpu``, for gloo, or ``cuda``, for NCCL and a GPU a process. `ChargenError`
    where the environment is none of a group's or a GPU is missing; `GroupBrokenError` where the
    others do not come.
    """
    launched, alone = LAUNCHED in os.environ, os.environ.get("WORLD_SIZE", "1") == "1"
    if alone and not launched:
        return ALONE
    _check_named(os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", ""))
    if launched:
        _die_with_the_launcher()
    if alone:  # of an elastic group one may be left
        return Several(HashStore(), 0, 1, device_type)
    try:
        store, rank, size = next(rendezvous("env://", timeout=timedelta(seconds=PATIENCE_SECONDS)))
    except ValueError as error:
        raise ChargenError(
            f"WORLD_SIZE is set, but no group can be joined ({error}); start with torchrun, or "
            "unset WORLD_SIZE"
        ) from None
    except RuntimeError:  # torch's own kinds are of it
        raise GroupBrokenError(
            "no process of the group can be reached at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}; is it running, "
            "and does the network let it through?"
        ) from None
    return Several(store, rank, size, device_type)


def _check_named(rank: str, size: str) -> None:
    """Who is none of the group would wait for it, and it for whoever is."""
    if rank.isdecimal() and size.isdecimal() and int(rank) >= int(size):
        raise ChargenError(
            f"RANK is {rank} and WORLD_SIZE {size}: ranks are counted from 0; start with "
            "torchrun, or unset WORLD_SIZE"
        )


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _is_loss(error: RuntimeError) -> bool:
    """Whether it says that a process cannot be reached; gloo's errors are of no class of theirs."""
    text = str(error)
    if "out of memory" in text:
        return False
    return isinstance(error, dist.DistError) or "/gloo/" in text


def _own_gpu(local_rank: int) -> torch.device:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ChargenError(
            f"process {local_rank + 1} of this machine has no GPU, of which there are {count}; "
            "start fewer processes, or use --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _launcher() -> str:
    """What tells the launcher that began this process from all others; "" where none did."""
    if LAUNCHED not in os.environ:
        return ""
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:  # on other systems its number must do
        began = ""
    return f"{socket.gethostname()} {parent} {began}"


def _die_with_the_launcher() -> None:
    """A launcher that is killed stops nobody, and a group without one would train on unseen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, int(signal.SIGKILL))
