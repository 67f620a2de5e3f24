"""Models that were trained elsewhere become runs. Imports no torch, and not what made them."""

from chargen.formats.keras import import_keras
from chargen.formats.keras_alphabet import Alphabet

__all__ = ["Alphabet", "import_keras"]
