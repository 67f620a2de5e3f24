"""A run's folder. Imports no torch.

run.json            settings, vocabulary, corpus, versions
progress.jsonl      one line a report
best.safetensors    the weights with the lowest validation loss
last.safetensors    all that a resumed run needs
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from chargen.runs.checkpoint import WEIGHTS, Checkpoint, below, read_checkpoint
from chargen.runs.description import Description
from chargen.errors import ChargenError
from chargen.files import (
    cannot_write,
    linked,
    make_folder,
    parse_json,
    read_bytes,
    reason,
    remove_files,
    write_end,
    write_file,
)
from chargen.text.cache import FOLDER, CorpusCache

LARGEST_DESCRIPTION = 2**24  # bytes: all of Unicode takes 13 million, escaped
LARGEST_PROGRESS = 2**30  # bytes
RUNS = Path("runs")
RUN, PROGRESS, BEST, LAST = "run.json", "progress.jsonl", "best.safetensors", "last.safetensors"
LOCK, HOLDER, JOB = ".lock", ".held-by", ".job"
LARGEST_JOB = 2**20  # bytes
REPORTED = (  # what a line of progress.jsonl holds
    "step",
    "chars",
    "seconds",
    "train_loss_nats",
    "validation_loss_nats",
    "learning_rate",
    "gradient_norm",
)


class Run:
    """A run that exists: `Run.create`, `Run.open` and `newest` give one."""

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description

    @classmethod
    def create(cls, path: Path, description: Description) -> Run:
        """Make a run in a folder that is there; an earlier run's files in it are removed.

        Its ``run.json`` goes first and the new one comes last: between them there is no run, and
        never one that is half this and half that.
        """
        remove_files(path, RUN)
        remove_files(path, BEST, LAST, PROGRESS)
        run = cls(path, description)
        run.write_description()
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in a folder; `ChargenError` where there is none, or one that cannot be read."""
        file = path / RUN
        if not path.is_dir():
            raise ChargenError(f"{path}: no such run folder; chargen train makes one")
        _refuse_links(path)
        try:
            data = read_bytes(file, LARGEST_DESCRIPTION)
        except FileNotFoundError:
            raise ChargenError(f"{path}: not a run folder, it has no {RUN}") from None
        try:
            return cls(path, Description.from_json(parse_json(data)))
        except ChargenError as error:
            raise ChargenError(f"{file}: {reason(error)}") from None
        except ValueError as error:
            raise ChargenError(f"{file}: damaged ({reason(error)}); train the run again") from None

    def begun_by(self, launchers: Sequence[str], *, begins: bool) -> None:
        """Say who ``begins`` it, before ``run.json`` is written, or goes on with what is there.

        Launchers of processes, which begin all anew where one of theirs is killed, in the same
        words: `is_begun_by` then tells that there is something to go on with.
        """
        make_folder(self.path)
        before = _stamp(self.path) if begins else ""
        said = {"launchers": list(launchers), "before": before}
        write_file(self.path / JOB, json.dumps(said).encode())

    @property
    def cached_corpus(self) -> CorpusCache:
        """The cache entry of the run's corpus."""
        corpus, documents = self.description.corpus, self.description.training.documents
        folder = encoded_in(self.path, corpus.cache)
        return CorpusCache(folder, corpus.name, corpus.sources, documents)

    def write_description(self) -> None:
        """Write ``run.json``; `ChargenError`, and nothing written, where it could not be read."""
        data = (json.dumps(self.description.to_json(), indent=1) + "\n").encode()
        try:
            parse_json(data)
        except ValueError as error:
            raise ChargenError(
                f"{self.path / RUN}: would be too large to be read again ({reason(error)}); name "
                "the folder of the corpus, not each of its files"
            ) from None
        write_file(self.path / RUN, data)

    def write_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        """Write `BEST` or `LAST`; the old one stays whole until the new one is."""
        write_file(self.path / name, checkpoint.to_bytes())

    def read_checkpoint(self, name: str) -> Checkpoint:
        """Read `BEST` or `LAST`; `ChargenError` where it is missing or damaged."""
        file = self.path / name
        try:
            return read_checkpoint(file)
        except FileNotFoundError:
            raise ChargenError(
                f"{file}: missing, the run stopped before it was saved; train again"
            ) from None

    def weights(self) -> dict[str, np.ndarray]:
        """The best weights, or the last ones of a run that stopped before it was ever validated."""
        name = BEST if os.path.lexists(self.path / BEST) else LAST
        weights = below(self.read_checkpoint(name).arrays, WEIGHTS)
        for key, array in weights.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ChargenError(f"{self.path / name}: weights {reason(key)} are no numbers")
        return weights

    def append_progress(self, *records: Mapping[str, Any], start: int | None = None) -> int:
        """Add lines to ``progress.jsonl`` where its first ``start`` bytes end, else at its end.

        What lay beyond them is gone. Returns how many bytes the file then has.
        """
        file = self.path / PROGRESS
        if start is None:
            start = file.stat().st_size if file.is_file() else 0
        lines = "".join(json.dumps(record) + "\n" for record in records).encode()
        write_end(file, start, lines)
        return start + len(lines)

    def progress(self) -> list[dict[str, Any]]:
        """All lines of ``progress.jsonl`` so far; a last line that was cut short is left out."""
        data, start = self._progress_bytes(), 0
        records: list[dict[str, Any]] = []
        while (end := data.find(b"\n", start)) >= 0:
            records.append(self._progress_line(len(records) + 1, data[start:end]))
            start = end + 1
        return records

    def _progress_line(self, number: int, line: bytearray) -> dict[str, Any]:
        try:
            record = parse_json(line)
            if all(_is_number(record[name]) for name in REPORTED):
                return dict(record)
        except (ValueError, KeyError, TypeError):
            pass
        raise ChargenError(f"{self.path / PROGRESS}, line {number}: damaged; delete that line")

    def keep_progress(self, lines: int) -> int:
        """Forget what was reported after the checkpoint that a resumed run goes on from.

        That one counts ``lines``; `ChargenError` where there are fewer. Returns the bytes kept.
        """
        file = self.path / PROGRESS
        data = self._progress_bytes()
        *kept, rest = data.split(b"\n", lines)
        if len(kept) < lines:
            raise ChargenError(
                f"{file}: damaged, {LAST} counts {lines} lines and {len(kept)} are there; "
                "start over with --overwrite"
            )
        if rest:
            write_end(file, len(data) - len(rest), b"")
        return len(data) - len(rest)

    def begins(self) -> bool:
        """Whether it was stopped before its first checkpoint was whole: nothing of it is lost."""
        return not os.path.lexists(self.path / LAST) and self._progress_bytes().count(b"\n") <= 1

    def _progress_bytes(self) -> bytearray:
        file = self.path / PROGRESS
        try:
            return read_bytes(file, LARGEST_PROGRESS)
        except FileNotFoundError:
            return bytearray()


