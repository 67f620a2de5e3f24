"""What a training is to do, found out before anything is written: a run begun, or gone on with."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from msgspec import structs

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.recurrent.model import CharModel
from chargen.recurrent.products import multiplies_bfloat16
from chargen.runs.checkpoint import Checkpoint, parse
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import LAST, RUN, RUNS, Lock, Run, encoded_in, is_run, lock, newest
from chargen.settings import BUDGETS, HELD_OUT, TrainingSettings, split_settings
from chargen.text.cache import CorpusCache
from chargen.text.corpus import SHORTEST_TO_TRAIN, Corpus, read_corpus
from chargen.text.documents import training_chars
from chargen.text.encoding import EncodedCorpus, ScannedCorpus
from chargen.training.loop import misfit
from chargen.training.recipe import Machine, completed, recipe_of
from chargen.training.saved import check, told_of_memory
from chargen.training.schedule import fit


@dataclass(frozen=True)
class Asked:
    """What `chargen.training.start` is asked for, with its device."""

    sources: Sequence[str | Path]
    settings: Mapping[str, Any]
    out: Path | None
    resume: bool
    overwrite: bool
    cache: Path | None
    device: torch.device
    progress: Progress

    @property
    def kept_in(self) -> str:
        """The folder that was named for encoded corpora, or nothing."""
        return "" if self.cache is None else str(self.cache.resolve())


@dataclass
class Plan:
    """A training that is ready to begin or to go on."""

    run: Run
    model: CharModel
    checkpoint: Checkpoint | None = None  # to go on from
    forgives: bool = False  # more is asked for than patience had ended
    # What follows is known to the process that leads.
    encoded: EncodedCorpus | None = None
    notes: list[str] = field(default_factory=list)
    held: Lock | None = None
    begin: Callable[[], None] = lambda: None  # writes into the run's folder

    def said(self) -> bytes:
        """What other processes must know; `heard` reads it back."""
        known = {
            "path": str(self.run.path),
            "description": self.run.description.to_json(),
            "forgives": self.forgives,
        }
        saved = b"" if self.checkpoint is None else self.checkpoint.to_bytes()
        return json.dumps(known).encode() + b"\n" + saved

    @classmethod
    def heard(cls, said: bytes, device: torch.device) -> Plan:
        """The plan of the process that leads, in another one."""
        line, _, saved = said.partition(b"\n")
        known = json.loads(line)
        run = Run(Path(known["path"]), Description.from_json(known["description"]))
        checkpoint = parse(bytearray(saved)) if saved else None
        return cls(run, _model(run.description, device), checkpoint, known["forgives"])

    def release(self) -> None:
        """Give the run's folder free."""
        if self.held is not None:
            self.held.release()


def planned(asked: Asked, is_begun: Callable[[Path], bool]) -> Plan:
    """The plan for what is asked; `ChargenError`, and nothing written, for what does not fit.

    The run of which ``is_begun`` says that this very job had begun it is gone on with.
    """
    corpus = read_corpus(asked.sources) if asked.sources or not asked.resume else None
    path = asked.out or (RUNS / corpus.name if corpus else None)
    if asked.resume:
        run = Run.open(path) if path else newest()
        if run.description.imported:
            raise ChargenError(
                f"{run.path}: imported, without the state of its training: nothing to go on with; "
                "train anew with another --out"
            )
        return _going_on(run, corpus, asked, {} if is_begun(run.path) else asked.settings)
    assert corpus is not None
    assert path is not None
    if is_begun(path):
        return _going_on(Run.open(path), corpus, asked, {})
    _refuse_a_run(path, asked.overwrite)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ChargenError(f"{place}: exists and is no folder; give another --out")
    return _beginning(path, corpus, asked)


def _refuse_a_run(path: Path, overwrite: bool) -> None:
    if is_run(path) and not overwrite:
        raise ChargenError(
            f"{path}: a run is there already; go on with it by --resume, start it over by "
            "--overwrite, or give another --out"
        )


