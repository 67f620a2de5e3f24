"""Models named on the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from chargen.predictors.adapters import from_onnx
from chargen.predictors.check import check
from chargen.predictors.protocol import Model, PredictorError
from chargen.predictors.token_model import load_transformers


def load_model(name: str) -> Model:
    """Return the model that a user named, after `check`.

    Args:
        name: ``FILE.py:NAME``, a model or a function without arguments that returns one in a
            Python file, which is run; ``FILE.onnx``; or ``hf:DIRECTORY``, a language model of the
            library transformers.

    Raises:
        PredictorError: There is no such model, or it breaks its protocol.
    """
    file, colon, attribute = name.rpartition(":")
    if name.startswith("hf:"):
        model: Model = load_transformers(name.removeprefix("hf:"))
    elif name.endswith(".onnx"):
        model = from_onnx(name)
    elif colon and file.endswith(".py"):
        model = _from_file(Path(file), attribute)
    else:
        raise PredictorError(
            f"--model {name}: give FILE.py:NAME, FILE.onnx or hf:DIRECTORY; a run is an argument "
            "without --model"
        )
    try:
        check(model)
    except PredictorError as error:
        raise PredictorError(f"--model {name}: {error}") from None
    return model


def _from_file(file: Path, attribute: str) -> Model:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise PredictorError(f"--model {file}: no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.parent))  # the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    if not hasattr(module, attribute):
        raise PredictorError(f"--model {file}:{attribute}: the file has no {attribute}")
    found = getattr(module, attribute)
    is_model = hasattr(found, "advance") or hasattr(found, "log_prob")
    model: Model = found if is_model and not isinstance(found, type) else found()
    return model
