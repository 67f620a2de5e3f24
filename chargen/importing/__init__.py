"""Models that were trained elsewhere become runs. Imports no torch, and not what made them."""

from chargen.importing.alphabet import Alphabet
from chargen.importing.keras import import_keras

__all__ = ["Alphabet", "import_keras"]
