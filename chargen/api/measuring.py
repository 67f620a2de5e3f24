"""Measurements of several models on the same text or cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chargen.api.card import write_memory
from chargen.api.model import Sources, TrainedModel, read_sources
from chargen.api.training import load
from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.predictors import Model, check, is_scorer
from chargen.probes import run
from chargen.probes.result import ProbeResult
from chargen.probes.run import HeldOut, HeldOutText, OtherModel, Watch
from chargen.probes.surprisal import measure as surprise
from chargen.probes.surprisal.result import Scores, compare
from chargen.settings import INSTRUMENTS
from chargen.text.corpus import Corpus
from chargen.text.encoding import EncodedCorpus
from chargen.text.vocabulary import Unknown

Measured = TrainedModel | OtherModel | Model | str | Path
"""A trained model or its run directory, or any model with a protocol of `chargen.predictors`."""


def probe(
    models: Measured | Sequence[Measured],
    spans: Sequence[int] | None = None,
    seed: int = 0,
    *,
    only: Sequence[str] = INSTRUMENTS,
    bank: str | Path | None = None,
    text: Sources | Corpus | None = None,
    swap_text: Sources | Corpus | None = None,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbeResult:
    """Measure how far back models remember, and compare them on the same cases.

    A model that chargen did not train is checked first. Instruments that it cannot serve are left
    out with a warning.

    Args:
        models: one model, or several different ones.
        spans: spans of the sentences, in characters; by default those of the bank.
        seed: random seed of the cases.
        only: names of the instruments.
        bank: a phrase bank, as a file or a bundled one's name; by default the first of the bundled
            ones, English before Chinese, that the models know.
        text: the text that the other instruments read where no model was trained on it; by default
            each run's held-out text, which then has to be of one corpus for context and mined.
        swap_text: the text that replaces context in the instrument context; by default other
            documents of the same text.
        watch: called with an instrument's name and its work done and in total.

    Returns:
        The results, with ``finding``, ``to_json()``, ``figure()`` and ``report(path)``.

    Raises:
        ChargenError: a model is given twice or breaks its protocol, or no instrument can measure.
    """
    given: Sequence[Any] = models if isinstance(models, list | tuple) else [models]
    subjects = [_subject(model) for model in given]
    trained = [subject for subject in subjects if isinstance(subject, TrainedModel)]
    _check_distinct(subjects)
    corpora = [model.run.description.corpus for model in trained]
    one_text = text is not None or len({(c.sha256, c.training_chars) for c in corpora}) < 2
    swap = None if swap_text is None else read_sources(swap_text)
    unseen = _unseen(subjects, text, swap)
    result = run.probe(subjects, bundled.banks(bank), unseen, one_text, only, spans, seed, watch)
    for subject, found in zip(subjects, result.runs, strict=True):
        if isinstance(subject, TrainedModel):
            write_memory(subject, found)
    return result


def _subject(model: Measured) -> TrainedModel | OtherModel:
    if isinstance(model, str | Path):
        return load(model)
    if isinstance(model, TrainedModel | OtherModel):
        return model
    check(model)
    return OtherModel(type(model).__name__.lstrip("_"), model)


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


def _check_distinct(models: Sequence[TrainedModel | OtherModel]) -> None:
    names = [
        str(model.run.path.resolve()) if isinstance(model, TrainedModel) else model.name
        for model in models
    ]
    for model, name in zip(models, names, strict=True):
        if names.count(name) > 1:
            raise ChargenError(f"{model.name}: named twice; name each run once")


def _unseen(
    models: Sequence[TrainedModel | OtherModel], text: Sources | Corpus | None, swap: Corpus | None
) -> list[HeldOut]:
    """Return for each model the part of ``text`` that no model was trained on.

    Without ``text`` that is the held-out text of the run, and for other models that of the first.
    """
    if text is None:
        return [partial(_own_text, model, models, swap) for model in models]
    corpus, first = read_sources(text), 0
    for model in models:
        if isinstance(model, TrainedModel):
            known = model.run.description.corpus
            first = max(first, known.training_chars if known.is_of(_encoded(model, corpus)) else 0)
    return [partial(_given_text, model, corpus, first, swap) for model in models]


def _given_text(
    model: TrainedModel | OtherModel, corpus: Corpus, first: int, swap: Corpus | None
) -> HeldOutText:
    if isinstance(model, TrainedModel):
        return _after(model, _encoded(model, corpus), first, swap)
    return HeldOutText(_encode(model, _string(corpus))[first:], None, _swap_ids(model, swap))


def _own_text(
    model: TrainedModel | OtherModel,
    models: Sequence[TrainedModel | OtherModel],
    swap: Corpus | None,
) -> HeldOutText:
    if isinstance(model, TrainedModel):
        text = model.corpus()
        return _after(model, text, len(text.ids) - len(model.held_out()), swap)
    for other in models:
        if isinstance(other, TrainedModel):
            ids = _encode(model, other.vocabulary.decode(other.held_out()))
            return HeldOutText(ids, None, _swap_ids(model, swap))
    raise ChargenError(f"{model.name} has no held-out text; name a text with --text FILE")


def _after(
    model: TrainedModel, text: EncodedCorpus, first: int, swap: Corpus | None
) -> HeldOutText:
    """Return a text from ``first`` on, with its documents if the model was trained on such."""
    starts = None
    if model.run.description.training.documents != "none":
        later = text.starts[np.searchsorted(text.starts, first, side="right") :]
        starts = np.append(0, later - first)
    return HeldOutText(text.ids[first:], starts, _swap_ids(model, swap))


def _swap_ids(model: TrainedModel | OtherModel, swap: Corpus | None) -> np.ndarray | None:
    if swap is None:
        return None
    if isinstance(model, TrainedModel):
        return _encoded(model, swap).ids
    return _encode(model, _string(swap))


def _encoded(model: TrainedModel, corpus: Corpus) -> EncodedCorpus:
    try:
        return model.encoded(corpus)
    except ChargenError as error:
        raise ChargenError(f"{model.name} cannot read {error}") from None


def _string(corpus: Corpus) -> str:
    return "".join(block for _, block in corpus.blocks())


def _encode(model: OtherModel, text: str) -> np.ndarray:
    if is_scorer(model.predictor):
        return np.zeros(0, dtype=np.int64)
    return model.predictor.vocabulary.encode_typed(f"text for {model.name}", text)
