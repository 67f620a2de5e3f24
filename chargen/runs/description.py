"""The contents of a run's ``run.json``. Imports no torch."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, to_builtins

from chargen.errors import ChargenError
from chargen.render.text import about, counted
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.encoding import ScannedCorpus, Sha256
from chargen.text.vocabulary import Vocabulary

FORMAT = 4  # 1 had neither documents nor a cache, 2 no fine-tuning, 3 no measured machine
LARGEST_CORPUS = 2**44  # characters
MOST_ENTRIES = 100_000  # files and folders under a corpus's sources, or, of a large corpus,
FEWEST_CHARS = 64  # one per this many characters
SHOWN_CHARACTERS = 60  # of a vocabulary

SourceName = Annotated[str, Meta(pattern=r"^[^\0]*\Z")]


class CorpusRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The corpus of a run: enough to find the text again and to recognize it."""

    name: Annotated[str, Meta(pattern=r"^[^/\\\0]*\Z")]
    sources: Annotated[tuple[SourceName, ...], Meta(min_length=1)]
    sha256: Sha256  # of the text in UTF-8
    chars: Annotated[int, Meta(ge=1, le=LARGEST_CORPUS)]
    training_chars: Annotated[int, Meta(ge=1)]  # before the held-out part
    cache: Annotated[str, Meta(pattern=r"^[^\0]*\Z", max_length=4096)] = ""  # of encoded corpora
    encoding: Annotated[str, Meta(max_length=40)] = ""  # of files without a mark; "": UTF-8

    def __post_init__(self) -> None:
        if self.training_chars > self.chars:
            raise ValueError(f"{self.training_chars} of {self.chars} characters to train on")
        if self.cache and not os.path.isabs(self.cache):
            raise ValueError(f"the cache {self.cache} is no absolute path")

    def is_of(self, text: ScannedCorpus) -> bool:
        return (self.sha256, self.chars) == (text.sha256, text.chars)

    def read_again(self) -> Corpus:
        """Return the corpus in its sources; reading it raises `LongerError` if it grew."""
        left = max(MOST_ENTRIES, self.chars // FEWEST_CHARS)
        for source in self.sources:
            for _, folders, names in os.walk(source):
                left -= len(folders) + len(names)
                if left < 0:
                    raise ChargenError(f"{source}: holds more than a corpus; name its text again")
        return replace(read_corpus(self.sources, self.encoding), most=self.chars)


class Imported(Struct, frozen=True, forbid_unknown_fields=True):
    """The file that a run was imported from; such a run has no corpus and no training."""

    file: str  # its name
    sha256: Sha256  # of its bytes


class Origin(Struct, frozen=True, forbid_unknown_fields=True):
    """The run whose best weights a fine-tuned run started from."""

    run: Annotated[SourceName, Meta(min_length=1)]  # absolute path
    sha256: Sha256  # of the file with its weights
    validation_loss_nats: Annotated[float, Meta(ge=0)] | None = None  # of those weights
    corpus: CorpusRecord | None = None  # None for an imported model
    documents: str = "none"


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """The CPU that began a run whose budget is a time, as measured before it."""

    chars_per_minute: Annotated[float, Meta(gt=0)]  # of the model in `reference_settings`
    threads: Annotated[int, Meta(ge=1)]  # with which it was fastest


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON document in ``run.json``; an imported run has ``null`` for training and corpus."""

    model: ModelSettings
    vocabulary: Vocabulary
    training: TrainingSettings = TrainingSettings()
    corpus: CorpusRecord = CorpusRecord("", (), "", 0, 0)
    versions: dict[str, str] = {}
    imported: Imported | None = None
    initialized_from: Origin | None = None
    machine: Machine | None = None  # None: not measured
    launchers: tuple[str, ...] = ()  # of the processes that began or resumed it, see `ProcessGroup`

    def __post_init__(self) -> None:
        if self.imported:
            return
        T, N, loss_on = self.training.timesteps, self.training.batch_size, self.training.loss_on
        if T is None or N is None:
            raise ValueError("no timesteps or no batch_size - at `$.training`")
        if self.corpus.training_chars - 1 < T * N:
            raise ValueError(f"{N} windows of {T} need more than its corpus")
        if isinstance(loss_on, int) and loss_on > T:
            raise ValueError(f"loss_on {loss_on} of {T} timesteps")

    @property
    def begins_at_zeros(self) -> bool:
        """Return whether texts may start at a zero state: training did so, or is unknown."""
        training = self.training
        trained = training.state == "reset" or training.resets > 0 or training.documents != "none"
        return trained or self.imported is not None

    def facts(self) -> dict[str, str]:
        model, vocabulary, corpus = self.model, self.vocabulary, self.corpus
        origin, imported = self.initialized_from, self.imported
        characters = repr(vocabulary.characters[:SHOWN_CHARACTERS])[1:-1]
        characters += "…" * (len(vocabulary) > SHOWN_CHARACTERS)
        held_out = f"{corpus.chars - corpus.training_chars:,} held out"
        facts = {
            "model": model.described(),
            "activation": model.activation,
            "parameters": f"{model.parameters(len(vocabulary)):,}",
            "vocabulary": f"{counted(len(vocabulary), 'character')}: {characters}",
            "dropped": vocabulary.dropped[:SHOWN_CHARACTERS],
            "fine-tuned from": origin and f"{Path(origin.run).name}, weights {origin.sha256}",
            "imported": imported and imported.file,
            "corpus": not imported and f"{corpus.name}: {corpus.chars:,} characters, {held_out}",
            "machine": self.machine
            and f"{about(self.machine.chars_per_minute)} characters per minute with "
            f"{counted(self.machine.threads, 'thread')}, measured before training",
            "files": ", ".join(Path(source).name for source in corpus.sources),
            "SHA-256": imported.sha256 if imported else corpus.sha256,
            "versions": ", ".join(" ".join(pair) for pair in self.versions.items()),
        }
        return {label: text for label, text in facts.items() if text}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values of ``run.json``; `from_json` reads them back."""
        values = {"format": FORMAT, **to_builtins(self, enc_hook=lambda own: own.characters)}
        values["dropped"] = self.vocabulary.dropped
        return values | ({"training": None, "corpus": None} if self.imported else {})

    @classmethod
    def from_json(cls, values: Any) -> "Description":
        """Build a description from the values in ``run.json``; an error names the wrong field."""
        values = convert(values, dict[str, Any])
        found = values.pop("format", None)
        if type(found) is not int or found < 1:
            raise ValueError(f"Expected `int` >= 1, got {found!r} - at `$.format`")
        if found > FORMAT:
            raise ChargenError(f"format {found}, this chargen reads {FORMAT} and older: upgrade it")
        missing = {name for name in ("training", "corpus") if values.get(name) is None}
        if len(missing) != 2 * (values.get("imported") is not None):
            raise ValueError("it needs either training and corpus, or imported")
        values = {name: value for name, value in values.items() if name not in missing}
        model = values.get("model")
        if isinstance(model, dict) and model.get("cell") == "gru-before":  # of earlier versions
            values["model"] = {**model, "cell": "gru", "reset_after": False}
        dropped = convert(values.pop("dropped", ""), str)
        return convert(
            values, cls, dec_hook=lambda kind, value: Vocabulary(convert(value, str), dropped)
        )
