"""Text: files, characters, ids and windows of ids."""

from chargen.text.corpus import read_corpus
from chargen.text.vocabulary import UnknownCharacterError, Vocabulary

__all__ = ["UnknownCharacterError", "Vocabulary", "read_corpus"]
