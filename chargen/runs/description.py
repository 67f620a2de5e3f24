"""The contents of a run's ``run.json``. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, to_builtins

from chargen.errors import ChargenError
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.encoding import ScannedCorpus, Sha256
from chargen.text.vocabulary import Vocabulary

FORMAT = 2  # format 1 had neither documents nor a cache
LARGEST_CORPUS = 2**44  # characters
MOST_ENTRIES = 100_000  # files and folders under a corpus's sources, or, of a large corpus,
FEWEST_CHARS = 64  # one per this many characters

SourceName = Annotated[str, Meta(pattern=r"^[^\0]*\Z")]


class CorpusRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The corpus of a run: enough to find the text again and to recognize it."""

    name: Annotated[str, Meta(pattern=r"^[^/\\\0]*\Z")]
    sources: Annotated[tuple[SourceName, ...], Meta(min_length=1)]
    sha256: Sha256  # of the text in UTF-8
    chars: Annotated[int, Meta(ge=1, le=LARGEST_CORPUS)]
    training_chars: Annotated[int, Meta(ge=1)]  # before the held-out part
    cache: Annotated[str, Meta(pattern=r"^[^\0]*\Z", max_length=4096)] = ""  # folder of the encoded
    # corpus; "": the folder beside the run

    def __post_init__(self) -> None:
        if self.training_chars >= self.chars > 0:
            raise ValueError(f"{self.training_chars} of {self.chars} characters to train on")
        if self.cache and not os.path.isabs(self.cache):
            raise ValueError(f"the cache {self.cache} is no absolute path")

    def is_of(self, text: ScannedCorpus) -> bool:
        """Return whether a text is that of the record."""
        return (self.sha256, self.chars) == (text.sha256, text.chars)

    def read_again(self) -> Corpus:
        """Return the corpus in its sources; reading it raises `LongerError` if it grew."""
        left = max(MOST_ENTRIES, self.chars // FEWEST_CHARS)
        for source in self.sources:
            for _, folders, names in os.walk(source):
                left -= len(folders) + len(names)
                if left < 0:
                    raise ChargenError(f"{source}: holds more than a corpus; name its text again")
        return replace(read_corpus(self.sources), most=self.chars)


NO_CORPUS = CorpusRecord("", (), "", 0, 0)  # of an imported model


class Imported(Struct, frozen=True, forbid_unknown_fields=True):
    """The file that a run was imported from; such a run has no corpus and no training."""

    file: str  # its name
    sha256: Sha256  # of its bytes


class RunFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The JSON document in ``run.json``; `Description` is its meaning."""

    format: Annotated[int, Meta(ge=1, le=FORMAT)]
    model: ModelSettings
    training: TrainingSettings | None
    vocabulary: str
    corpus: CorpusRecord | None
    versions: dict[str, str]
    imported: Imported | None = None

    def __post_init__(self) -> None:
        if (self.training is None, self.corpus is None) != (self.imported is not None,) * 2:
            raise ValueError("it needs either training and corpus, or imported")
        if self.training is None or self.corpus is None:
            return
        T, N, loss_on = self.training.timesteps, self.training.batch_size, self.training.loss_on
        if T is None or N is None:
            raise ValueError("no timesteps or no batch_size - at `$.training`")
        if self.corpus.training_chars - 1 < T * N:
            raise ValueError(f"{N} windows of {T} need more than its corpus")
        if isinstance(loss_on, int) and loss_on > T:
            raise ValueError(f"loss_on {loss_on} of {T} timesteps")


@dataclass(frozen=True)
class Description:
    """Settings, vocabulary, corpus and origin of a run.

    The corpus of an imported run is `NO_CORPUS`, and its training settings are the defaults.
    """

    model: ModelSettings
    training: TrainingSettings
    vocabulary: Vocabulary
    corpus: CorpusRecord
    versions: Mapping[str, str] = field(default_factory=dict)
    imported: Imported | None = None

    @property
    def begins_at_zeros(self) -> bool:
        """Return whether texts may start at a zero state: training did so, or is unknown."""
        training = self.training
        trained = training.state == "reset" or training.resets > 0 or training.documents != "none"
        return trained or self.imported is not None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values of ``run.json``; `from_json` reads them back."""
        trained = self.imported is None
        file = RunFile(
            FORMAT,
            self.model,
            self.training if trained else None,
            self.vocabulary.characters,
            self.corpus if trained else None,
            dict(self.versions),
            self.imported,
        )
        return to_builtins(file)

    @classmethod
    def from_json(cls, values: Any) -> Description:
        """Build a description from the values in ``run.json``; an error names the wrong field."""
        said = values.get("format") if isinstance(values, dict) else None
        if type(said) is int and said > FORMAT:
            raise ChargenError(f"format {said}, this chargen reads {FORMAT} and older: upgrade it")
        model = values.get("model") if isinstance(values, dict) else None
        if isinstance(model, dict) and model.get("cell") == "gru-before":  # of earlier versions
            values = {**values, "model": {**model, "cell": "gru", "reset_after": False}}
        file = convert(values, RunFile)
        training, corpus = file.training or TrainingSettings(), file.corpus or NO_CORPUS
        vocabulary = Vocabulary(file.vocabulary)
        return cls(file.model, training, vocabulary, corpus, file.versions, file.imported)
