"""A character model that Keras 3 saved becomes a run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import reason
from chargen.formats.keras_alphabet import Alphabet
from chargen.formats.keras_config import plan_of
from chargen.formats.keras_file import KerasFile, opened, read
from chargen.formats.keras_plan import Plan
from chargen.formats.keras_shapes import plan_by_shapes
from chargen.formats.keras_weights import Arrays, weights_of
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import Description, Imported
from chargen.runs.directory import BEST, RUNS, Run, is_run, lock
from chargen.text.vocabulary import Vocabulary


def import_keras(
    model: Path,
    alphabet: Alphabet | None = None,
    out: Path | None = None,
    *,
    activation: str | None = None,
    cell: str | None = None,
    overwrite: bool = False,
) -> tuple[Run, list[str]]:
    """Make a run of a ``.keras`` or ``.weights.h5`` file; returns it, and what to tell its user.

    ``alphabet`` says what the model's ids stand for, where the model does not. ``activation`` and
    ``cell`` say what a ``.weights.h5`` does not show. The run's folder is ``out``, else
    ``runs/<name of the file>``. `ChargenError`, before anything is written, for what does not fit.
    """
    path = out or RUNS / (model.name.split(".")[0] or "keras")
    if is_run(path) and not overwrite:
        raise ChargenError(f"{path}: a run is there already; give --overwrite, or another --out")
    data = read(model)
    with opened(model, data) as file:
        try:
            plan = _plan(file, activation, cell)
            settings, size, arrays = weights_of(plan, file.variables)
        except ChargenError as error:
            raise ChargenError(f"{model}: {error}") from None
        versions = {"chargen": __version__, **({"keras": file.version} if file.version else {})}
    vocabulary, arrays, notes = _with_characters(plan, alphabet, size, arrays)
    imported = Imported(model.name, hashlib.sha256(data).hexdigest())
    description = Description.of_imported(settings, vocabulary, imported, versions)
    with lock(path):
        return _written(path, description, arrays), notes


def _plan(file: KerasFile, activation: str | None, cell: str | None) -> Plan:
    if file.config is not None:
        if activation or cell:
            flag = "--activation" if activation else "--cell"
            raise ChargenError(f"{flag} is for .weights.h5: the model says its own; leave it out")
        try:
            return plan_of(file.config)
        except (ValueError, LookupError, TypeError) as error:
            raise ChargenError(
                f"its configuration is not Keras's ({type(error).__name__}: {reason(error)}); save "
                "it again with Keras 3"
            ) from None
    shapes = {
        name: tuple(variable.shape for variable in variables)
        for name, variables in file.variables.items()
    }
    return plan_by_shapes(shapes, activation or "tanh", cell)


def _with_characters(
    plan: Plan, alphabet: Alphabet | None, size: int, arrays: Arrays
) -> tuple[Vocabulary, Arrays, list[str]]:
    """The vocabulary, and the weights with a row and a column for each of its characters."""
    if alphabet is None and plan.alphabet is None:
        raise ChargenError(
            f"the model does not say which characters its {size} ids stand for; give --alphabet "
            "FILE.json, or the text it was trained on as --alphabet-text"
        )
    alphabet = alphabet or Alphabet(plan.alphabet or (), "the model's vocabulary")
    vocabulary, ids, notes = alphabet.arranged(size)
    if plan.skips_zero and 0 in ids:
        character = vocabulary.decode(np.flatnonzero(ids == 0))
        raise ChargenError(
            f"its Embedding has mask_zero, so id 0 is padding, and {alphabet.source} says that it "
            f"is {character!r}; give the alphabet that the model was trained with"
        )
    first = "stack.layers.0.W_xh"
    rows = {first: arrays[first][ids], "W_hy": arrays["W_hy"][:, ids], "b_y": arrays["b_y"][ids]}
    return vocabulary, {**arrays, **rows}, notes


def _written(path: Path, description: Description, arrays: Arrays) -> Run:
    """The run in its folder."""
    weights = {WEIGHTS + name: np.ascontiguousarray(array) for name, array in arrays.items()}
    run = Run.create(path, description)
    run.write_checkpoint(BEST, Checkpoint(weights, {"step": 0}))
    return run
