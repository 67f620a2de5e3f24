"""Text: files to characters, characters to ids, ids to windows. Imports no torch."""

from chargen.text.corpus import Corpus, read_corpus
from chargen.text.vocabulary import UnknownCharacterError, Vocabulary
from chargen.text.windows import ShuffledWindows, Streams, one_hot, window

__all__ = [
    "Corpus",
    "ShuffledWindows",
    "Streams",
    "UnknownCharacterError",
    "Vocabulary",
    "one_hot",
    "read_corpus",
    "window",
]