class Lock:
    """A run's folder, held against other processes that would write it until ``release``."""

    def __init__(self, path: Path) -> None:
        self._file = FileLock(path / LOCK)
        # Not in the locked file itself: some versions of filelock empty it as they try.
        self._holder = path / HOLDER
        try:
            self._file.acquire(timeout=0)
        except Timeout:
            raise ChargenError(
                f"{path}: another process is training in it{self._who()}; wait for it or give "
                "another --out"
            ) from None
        except OSError as error:
            raise cannot_write(path, error) from error
        with suppress(OSError):  # the lock holds without it
            self._holder.unlink(missing_ok=True)
            with self._holder.open("x", encoding="ascii") as file:
                file.write(f"{os.getpid()} {time.strftime('%Y-%m-%d %H:%M:%S')}")

    def release(self) -> None:
        """Give the folder free; a second time it does nothing."""
        if self._file.is_locked:
            with suppress(OSError):
                self._holder.unlink(missing_ok=True)
            self._file.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _who(self) -> str:
        said = _holder(self._holder)
        return f" (process {said[0]}, since {said[1]})" if said else ""


def _holder(file: Path) -> tuple[int, str] | None:
    """The process that wrote `HOLDER`, and when; None where nobody did."""
    try:
        if file.is_symlink() or not file.is_file():
            return None
        with file.open("rb") as read:
            said = re.fullmatch(rb"(\d{1,9}) ([\d :-]{19})", read.read(40))
    except OSError:
        return None
    return (int(said[1]), said[2].decode()) if said else None


def is_held(path: Path) -> bool:
    """Whether a process that still lives says that it trains in a run's folder.

    The lock is not touched, since whoever tried it would keep others from it.
    """
    said = _holder(path / HOLDER)
    if said is None or os.name != "posix":  # elsewhere asking after a process would end it
        return said is not None
    try:
        os.kill(said[0], 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it lives, and is somebody else's
    return True


def lock(path: Path) -> Lock:
    """Hold a run's folder, made where it is missing, against other processes that would write it.

    The lock ends with ``release()`` or with the process, however that ends. `ChargenError` where
    somebody else holds it, who is named, or the folder cannot be written.
    """
    make_folder(path)
    return Lock(path)


def encoded_in(run: Path, cache: str) -> Path:
    """The folder for encoded corpora that ``cache`` says, or the one beside the folder ``run``."""
    return Path(cache) if cache else run.resolve().parent / FOLDER


def newest(folder: Path = RUNS) -> Run:
    """The run under ``folder`` that was written to last; `ChargenError` where there is none."""
    found = [file.parent for file in folder.glob(f"*/{RUN}")]
    if not found:
        raise ChargenError(
            f"no run under {folder}/ yet: train one with `chargen train CORPUS`, or name its folder"
        )
    return Run.open(max(found, key=_last_written))


def _refuse_links(path: Path) -> None:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise linked(path / entry.name)
    except OSError as error:
        raise ChargenError(f"{path}: cannot be read ({error.strerror})") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / RUN).exists()


def is_begun_by(path: Path, launchers: Sequence[str]) -> bool:
    """Whether the run in a folder is one that `Run.begun_by` was told of, by one of these."""
    try:
        said = parse_json(read_bytes(path / JOB, LARGEST_JOB))
        known, before = {str(name) for name in said["launchers"]}, said["before"]
    except (ChargenError, OSError, ValueError, KeyError, TypeError):
        return False
    return not known.isdisjoint(launchers) and _stamp(path) not in ("", before)


def _stamp(path: Path) -> str:
    """What tells the ``run.json`` in a folder from another one written there; "" for none."""
    try:
        status = (path / RUN).stat()
    except OSError:
        return ""
    return f"{status.st_ino} {status.st_mtime_ns}"


def _last_written(path: Path) -> int:
    files = (path / name for name in (RUN, PROGRESS, BEST, LAST))
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)
