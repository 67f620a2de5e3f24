"""Simulated disks, which replace the module `os` in `chargen.files`."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

FAILING = ("open", "write", "ftruncate", "fsync", "replace", "unlink")


class Crash(BaseException):
    """The process was killed."""


class Disk:
    """`os`, with a callback ``before`` that receives the number and name of each writing call.

    With ``torn``, each write is split: the first half is written before the callback.
    """

    def __init__(self, before: Callable[[int, str], None] = lambda n, name: None, torn=False):
        self.before, self.torn = before, torn
        self.calls, self._is_half, self.args = 0, False, ()

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in FAILING:
            return real

        def call(*args):
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args)  # a file to read, or a directory to sync
            number, self.args = self.calls, args
            self.calls += 1
            self._is_half = name == "write" and self.torn and not self._is_half
            if self._is_half:
                half = real(args[0], args[1][: (len(args[1]) + 1) // 2])
                self.before(number, name)
                return half
            self.before(number, name)
            return None if name == "fsync" else real(*args)

        return call


def crash_at(wanted: int, torn: bool = False) -> Disk:
    """Return a disk that raises `Crash` from call number ``wanted`` on."""

    def before(number: int, name: str) -> None:
        if number >= wanted:
            raise Crash

    return Disk(before, torn)


def refuse_at(wanted: int, code: int, forever: bool = False, torn: bool = False) -> Disk:
    """Return a disk that fails call number ``wanted``, or every later call but unlink too."""

    def before(number: int, name: str) -> None:
        if number == wanted or (forever and number > wanted and name != "unlink"):
            raise OSError(code, os.strerror(code))

    return Disk(before, torn)


CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)


class Snapshots(Disk):
    """`os`, with the content of a directory before each writing call: what a kill would leave."""

    def __init__(self, folder: Path, torn=False):
        super().__init__(self._record, torn)
        self.folder = folder
        self.states: dict[tuple, None] = {}  # distinct contents, in order

    def _record(self, number, name):
        files = sorted(self.folder.glob("[!.]*"))
        self.states[tuple((file.name, file.read_bytes()) for file in files)] = None


def restore(state, folder: Path) -> Path:
    """Write files, as (name, bytes) pairs, into a new directory."""
    folder.mkdir()
    for name, data in state:
        (folder / name).write_bytes(data)
    return folder


class Recorder(Disk):
    """`os`, with a log of the writing calls for `after_power_loss`; it reads Linux's /proc."""

    def __init__(self):
        super().__init__(self._record)
        self.log = []

    def _record(self, number, name):
        first, *rest = self.args
        if name == "open":
            self.log.append(("create", Path(first).name))
        elif name == "replace":
            self.log.append(("rename", Path(first).name, Path(rest[0]).name))
        elif name == "unlink":
            self.log += [("unlink", Path(first).name)] if os.path.lexists(first) else []
        else:
            path = Path(os.readlink(f"/proc/self/fd/{first}"))
            if name == "write":
                at = os.lseek(first, 0, os.SEEK_CUR)
                self.log.append(("write", path.name, at, bytes(rest[0])))
            elif name == "ftruncate":
                self.log.append(("cut", path.name, rest[0]))
            else:
                self.log.append(("sync folder",) if path.is_dir() else ("sync", path.name))


class _Inode:
    def __init__(self, data: bytes = b"") -> None:
        self.durable = data
        self.pending = []  # (position, data) of unsynced writes; None is a truncation

    def content(self, how: str) -> bytes:
        """Return what was written (kept), synced (lost), or written but half of the last (torn)."""
        data, pending = bytearray(self.durable), [] if how == "lost" else self.pending
        last = max((n for n, (_, written) in enumerate(pending) if written is not None), default=-1)
        for number, (position, written) in enumerate(pending):
            data.extend(bytes(max(0, position - len(data))))
            if written is None:
                del data[position:]
                continue
            part = written[: len(written) // 2] if how == "torn" and number == last else written
            data[position : position + len(part)] = part
        return bytes(data)


def after_power_loss(log: list, before: Mapping[str, bytes]) -> Iterator[tuple[int, dict]]:
    """Yield the directories that a power cut may leave, with the number of calls before it.

    Unsynced data are complete, missing or torn; any subset of the unsynced directory changes
    took place.
    """
    durable = {name: _Inode(data) for name, data in before.items()}
    seen, pending = dict(durable), []  # as the program sees it; unsynced (removed, added) names
    for cut in range(len(log) + 1):
        for count in range(len(pending) + 1):
            for changes in itertools.combinations(pending, count):
                entries = dict(durable)
                for removed, added in changes:
                    entries.pop(removed, None)
                    entries.update(added)
                for how in ("kept", "lost", "torn"):
                    yield cut, {name: inode.content(how) for name, inode in entries.items()}
        if cut == len(log):
            return
        kind, name, *rest = *log[cut], ""
        if kind == "sync folder":
            durable, pending = dict(seen), []
        elif kind == "sync":
            seen[name].durable, seen[name].pending = seen[name].content("kept"), []
        elif kind in ("write", "cut"):
            seen[name].pending.append((rest[0], rest[1] if kind == "write" else None))
        elif kind != "create" or name not in seen:
            added = {"create": {name: _Inode()}, "rename": {rest[0]: seen.get(name)}, "unlink": {}}
            pending.append((None if kind == "create" else name, added[kind]))
            seen.pop(name, None)
            seen.update(added[kind])
