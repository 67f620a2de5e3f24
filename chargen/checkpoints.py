"""Checkpoints: arrays and plain values in one safetensors file. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from chargen.errors import ChargenError

FORMAT = 1
WEIGHTS = "model."  # what the names of a model's weights begin with


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and plain values beside them."""

    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The file; `read_checkpoint` reads it back."""
        metadata = {"format": str(FORMAT), "values": json.dumps(self.values)}
        arrays = {key: np.asarray(value, order="C") for key, value in self.arrays.items()}
        return save(arrays, metadata)


def read_checkpoint(file: Path) -> Checkpoint:
    """What is in a file; `ChargenError` where it is damaged or something else."""
    try:
        with safe_open(file, framework="numpy") as tensors:
            metadata = tensors.metadata() or {}
            arrays = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
        if metadata["format"] != str(FORMAT):
            raise ValueError(f"format {metadata['format']}, not {FORMAT}")
        return Checkpoint(arrays, json.loads(metadata["values"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ChargenError(
            f"{file}: not a checkpoint of this chargen, or damaged ({error})"
        ) from None


Value = TypeVar("Value")


def below(arrays: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The arrays whose names begin with ``prefix``, under the rest of their names."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
