"""The page of ``chargen export --to page``: a model that generates text in a browser."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from msgspec.structs import asdict

from chargen.evaluation import Evaluation
from chargen.probes.result import RunResult, curve_section
from chargen.probes.units.report import part_labels
from chargen.probes.units.result import FeatureScores
from chargen.render.page import render
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

LEVELS = 127  # 8-bit levels on either side of zero
WeightFormat = Literal["float32", "int8"]
BITS: dict[WeightFormat, int] = {"float32": 32, "int8": 8}  # per weight


@dataclass(frozen=True)
class ExportedModel:
    """The contents of an exported page.

    Attributes:
        name: name of the run.
        settings: shape of the model.
        vocabulary: V characters.
        arrays: float32 weights, as `ModelSettings.shapes` names them.
        form: weight format of the page.
        losses: held-out loss in each weight format; empty without a held-out text.
        probed: long-range measurements of the run.
        prompt: initial prompt.
        tracked: the feature whose best unit the page shows first.
        initial_ids: ids that the network reads before a text without a prompt. Default: a newline.
    """

    name: str
    settings: ModelSettings
    vocabulary: Vocabulary
    arrays: Mapping[str, np.ndarray]
    form: WeightFormat = "float32"
    losses: Mapping[WeightFormat, Evaluation] = field(default_factory=dict)
    probed: RunResult | None = None
    prompt: str = ""
    tracked: FeatureScores | None = None
    initial_ids: tuple[int, ...] = ()


def export_page(model: ExportedModel) -> str:
    """Return one HTML page that needs no other file and no network."""
    settings, V = model.settings, len(model.vocabulary)
    cell = settings.described_cell
    labels = part_labels(cell.state, settings.cell)
    about = [
        f"{settings.cell} of {' + '.join(map(str, settings.units))} units"
        + " in residual blocks" * (settings.stack == "residual"),
        f"{V:,} characters",
        f"{settings.parameters(V):,} weights of {BITS[model.form]} bits",
        *filter(None, [losses_text(model.losses)]),
    ]
    best = model.tracked.units[0] if model.tracked else None
    data = {
        **asdict(settings),
        "gates": cell.gates,
        "parts": cell.state,
        "labels": labels,
        "characters": model.vocabulary.characters,
        "prompt": model.prompt,
        "initial_ids": model.initial_ids or model.vocabulary.opening.tolist(),
        "first": {"layer": best.layer - 1, "unit": best.unit - 1} if best else {},
        "arrays": {name: _coded(array, model.form) for name, array in model.arrays.items()},
    }
    return render(
        "chargen.pages/export.html",
        title=f"Text from {model.name}",
        name=model.name,
        about=" · ".join(about),
        layers=len(settings.units),
        parts=labels,
        tracked=model.tracked,
        longrange=curve_section(model.probed),
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")),
    )


def losses_text(losses: Mapping[WeightFormat, Evaluation]) -> str:
    """Return the held-out loss in bits per character, of int8 weights beside the original."""
    if not losses:
        return ""
    whole, chars = losses["float32"], losses["float32"].chars
    text = f"{whole.bits_per_char:.4f} bits per character"
    if "int8" in losses:
        bits = losses["int8"].bits_per_char
        text = (
            f"{bits:.4f} bits per character with int8 weights, {whole.bits_per_char:.4f} with "
            f"float32 ({bits - whole.bits_per_char:+.5f})"
        )
    return f"{text}, on {chars:,} held-out characters"


def _coded(array: np.ndarray, form: WeightFormat) -> dict[str, Any]:
    """Return shape and little-endian bytes; int8 matrices with a scale per column."""
    if form == "int8" and array.ndim == 2:
        levels, scales = rounded(array)
        coded = {"values": _base64(levels), "scales": _base64(scales.astype("<f4"))}
    else:
        coded = {"values": _base64(array.astype("<f4"))}
    return {"shape": list(array.shape), **coded}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize ``(J, K)`` float32 to levels ``(J, K)`` int8 and scales ``(K,)`` float32.

    The largest magnitude of a column is `LEVELS` times its scale, and the error is at most half a
    scale. A column of zeros has scale 0.
    """
    scales = (np.abs(matrix).max(axis=0) / LEVELS).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.nan_to_num(np.rint(matrix / scales)).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), scales


def through_eight_bits(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Quantize and restore every matrix; arrays with one axis stay unchanged."""
    return {
        name: np.multiply(*rounded(array)) if array.ndim == 2 else array
        for name, array in arrays.items()
    }
