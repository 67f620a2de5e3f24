"""Import of Keras models and export to ONNX. Imports neither torch nor Keras."""

from chargen.formats.keras import Alphabet, import_keras

__all__ = ["Alphabet", "import_keras"]
