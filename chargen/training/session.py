"""A run begun or gone on with: corpus, folder, model and trainer put together."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from chargen import __version__
from chargen.descriptions import CorpusRecord, Description
from chargen.errors import ChargenError
from chargen.recurrent.model import CharModel
from chargen.runs import LAST, RUN, RUNS, Lock, Run, is_run, lock, newest
from chargen.settings import BUDGETS, split_settings
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.vocabulary import Vocabulary
from chargen.training.loop import Trainer, misfit
from chargen.training.saved import check, told_of_memory
from chargen.training.schedule import fit


@dataclass(frozen=True)
class Session:
    """A trainer that is ready, what its user should be told of it, and the lock on its folder.

    Use it in a ``with`` statement, which gives the folder free at its end.
    """

    trainer: Trainer
    held: Lock
    notes: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Train to the end and show nothing of it."""
        for _ in self.trainer.reports():
            pass

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.held.release()

    @contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Give the folder free where the body raises, since nobody enters the session then."""
        try:
            yield
        except BaseException:
            self.held.release()
            raise


def device_named(name: str) -> torch.device:
    """``auto`` is a GPU where torch sees one, else the CPU; `ChargenError` for others."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device)
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
        corpus = corpus or read_corpus(run.description.corpus.checked_sources())
        return _go_on(run, corpus, settings, device_named(device))
    corpus = read_corpus(sources)
    path = out or RUNS / corpus.name
    _refuse_a_run(path, overwrite)
    if path.exists() and not path.is_dir():
        raise ChargenError(f"{path}: exists and is no folder; give another --out")
    return _begin(path, corpus, settings, device_named(device), overwrite)


def _refuse_a_run(path: Path, overwrite: bool) -> None:
    if is_run(path) and not overwrite:
        raise ChargenError(
            f"{path}: a run is there already; go on with it by --resume, start it over by "
            "--overwrite, or give another --out"
        )


def _begin(
    path: Path,
    corpus: Corpus,
    settings: Mapping[str, Any],
    device: torch.device,
    overwrite: bool,
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
    trainer = _trainer(Run(path, description), corpus, device)
    session = Session(trainer, lock(path), notes)
    with session.released_on_error():
        _refuse_a_run(path, overwrite)  # another process may have made one since
        Run.create(path, description)
    return session


def _go_on(run: Run, corpus: Corpus, changes: Mapping[str, Any], device: torch.device) -> Session:
    """Resume; a budget is all that ``changes`` may change."""
    _check_same(run, corpus, changes)
    held = lock(run.path)
    try:
        # Read once more, now that nobody else writes it.
        trainer, notes = _resumed(Run.open(run.path), corpus, changes, device)
    except BaseException:
        held.release()
        raise
    return Session(trainer, held, notes)


def _check_same(run: Run, corpus: Corpus, changes: Mapping[str, Any]) -> None:
    """Refuse another text, and other settings than a budget."""
    description = run.description
    if corpus.sha256 != description.corpus.sha256:
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({description.corpus.name}, SHA-256 "
            f"{description.corpus.sha256[:12]}); give that one, or start over with --overwrite"
        )
    before = {**vars(description.model), **vars(description.training)}
    for name, value in changes.items():
        if name not in before:
            raise ChargenError(f"unknown settings: {name}")
        if name not in BUDGETS and _shown(before[name]) != _shown(value):
            raise ChargenError(
                f"--{name.replace('_', '-')} {_shown(value)}: the run in {run.path} was begun "
                f"with {_shown(before[name])}; leave it out, or start over with --overwrite"
            )


def _resumed(
    run: Run, corpus: Corpus, changes: Mapping[str, Any], device: torch.device
) -> tuple[Trainer, list[str]]:
    """The trainer where it stopped, and what its user should know."""
    _check_same(run, corpus, changes)
    description = run.description
    budget = {name: value for name, value in changes.items() if name in BUDGETS}
    fresh: dict[str, Any] = {**dict.fromkeys(BUDGETS), **budget}
    training = replace(description.training, **fresh) if budget else description.training
    run = Run(run.path, replace(description, training=training))
    _check_text(run, corpus)
    checkpoint = None if run.begins() else run.read_checkpoint(LAST)
    if checkpoint is not None:
        try:
            check(checkpoint, description)
        except (ChargenError, KeyError, TypeError, ValueError) as error:
            raise misfit(run, error) from None
    trainer = _trainer(run, corpus, device)
    if checkpoint is None:
        run.keep_progress(0)
        notes = [f"{run.path}: stopped before its first save; begins from the beginning"]
    else:
        notes = trainer.restore(checkpoint)
    if budget:
        if checkpoint is not None:
            trainer.forgive()  # more was asked for than patience had ended
        run.write_description()
    return trainer, notes


def _check_text(run: Run, corpus: Corpus) -> None:
    """Refuse a description that says of the run's text what is not so."""
    record, training = run.description.corpus, run.description.training
    chars = (len(corpus.text), corpus.training_chars(training.validation))
    fitted = chars == (record.chars, record.training_chars) and (
        run.description.vocabulary == Vocabulary.of(corpus.text)
    )
    if not fitted or fit(training, record.training_chars)[0] != training:
        raise ChargenError(
            f"{run.path / RUN}: does not fit the run's text; start over with --overwrite"
        )


def _shown(value: Any) -> str:
    """A setting as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _trainer(run: Run, corpus: Corpus, device: torch.device) -> Trainer:
    description = run.description
    size, training = len(description.vocabulary), description.training
    try:
        model = CharModel.seeded(description.model, size, training.seed).to(device)
    except (RuntimeError, MemoryError) as error:
        if told_of_memory(error, description) is None:
            raise
        units = ",".join(map(str, description.model.units))
        raise ChargenError(
            f"--units {units}: more than the memory here holds; lower them"
        ) from None
    return Trainer(run, model, description.vocabulary.encode(corpus.text), training)
