"""Reader of Keras 3 files, ``.keras`` archives and ``.weights.h5``, without Keras.

Nothing in a file is executed, memory is bounded by the size of the file, and links out of the file
are refused.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.files import decode_json, read_bytes, reason

LARGEST = 2**33  # bytes of a file
LARGEST_JSON = 2**22  # bytes of its configuration
# Limit of unpacked bytes: a multiple of the file size, since weights barely compress, and slack.
MOST_PACKED, SLACK = 4, 2**20
ARCHIVE, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"  # first bytes
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UNREADABLE = (
    *(ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError, EOFError),
    *(MemoryError, zlib.error, zipfile.BadZipFile),
)

ArrayGroups = Mapping[str, tuple[np.ndarray, ...]]
"""The arrays of each group in order: ``layers/lstm/cell`` begins with the kernel."""


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
                version = str(decode_json(metadata, dict[str, Any]).get("keras_version"))
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
    if info.file_size > most or info.compress_type not in PACKINGS:
        raise ValueError(f"{name}: packed in another way, or larger than it can be")
    with archive.open(info) as file:
        return file.read(most)


def _arrays(file: Any, most: int) -> ArrayGroups:
    """Read the ``vars`` of every group but the optimizer's, at most ``most`` bytes in total."""
    if "layer_names" in file.attrs or "model_weights" in file:
        raise ValueError("laid out by Keras 2")
    groups: dict[str, dict[str, np.ndarray]] = {}

    def visit(name: str, data: Any) -> None:
        nonlocal most
        *path, kind, number = ["", *name.split("/")]
        if kind != "vars" or path[1:2] == ["optimizer"] or "seed_generator" in path:
            return
        if data.external or data.is_virtual:
            raise ValueError(f"{name}: not stored in this file")
        if data.shape is None or data.dtype.kind != "f":
            raise ValueError(f"{name}: numbers of type {data.dtype}, not float32")
        most -= math.prod(data.shape) * max(4, data.dtype.itemsize)
        if most < 0:
            raise ValueError(f"{name}: larger than its file")
        array = np.asarray(data[()], dtype=np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: numbers that are not finite")
        groups.setdefault("/".join(path[1:]), {})[number] = array

    file.visititems(visit)  # each object once, and no links
    return {
        name: tuple(arrays[str(number)] for number in range(len(arrays)))
        for name, arrays in groups.items()
    }
