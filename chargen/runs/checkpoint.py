"""Checkpoints: arrays and plain values in one safetensors file. Imports no torch.

Its metadata holds a SHA-256 of the whole file, the digest itself read as zeros: any byte that
changed is found. It tells damage, not a forger, who would compute it anew; so what the file says
is checked all the same, before anything of its size is made.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import save

from chargen.errors import ChargenError
from chargen.files import parse_json, read_bytes, reason

FORMAT = 2  # 1 had no digest
WEIGHTS = "model."  # what the names of a model's weights begin with
LARGEST = 2**34  # bytes of a checkpoint
LENGTH = 8  # bytes in which a file says how long its header is
LARGEST_HEADER = 2**20  # bytes
MOST_AXES = 8
ALIGNED = 8  # bytes: what a header's length is a multiple of
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # inside a string its quotes are escaped
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and plain values beside them."""

    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The file; `read_checkpoint` reads it back. `TypeError` for a dtype not of `DTYPES`."""
        arrays = {key: np.asarray(value, order="C") for key, value in self.arrays.items()}
        if odd := {array.dtype for array in arrays.values()} - set(DTYPES.values()):
            raise TypeError(f"a checkpoint holds no {odd}")
        metadata = {
            "format": str(FORMAT),
            "sha256": NO_DIGEST.decode(),
            "values": json.dumps(self.values),
        }
        data = save(arrays)
        end = LENGTH + int.from_bytes(data[:LENGTH], "little")
        # The library would write the metadata in another order each time.
        described = {"__metadata__": metadata, **json.loads(data[LENGTH:end])}
        header = json.dumps(described, separators=(",", ":")).encode()
        header += b" " * (-len(header) % ALIGNED)
        data = b"".join((len(header).to_bytes(LENGTH, "little"), header, data[end:]))
        place = _digest_place(data)
        return b"".join((data[: place.start], _digest(data, place), data[place.stop :]))


def read_checkpoint(file: Path) -> Checkpoint:
    """What is in a file; `ChargenError` where it is damaged or something else.

    The arrays are writable views of the file's bytes, which are read once.
    """
    data = read_bytes(file, LARGEST)
    try:
        return parse(data)
    except ValueError as error:
        raise ChargenError(
            f"{file}: not a checkpoint of this chargen, or damaged ({reason(error)}); put a whole "
            "copy there, or train again"
        ) from None


def parse(data: bytearray) -> Checkpoint:
    """The checkpoint that a file's bytes are; `ValueError` says why they are none."""
    end = LENGTH + int.from_bytes(data[:LENGTH], "little")
    if not LENGTH < end <= min(len(data), LENGTH + LARGEST_HEADER) or end % ALIGNED:
        raise ValueError("its header is cut off, or too long")
    header = parse_json(data[LENGTH:end])
    metadata: Any = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not _is_text(metadata):
        raise ValueError("it says no format")
    _check_format(metadata.get("format", "none"))
    place = _digest_place(data[:end])
    if data[place] != _digest(data, place):
        raise ValueError("its SHA-256 is another: bytes of it changed")
    values = parse_json(metadata.get("values", "").encode(), infinite=True)
    if not isinstance(values, dict) or not all(map(_is_plain, values.values())):
        raise ValueError("its values are not plain")
    return Checkpoint(_arrays(header, memoryview(data)[end:]), values)


def _check_format(said: str) -> None:
    if said == str(FORMAT):
        return
    if said.isdecimal() and said.isascii() and len(said) < 9 and int(said) > FORMAT:
        raise ValueError(f"format {said}: made by a newer chargen, upgrade yours")
    if said == "1":
        raise ValueError("format 1, without a SHA-256: made by an older chargen, train again")
    raise ValueError(f"format {said[:20]!r}, not {FORMAT}")


def _digest_place(header: bytes | bytearray) -> slice:
    found = DIGEST.search(header, 0, LENGTH + LARGEST_HEADER)
    if found is None:
        raise ValueError("it has no SHA-256")
    return slice(*found.span(1))


def _digest(data: bytes | bytearray, place: slice) -> bytes:
    with memoryview(data) as view:
        digest = hashlib.sha256(view[: place.start])
        digest.update(NO_DIGEST)
        digest.update(view[place.stop :])
    return digest.hexdigest().encode()


def _arrays(header: Mapping[str, Any], body: memoryview) -> dict[str, np.ndarray]:
    """Views of ``body``, which they fill one after the other, without a gap."""
    arrays: dict[str, np.ndarray] = {}
    begins: dict[str, int] = {}
    for name, said in header.items():
        if not isinstance(said, dict) or said.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name!r} is not described")
        dtype = DTYPES.get(said["dtype"]) if isinstance(said["dtype"], str) else None
        shape, offsets = said["shape"], said["data_offsets"]
        if dtype is None or not (_are_counts(shape, MOST_AXES) and _are_counts(offsets, 2)):
            raise ValueError(f"tensor {name!r} is of no known kind")
        begin, end = offsets if len(offsets) == 2 else (0, -1)
        size = math.prod(shape) * dtype.itemsize
        if end - begin != size or end > len(body) or begin % dtype.itemsize:
            raise ValueError(f"tensor {name!r} is not where it is said to be")
        arrays[name] = np.ndarray(shape, dtype, body, begin)
        begins[name] = begin
    at = 0
    for name in sorted(arrays, key=lambda name: (begins[name], arrays[name].nbytes)):
        if begins[name] != at:
            raise ValueError(f"tensor {name!r} lies over another, or behind a gap")
        at += arrays[name].nbytes
    if at != len(body):
        raise ValueError("bytes follow its last tensor")
    return arrays


def _are_counts(values: Any, most: int) -> bool:
    """Whether these are whole numbers, none of them negative, and not too many."""
    if not isinstance(values, list) or len(values) > most:
        return False
    return all(type(value) is int and 0 <= value < 2**62 for value in values)


def _is_text(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def _is_plain(value: Any) -> bool:
    """A number, text, nothing, or named ones of these."""
    inner = value.values() if isinstance(value, dict) else (value,)
    return all(part is None or isinstance(part, int | float | str) for part in inner)


Value = TypeVar("Value")


def below(arrays: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The arrays whose names begin with ``prefix``, under the rest of their names."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
