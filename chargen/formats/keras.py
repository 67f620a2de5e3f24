"""Import of a model that Keras 3 saved: V ids, E units of an embedding, H of a layer.

Files are read without Keras. Nothing in one is executed, memory is bounded by its size, and links
out of it are refused.
"""

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

from chargen import __version__
from chargen.cells import cell_named
from chargen.errors import ChargenError, named
from chargen.files import decode_json, read_bytes, reason
from chargen.formats import keras_layout
from chargen.formats.keras_layout import KERAS_GATES, KerasLayout
from chargen.render.text import counted
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import Description, Imported
from chargen.runs.directory import BEST, RUNS, Run, is_run
from chargen.runs.lock import lock
from chargen.settings import ModelSettings
from chargen.text.corpus import read_file
from chargen.text.vocabulary import Vocabulary

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
ENTRIES: Any = list[str | None] | dict[str, str | int]
Config = Mapping[str, Any]

ArrayGroups = Mapping[str, tuple[np.ndarray, ...]]
"""The arrays of each group in order: ``layers/lstm/cell`` begins with the kernel."""


@dataclass(frozen=True)
class Alphabet:
    """The entry of each id from 0 on; None or several characters stand for no character."""

    entries: tuple[str | None, ...]
    source: str  # for error messages

    @classmethod
    def of_json(cls, path: Path, reserved: int = 0) -> "Alphabet":
        """Read characters after ``reserved`` ids: a JSON list, or a map to or from their ids."""
        try:
            values = decode_json(read_file(path).encode(), ENTRIES)
            if isinstance(values, dict):
                by_id = all(isinstance(value, str) for value in values.values())
                known = {int(k) if by_id else v: v if by_id else k for k, v in values.items()}
                if set(known) != set(range(len(values))):
                    raise ValueError("its ids are not 0, 1, 2 and so on")
                values = [known[id_] for id_ in range(len(values))]
        except (ValueError, TypeError) as error:
            rule = "give a JSON list of characters, or a map from each to its id"
            raise ChargenError(f"{path}: not an alphabet ({reason(error)}); {rule}") from None
        return cls((*[None] * reserved, *values), str(path))

    @classmethod
    def of_text(cls, path: Path, reserved: int = 0) -> "Alphabet":
        """Number the sorted characters of a text, after ``reserved`` ids."""
        return cls((*[None] * reserved, *sorted(set(read_file(path)))), str(path))

    def arranged(self, size: int) -> tuple[Vocabulary, np.ndarray, list[str]]:
        """Return the vocabulary, the model's id of each character ``(V,)``, and notes."""
        if rest := size - len(self.entries):
            problem = f"{self.source}: {len(self.entries)} entries, the model has {size} ids"
            way_out = f", or --reserved {rest}" if rest > 0 else ""
            raise ChargenError(f"{problem}; give the alphabet that it was trained with{way_out}")
        known = {one: id_ for id_, one in enumerate(self.entries) if one and len(one) == 1}
        twice = [one for one in known if self.entries.count(one) > 1]
        if twice or not known:
            wrong = f"{twice[0]!r} comes twice" if twice else "no entry is one character"
            raise ChargenError(f"{self.source}: {wrong}; each character has one id")
        others = size - len(known)
        note = f"left out {counted(others, 'id')} without a character; their probability is shared"
        characters = sorted(known)
        ids = np.array([known[one] for one in characters])
        return Vocabulary("".join(characters)), ids, [note] if others else []


