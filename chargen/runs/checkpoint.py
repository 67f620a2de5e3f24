"""Checkpoints: arrays and scalar values in one safetensors file. Imports no torch.

The metadata holds the format, the values as JSON and a SHA-256 of the whole file, computed with
the digest's own characters as zeros. The digest detects damage, not forgery: anybody can compute
it. The header and the values are therefore validated too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from msgspec import convert
from safetensors import SafetensorError
from safetensors.numpy import load, save

from chargen.files import decode_json

FORMAT = 2  # format 1 had no digest
WEIGHTS = "model."  # prefix of the names of a model's weights
LARGEST = 2**34  # bytes of a checkpoint
LENGTH = 8  # bytes of the header's length
LARGEST_HEADER = 2**20  # bytes
ALIGNMENT = 8  # bytes: a header's length is a multiple
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # quotes inside a string are escaped
DTYPES = set(map(np.dtype, ("<f8", "<f4", "<i8", "<i4", "u1")))
Scalar = bool | int | float | str | None
Values = dict[str, Scalar | dict[str, Scalar]]


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and scalars, or dictionaries of scalars, by name."""

    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the file's bytes; equal checkpoints have equal bytes."""
        arrays = {key: np.asarray(value, order="C") for key, value in self.arrays.items()}
        if odd := {array.dtype for array in arrays.values()} - DTYPES:
            raise TypeError(f"a checkpoint holds no {odd}")
        metadata = {"format": str(FORMAT), "sha256": NO_DIGEST.decode()}
        metadata["values"] = json.dumps(self.values)
        data = save(arrays)
        end = _header_end(data)
        # safetensors writes metadata in random order, so the header is encoded again.
        described = {"__metadata__": metadata, **json.loads(data[LENGTH:end])}
        header = json.dumps(described, separators=(",", ":")).encode()
        header += b" " * (-len(header) % ALIGNMENT)
        data = b"".join((len(header).to_bytes(LENGTH, "little"), header, data[end:]))
        return data.replace(NO_DIGEST, _digest(data, _digest_place(data)), 1)


def parse(data: bytes) -> Checkpoint:
    """Return the checkpoint in a file's bytes; `ValueError` says what is wrong."""
    end = _header_end(data)
    if not LENGTH < end <= min(len(data), LENGTH + LARGEST_HEADER):
        raise ValueError("its header is cut off, or too long")
    header = decode_json(data[LENGTH:end], dict[str, dict[str, Any]])
    metadata = convert(header.pop("__metadata__", {}), dict[str, str])
    if (number := metadata.get("format", "none")) != str(FORMAT):
        newer = re.fullmatch(r"[3-9]|[1-9]\d{1,7}", number, re.ASCII)
        hint = ": made by a newer chargen, upgrade yours" if newer else ""
        raise ValueError(f"format {number[:20]}, not {FORMAT}{hint}")
    place = _digest_place(data[:end])
    if data[place] != _digest(data, place):
        raise ValueError("its SHA-256 differs: the file was changed")
    values = decode_json(metadata.get("values", "").encode(), Values)
    try:
        arrays = load(data)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if odd := {array.dtype for array in arrays.values()} - DTYPES:
        raise ValueError(f"it holds arrays of {', '.join(map(str, odd))}")
    return Checkpoint({name: arrays[name] for name in header}, values)


def _header_end(data: bytes) -> int:
    return LENGTH + int.from_bytes(data[:LENGTH], "little")


def _digest_place(header: bytes) -> slice:
    found = DIGEST.search(header, 0, LENGTH + LARGEST_HEADER)
    if found is None:
        raise ValueError("it has no SHA-256")
    return slice(*found.span(1))


def _digest(data: bytes, place: slice) -> bytes:
    with memoryview(data) as view:
        digest = hashlib.sha256(view[: place.start])
        digest.update(NO_DIGEST)
        digest.update(view[place.stop :])
    return digest.hexdigest().encode()


Value = TypeVar("Value")


def below(arrays: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the arrays whose names begin with ``prefix``, without the prefix in their names."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
