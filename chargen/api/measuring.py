"""Measurements of several models on the same text or cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.probes.result import ProbeResult
from chargen.probes.run import HeldOut, Watch, probe
from chargen.probes.surprisal import measure as surprise
from chargen.probes.surprisal.result import Scores, compare
from chargen.settings import INSTRUMENTS
from chargen.text.corpus import Corpus
from chargen.text.vocabulary import Unknown

if TYPE_CHECKING:
    pass

from chargen.api.card import write_memory
from chargen.api.model import Sources, TrainedModel, read_sources


def probe_longrange(
    models: Sequence[TrainedModel],
    spans: Sequence[int] | None = None,
    seed: int = 0,
    *,
    only: Sequence[str] = INSTRUMENTS,
    bank: str | Path | None = None,
    text: Sources | Corpus | None = None,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbeResult:
    """Measure how far back models remember, and compare them on the same cases.

    Args:
        models: models of different runs.
        spans: spans of the sentences, in characters; by default those of the bank.
        seed: random seed of the cases.
        only: names of the instruments.
        bank: a phrase bank, as a file or a bundled one's name; by default the first of the bundled
            ones, English before Chinese, that the models know.
        text: the text that the other instruments read where no model was trained on it; by default
            each run's held-out text. Context and mined then need runs of one corpus.
        watch: called with an instrument's name and its work done and in total.

    Raises:
        ChargenError: a run is given twice, or no instrument can measure.
    """
    _check_distinct(models)
    corpora = [model.run.description.corpus for model in models]
    one_text = text is not None or len({(c.sha256, c.training_chars) for c in corpora}) == 1
    unseen = [model.held_out for model in models] if text is None else _unseen(models, text)
    result = probe(models, bundled.banks(bank), unseen, one_text, only, spans, seed, watch)
    for model, found in zip(models, result.runs, strict=True):
        write_memory(model, found)
    return result


def score(models: Sequence[TrainedModel], text: str, unknown: Unknown = "error") -> Scores:
    """Compare the surprisal of the same characters under several models.

    Args:
        models: models of different runs.
        text: the text; every character but the first is predicted.
        unknown: ``error`` or ``skip`` (for all models) for characters that a vocabulary lacks.

    Raises:
        ChargenError: a run is given twice, or fewer than two characters remain.
    """
    _check_distinct(models)
    known = text
    for model in models:
        model.vocabulary.encode_typed(f"text for {model.name}", known, unknown)
        known = model.vocabulary.known(known)
    if len(known) < 2:
        raise ChargenError("text: too short, give at least two characters")
    scores = [
        surprise.score(model.name, model.predictor, model.vocabulary.encode(known))
        for model in models
    ]
    return compare(known, len(text) - len(known), scores)


def _check_distinct(models: Sequence[TrainedModel]) -> None:
    paths = [model.run.path.resolve() for model in models]
    for index, model in enumerate(models):
        if paths[index] in paths[:index]:
            raise ChargenError(f"{model.name}: named twice; name each run once")


def _unseen(models: Sequence[TrainedModel], text: Sources | Corpus) -> list[HeldOut]:
    """Return for each model the part of ``text`` that no model was trained on."""
    corpus, first, texts = read_sources(text), 0, []
    for model in models:
        known = model.run.description.corpus
        try:
            encoded = model.encoded(corpus)
        except ChargenError as error:
            raise ChargenError(f"{model.name} cannot read {error}") from None
        first = max(first, known.training_chars if known.is_of(encoded) else 0)
        texts.append(encoded.ids)
    return [partial(ids.__getitem__, slice(first, None)) for ids in texts]