def import_keras(
    model: Path,
    alphabet: Alphabet | None = None,
    out: Path | None = None,
    *,
    activation: str | None = None,
    reset_after: bool | None = None,
    overwrite: bool = False,
) -> tuple[Run, list[str]]:
    """Import a ``.keras`` or ``.weights.h5`` file and return the run and notes for the user.

    ``out`` is ``runs/<name of the file>`` by default. ``activation`` and ``reset_after`` are what a
    ``.weights.h5`` file does not store. `ChargenError`, before anything is written.
    """
    path = out or RUNS / (model.name.split(".")[0] or "keras")
    if is_run(path) and not overwrite:
        raise ChargenError(f"{path}: a run is there already; give --overwrite, or another --out")
    config, version, groups, sha256 = read_keras(model)
    with named(model):
        try:
            layout = _layout(config, groups, activation, reset_after)
            units = tuple(len(groups[group][1]) for group in layout.layers)
        except (ValueError, LookupError, TypeError) as error:
            raise ChargenError(f"its configuration is not Keras 3's ({reason(error)})") from None
        cell, function = layout.cell, layout.activation
        settings = ModelSettings(cell, units, function, reset_after=layout.reset_after)
    arrays = _converted(layout, groups)
    if alphabet is None:
        raise ChargenError("the model stores no characters; give --alphabet or --alphabet-text")
    vocabulary, ids, notes = alphabet.arranged(len(arrays["b_y"]))
    if layout.skips_zero and 0 in ids:
        problem = f"its Embedding has mask_zero, so id 0 is padding, not {alphabet.entries[0]!r}"
        raise ChargenError(f"{problem} as in {alphabet.source}; give the alphabet of its training")
    # A row and a column for each character of the vocabulary, in its order.
    arrays["stack.layers.0.W_xh"] = arrays["stack.layers.0.W_xh"][ids]
    arrays["W_hy"], arrays["b_y"] = arrays["W_hy"][:, ids], arrays["b_y"][ids]
    versions = {"chargen": __version__, **({"keras": version} if version else {})}
    imported = Imported(model.name, sha256)
    description = Description(settings, vocabulary, versions=versions, imported=imported)
    weights = {WEIGHTS + name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with lock(path):
        run = Run.create(path, description)
        run.write_checkpoint(BEST, Checkpoint(weights, {"step": 0}))
    return run, notes


def _layout(
    config: Config | None, groups: ArrayGroups, activation: str | None, reset_after: bool | None
) -> KerasLayout:
    shapes = {name: tuple(array.shape for array in arrays) for name, arrays in groups.items()}
    if config is None:
        return keras_layout.of_shapes(shapes, activation or "tanh", reset_after)
    if activation or reset_after is not None:
        flag = "--activation" if activation else "--cell"
        raise ChargenError(f"{flag} is for .weights.h5: the model stores its own; leave it out")
    return keras_layout.of_config(config, shapes)


def _converted(layout: KerasLayout, groups: ArrayGroups) -> dict[str, np.ndarray]:
    """Return the weights by chargen's names and in its order of gates, float32."""
    cell, order = cell_named(layout.cell, layout.reset_after), KERAS_GATES[layout.cell]
    arrays = {}
    for number, group in enumerate(layout.layers):
        W_xh, W_hh, *biases = groups[group]
        b_h = biases[0] if biases else np.zeros((2,) * bool(cell.extra) + W_xh.shape[1:], "f4")
        if cell.extra:
            # The biases of the input and of h add up, but for n, where the reset is between them.
            (b_h, of_h), both = b_h, 2 * len(W_hh)
            arrays[f"stack.layers.{number}.b_m"] = of_h[both:]
            b_h = np.concatenate([b_h[:both] + of_h[:both], b_h[both:]])
        for name, array in {"W_xh": W_xh, "W_hh": W_hh, "b_h": b_h}.items():
            blocks = dict(zip(order, np.split(array, len(order), axis=-1), strict=True))
            ours = np.concatenate([blocks[gate] for gate in cell.gates], axis=-1)
            arrays[f"stack.layers.{number}.{name}"] = ours
    if layout.embedding:
        # x E W of a one-hot x is a row of E W, rounded once.
        (E,), first = groups[layout.embedding], "stack.layers.0.W_xh"
        arrays[first] = (E.astype("f8") @ arrays[first].astype("f8")).astype("f4")
    W_hy, *biases = groups[layout.head]
    return arrays | {"W_hy": W_hy, "b_y": biases[0] if biases else np.zeros(W_hy.shape[1], "f4")}


def read_keras(path: Path) -> tuple[Config | None, str | None, ArrayGroups, str]:
    """Return configuration, Keras version, finite float32 weights and SHA-256 of a file.

    Weights alone have neither of the first two. `ChargenError` for what Keras 3 does not save.
    """
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
        problem = "not what Keras 3 saves as .keras or .weights.h5, damaged or too large"
        raise ChargenError(f"{path}: {problem} ({reason(error)})") from None
    return config, version, arrays, hashlib.sha256(data).hexdigest()


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
