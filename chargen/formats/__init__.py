"""Import of Keras models and export to ONNX. Imports neither torch nor Keras."""

from chargen.formats.keras import import_keras
from chargen.formats.keras_alphabet import Alphabet

__all__ = ["Alphabet", "import_keras"]
