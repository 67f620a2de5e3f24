"""Text: files, characters, ids and windows of ids."""

from chargen.text.corpus import Corpus, read_corpus
from chargen.text.vocabulary import UnknownCharacterError, Vocabulary
from chargen.text.windows import ShuffledWindows, Streams, one_hot

__all__ = [
    "Corpus",
    "ShuffledWindows",
    "Streams",
    "UnknownCharacterError",
    "Vocabulary",
    "one_hot",
    "read_corpus",
]
