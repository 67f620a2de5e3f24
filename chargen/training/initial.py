"""Fine-tuning: a new run that starts from the weights of another one."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs

from chargen.errors import ChargenError
from chargen.files import read_bytes
from chargen.recurrent.model import CharModel
from chargen.render.text import counted
from chargen.runs.checkpoint import LARGEST
from chargen.runs.description import Origin
from chargen.runs.directory import Run
from chargen.settings import GivenSettings, flag, shown
from chargen.text.corpus import Corpus
from chargen.text.encoding import ScannedCorpus
from chargen.text.vocabulary import PLACEHOLDER, Vocabulary, rare_characters


def check_same(given: GivenSettings, run: Run, names: Collection[str], remedy: str) -> None:
    known = structs.asdict(run.description.model) | structs.asdict(run.description.training)
    for name, value in given.values().items():
        if name in names and known[name] != value:
            raise ChargenError(
                f"{flag(name)} {shown(value)}: the run in {run.path} uses {shown(known[name])}; "
                f"{remedy}"
            )


def vocabulary_for(
    corpus: Corpus, found: ScannedCorpus, min_count: int, source: Run | None
) -> tuple[Vocabulary, list[str]]:
    """Return the vocabulary of a new run, with that of ``source`` and no rare ones, and notes."""
    own, notes = found.vocabulary, []
    if min_count > 1:
        rare, count = rare_characters((text for _, text in corpus.blocks()), min_count)
        if len(rare) == len(own):
            raise ChargenError(f"--min-count {min_count}: no character occurs as often; lower it")
        notes.append(
            f"dropped {len(rare)} of {counted(len(own), 'character')} that occur fewer than "
            f"{min_count} times ({counted(count, 'occurrence')}): read as {PLACEHOLDER}"
            if rare
            else f"every character occurs {min_count} times or more: none is dropped"
        )
        own = own.without(rare)
    if source:
        known = source.description.vocabulary
        own = own | known
        new = len(own) - len(known)
        notes.append(f"starts from {source.path}: {counted(new, 'new character')}")
    return own, notes


def origin_of(source: Run) -> Origin:
    description, file = source.description, source.weights_file
    loss = source.read_checkpoint(file.name).values.get("validation_loss_nats")
    return Origin(
        str(source.path.resolve()),
        _sha256(file),
        loss if isinstance(loss, float) and loss >= 0 else None,
        None if description.imported else description.corpus,
        description.training.documents,
    )


@torch.no_grad()
def start_from(model: CharModel, vocabulary: Vocabulary, origin: Origin) -> None:
    """Copy the weights of a model's origin into it by character; new ones begin as rare ones.

    Raises `ChargenError` if the origin is missing or changed.
    """
    source = Run.open(Path(origin.run))
    if _sha256(source.weights_file) != origin.sha256:
        raise ChargenError(
            f"{origin.run}: changed since fine-tuning began; start over with --overwrite"
        )
    known, weights = source.description.vocabulary, source.weights()
    source.description.model.check({name: a.shape for name, a in weights.items()}, len(known))
    rows = torch.from_numpy(vocabulary.encode(known.characters).astype(np.int64))
    inputs = "stack.W_in" if "stack.W_in" in weights else "stack.layers.0.W_xh"
    places: dict[str, Any] = {inputs: rows, "W_hy": (slice(None), rows), "b_y": rows}
    for name, parameter in model.named_parameters():
        old = torch.from_numpy(weights[name]).to(parameter.device)
        if name == "b_y":
            parameter.fill_(old.min())
        parameter[places.get(name, ...)] = old


def _sha256(file: Path) -> str:
    return hashlib.sha256(read_bytes(file, LARGEST)).hexdigest()
