"""Models named on the command line, and a conformance check of models that are to be measured."""

import math
import runpy
import sys
from pathlib import Path

import numpy as np

from chargen.predictors import protocol
from chargen.predictors.adapters import from_onnx
from chargen.predictors.protocol import Model, NextCharPredictor, PredictorError
from chargen.predictors.token_model import load_transformers
from chargen.text.vocabulary import Vocabulary

N, T, CUT = 3, 12, 5  # sequences, timesteps, and the place of the cut
NEAR = 1e-3  # nats; kernels for other shapes round differently
CERTAIN = -15.0  # nats; below it a log-probability is too small to matter
DIFFERS = "two calls with the same text differ: turn dropout off, module.eval()"
LOOKS_AHEAD = "a prediction depends on later characters: it must not see what it predicts"
MIXES_ROWS = """a sequence read alone gives other predictions than beside others: the axis of the \
sequences may be wrong, or batch normalization is on"""
FORGETS = """a text read in parts gives other predictions than the whole: return the whole state, \
and begin from the state that is given"""


def check(model: Model) -> None:
    """Check that a model follows its protocol.

    Predictions of random characters must be normalized log-probabilities of shape ``(N, T, V)``
    that are the same in a second call, when a text is read in parts, when sequences
    are read alone or in another order, and when later characters change. A `TextScorer` must return
    one finite number that is not above 0 and stays the same. `PredictorError` says which rule the
    model breaks and what usually helps.
    """
    if protocol.is_scorer(model):
        once, twice = (model.log_prob("the clouds are in the ", "sky") for _ in range(2))
        finite = isinstance(once, float) and math.isfinite(once) and once <= NEAR
        _require(finite, f"log_prob returned {once!r}, no finite log-probability in nats")
        same = abs(twice - once) <= NEAR
        _require(same, "log_prob gives another number each time: turn dropout off")
        return
    known = isinstance(getattr(model, "vocabulary", None), Vocabulary)
    _require(known, "it has no attribute `vocabulary` that is a chargen.text.Vocabulary")
    advances = isinstance(model, NextCharPredictor)
    _require(advances, "it has neither a method `advance` nor `log_prob`")
    ids = np.random.default_rng(0).integers(len(model.vocabulary), size=(N, T))
    whole, _ = protocol.advance(model, ids)
    again, _ = protocol.advance(model, ids)
    other, order = ids.copy(), np.array([2, 0, 1])
    other[:, CUT:] = np.roll(ids[:, CUT:], 1, axis=1)
    changed, _ = protocol.advance(model, other)
    alone = np.concatenate([protocol.advance(model, ids[[row]])[0] for row in range(N)])
    first, state = protocol.advance(model, ids[:, :CUT])
    second, _ = protocol.advance(model, ids[order, CUT:], protocol.select(state, order))
    in_parts = np.concatenate([first[order], second], axis=1)
    for found, expected, fault in (
        (again, whole, DIFFERS),
        (changed[:, :CUT], whole[:, :CUT], LOOKS_AHEAD),
        (alone, whole, MIXES_ROWS),
        (in_parts, whole[order], FORGETS),
    ):
        apart = np.abs(np.maximum(found, CERTAIN) - np.maximum(expected, CERTAIN))
        _require(bool((apart <= NEAR).all()), fault)


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise PredictorError(f"model: {fault}")


def load_model(name: str) -> Model:
    """Return the model that a user named, after `check`; `PredictorError` without one.

    A name is ``FILE.py:NAME``, a model or a function without arguments that returns one in a
    Python file, which is run; ``FILE.onnx``; or ``hf:DIRECTORY``, a language model of the library
    transformers.
    """
    file, _, attribute = name.rpartition(":")
    if name.startswith("hf:"):
        model: Model = load_transformers(name.removeprefix("hf:"))
    elif name.endswith(".onnx"):
        model = from_onnx(name)
    elif file.endswith(".py"):
        model = _from_file(Path(file), attribute)
    else:
        raise PredictorError(
            f"--model {name}: give FILE.py:NAME, FILE.onnx or hf:DIRECTORY; a run is an argument "
            "without --model"
        )
    try:
        check(model)
    except PredictorError as error:
        raise PredictorError(f"--model {name}: {error.message.removeprefix('model: ')}") from None
    return model


def _from_file(file: Path, attribute: str) -> Model:
    if not file.is_file():
        raise PredictorError(f"--model {file}: no such file")
    sys.path.insert(0, str(file.parent))  # the file may import its neighbours
    try:
        names = runpy.run_path(str(file))
    finally:
        sys.path.remove(str(file.parent))
    if attribute not in names:
        raise PredictorError(f"--model {file}:{attribute}: the file has no {attribute}")
    found = names[attribute]
    is_model = hasattr(found, "advance") or hasattr(found, "log_prob")
    model: Model = found if is_model and not isinstance(found, type) else found()
    return model
