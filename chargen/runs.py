"""A run's folder. Imports no torch.

run.json            settings, vocabulary, corpus, versions
progress.jsonl      one line a report
best.safetensors    the weights with the lowest validation loss
last.safetensors    all that a resumed run needs
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from chargen.checkpoints import WEIGHTS, Checkpoint, below, read_checkpoint
from chargen.errors import ChargenError
from chargen.files import cannot_write, write_file
from chargen.settings import ModelSettings, TrainingSettings, from_json, to_json
from chargen.text.vocabulary import Vocabulary

FORMAT = 1  # of run.json
RUNS = Path("runs")
RUN, PROGRESS, BEST, LAST = "run.json", "progress.jsonl", "best.safetensors", "last.safetensors"
LOCK = ".lock"


@dataclass(frozen=True)
class CorpusRecord:
    """What a run remembers of its corpus: enough to find it again and to know it."""

    name: str
    sources: tuple[str, ...]
    sha256: str  # of the text in UTF-8
    chars: int
    training_chars: int  # what comes before the held-out part

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CorpusRecord:
        """Checked on the way in; `KeyError`, `TypeError` or `ValueError`."""
        record = cls(**{**values, "sources": tuple(values["sources"])})
        if not 1 <= record.training_chars < record.chars:
            raise ValueError(f"{record.training_chars} of {record.chars} characters to train on")
        if not all(isinstance(text, str) for text in (*record.sources, record.name, record.sha256)):
            raise TypeError("names of the corpus are no text")
        return record


@dataclass(frozen=True)
class Description:
    """What ``run.json`` holds."""

    model: ModelSettings
    training: TrainingSettings
    vocabulary: Vocabulary
    corpus: CorpusRecord
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `Description.from_json` reads them back."""
        return {
            "format": FORMAT,
            "model": to_json(self.model),
            "training": to_json(self.training),
            "vocabulary": self.vocabulary.characters,
            "corpus": asdict(self.corpus),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Description:
        """Checked on the way in; `ChargenError`, `KeyError`, `TypeError` or `ValueError`."""
        if values["format"] != FORMAT:
            raise ChargenError(
                f"format {values['format']}, this chargen reads format {FORMAT}: upgrade it"
            )
        return cls(
            from_json(ModelSettings, values["model"]),
            from_json(TrainingSettings, values["training"]),
            Vocabulary("".join(values["vocabulary"])),
            CorpusRecord.from_json(values["corpus"]),
            dict(values["versions"]),
        )


class Run:
    """A run that exists: `Run.create`, `Run.open` and `newest` give one."""

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description

    @classmethod
    def create(cls, path: Path, description: Description) -> Run:
        """Make a run in a folder that is there; an earlier run's files in it are removed."""
        try:
            for name in (BEST, LAST, PROGRESS):
                (path / name).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        run = cls(path, description)
        run.write_description()
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in a folder; `ChargenError` where there is none, or one that cannot be read."""
        file = path / RUN
        if not path.is_dir():
            raise ChargenError(f"{path}: no such run folder; chargen train makes one")
        if not file.is_file():
            raise ChargenError(f"{path}: not a run folder, it has no {RUN}")
        try:
            return cls(path, Description.from_json(json.loads(file.read_text("utf-8"))))
        except ChargenError as error:
            raise ChargenError(f"{file}: {error}") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ChargenError(
                f"{file}: damaged ({type(error).__name__}: {error}); train the run again"
            ) from None

    def write_description(self) -> None:
        """Write ``run.json``."""
        text = json.dumps(self.description.to_json(), indent=1) + "\n"
        write_file(self.path / RUN, text.encode())

    def write_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        """Write `BEST` or `LAST`; the old one stays whole until the new one is."""
        write_file(self.path / name, checkpoint.to_bytes())

    def read_checkpoint(self, name: str) -> Checkpoint:
        """Read `BEST` or `LAST`; `ChargenError` where it is missing or damaged."""
        file = self.path / name
        if not file.is_file():
            raise ChargenError(f"{file}: missing, the run stopped before it was saved; train again")
        return read_checkpoint(file)

    def weights(self) -> dict[str, np.ndarray]:
        """The best weights, or the last ones of a run that stopped before it was ever validated."""
        name = BEST if (self.path / BEST).is_file() else LAST
        return below(self.read_checkpoint(name).arrays, WEIGHTS)

    def append_progress(self, record: Mapping[str, Any]) -> None:
        """Add a line to ``progress.jsonl``."""
        try:
            with (self.path / PROGRESS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise cannot_write(self.path / PROGRESS, error) from error

    def progress(self) -> list[dict[str, Any]]:
        """All lines of ``progress.jsonl`` so far; a last line that was cut short is left out."""
        try:
            lines = (self.path / PROGRESS).read_text("utf-8").split("\n")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ChargenError(f"{self.path / PROGRESS}: cannot be read ({error})") from None
        return [self._progress_line(number, line) for number, line in enumerate(lines[:-1], 1)]

    def _progress_line(self, number: int, line: str) -> dict[str, Any]:
        try:
            record = json.loads(line)
            if {"step", "validation_loss_nats"} <= set(record):
                return dict(record)
        except (ValueError, TypeError, RecursionError):
            pass
        raise ChargenError(f"{self.path / PROGRESS}, line {number}: damaged; delete that line")

    def keep_progress(self, lines: int) -> None:
        """Forget what was reported after the checkpoint that a resumed run goes on from."""
        kept = self.progress()[:lines]
        write_file(self.path / PROGRESS, "".join(json.dumps(line) + "\n" for line in kept).encode())


def lock(path: Path) -> FileLock:
    """Hold a run's folder, made where it is missing, against other processes that would write it.

    The lock ends with ``release()`` or with the process, however that ends. `ChargenError` where
    somebody else holds it or the folder cannot be written.
    """
    held = FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        raise ChargenError(
            f"{path}: another process is training in it; wait for it or give another --out"
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    return held


def newest(folder: Path = RUNS) -> Run:
    """The run under ``folder`` that was written to last; `ChargenError` where there is none."""
    found = [file.parent for file in folder.glob(f"*/{RUN}")]
    if not found:
        raise ChargenError(
            f"no run under {folder}/ yet: train one with `chargen train CORPUS`, or name its folder"
        )
    return Run.open(max(found, key=_last_written))


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return (path / RUN).exists()


def _last_written(path: Path) -> int:
    files = (path / name for name in (RUN, PROGRESS, BEST, LAST))
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)
