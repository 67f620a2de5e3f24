"""Reader of Keras 3 files, ``.keras`` archives and ``.weights.h5``, without Keras.

Nothing in a file is executed, memory is bounded by the size of the file, and links out of the file
are refused.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chargen.errors import ChargenError
from chargen.files import decode_json, read_bytes, reason

LARGEST = 2**33  # bytes of a file
LARGEST_JSON = 2**22  # bytes of its configuration
# Limit of unpacked bytes: a multiple of the file size, since weights barely compress, and slack.
MOST_PACKED, SLACK = 4, 2**20
DEEPEST, MOST_GROUPS = 12, 10_000  # nested groups, groups
ARCHIVE, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"  # first bytes
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UNREADABLE = (
    *(ValueError, KeyError, OSError, RuntimeError, EOFError, MemoryError),
    *(zlib.error, zipfile.BadZipFile),
)

ArrayGroups = Mapping[str, tuple[np.ndarray, ...]]
"""The arrays of each group in order: ``layers/lstm/cell`` begins with the kernel."""


class Metadata(msgspec.Struct):
    """``metadata.json`` of an archive."""

    keras_version: str | None = None


@dataclass(frozen=True)
class KerasFile:
    """The contents of a file."""

    config: Mapping[str, Any] | None  # None for weights alone
    version: str | None  # of Keras
    arrays: ArrayGroups  # float32, finite
    sha256: str


def read_keras(path: Path) -> KerasFile:
    """Read a file; raise `ChargenError` for anything that Keras 3 does not save."""
    try:
        import h5py
    except ImportError:
        raise ChargenError("reading Keras files needs h5py: pip install h5py") from None
    try:
        data = read_bytes(path, LARGEST, follow=True)
    except FileNotFoundError:
        raise ChargenError(f"{path}: no such file; name what model.save wrote") from None
    config, version, weights, most = None, None, bytes(data), MOST_PACKED * len(data) + SLACK
    try:
        if data.startswith(ARCHIVE):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                config = decode_json(_entry(archive, "config.json", LARGEST_JSON), dict[str, Any])
                metadata = _entry(archive, "metadata.json", LARGEST_JSON)
                version = decode_json(metadata, Metadata).keras_version
                weights = _entry(archive, "model.weights.h5", most)
        if not weights.startswith(HDF5):
            raise ValueError("neither a .keras archive nor HDF5")
        with h5py.File(io.BytesIO(weights), "r") as file:
            arrays = _arrays(file, most)
    except UNREADABLE as error:
        raise ChargenError(
            f"{path}: not what Keras 3 saves, damaged or too large ({reason(error)}); save it "
            "again as .keras or .weights.h5"
        ) from None
    return KerasFile(config, version, arrays, hashlib.sha256(data).hexdigest())


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > most or info.compress_type not in PACKINGS or info.flag_bits & 1:
        raise ValueError(f"{name}: packed in another way, or larger than it can be")
    with archive.open(info) as file:
        return file.read(most)


def _arrays(file: Any, most: int) -> ArrayGroups:
    """Read the ``vars`` of every group but the optimizer's, at most ``most`` bytes in total."""
    if "layer_names" in file.attrs or "model_weights" in file:
        raise ValueError("laid out by Keras 2")
    found: dict[str, tuple[np.ndarray, ...]] = {}
    waiting, seen = [("", file, 0)], 0
    while waiting:
        name, group, depth = waiting.pop()
        members = _members(group)
        seen += len(members)
        if seen > MOST_GROUPS or depth > DEEPEST:
            raise ValueError("groups without an end")
        variables = _members(members.pop("vars", None))
        arrays = tuple(_read(variables[str(n)], name, most) for n in range(len(variables)))
        most -= sum(array.nbytes for array in arrays)
        if arrays:
            found[name] = arrays
        for key, inner in members.items():
            if key != "seed_generator" and (name or key != "optimizer"):
                waiting.append((f"{name}/{key}".lstrip("/"), inner, depth + 1))
    return found


def _members(group: Any) -> dict[str, Any]:
    """Return the members of a group; refuse links, which may lead out of the file."""
    import h5py

    names = list(group) if isinstance(group, h5py.Group) else []
    for name in names:
        if type(group.get(name, getlink=True)) is not h5py.HardLink:
            raise ValueError(f"{name}: a link that leads elsewhere")
    return {name: group[name] for name in names}


def _read(data: Any, name: str, most: int) -> np.ndarray:
    import h5py

    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise ValueError(f"{name}: not stored in this file")
    try:
        kind = str(data.dtype.str)
    except TypeError:  # a type that NumPy does not have
        kind = "none"
    if data.shape is None or not re.fullmatch(r"[<>]f[248]", kind):
        raise ValueError(f"{name}: numbers of type {kind}, not float32")
    if math.prod(data.shape) * max(4, data.dtype.itemsize) > most:
        raise ValueError(f"{name}: larger than its file")
    array = np.asarray(data[()], dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: numbers that are not finite")
    return array