def _beginning(path: Path, corpus: Corpus, asked: Asked) -> Plan:
    _, training = split_settings(asked.settings)  # what is wrong is said before a text is read
    folder = encoded_in(path, asked.kept_in)
    cached = CorpusCache(folder, corpus.name, corpus.sources, training.documents)
    found = cached.scan(corpus, asked.progress)
    if found.chars < SHORTEST_TO_TRAIN:
        raise ChargenError(
            f"{' '.join(corpus.sources)}: {found.chars} characters are too few to hold out a "
            f"validation text; give at least {SHORTEST_TO_TRAIN}"
        )
    to_train = training_chars(found.chars, training.validation, found.starts)
    notes = _held_out_note(found, training, to_train)
    machine = Machine(asked.device.type, multiplies_bfloat16())
    settings, chosen = completed(asked.settings, to_train, machine)
    shape, training = split_settings(settings)
    recipe = recipe_of(shape.cell, shape.stack, machine)
    training, adapted = fit(training, to_train, recipe.timesteps, recipe.batch_size)
    description = Description(
        shape,
        training,
        found.vocabulary,
        CorpusRecord(
            corpus.name, corpus.sources, found.sha256, found.chars, to_train, asked.kept_in
        ),
        {
            "chargen": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    )
    model = _model(description, asked.device)
    encoded = cached.encode(corpus, found, asked.progress)
    plan = Plan(Run(path, description), model, encoded=encoded, notes=[*notes, *chosen, *adapted])

    def begin() -> None:
        plan.held = lock(path)
        _refuse_a_run(path, asked.overwrite)  # another process may have made one since
        Run.create(path, description)

    plan.begin = begin
    return plan


def _held_out_note(found: ScannedCorpus, training: TrainingSettings, to_train: int) -> list[str]:
    held_out = found.chars - to_train
    if training.validation is not None or held_out > found.chars * HELD_OUT / 2:
        return []
    return [f"large text: {held_out:,} characters are held out instead of a tenth"]


def _going_on(run: Run, corpus: Corpus | None, asked: Asked, changes: Mapping[str, Any]) -> Plan:
    """A budget is all that ``changes`` may change, beside where the corpus is kept."""
    _check_same(run, changes)
    encoded, kept_in = _encoded_again(run, corpus, asked)
    held = lock(run.path)
    try:
        # Read once more, now that nobody else writes it.
        plan = _resumed(Run.open(run.path), encoded, changes, asked.device, kept_in)
    except BaseException:
        held.release()
        raise
    plan.held = held
    return plan


def _encoded_again(run: Run, corpus: Corpus | None, asked: Asked) -> tuple[EncodedCorpus, str]:
    """The run's corpus, and the folder that was named for it; `ChargenError` for another one."""
    record, documents = run.description.corpus, run.description.training.documents
    kept_in = asked.kept_in or record.cache
    kept = run.cached_corpus.load(record.sha256) if kept_in == record.cache else None
    if kept is not None and corpus is None:
        return kept, kept_in
    corpus = corpus or record.read_again()
    folder = encoded_in(run.path, kept_in)
    cached = CorpusCache(folder, corpus.name, corpus.sources, documents)
    found = cached.scan(corpus, asked.progress)
    if found.sha256 != record.sha256:
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({record.name}, SHA-256 "
            f"{record.sha256[:12]}); give that one, or start over with --overwrite"
        )
    return kept or cached.encode(corpus, found, asked.progress), kept_in


def _check_same(run: Run, changes: Mapping[str, Any]) -> None:
    """Refuse other settings than a budget."""
    description = run.description
    before = {**structs.asdict(description.model), **structs.asdict(description.training)}
    for name, value in changes.items():
        if name not in before:
            raise ChargenError(f"unknown settings: {name}")
        given = tuple(value) if isinstance(value, list) else value
        if name not in BUDGETS and before[name] != given:
            raise ChargenError(
                f"--{name.replace('_', '-')} {_shown(value)}: the run in {run.path} was begun "
                f"with {_shown(before[name])}; leave it out, or start over with --overwrite"
            )


def _shown(value: Any) -> str:
    """A setting as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _resumed(
    run: Run, encoded: EncodedCorpus, changes: Mapping[str, Any], device: torch.device, kept_in: str
) -> Plan:
    _check_same(run, changes)
    description = run.description
    budget = {name: value for name, value in changes.items() if name in BUDGETS}
    fresh: dict[str, Any] = {**dict.fromkeys(BUDGETS), **budget}
    training = structs.replace(description.training, **fresh) if budget else description.training
    record = structs.replace(description.corpus, cache=kept_in)
    anew = Run(run.path, replace(description, training=training, corpus=record))
    _check_text(anew, encoded)
    checkpoint = None if run.begins() else run.read_checkpoint(LAST)
    if checkpoint is not None:
        try:
            check(checkpoint, description)
        except (ChargenError, KeyError, TypeError, ValueError) as error:
            raise misfit(run, error) from None
    plan = Plan(anew, _model(anew.description, device), checkpoint, encoded=encoded)
    plan.forgives = bool(budget) and checkpoint is not None
    if checkpoint is None:
        plan.notes = [f"{run.path}: stopped before its first save; begins from the beginning"]

    def begin() -> None:
        if checkpoint is None:
            anew.keep_progress(0)
        if anew.description != description:
            anew.write_description()

    plan.begin = begin
    return plan


def _check_text(run: Run, encoded: EncodedCorpus) -> None:
    """Refuse a description that says of the run's text what is not so."""
    record, training = run.description.corpus, run.description.training
    to_train = training_chars(len(encoded.ids), training.validation, encoded.starts)
    fitted = (
        record.sha256 == encoded.sha256
        and (record.chars, record.training_chars) == (len(encoded.ids), to_train)
        and run.description.vocabulary == encoded.vocabulary
    )
    if not fitted or fit(training, record.training_chars)[0] != training:
        raise ChargenError(
            f"{run.path / RUN}: does not fit the run's text; start over with --overwrite"
        )


def _model(description: Description, device: torch.device) -> CharModel:
    size, training = len(description.vocabulary), description.training
    try:
        return CharModel.seeded(description.model, size, training.seed).to(device)
    except (RuntimeError, MemoryError) as error:
        if told_of_memory(error, description) is None:
            raise
        units = ",".join(map(str, description.model.units))
        raise ChargenError(
            f"--units {units}: more than the memory here holds; lower them"
        ) from None
