"""A model as an ONNX graph that makes one step: a character and the state in, both out again.

Axes: N texts, H units, V characters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import write_file
from chargen.formats.onnx_cells import stack
from chargen.formats.onnx_graph import Graph, onnx_package
from chargen.runs.directory import Run
from chargen.settings import ModelSettings

OPSET, IR = 17, 8  # of 2022, which every runtime in use reads
LARGEST = 2**31 - 2**20  # bytes: a protocol buffer holds less than 2 GiB
STEP = "chargen-step"
FORMAT = 1


def export_onnx(run: Run, out: Path) -> None:
    """Write the best weights of ``run`` as the step model of `step_model`.

    `ChargenError` where the weights do not fit the run, or the file cannot be written.
    """
    description, weights = run.description, run.weights()
    try:
        description.model.check(
            {name: array.shape for name, array in weights.items()}, len(description.vocabulary)
        )
    except ChargenError as error:
        raise ChargenError(f"{run.path}: {error}") from None
    if sum(array.nbytes for array in weights.values()) > LARGEST:
        raise ChargenError(f"{run.path}: more weights than the 2 GiB that an ONNX file holds")
    model = step_model(description.model, weights, description.vocabulary.characters)
    write_file(out, model.SerializeToString())


def step_model(settings: ModelSettings, weights: Mapping[str, np.ndarray], characters: str) -> Any:
    """The ``onnx.ModelProto``.

    Inputs: ``ids`` ``(N,)`` int64, and the state, a tensor ``(N, H)`` float32 for each part of each
    layer: ``h_0``, of an LSTM ``c_0`` too, in residual blocks then ``u1_0``, ``u2_0`` and ``u3_0``,
    which the block convolves, the latest first; then ``h_1`` and so on; zeros before the first
    character. Outputs: ``log_probs`` ``(N, V)`` float32, in nats, of the character that comes next,
    and the state after this one: ``next_h_0`` and so on, ``next_u1_0`` and so on, to be given back
    under the names without ``next_``. The metadata says ``format``, ``cell``, ``stack`` (plain or
    residual), ``activation``, ``units`` and ``vocabulary``: the code points of the characters that
    the ids from 0 on stand for. `ChargenError` where the package ``onnx`` is missing.
    """
    onnx = onnx_package()
    graph = Graph(STEP, weights)
    x, states = stack(graph, settings)
    logits = graph.add("Add", graph.add("MatMul", x, "W_hy"), "b_y")
    graph.add("LogSoftmax", logits, out="log_probs", axis=-1)
    described = graph.described(states, len(characters))
    made = onnx.helper.make_model(
        described,
        producer_name="chargen",
        producer_version=__version__,
        ir_version=IR,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    onnx.helper.set_model_props(made, _metadata(settings, characters))
    onnx.checker.check_model(made)
    return made


def _metadata(settings: ModelSettings, characters: str) -> dict[str, str]:
    return {
        "format": f"{STEP} {FORMAT}",
        "cell": settings.cell,
        "stack": settings.stack,
        "activation": settings.activation,
        "units": json.dumps(settings.units),
        "vocabulary": json.dumps([ord(character) for character in characters]),
    }
