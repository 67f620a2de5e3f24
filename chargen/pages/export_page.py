"""The page of ``chargen export --to page``: a model that generates text in a browser."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import asdict

from chargen.evaluation import Evaluation
from chargen.probes.result import RunResult, curve_section
from chargen.probes.units.report import part_labels
from chargen.probes.units.result import FeatureScores
from chargen.render.page import render
from chargen.sampling.quantized import rounded
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class ExportedModel:
    name: str  # of the run
    settings: ModelSettings
    vocabulary: Vocabulary
    arrays: Mapping[str, np.ndarray]  # float32 weights, as `ModelSettings.shapes` names them
    form: str = "float32"  # weight format of the page, or int8
    losses: Mapping[str, Evaluation] = field(default_factory=dict)  # held-out, by weight format
    probed: RunResult | None = None  # long-range measurements
    prompt: str = ""
    tracked: FeatureScores | None = None  # the feature whose best unit the page shows first
    initial_ids: Sequence[int] | np.ndarray = ()  # before a text without a prompt; () a newline


def export_page(model: ExportedModel) -> str:
    settings, V = model.settings, len(model.vocabulary)
    cell = settings.described_cell
    labels = part_labels(cell.state, settings.cell)
    size = f"{settings.parameters(V):,} weights of {8 if model.form == 'int8' else 32} bits"
    about = [settings.described(), f"{V:,} characters", size]
    about += [losses_text(model.losses)] if model.losses else []
    best = model.tracked.units[0] if model.tracked else None
    start = model.initial_ids if len(model.initial_ids) else model.vocabulary.opening
    data = {
        **asdict(settings),
        "gates": cell.gates,
        "parts": cell.state,
        "labels": labels,
        "characters": model.vocabulary.characters,
        "prompt": model.prompt,
        "initial_ids": np.ravel(start).tolist(),
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


def losses_text(losses: Mapping[str, Evaluation]) -> str:
    """Return the held-out loss in bits per character, of int8 weights beside the original."""
    whole = losses["float32"].bits_per_char
    text = f"{whole:.4f} bits per character"
    if "int8" in losses:
        bits = losses["int8"].bits_per_char
        beside = f"{whole:.4f} with float32 ({bits - whole:+.5f})"
        text = f"{bits:.4f} bits per character with int8 weights, {beside}"
    return f"{text}, on {losses['float32'].chars:,} held-out characters"


def _coded(array: np.ndarray, form: str) -> dict[str, Any]:
    """Return shape and little-endian bytes; int8 matrices with a scale per column."""
    parts = {"values": array.astype("<f4")}
    if form == "int8" and array.ndim == 2:
        levels, scales = rounded(array)
        parts = {"values": levels, "scales": scales.astype("<f4")}
    encoded = {name: base64.b64encode(part.tobytes()).decode() for name, part in parts.items()}
    return {"shape": list(array.shape), **encoded}


def through_eight_bits(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Quantize and restore every matrix; arrays with one axis stay unchanged."""
    return {
        name: np.multiply(*rounded(array)) if array.ndim == 2 else array
        for name, array in arrays.items()
    }
