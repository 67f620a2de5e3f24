"""From the weights in a ``.weights.h5`` alone to the parts of a character model, by their shapes.

Keras calls the groups of a plain model after its layers' classes, ``layers/lstm_1/cell``, and
those of a class of one's own after its attributes, ``gru/cell``.
Axes: V ids, E an embedding's numbers, F features of a layer, H units.
"""

from __future__ import annotations

import re

from chargen.errors import ChargenError
from chargen.formats.keras_config import RECURRENT
from chargen.formats.keras_plan import SUPPORTED, Plan, Shapes
from chargen.settings import BLOCKS

KERAS_CELLS = ("simple", "lstm", "gru", "gru-before")  # that Keras has too
CELL = "/cell"  # how the group of a recurrent layer's weights ends
NUMBERED = re.compile(rf"layers/(?:{'|'.join(RECURRENT.values())})(?:_(\d{{1,6}}))?{CELL}")


def plan_by_shapes(shapes: Shapes, activation: str, cell: str | None) -> Plan:
    """The plan that fits; `ChargenError` where none does, or more than one.

    ``activation`` no weights tell, and of a GRU without biases they do not tell the ``cell``.
    """
    layers = [name for name in shapes if name.endswith(CELL)]
    rest = {name: own for name, own in shapes.items() if not name.endswith(CELL)}
    found = {name: _cell(name, shapes[name], cell) for name in layers}
    if not layers or len(rest) not in (1, 2) or len(set(found.values())) > 1:
        told = ", ".join(f"{name} {found.get(name, '')}".strip() for name in sorted(shapes))
        raise ChargenError(f"its weights are {told or 'none'}; only {SUPPORTED} can be imported")
    head, embedding = _outer(rest, {shapes[name][1][0] for name in layers})
    inputs = shapes[embedding][0][1] if embedding else shapes[head][0][1]
    ordered = _ordered({name: shapes[name][0][0] for name in layers}, shapes, inputs)
    if shapes[head][0][0] != shapes[ordered[-1]][1][0]:
        raise ChargenError(f"{head} does not read what {ordered[-1]} puts out")
    return Plan(found[layers[0]], activation, tuple(ordered), head, embedding)


def _cell(name: str, shapes: tuple[tuple[int, ...], ...], told: str | None) -> str:
    """Which cell has these weights: its kernel ``(F, blocks * H)``, ``(H, blocks * H)``, biases."""
    if len(shapes) not in (2, 3) or any(len(shape) != 2 for shape in shapes[:2]):
        raise _unknown(name)
    (_, columns), (units, _) = shapes[:2]
    fitting = [cell for cell in KERAS_CELLS if columns == BLOCKS[cell] * units]
    if len(shapes) == 3 and len(fitting) > 1:  # Keras adds two biases where the reset comes after
        fitting = ["gru" if len(shapes[2]) == 2 else "gru-before"]
    if not fitting:
        raise _unknown(name)
    if told is not None and told not in fitting:
        raise ChargenError(f"--cell {told}: {name} has the weights of {' or '.join(fitting)}")
    if told is None and len(fitting) > 1:
        raise ChargenError(
            f"{name}: a GRU without biases, which does not show where its reset stands; give "
            "--cell gru (reset_after=True) or --cell gru-before"
        )
    return told or fitting[0]


def _outer(rest: Shapes, units: set[int]) -> tuple[str, str | None]:
    """The head ``(H, V)`` with its bias or without, and the embedding ``(V, E)``, if there is."""
    for name, own in rest.items():
        if len(own) > 2 or len(own[0]) != 2 or (len(own) == 2 and own[1] != own[0][1:]):
            raise _unknown(name)
    if len(rest) == 1:
        return next(iter(rest)), None
    pairs = [
        (head, embedding)
        for head, embedding in (tuple(rest), tuple(rest)[::-1])
        if len(rest[embedding]) == 1
        and rest[head][0][1] == rest[embedding][0][0]
        and rest[head][0][0] in units
    ]
    named = [(head, embedding) for head, embedding in pairs if "embed" in embedding]
    pairs = named if len(named) == 1 else pairs
    if len(pairs) != 1:
        which = "either may be" if pairs else "neither is"
        raise ChargenError(
            f"{' and '.join(rest)}: {which} the Embedding below the Dense; save the model as .keras"
        )
    return pairs[0]


def _ordered(features: dict[str, int], shapes: Shapes, inputs: int) -> list[str]:
    """The recurrent layers, the one that reads the ``inputs`` first."""
    numbers = {name: NUMBERED.fullmatch(name) for name in features}
    if all(numbers.values()):
        ordered = sorted(features, key=lambda name: int((numbers[name] or [0, 0])[1] or 0))
    else:
        ordered = _chained(features, shapes, inputs)
    read = [inputs, *(shapes[name][1][0] for name in ordered)]
    if any(features[name] != wanted for name, wanted in zip(ordered, read, strict=False)):
        raise ChargenError(f"{', '.join(ordered)}: do not read one another's outputs")
    return ordered


def _chained(features: dict[str, int], shapes: Shapes, inputs: int) -> list[str]:
    """Each after the one whose outputs it can read; `ChargenError` where the shapes leave open."""
    ordered: list[str] = []
    left = dict(features)
    while left:
        wanted = shapes[ordered[-1]][1][0] if ordered else inputs
        fitting = [name for name in left if left[name] == wanted]
        if len(fitting) != 1:
            which = fitting or left
            raise ChargenError(
                f"{' and '.join(which)}: their weights do not show which comes first; save the "
                "model as .keras"
            )
        ordered += fitting
        del left[fitting[0]]
    return ordered


def _unknown(name: str) -> ChargenError:
    return ChargenError(f"{name}: weights of no layer that can be imported: only {SUPPORTED}")
