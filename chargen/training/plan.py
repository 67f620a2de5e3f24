"""The plan of a training, decided before anything is written: a new run, or one that is resumed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from msgspec import structs

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.recurrent.matmul import multiplies_bfloat16
from chargen.recurrent.model import CharModel
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import (
    LAST,
    RUN,
    RUNS,
    Run,
    encoded_in,
    is_begun_by,
    is_run,
    lock,
    newest,
)
from chargen.settings import BUDGETS, HELD_OUT, GivenSettings, TrainingSettings
from chargen.text.cache import CorpusCache
from chargen.text.corpus import SHORTEST_TO_TRAIN, Corpus, read_corpus
from chargen.text.documents import training_chars
from chargen.text.encoding import EncodedCorpus, ScannedCorpus
from chargen.training.checkpoints import check_checkpoint, mismatch
from chargen.training.defaults import Hardware, choose_defaults, preset_of
from chargen.training.schedule import fit
from chargen.training.step import is_out_of_memory


@dataclass(frozen=True)
class TrainingRequest:
    """The arguments of `chargen.training.start`, parsed."""

    sources: Sequence[str | Path]
    given: GivenSettings
    out: Path | None
    resume: bool
    overwrite: bool
    cache: Path | None
    device: torch.device
    progress: Progress

    @property
    def cache_name(self) -> str:
        """The absolute path of the given cache directory, or an empty string."""
        return "" if self.cache is None else str(self.cache.resolve())


@dataclass(frozen=True)
class TrainingPlan:
    """What a training starts from; `write_plan` carries it out in the run directory."""

    run: Run  # with the description that it will have
    checkpoint: Checkpoint | None = None  # to resume from
    resumes: bool = False
    resets_patience: bool = False  # a larger budget continues a run that early stopping ended
    overwrite: bool = False
    changes_description: bool = False
    notes: tuple[str, ...] = ()
    model: CharModel | None = None  # known to rank 0 only, if at all
    encoded: EncodedCorpus | None = None  # known to rank 0 only


def plan_training(
    request: TrainingRequest, launchers: Sequence[str], held: ExitStack
) -> TrainingPlan:
    """Plan the requested training and write nothing.

    Args:
        request: the user's request.
        launchers: names of the launchers that started this process. A run that one of them began
            is resumed, whatever is requested.
        held: receives the lock of a resumed run, whose files are read while it is held.

    Raises:
        ChargenError: the request is invalid.
    """
    corpus = read_corpus(request.sources) if request.sources or not request.resume else None
    path = request.out or (RUNS / corpus.name if corpus else None)
    if request.resume:
        run = Run.open(path) if path else newest()
        if run.description.imported:
            raise ChargenError(
                f"{run.path}: imported without its training state, so it cannot be resumed; train "
                "a new run with another --out"
            )
        return _plan_resumed(run, corpus, request, is_begun_by(run.path, launchers), held)
    assert corpus is not None
    assert path is not None
    if is_begun_by(path, launchers):
        return _plan_resumed(Run.open(path), corpus, request, True, held)
    _check_no_run(path, request.overwrite)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ChargenError(f"{place}: exists and is not a directory; give another --out")
    return _plan_new(path, corpus, request)


def write_plan(plan: TrainingPlan, launchers: Sequence[str], held: ExitStack) -> None:
    """Lock the run directory, if it is new, and write its first files.

    Raises:
        ChargenError: another process trains in it, or made a run there in the meantime.
    """
    run = plan.run
    if plan.resumes:
        if plan.checkpoint is None:
            run.keep_progress(0)
        if plan.changes_description:
            run.write_description()
        if launchers:  # after the requested settings are written
            run.begun_by(launchers, begins=False)
        return
    if launchers:
        run.begun_by(launchers, begins=True)
    held.enter_context(lock(run.path))
    _check_no_run(run.path, plan.overwrite)
    Run.create(run.path, run.description)


def encode_run_corpus(
    run: Run, request: TrainingRequest, corpus: Corpus | None = None
) -> tuple[EncodedCorpus, str]:
    """Return a run's encoded corpus and the name of its cache directory.

    Args:
        run: the run.
        request: names the cache, and the sources if the encoded corpus is gone.
        corpus: the corpus given by the user, which must be that of the run.

    Raises:
        ChargenError: the corpus is not the one that the run was trained on.
    """
    record, documents = run.description.corpus, run.description.training.documents
    cache = request.cache_name or record.cache
    kept = run.cached_corpus.load(record.sha256) if cache == record.cache else None
    if kept is not None and corpus is None:
        return kept, cache
    if corpus is None:
        corpus = read_corpus(request.sources) if request.sources else record.read_again()
    cached = CorpusCache(encoded_in(run.path, cache), corpus.name, corpus.sources, documents)
    found = cached.scan(corpus, request.progress)
    if found.sha256 != record.sha256:
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({record.name}, SHA-256 "
            f"{record.sha256[:12]}); give that one, or start over with --overwrite"
        )
    return kept or cached.encode(corpus, found, request.progress), cache


def build_model(description: Description, device: torch.device) -> CharModel:
    """Return the initial model; raises `ChargenError` if the memory does not suffice."""
    size, seed = len(description.vocabulary), description.training.seed
    try:
        return CharModel.seeded(description.model, size, seed).to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        units = ",".join(map(str, description.model.units))
        raise ChargenError(f"--units {units}: out of memory; lower it") from None


def _check_no_run(path: Path, overwrite: bool) -> None:
    if is_run(path) and not overwrite:
        raise ChargenError(
            f"{path}: a run exists already; resume it with --resume, start over with --overwrite, "
            "or give another --out"
        )


def _plan_new(path: Path, corpus: Corpus, request: TrainingRequest) -> TrainingPlan:
    given = request.given
    folder = encoded_in(path, request.cache_name)
    cached = CorpusCache(folder, corpus.name, corpus.sources, given.training.documents)
    found = cached.scan(corpus, request.progress)
    if found.chars < SHORTEST_TO_TRAIN:
        raise ChargenError(
            f"{' '.join(corpus.sources)}: {found.chars} characters are too few to hold out a "
            f"validation text; give at least {SHORTEST_TO_TRAIN}"
        )
    to_train = training_chars(found.chars, given.training.validation, found.starts)
    hardware = Hardware(request.device.type, multiplies_bfloat16())
    model, training, notes = choose_defaults(given, to_train, hardware)
    preset = preset_of(model.cell, model.stack, hardware)
    training, adapted = fit(training, to_train, preset.timesteps, preset.batch_size)
    record = CorpusRecord(
        corpus.name, corpus.sources, found.sha256, found.chars, to_train, request.cache_name
    )
    versions = {
        "chargen": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    description = Description(model, training, found.vocabulary, record, versions)
    return TrainingPlan(
        Run(path, description),
        overwrite=request.overwrite,
        model=build_model(description, request.device),  # before anything is written
        encoded=cached.encode(corpus, found, request.progress),
        notes=(*_held_out_note(found, training, to_train), *notes, *adapted),
    )


def _held_out_note(found: ScannedCorpus, training: TrainingSettings, to_train: int) -> list[str]:
    held_out = found.chars - to_train
    if training.validation is not None or held_out > found.chars * HELD_OUT / 2:
        return []
    return [f"large text: {held_out:,} characters are held out instead of a tenth"]


def _plan_resumed(
    run: Run, corpus: Corpus | None, request: TrainingRequest, restarted: bool, held: ExitStack
) -> TrainingPlan:
    """Plan to resume a run, with another budget or cache directory at most.

    A run that a launcher has ``restarted`` keeps its settings.
    """
    if not restarted:
        _check_unchanged(run, request.given)
    encoded, cache = encode_run_corpus(run, request, corpus)
    held.enter_context(lock(run.path))
    run = Run.open(run.path)  # again, now that no other process writes it
    budget: dict[str, Any] = {}
    if not restarted:
        _check_unchanged(run, request.given)
        if not request.given.names.isdisjoint(BUDGETS):
            budget = {name: getattr(request.given.training, name) for name in BUDGETS}
    before = run.description
    description = replace(
        before,
        training=structs.replace(before.training, **budget),
        corpus=structs.replace(before.corpus, cache=cache),
    )
    resumed = Run(run.path, description)
    _check_text(resumed, encoded)
    checkpoint = None if run.begins() else run.read_checkpoint(LAST)
    notes: tuple[str, ...] = ()
    if checkpoint is None:
        notes = (f"{run.path}: stopped before its first checkpoint; starts from the beginning",)
    else:
        try:
            check_checkpoint(checkpoint, before)
        except (ChargenError, ValueError) as error:
            raise mismatch(run, error) from None
    return TrainingPlan(
        resumed,
        checkpoint,
        resumes=True,
        resets_patience=bool(budget) and checkpoint is not None,
        changes_description=description != before,
        encoded=encoded,
        notes=notes,
    )


def _check_unchanged(run: Run, given: GivenSettings) -> None:
    """Refuse settings other than a budget that differ from the run's."""
    before = structs.asdict(run.description.model) | structs.asdict(run.description.training)
    for name, value in given.values().items():
        if name not in BUDGETS and before[name] != value:
            raise ChargenError(
                f"--{name.replace('_', '-')} {_shown(value)}: the run in {run.path} uses "
                f"{_shown(before[name])}; leave it out, or start over with --overwrite"
            )


def _shown(value: Any) -> str:
    """Return a setting as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_text(run: Run, encoded: EncodedCorpus) -> None:
    """Refuse a description that contradicts the run's text."""
    record, training = run.description.corpus, run.description.training
    to_train = training_chars(len(encoded.ids), training.validation, encoded.starts)
    fits = (
        record.sha256 == encoded.sha256
        and (record.chars, record.training_chars) == (len(encoded.ids), to_train)
        and run.description.vocabulary == encoded.vocabulary
    )
    if not fits or fit(training, record.training_chars)[0] != training:
        raise ChargenError(
            f"{run.path / RUN}: does not fit the run's text; start over with --overwrite"
        )
