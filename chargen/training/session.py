"""Start or resume a training on one process or several: plan it, then write its first files."""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from msgspec import structs

from chargen import __version__
from chargen.distributed.group import ProcessGroup
from chargen.errors import ChargenError, memory_errors
from chargen.files import Progress
from chargen.recurrent.matmul import multiplies_bfloat16
from chargen.recurrent.model import CharModel
from chargen.render.text import command
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import LAST, RUN, RUNS, Run, check_new, encoded_in, find
from chargen.runs.lock import lock
from chargen.settings import BUDGETS, HELD_OUT, MORE_BUDGETS, GivenSettings, flag, shown
from chargen.text.corpus import SHORTEST_TO_TRAIN, STANDARD_INPUT, Corpus, read_corpus
from chargen.text.decoding import check_encoding
from chargen.text.documents import training_chars
from chargen.text.encoding import CorpusCache, EncodedCorpus, ScannedCorpus
from chargen.training import defaults
from chargen.training.checkpoints import Counters, check_checkpoint, mismatch
from chargen.training.initial import check_same, origin_of, start_from, vocabulary_for
from chargen.training.loop import Trainer
from chargen.training.machine import measure_machine

TOO_LARGE = "--units {}: out of memory; lower it"


class TrainingSession(ExitStack):
    """A trainer that is ready, notes for the user, and at rank 0 the lock on the run directory."""

    trainer: Trainer
    notes: tuple[str, ...]

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end and print nothing; see `Trainer.reports`."""
        for _ in self.trainer.reports(should_stop):
            pass


@dataclass(frozen=True)
class Request:
    """A request to train; the fields are the arguments of `chargen.train`."""

    sources: Sequence[str | Path]
    given: GivenSettings
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    init_from: str | Path | None = None
    device: str = "auto"
    cache: Path | None = None
    encoding: str = ""
    threads: int | None = None  # of the CPU; chosen by the measured speed, or by torch
    progress: Progress = lambda done, total: None

    @property
    def folder(self) -> str:  # absolute path of ``cache``, or empty
        return str(self.cache.resolve()) if self.cache else ""


@dataclass(frozen=True)
class _Plan:
    """The starting point of a training, decided before anything is written."""

    run: Run  # with the description that it will have
    resumes: bool = False
    checkpoint: Checkpoint | None = None  # to resume from
    resets_patience: bool = False  # in the checkpoint: early stopping ended the run
    notes: tuple[str, ...] = ()


def device_named(name: str) -> torch.device:
    """Return a torch device, if it is here; ``auto`` is a GPU if torch finds one, else the CPU."""
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
    group: ProcessGroup | None = None,
    **more: Any,
) -> TrainingSession:
    """Start a run, or resume one; ``more`` are the other fields of `Request`.

    Every process of ``group`` calls this function; rank 0 decides. Raises `ChargenError` if the
    request is invalid; no file is written.
    """
    group = group or ProcessGroup()
    request = Request(sources, GivenSettings.parse(settings), out, **more)
    device = device_named(request.device)
    device = group.device if group.device.type == device.type else device
    with TrainingSession() as held:
        planned = _plan(request, device, group, held) if group.leads else None
        plan, text = group.broadcast(planned and planned[0]), planned and planned[1]
        assert plan is not None
        if text is None and not group.local_rank:  # it encodes for its machine
            text = _encode(plan.run, request)[0]
        group.wait()
        text = text or _encode(plan.run, request)[0]
        description = plan.run.description
        if request.threads:
            torch.set_num_threads(request.threads)
        elif description.machine:  # the run may have moved to a smaller machine
            torch.set_num_threads(min(description.machine.threads, torch.get_num_threads()))
        model = _build_model(description, device)
        if plan.checkpoint is None and description.initialized_from and group.leads:
            start_from(model, description.vocabulary, description.initialized_from)
        trainer = Trainer(plan.run, model, text, group)
        restored = trainer.restore(plan.checkpoint) if plan.checkpoint else []
        group.run_on_lead(lambda: _write(plan, request.overwrite, held))
        session = held.pop_all()
        session.trainer, session.notes = trainer, (*plan.notes, *restored)
        return session


def _plan(
    request: Request, device: torch.device, group: ProcessGroup, held: ExitStack
) -> tuple[_Plan, EncodedCorpus]:
    """Plan the training and write nothing; ``held`` receives the lock of a resumed run."""
    launchers = group.launchers
    more = request.given.names.intersection(MORE_BUDGETS)
    if more and not request.resume:
        raise ChargenError(f"{flag(min(more))}: extends a run; give --resume too")
    reads = request.sources or not request.resume
    corpus = read_corpus(request.sources, request.encoding) if reads else None
    path = request.out or (RUNS / corpus.name if corpus else None)
    if request.resume or path is None:
        path = find(path).path
    restarts = False  # one of the launchers began the run
    with suppress(ChargenError):
        restarts = not set(launchers).isdisjoint(Run.open(path).description.launchers)
    if request.resume or restarts:
        given = GivenSettings.parse({}) if restarts else request.given
        return _plan_resumed(path, corpus, request, given, launchers, held)
    assert corpus is not None
    check_new(path, request.overwrite)
    description, notes, found = _describe(path, corpus, request, device, group.size == 1)
    run = Run(path, structs.replace(description, launchers=launchers))
    found = replace(found, vocabulary=description.vocabulary)
    _build_model(description, device)  # fails for lack of memory before a long encoding
    encoded = run.cached_corpus.encode(corpus, found, request.progress)
    return _Plan(run, notes=tuple(notes)), encoded


def describe(request: Request) -> Description:
    corpus = read_corpus(request.sources, request.encoding)
    path = request.out or RUNS / corpus.name
    return _describe(path, corpus, request, device_named(request.device))[0]


def _describe(
    path: Path, corpus: Corpus, request: Request, device: torch.device, alone: bool = True
) -> tuple[Description, list[str], ScannedCorpus]:
    """Return a new run's description, notes on it, and its scanned corpus.

    A process that is ``alone`` measures the speed of the machine if the budget is a time.
    """
    source = None if request.init_from is None else find(request.init_from)
    if source and source.path.resolve() == path.resolve():
        raise ChargenError(f"--init-from {source.path}: would be overwritten; give another --out")
    given = request.given
    if source:
        names = frozenset(given.model.__struct_fields__)
        check_same(given, source, names, "--init-from keeps it, so leave it out")
        given = structs.replace(given, model=source.description.model, names=given.names | names)
    documents, sources, encoding = given.training.documents, corpus.sources, corpus.encoding
    folder = encoded_in(path, request.folder)
    cache = CorpusCache(folder, corpus.name, sources, documents, encoding)
    found = cache.scan(corpus, request.progress)
    if found.chars < SHORTEST_TO_TRAIN:
        raise ChargenError(
            f"{' '.join(sources)}: {found.chars} characters are too few to hold out a "
            f"validation text; give at least {SHORTEST_TO_TRAIN}"
        )
    vocabulary, about = vocabulary_for(corpus, found, given.training.min_count, source)
    to_train = training_chars(found.chars, given.training.validation, found.starts)
    hardware, machine = defaults.Hardware(device.type, multiplies_bfloat16()), None
    if alone and defaults.measures_speed(given, device.type):
        reference = defaults.reference_settings(given, to_train, hardware)
        with memory_errors(TOO_LARGE.format(shown(reference[0].units))):
            machine = measure_machine(*reference, len(vocabulary), request.threads)
        hardware = replace(hardware, chars_per_minute=machine.chars_per_minute)
    model, training, notes = defaults.choose_defaults(given, to_train, hardware)
    held_out = found.chars - to_train
    if not held_out:
        notes.insert(0, "no text is held out: the model is the last one, even if it overfits")
    elif training.validation is None and held_out <= found.chars * HELD_OUT / 2:
        notes.insert(0, f"large text: {held_out:,} characters are held out instead of a tenth")
    sizes = (found.sha256, found.chars, to_train)
    record = CorpusRecord(corpus.name, sources, *sizes, request.folder, encoding)
    number = 0 if documents == "none" else len(found.starts)
    read = corpus.notes([file.sha256 for file in found.files], number)
    versions = {"chargen": __version__, "torch": str(torch.__version__)}
    versions["python"] = platform.python_version()
    origin = origin_of(source) if source else None
    description = Description(
        model, vocabulary, training, record, versions, initialized_from=origin, machine=machine
    )
    return description, [*about, *read, *notes], found


def _plan_resumed(
    path: Path,
    corpus: Corpus | None,
    request: Request,
    given: GivenSettings,
    launchers: tuple[str, ...],
    held: ExitStack,
) -> tuple[_Plan, EncodedCorpus]:
    """Plan to resume a run, with another budget or cache directory at most."""

    def opened() -> Run:
        run = Run.open(path)
        if run.description.imported:
            raise ChargenError(f"{path}: imported, cannot be resumed; train with another --out")
        fixed = given.names.difference(BUDGETS)
        check_same(given, run, fixed, "leave it out, or start over with --overwrite")
        return run

    encoded, record = _encode(opened(), request, corpus)
    held.enter_context(lock(path))
    run = opened()  # again, now that no other process writes it
    before = run.description
    checkpoint, counters, notes = None, Counters(), tuple[str, ...]()
    if run.begins():
        notes = (f"{path}: stopped before its first checkpoint; starts from the beginning",)
    else:
        checkpoint = run.read_checkpoint(LAST)
        try:
            counters = check_checkpoint(checkpoint, before)
        except (ChargenError, ValueError) as error:
            raise mismatch(run, error) from None
    budget = given.more.added(counters.step, counters.seconds)
    if not given.names.isdisjoint(BUDGETS):
        budget = {name: getattr(given.training, name) for name in BUDGETS}
    training = structs.replace(before.training, **budget)
    changed = {"training": training, "corpus": record, "launchers": launchers or before.launchers}
    resumed = Run(path, structs.replace(before, **changed))
    to_train = training_chars(len(encoded.ids), training.validation, encoded.starts)
    recorded = (record.sha256, record.chars, record.training_chars, before.vocabulary)
    found = (encoded.sha256, len(encoded.ids), to_train, encoded.vocabulary)
    if recorded != found or defaults.fit(training, to_train)[0] != training:
        problem = "does not fit the run's text; start over with --overwrite"
        raise ChargenError(f"{path / RUN}: {problem}")
    resets = bool(checkpoint and budget and counters.since_best)
    if checkpoint and resets:  # a larger budget continues a run that early stopping ended
        checkpoint = replace(checkpoint, values={**checkpoint.values, "since_best": 0})
    return _Plan(resumed, True, checkpoint, resets, notes), encoded


def _write(plan: _Plan, overwrite: bool, held: ExitStack) -> None:
    """Lock the run directory, if it is new, and write its first files."""
    run = plan.run
    if not plan.resumes:
        held.enter_context(lock(run.path))
        check_new(run.path, overwrite)
        Run.create(run.path, run.description)
        return
    if plan.checkpoint is None:
        run.write_progress(0)
    run.write_description()
    if plan.checkpoint and plan.resets_patience:
        run.write_checkpoint(LAST, plan.checkpoint)


def _encode(
    run: Run, request: Request, corpus: Corpus | None = None
) -> tuple[EncodedCorpus, CorpusRecord]:
    """Return a run's corpus, and its record with the cache and sources that are given now."""
    record = run.description.corpus
    if request.encoding and check_encoding(request.encoding) != record.encoding:
        raise ChargenError(
            f"--encoding {request.encoding}: the run in {run.path} uses "
            f"{record.encoding or 'utf-8'}; leave it out, or start over with --overwrite"
        )
    record = structs.replace(record, cache=request.folder or record.cache)
    if corpus is not None and STANDARD_INPUT not in corpus.sources:
        record = structs.replace(record, sources=corpus.sources)  # it may have moved
    cached = Run(run.path, structs.replace(run.description, corpus=record)).cached_corpus
    kept = cached.load(record.sha256)
    if kept is not None and corpus is None:
        return kept, record
    if corpus is None:
        corpus = read_corpus(request.sources) if request.sources else record.read_again()
    corpus = corpus.in_encoding(record.encoding)
    found = cached.scan(corpus, request.progress)
    if found.sha256 != record.sha256:
        tune = command("train", *corpus.sources, "--init-from", run.path, "--out", "runs/NAME")
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({record.name}, SHA-256 "
            f"{record.sha256[:12]}); give that one, or fine-tune it in a new run with {tune}"
        )
    return kept or cached.encode(corpus, found, request.progress), record


def _build_model(description: Description, device: torch.device) -> CharModel:
    size, seed = len(description.vocabulary), description.training.seed
    with memory_errors(TOO_LARGE.format(shown(description.model.units))):
        return CharModel.seeded(description.model, size, seed).to(device)
