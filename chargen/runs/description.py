"""What a run's ``run.json`` says of it, and how much of that is believed. Imports no torch."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chargen.errors import ChargenError
from chargen.settings import ModelSettings, TrainingSettings, from_json, to_json
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.encoding import Encoded
from chargen.text.sources import READ, UNPACKED
from chargen.text.store import key
from chargen.text.vocabulary import Vocabulary

FORMAT = 2  # 1 knew no documents and no cache
READABLE = (1, 2)
LONGEST_PATH = 4096  # characters: no system takes more
LARGEST_CORPUS = 2**44  # characters
MOST_ENTRIES = 100_000  # files and folders below a corpus's sources, or, of a large corpus,
FEWEST_CHARS = 64  # one for so many characters
MARK = 3  # bytes of a byte order mark
ARCHIVED = 1024  # bytes of an archive beside its text, which may grow by a hundredth too


@dataclass(frozen=True)
class CorpusRecord:
    """What a run remembers of its corpus: enough to find it again and to know it."""

    name: str
    sources: tuple[str, ...]
    sha256: str  # of the text in UTF-8
    chars: int
    training_chars: int  # what comes before the held-out part
    cache: str = ""  # the folder that it lies encoded in; "": one beside the run

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CorpusRecord:
        """Checked on the way in; `KeyError`, `TypeError` or `ValueError`."""
        record = cls(**{**values, "sources": tuple(values["sources"])})
        if type(record.chars) is not int or type(record.training_chars) is not int:
            raise TypeError("the corpus's characters are no whole numbers")
        if not 1 <= record.training_chars < record.chars <= LARGEST_CORPUS:
            raise ValueError(f"{record.training_chars} of {record.chars} characters to train on")
        texts = (record.name, record.sha256, record.cache)
        if not all(isinstance(text, str) for text in (*record.sources, *texts)):
            raise TypeError("names of the corpus are no text")
        if any("\0" in name for name in (*record.sources, record.cache)):
            raise ValueError("a source of the corpus names no file")
        if record.cache and not (os.path.isabs(record.cache) and len(record.cache) <= LONGEST_PATH):
            raise ValueError("the corpus's cache is no folder's whole path")
        if re.search(r"[/\\\0]", record.name):
            raise ValueError("the corpus's name is none of a file")
        if not isinstance(values["sources"], list) or not record.sources:
            raise TypeError("the corpus's sources are no list")
        if not re.fullmatch("[0-9a-f]{64}", record.sha256):
            raise ValueError("the corpus's sha256 is none")
        return record

    def is_of(self, text: Encoded) -> bool:
        """Whether a text is the one that is remembered."""
        return (self.sha256, self.chars) == (text.sha256, len(text.ids))

    def read_again(self) -> Corpus:
        """The corpus, to be read from where it was; `ChargenError` as `check_sources` raises it.

        Reading it is a `LongerError` where it holds more text than it did.
        """
        self.check_sources()
        return replace(read_corpus(self.sources), most=self.chars)

    def check_sources(self) -> None:
        """`ChargenError` where the sources cannot be the text that was trained on.

        A run from elsewhere may name what never ends, or far more than its corpus: nothing of it
        is read before this. How much an archive unpacks to is found as it is read.
        """
        left: float = 4 * self.chars  # bytes, in UTF-8
        entries = 0
        for source in self.sources:
            for folder, inner, names in os.walk(source):
                entries += len(inner) + len(names)
                if entries > max(MOST_ENTRIES, self.chars // FEWEST_CHARS):
                    raise ChargenError(f"{source}: holds more than a corpus; name its text again")
                files = [os.path.join(folder, name) for name in names if name.endswith(READ)]
                left -= sum(map(_text_bytes, files))
            left -= _text_bytes(source)
        if left < 0:
            raise ChargenError(
                f"{' '.join(self.sources)}: not what was trained on, which had {self.chars:,} "
                "characters; name its text again"
            )


NO_CORPUS = CorpusRecord("", (), "", 0, 0)  # of a model that was trained elsewhere


@dataclass(frozen=True)
class Imported:
    """Where a run comes from that chargen did not train: it has no corpus and no training."""

    file: str  # its name
    sha256: str  # of its bytes

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Imported:
        """Checked on the way in; `TypeError` or `ValueError`."""
        imported = cls(**values)
        if not isinstance(imported.file, str) or not isinstance(imported.sha256, str):
            raise TypeError("what it was imported from is no text")
        if not re.fullmatch("[0-9a-f]{64}", imported.sha256):
            raise ValueError("the imported file's sha256 is none")
        return imported


@dataclass(frozen=True)
class Description:
    """What ``run.json`` holds; what was ``imported`` has `NO_CORPUS` and no chosen training."""

    model: ModelSettings
    training: TrainingSettings
    vocabulary: Vocabulary
    corpus: CorpusRecord
    versions: Mapping[str, str] = field(default_factory=dict)
    imported: Imported | None = None

    @classmethod
    def of_imported(
        cls,
        model: ModelSettings,
        vocabulary: Vocabulary,
        imported: Imported,
        versions: Mapping[str, str],
    ) -> Description:
        """That of a model which was trained elsewhere."""
        return cls(model, TrainingSettings(), vocabulary, NO_CORPUS, versions, imported)

    @property
    def begins_at_zeros(self) -> bool:
        """Whether a text may begin at a state of zeros: training saw many, or was none of ours."""
        training = self.training
        trained = training.state == "reset" or training.resets > 0 or training.documents != "none"
        return trained or self.imported is not None

    def stored_as(self) -> str:
        """What its corpus is kept under (`chargen.text.store`)."""
        corpus = self.corpus
        return key(corpus.name, corpus.sources, self.training.documents, corpus.sha256)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `Description.from_json` reads them back."""
        values = {
            "format": FORMAT,
            "model": to_json(self.model),
            "training": to_json(self.training),
            "vocabulary": self.vocabulary.characters,
            "corpus": asdict(self.corpus),
            "versions": dict(self.versions),
        }
        if self.imported is None:
            return values
        return {**values, "training": None, "corpus": None, "imported": asdict(self.imported)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Description:
        """Checked on the way in; `ChargenError`, `KeyError`, `TypeError` or `ValueError`."""
        if type(values["format"]) is not int or values["format"] not in READABLE:
            raise ChargenError(
                f"format {values['format']}, this chargen reads {FORMAT} and older: upgrade it"
            )
        if unknown := set(values) - {"format", "versions", *cls.__dataclass_fields__}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        if not isinstance(values["vocabulary"], str):
            raise TypeError("the vocabulary is no text")
        versions = dict(values["versions"])
        if not all(isinstance(text, str) for text in versions.values()):
            raise TypeError("versions are no text")
        model, vocabulary = from_json(ModelSettings, values["model"]), values["vocabulary"]
        if "imported" in values:
            if values["training"] is not None or values["corpus"] is not None:
                raise ValueError("it was imported, and says how it was trained")
            imported = Imported.from_json(values["imported"])
            return cls.of_imported(model, Vocabulary(vocabulary), imported, versions)
        description = cls(
            model,
            from_json(TrainingSettings, values["training"]),
            Vocabulary(vocabulary),
            CorpusRecord.from_json(values["corpus"]),
            versions,
        )
        description._check_windows()
        return description

    def _check_windows(self) -> None:
        training, targets = self.training, self.corpus.training_chars - 1
        timesteps, batch_size = training.timesteps, training.batch_size
        if timesteps is None or batch_size is None:
            raise ValueError("it says no timesteps or no batch_size")
        if timesteps * batch_size > targets:
            raise ValueError(f"{batch_size} windows of {timesteps} need more than its corpus")
        if isinstance(training.loss_on, int) and training.loss_on > timesteps:
            raise ValueError(f"loss_on {training.loss_on} of {timesteps} timesteps")


def _text_bytes(source: str) -> float:
    """The bytes of a file that text must account for: all but what is around it.

    Infinity where it is no file, and none where nothing is there.
    """
    try:
        status = os.stat(source)
    except (OSError, ValueError):  # whoever reads it will say so
        return 0
    if stat.S_ISDIR(status.st_mode):
        return 0
    if not stat.S_ISREG(status.st_mode):
        return math.inf
    size = status.st_size
    beside = ARCHIVED + size // 100 if source.endswith(tuple(UNPACKED)) else MARK
    return max(0, size - beside)
