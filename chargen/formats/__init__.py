"""Import of Keras models and export to ONNX. Imports neither torch nor Keras."""
