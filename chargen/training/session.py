"""A run begun or gone on with, by one process or several: all that training needs, ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from chargen.distributed.group import ProcessGroup
from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.runs.directory import Lock, Run, encoded_in, is_begun_by
from chargen.text.cache import CorpusCache
from chargen.text.corpus import read_corpus
from chargen.text.encoding import EncodedCorpus
from chargen.training.loop import Trainer
from chargen.training.planning import Asked, Plan, planned


@dataclass(frozen=True)
class Session:
    """A trainer that is ready, what its user should be told of it, and the lock on its folder.

    Use it in a ``with`` statement, which gives the folder free at its end. Of the processes of a
    group the first one holds the lock.
    """

    trainer: Trainer
    held: Lock | None
    notes: list[str] = field(default_factory=list)

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end and show nothing of it; ``should_stop`` is that of the trainer."""
        for _ in self.trainer.reports(should_stop):
            pass

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.held is not None:
            self.held.release()


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
    cache: Path | None = None,
    progress: Progress = lambda done, of: None,
    group: ProcessGroup | None = None,
) -> Session:
    """Begin a run on the corpus that ``sources`` name, or ``resume`` one where it stopped.

    ``settings`` holds what was chosen of `ModelSettings` and `TrainingSettings`. The run's folder
    is ``out``, else ``runs/<corpus name>``, else, resumed without sources, the newest run's; a
    resumed run reads its own sources where none are given. The corpus is kept encoded in the
    folder ``cache``, else in one beside the run; ``progress`` is told of its reading. Raises
    `ChargenError`, before anything is written, for whatever does not fit.

    Every process of ``group`` calls this. The first one finds out what is to be done; a group that
    its launcher began again goes on with the run that it had begun. A process that does not see
    the first one's files reads and encodes ``sources`` itself.
    """
    group = group or ProcessGroup()
    place = device_named(device)
    place = group.device if group.device.type == place.type else place
    asked = Asked(sources, settings, out, resume, overwrite, cache, place, progress)
    plans: list[Plan] = []

    def lead() -> bytes:
        plans.append(planned(asked, lambda path: is_begun_by(path, group.launchers)))
        return plans[0].said() if group.size > 1 else b""

    try:
        said = group.run_on_lead(lead)
        plan = plans[0] if plans else Plan.heard(said, place)
        return _session(group, plan, _text(group, plan, asked))
    except BaseException:
        for plan in plans:
            plan.release()
        raise


def _session(group: ProcessGroup, plan: Plan, encoded: EncodedCorpus) -> Session:
    trainer = Trainer(plan.run, plan.model, encoded, plan.run.description.training, group)
    notes = list(plan.notes)
    if plan.checkpoint is not None:
        notes += trainer.restore(plan.checkpoint)

    def begin() -> bytes:
        begins = plan.held is None
        if group.launchers and begins:
            plan.run.begun_by(group.launchers, begins=True)
        plan.begin()
        if group.launchers and not begins:  # what was asked for is written by then
            plan.run.begun_by(group.launchers, begins=False)
        return b""

    group.run_on_lead(begin)
    if plan.forgives:
        trainer.forgive()
    return Session(trainer, plan.held, notes)


def _text(group: ProcessGroup, plan: Plan, asked: Asked) -> EncodedCorpus:
    """The run's text: mapped from where it lies, or made by the first process of a machine."""
    if group.size == 1:
        assert plan.encoded is not None
        return plan.encoded

    def own() -> EncodedCorpus:
        return plan.encoded or _own_text(plan.run, asked)

    made = group.run_on_all(lambda: own() if group.local_rank == 0 else None)
    return made or own()


def _own_text(run: Run, asked: Asked) -> EncodedCorpus:
    record, documents = run.description.corpus, run.description.training.documents
    kept = run.cached_corpus.load(record.sha256)
    if kept is not None:
        return kept
    corpus = read_corpus(asked.sources) if asked.sources else record.read_again()
    folder = encoded_in(run.path, record.cache)
    cached = CorpusCache(folder, corpus.name, corpus.sources, documents)
    found = cached.scan(corpus, asked.progress)
    if found.sha256 != record.sha256:
        raise ChargenError(
            f"{' '.join(corpus.sources)}: another text than the first process has (SHA-256 "
            f"{found.sha256[:12]}, not {record.sha256[:12]}); copy that one here"
        )
    return cached.encode(corpus, found, asked.progress)
