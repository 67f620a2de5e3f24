"""Run directories. Imports no torch.

run.json            settings, vocabulary, corpus, versions
progress.jsonl      one `ProgressRecord` per validation
best.safetensors    the weights with the lowest validation loss
last.safetensors    the training state, from which a run resumes
README.md           the card, which shows what was measured; see `chargen.api.card`
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from msgspec import Meta, structs

from chargen import files
from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.predictors.ngram import BackoffNgram, count
from chargen.render.text import command
from chargen.runs.checkpoint import LARGEST, WEIGHTS, Checkpoint, below, parse
from chargen.runs.description import Description
from chargen.runs.lock import lock
from chargen.text.corpus import STANDARD_INPUT, Corpus, LongerError
from chargen.text.encoding import FOLDER, CorpusCache, EncodedCorpus, encode_with
from chargen.text.vocabulary import UnknownCharacterError

LARGEST_DESCRIPTION = 2**24  # bytes: all of Unicode takes 13 million, escaped
LARGEST_PROGRESS = 2**30  # bytes
COUNTED = 10_000_000  # training characters that an n-gram counts at most, for memory
RUNS = Path("runs")
RUN, PROGRESS, BEST, LAST = "run.json", "progress.jsonl", "best.safetensors", "last.safetensors"
FILES = (RUN, PROGRESS, BEST, LAST)
CARD = "README.md"
LARGEST_CARD = 2**20  # bytes
# The last line of the card, with the SHA-256 of the lines above it.
SEAL = "\n<!-- written by chargen, SHA-256 {} -->\n"
SEALED = re.compile(SEAL.format("([0-9a-f]{64})") + r"\Z")
Natural = Annotated[int, Meta(ge=0)]


class FirstLosses(TypedDict, total=False):
    first_losses_nats: dict[Annotated[str, Meta(pattern="^[0-9]{1,9}$")], float]  # by step


class ProgressRecord(FirstLosses):
    """A line of ``progress.jsonl``: the training state at a validation; the first one has losses
    of single steps before it."""

    step: Natural
    chars: Natural  # read in training, every epoch counted
    seconds: float
    train_loss_nats: float  # mean since the previous validation
    validation_loss_nats: float | None  # None if no text is held out
    learning_rate: float
    gradient_norm: float  # before clipping


class Run:
    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description
        self.encoded: EncodedCorpus | None = None  # the corpus, once it is known
        self._ngrams: dict[int, BackoffNgram] = {}

    @classmethod
    def create(cls, path: Path, description: Description) -> "Run":
        files.remove_files(path, RUN)  # first, so that a crash never leaves a mixture of two runs
        files.remove_files(path, BEST, LAST, PROGRESS)
        remove_card(path)
        run = cls(path, description)
        run.write_description()
        return run

    @classmethod
    def open(cls, path: Path) -> "Run":
        file = path / RUN
        if path.is_file():
            how = f"train on it with {command('train', path)}; chargen runs lists the runs"
            how = f"name {path.parent}" if is_run(path.parent) else how
            raise ChargenError(f"{path}: a file, not a run; {how}")
        if not path.is_dir():
            known = f"train it with {command('train', path)}" * (str(path) in bundled.TEXTS)
            raise ChargenError(f"{path}: no such run; {known or 'chargen runs lists them'}")
        try:
            link = next((one for one in sorted(path.iterdir()) if one.is_symlink()), None)
        except OSError as error:
            raise ChargenError(f"{path}: cannot be read ({error.strerror})") from None
        if link:
            raise files.linked(link)
        try:
            data = files.read_bytes(file, LARGEST_DESCRIPTION)
        except FileNotFoundError:
            raise ChargenError(f"{path}: not a run directory, it has no {RUN}") from None
        try:
            return cls(path, Description.from_json(files.decode_json(data, Any)))
        except ChargenError as error:
            raise ChargenError(f"{file}: {files.reason(error)}") from None
        except ValueError as error:
            problem = f"damaged ({files.reason(error)}); train the run again"
            raise ChargenError(f"{file}: {problem}") from None

    def corpus(self) -> EncodedCorpus:
        """Return the corpus from the cache or its sources; `ChargenError` if it is not there."""
        if self.description.imported:
            raise ChargenError(f"{self.path}: imported without a corpus; name a text")
        if self.encoded is None:
            known = self.description.corpus
            kept = self.cached_corpus.load(known.sha256)
            fits = kept and known.is_of(kept) and kept.vocabulary == self.description.vocabulary
            self.encoded = kept if fits else self._read_again()
        assert self.encoded is not None
        return self.encoded

    def training_ids(self) -> np.ndarray:
        """Return the ids of the training text, the last `COUNTED` of a longer one, ``(L,)``."""
        end = self.description.corpus.training_chars
        return self.corpus().ids[max(0, end - COUNTED) : end]

    def ngrams(self, *orders: int) -> dict[str, BackoffNgram]:
        """Return back-off n-grams of the training text by name."""
        if missing := set(orders) - self._ngrams.keys():
            vocabulary, ids = self.description.vocabulary, self.training_ids()
            for order, levels in count(len(vocabulary), ids, missing).items():
                self._ngrams[order] = BackoffNgram(vocabulary, ids, order, levels)
        return {f"{order}-gram": self._ngrams[order] for order in orders}

    def _read_again(self) -> EncodedCorpus:
        known, name_it = self.description.corpus, command("evaluate", self.path, "CORPUS")
        if STANDARD_INPUT in known.sources:
            problem = f"{self.path} was trained on standard input, which cannot be read again"
            raise ChargenError(f"{problem}; save its text and name it with {name_it}")
        try:
            encoded = self._encode(known.read_again())
            if known.is_of(encoded):
                return encoded
        except (LongerError, UnknownCharacterError):
            pass
        except ChargenError as error:
            moved = f"the run {self.path} was trained on it: if it moved, name it with {name_it}"
            raise ChargenError(f"{error}; {moved}") from None
        sources = " ".join(known.sources)
        raise ChargenError(f"{sources}: changed since {self.path} was trained on it")

    def _encode(self, corpus: Corpus) -> EncodedCorpus:
        documents = self.description.training.documents
        return encode_with(corpus, self.description.vocabulary, documents)

    def encode(self, corpus: Corpus) -> EncodedCorpus:
        """Return any text, encoded for the model; record where it is if it is the run's own."""
        known = self.description.corpus
        if not corpus.encoding and set(corpus.sources) <= set(known.sources):
            corpus = corpus.in_encoding(known.encoding)
        try:
            encoded = self._encode(corpus)
        except UnknownCharacterError as error:
            raise ChargenError(f"{' '.join(corpus.sources)}: {error}") from None
        moved = known.sources != corpus.sources and STANDARD_INPUT not in corpus.sources
        if known.is_of(encoded) and moved:
            with suppress(ChargenError), lock(self.path):  # in training, or read-only
                record = structs.replace(known, sources=corpus.sources, encoding=corpus.encoding)
                self.description = structs.replace(Run.open(self.path).description, corpus=record)
                self.write_description()
            self.encoded = encoded
        return encoded

    @property
    def cached_corpus(self) -> CorpusCache:
        corpus, documents = self.description.corpus, self.description.training.documents
        own = self.description.vocabulary
        is_own = not self.description.initialized_from and not own.dropped
        given = (corpus.name, corpus.sources, documents, corpus.encoding, None if is_own else own)
        return CorpusCache(encoded_in(self.path, corpus.cache), *given)

    def write_description(self) -> None:
        """Write ``run.json``; `ChargenError` if it could not be read again."""
        data = (json.dumps(self.description.to_json(), indent=1) + "\n").encode()
        try:
            files.decode_json(data, Any)
        except ValueError as error:
            problem = f"would be too large ({files.reason(error)})"
            raise ChargenError(
                f"{self.path / RUN}: {problem}; name the directory, not each file"
            ) from None
        files.write_file(self.path / RUN, data)

    def write_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        files.write_file(self.path / name, checkpoint.to_bytes())

    def read_checkpoint(self, name: str) -> Checkpoint:
        """Read `BEST` or `LAST`; `ChargenError` if it is missing or damaged."""
        file = self.path / name
        try:
            return parse(files.read_bytes(file, LARGEST))
        except FileNotFoundError:
            raise ChargenError(f"{file}: missing, no save took place; train again") from None
        except ValueError as error:
            problem = f"not a checkpoint of this chargen, or damaged ({files.reason(error)})"
            raise ChargenError(f"{file}: {problem}; restore a copy, or train again") from None

    @property
    def weights_file(self) -> Path:
        """The file of the best weights, or of the last ones of a run without a validation."""
        return self.path / (BEST if os.path.lexists(self.path / BEST) else LAST)

    def weights(self, name: str = "") -> dict[str, np.ndarray]:
        """Return the weights in a file, by default `weights_file`."""
        name = name or self.weights_file.name
        weights = below(self.read_checkpoint(name).arrays, WEIGHTS)
        for key, array in weights.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                problem = f"weights {files.reason(key)} are no finite float32"
                raise ChargenError(f"{self.path / name}: {problem}")
        return weights

    def write_progress(self, kept: int, records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Replace ``progress.jsonl`` after its first ``kept`` lines."""
        file, data = self.path / PROGRESS, self._progress_bytes()
        *lines, rest = data.split(b"\n", kept)
        if len(lines) < kept:
            counts = f"{len(lines)} of the {kept} lines that {LAST} counts"
            raise files.UnwritableError(f"{file}: damaged, {counts}; start over with --overwrite")
        new = "".join(json.dumps(record) + "\n" for record in records).encode()
        if rest or new:
            files.write_end(file, len(data) - len(rest), new)

    def progress(self) -> list[ProgressRecord]:
        """Return the lines of ``progress.jsonl``, without an incomplete last line."""
        records: list[ProgressRecord] = []
        for line in self._progress_bytes().split(b"\n")[:-1]:
            try:
                records.append(files.decode_json(line, ProgressRecord))
            except ValueError as error:
                place = f"{self.path / PROGRESS}, line {len(records) + 1}"
                raise ChargenError(f"{place}: damaged ({files.reason(error)}); delete it") from None
        return records

    def best_loss(self) -> float | None:
        losses = [line["validation_loss_nats"] for line in self.progress()]
        return min((loss for loss in losses if loss is not None), default=None)

    def begins(self) -> bool:
        """Return whether training stopped before its first checkpoint, without a loss."""
        return not os.path.lexists(self.path / LAST) and self._progress_bytes().count(b"\n") <= 1

    def _progress_bytes(self) -> bytes:
        try:
            return files.read_bytes(self.path / PROGRESS, LARGEST_PROGRESS)
        except FileNotFoundError:
            return b""


def encoded_in(run: Path, cache: str) -> Path:
    """Return the directory of encoded corpora: ``cache``, or the one beside the run."""
    return Path(cache) if cache else run.resolve().parent / FOLDER


def find(name: str | Path | None = None) -> Run:
    """Open the run at a path, or of that name under ``runs/``; by default the newest run."""
    return newest() if name is None else Run.open(resolve(name))


def resolve(name: str | Path) -> Path:
    is_bare = Path(name).name == str(name) and not is_run(Path(name))
    return RUNS / name if is_bare and is_run(RUNS / name) else Path(name)


def newest(folder: Path = RUNS) -> Run:
    found = [file.parent for file in folder.glob(f"*/{RUN}")]
    if not found:
        raise ChargenError(f"no run under {folder}/ yet: train one with `chargen train CORPUS`")
    return Run.open(max(found, key=last_written))


def last_written(path: Path) -> float:
    written = (path / name for name in FILES)
    return max((file.stat().st_mtime for file in written if file.is_file()), default=0.0)


def is_run(path: Path) -> bool:
    return (path / RUN).exists()


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse a path where no run can begin."""
    if is_run(path) and not overwrite:
        way_out = "resume it with --resume, start over with --overwrite, or give another --out"
        raise ChargenError(f"{path}: a run exists already; {way_out}")
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ChargenError(f"{place}: exists and is not a directory; give another --out")


def write_card(path: Path, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    files.write_file(path / CARD, (text + SEAL.format(digest)).encode())


def own_card(path: Path) -> str | None:
    """Return the text of a card above its seal; None if there is none that chargen wrote."""
    try:
        text = files.read_bytes(path / CARD, LARGEST_CARD).decode()
    except (OSError, ValueError, ChargenError):
        return None
    found = SEALED.search(text)
    text = text[: found.start()] if found else ""
    return text if found and found[1] == hashlib.sha256(text.encode()).hexdigest() else None


def remove_card(path: Path) -> None:
    """Remove the card of a run directory unless a user wrote or edited it."""
    if own_card(path) is not None:
        files.remove_files(path, CARD)
