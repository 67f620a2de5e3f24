"""A run begun or gone on with: corpus, folder, model and trainer put together."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from chargen import __version__
from chargen.errors import ChargenError
from chargen.recurrent.model import CharModel
from chargen.runs import RUNS, CorpusRecord, Description, Run, is_run, lock, newest
from chargen.settings import BUDGETS, split_settings
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.vocabulary import Vocabulary
from chargen.training.loop import Trainer
from chargen.training.schedule import fit


@dataclass(frozen=True)
class Session:
    """A trainer that is ready, what its user should be told of it, and the lock on its folder.

    Use it in a ``with`` statement, which gives the folder free at its end.
    """

    trainer: Trainer
    held: FileLock
    notes: list[str] = field(default_factory=list)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.held.release()


def device_named(name: str) -> torch.device:
    """``auto`` is a GPU where torch sees one, else the CPU; `ChargenError` for others."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ChargenError(f"--device {name}: torch has no such device here; try cpu") from None
    return device


def start(
    sources: Sequence[str | Path],
    settings: Mapping[str, Any],
    out: Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> Session:
    """Begin a run on the corpus that ``sources`` name, or ``resume`` one where it stopped.

    ``settings`` holds what was chosen of `ModelSettings` and `TrainingSettings`. The run's folder
    is ``out``, else ``runs/<corpus name>``, else, resumed without sources, the newest run's; a
    resumed run reads its own sources where none are given. Raises `ChargenError`, before anything
    is written, for whatever does not fit.
    """
    if resume:
        corpus = read_corpus(sources) if sources else None
        folder = out or (RUNS / corpus.name if corpus else None)
        run = Run.open(folder) if folder else newest()
        corpus = corpus or read_corpus(run.description.corpus.sources)
        return _go_on(run, corpus, settings, device_named(device))
    corpus = read_corpus(sources)
    path = out or RUNS / corpus.name
    if is_run(path) and not overwrite:
        raise ChargenError(
            f"{path}: a run is there already; go on with it by --resume, start it over by "
            "--overwrite, or give another --out"
        )
    if path.exists() and not path.is_dir():
        raise ChargenError(f"{path}: exists and is no folder; give another --out")
    return _begin(path, corpus, settings, device_named(device))


def _begin(
    path: Path, corpus: Corpus, settings: Mapping[str, Any], device: torch.device
) -> Session:
    model, training = split_settings(settings)
    training_chars = corpus.training_chars(training.validation)
    training, notes = fit(training, training_chars)
    description = Description(
        model,
        training,
        Vocabulary.of(corpus.text),
        CorpusRecord(corpus.name, corpus.sources, corpus.sha256, len(corpus.text), training_chars),
        {"chargen": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    held = lock(path)
    return Session(_trainer(Run.create(path, description), corpus, device), held, notes)


def _go_on(run: Run, corpus: Corpus, changes: Mapping[str, Any], device: torch.device) -> Session:
    """Resume; a budget is all that ``changes`` may change."""
    description = run.description
    if corpus.sha256 != description.corpus.sha256:
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({description.corpus.name}, SHA-256 "
            f"{description.corpus.sha256[:12]}); give that one, or start over with --overwrite"
        )
    before = {**vars(description.model), **vars(description.training)}
    budget = {name: value for name, value in changes.items() if name in BUDGETS}
    for name, value in changes.items():
        if name not in budget and before[name] != value:
            raise ChargenError(
                f"--{name.replace('_', '-')} {value}: the run in {run.path} was begun with "
                f"{before[name]}; leave it out, or start over with --overwrite"
            )
    fresh: dict[str, Any] = {**dict.fromkeys(BUDGETS), **budget}
    training = replace(description.training, **fresh) if budget else description.training
    held = lock(run.path)
    trainer = _trainer(Run(run.path, replace(description, training=training)), corpus, device)
    trainer.restore()
    trainer.run.write_description()
    return Session(trainer, held)


def _trainer(run: Run, corpus: Corpus, device: torch.device) -> Trainer:
    description = run.description
    size, training = len(description.vocabulary), description.training
    model = CharModel.seeded(description.model, size, training.seed).to(device)
    return Trainer(run, model, description.vocabulary.encode(corpus.text), training)
