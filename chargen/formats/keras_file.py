"""What Keras 3 saved, read without Keras: a ``.keras`` archive, or a ``.weights.h5`` alone.

Nothing in either is run. What is allocated is bounded by the file's own size, and nothing outside
the file is followed.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.files import parse_json, read_bytes, reason

LARGEST = 2**33  # bytes of a file
LARGEST_JSON = 2**22  # bytes of its configuration
# Times as many bytes as the file has, and some more: numbers that were learned pack no better.
MOST_PACKED, LITTLE = 4, 2**20
DEEPEST = 12  # groups within groups
MOST_GROUPS = 10_000
ARCHIVE, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"  # how files begin
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@dataclass(frozen=True)
class Variable:
    """Numbers in the weights file, described but not read."""

    shape: tuple[int, ...]
    data: Any  # an h5py.Dataset

    def read(self) -> np.ndarray:
        """As float32; `ValueError` where they are no finite numbers of that kind."""
        array = np.asarray(self.data[()], dtype=np.float32)
        if array.shape != self.shape or not np.isfinite(array).all():
            raise ValueError(f"{self.data.name}: no finite numbers")
        return array


@dataclass(frozen=True)
class KerasFile:
    """``variables`` by group, in order: ``layers/lstm/cell`` has its kernel first."""

    config: Mapping[str, Any] | None  # None: weights alone
    version: str | None  # of the Keras that saved it
    variables: Mapping[str, tuple[Variable, ...]]


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[KerasFile]:
    """What is in ``data``, the bytes of ``path``; `ChargenError` where it is something else."""
    config, version, weights = None, None, bytes(data)
    try:
        if data.startswith(ARCHIVE):
            config, version, weights = _unpacked(data)
        if not weights.startswith(HDF5):
            raise ValueError("neither a .keras archive nor HDF5")
        with _h5py().File(io.BytesIO(weights), "r") as file:
            yield KerasFile(config, version, _variables(file, _most(data)))
    except (ValueError, KeyError, OSError, RuntimeError, EOFError, zlib.error) as error:
        raise ChargenError(
            f"{path}: not what Keras 3 saves, or damaged ({reason(error)}); save it again as "
            ".keras or .weights.h5"
        ) from None
    except (zipfile.BadZipFile, MemoryError) as error:
        raise ChargenError(f"{path}: damaged, or too large ({reason(error)})") from None


def read(path: Path) -> bytes:
    """The file's bytes; `ChargenError` where there are none."""
    try:
        return read_bytes(path, LARGEST, follow=True)
    except FileNotFoundError:
        raise ChargenError(f"{path}: no such file; name what model.save wrote") from None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ChargenError(
            "reading what Keras saved needs h5py: pip install 'chargen[keras]'"
        ) from None
    return h5py


def _unpacked(data: bytes) -> tuple[Mapping[str, Any], str | None, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        config = parse_json(_entry(archive, CONFIG, LARGEST_JSON))
        metadata = parse_json(_entry(archive, METADATA, LARGEST_JSON))
        weights = _entry(archive, WEIGHTS, _most(data))
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} describes no model")
    return config, version if isinstance(version, str) else None, weights


def _most(data: bytes) -> int:
    """Bytes that a part of a file may become."""
    return MOST_PACKED * len(data) + LITTLE


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    entry = archive.getinfo(name)
    if entry.file_size > most or entry.compress_type not in PACKINGS or entry.flag_bits & 1:
        raise ValueError(f"{name}: packed in another way, or larger than it can be")
    with archive.open(entry) as file:
        return file.read(most)


def _variables(file: Any, most: int) -> dict[str, tuple[Variable, ...]]:
    """Every group's ``vars``; ``most`` bytes is the largest that is described."""
    h5py = _h5py()
    if "layer_names" in file.attrs or "model_weights" in file:
        raise ValueError("laid out by Keras 2")
    found: dict[str, tuple[Variable, ...]] = {}
    waiting, seen = [("", file, 0)], 0
    while waiting:
        name, group, depth = waiting.pop()
        if "vars" in _inner(group):
            found[name] = tuple(_numbered(group["vars"], name, most))
        for key in _inner(group):
            inner = group[key]
            seen += 1
            if seen > MOST_GROUPS or depth > DEEPEST:
                raise ValueError("groups without an end")
            known = key in ("vars", "seed_generator") or (not name and key == "optimizer")
            if isinstance(inner, h5py.Group) and not known:
                waiting.append((f"{name}/{key}".lstrip("/"), inner, depth + 1))
    return {name: variables for name, variables in found.items() if variables}


def _inner(group: Any) -> list[str]:
    """What lies in a group itself; a link to elsewhere, to another file even, is refused."""
    h5py = _h5py()
    names = list(group) if isinstance(group, h5py.Group) else []
    for name in names:
        if type(group.get(name, getlink=True)) is not h5py.HardLink:
            raise ValueError(f"{name}: a link that leads elsewhere")
    return names


def _numbered(group: Any, name: str, most: int) -> Iterator[Variable]:
    """The variables ``0``, ``1``, … of a ``vars`` group."""
    h5py = _h5py()
    names = _inner(group)
    for number in range(len(names)):
        data = group[str(number)]
        if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
            raise ValueError(f"{name}: no numbers of its own")
        if data.shape is None or not re.fullmatch(r"[<>]f[248]", _kind(data)):
            raise ValueError(f"{name}: numbers of the kind {_kind(data)}, not float32")
        if math.prod(data.shape) * max(4, data.dtype.itemsize) > most:
            raise ValueError(f"{name}: larger than its file")
        yield Variable(tuple(map(int, data.shape)), data)


def _kind(data: Any) -> str:
    """The numbers of a dataset, as NumPy names their kind."""
    try:
        return str(data.dtype.str)
    except TypeError:  # a kind of HDF5's that NumPy has not
        return "none"
