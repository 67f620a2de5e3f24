"""Measurements of several models on the same text or cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chargen.api.card import write_memory
from chargen.api.model import Sources, TrainedModel, read_sources
from chargen.api.training import load
from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.predictors import Model, check
from chargen.predictors.protocol import is_scorer
from chargen.probes.result import ProbeResult
from chargen.probes.run import HeldOutText, Subject, Watch, probe_all
from chargen.probes.surprisal.measure import compare, surprisal
from chargen.probes.surprisal.result import Scores
from chargen.settings import INSTRUMENTS
from chargen.text.corpus import Corpus
from chargen.text.encoding import EncodedCorpus
from chargen.text.vocabulary import Unknown, code_points


@dataclass(frozen=True)
class OtherModel:
    """A model that chargen did not train, and its name in reports."""

    name: str
    predictor: Model


OWN = ("ngrams", "timesteps", "network", "initial_network")  # of a trained model alone

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
        spans: spans of the sentences, in characters; by default those of the bank.
        bank: a phrase bank, as a file or a bundled one's name; by default the first of the bundled
            ones, English before Chinese, that the models know.
        text: the text that the other instruments read where no model was trained on it; by default
            each run's held-out text, which then has to be of one corpus for context and mined.
        swap_text: the text that replaces context in context and mined; by default other documents
            of the same text.
        watch: called with an instrument's name and its work done and in total.

    Raises:
        ChargenError: a model is given twice or breaks its protocol, or no instrument can measure.
    """
    given: Sequence[Any] = models if isinstance(models, list | tuple) else [models]
    opened = [_opened(model) for model in given]
    _check_distinct(opened)
    trained = [model for model in opened if isinstance(model, TrainedModel)]
    known = [model.run.description.corpus for model in trained]
    named, swap = (None if one is None else read_sources(one) for one in (text, swap_text))
    first = 0
    for run, corpus in zip(trained, known, strict=True) if named else ():
        first = max(first, corpus.training_chars * corpus.is_of(_encoded(run, named)))

    def unseen(model: TrainedModel | OtherModel) -> HeldOutText:
        """Return ``text`` from ``first`` on, or else the held-out text of the run.

        A model that chargen did not train reads that of the first run.
        """
        if isinstance(model, OtherModel):
            if named:
                read = named.text[first:]
            elif trained:
                read = trained[0].vocabulary.decode(trained[0].held_out())
            else:
                problem = "has no held-out text; name a text with --text FILE"
                raise ChargenError(f"{model.name} {problem}")
            swapped = _encode(model, swap.text) if swap else None
            return HeldOutText(_encode(model, read), swap_ids=swapped)
        text, starts = _encoded(model, named), None
        start = first if named else len(text.ids) - len(model.held_out())
        if model.run.description.training.documents != "none":
            starts = np.append(0, text.starts[text.starts > start] - start)
        return HeldOutText(text.ids[start:], starts, _encoded(model, swap).ids if swap else None)

    subjects = []
    for model in opened:
        own: dict[str, Any] = {name: getattr(model, name) for name in OWN if hasattr(model, name)}
        held_out = partial(unseen, model)
        subjects.append(Subject(model.name, model.predictor, held_out, **own))
    one_text = named is not None or len({(one.sha256, one.training_chars) for one in known}) < 2
    result = probe_all(subjects, bundled.banks(bank), one_text, only, spans, seed, watch)
    for model, found in zip(opened, result.runs, strict=True):
        if isinstance(model, TrainedModel):
            write_memory(model, found)
    return result


def score(models: Sequence[TrainedModel], text: str, unknown: Unknown = "error") -> Scores:
    """Compare the surprisal of the same characters under models of different runs.

    Every character of ``text`` but the first is predicted. A character that a vocabulary lacks is
    an error, or is skipped for all models.

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
    ids = {model.name: model.vocabulary.encode(known) for model in models}
    scores = [surprisal(model.name, model.predictor, ids[model.name]) for model in models]
    return compare(known, len(text) - len(known), scores)


def _opened(model: Measured) -> TrainedModel | OtherModel:
    if isinstance(model, str | Path):
        return load(model)
    if isinstance(model, TrainedModel | OtherModel):
        return model
    check(model)
    return OtherModel(type(model).__name__.lstrip("_"), model)


def _check_distinct(models: Sequence[TrainedModel | OtherModel]) -> None:
    seen = set()
    for model in models:
        name = model.run.path.resolve() if isinstance(model, TrainedModel) else model.name
        if name in seen:
            raise ChargenError(f"{model.name}: named twice; name each run once")
        seen.add(name)


def _encoded(model: TrainedModel, corpus: Corpus | None) -> EncodedCorpus:
    try:
        return model.encoded(corpus)
    except ChargenError as error:
        if corpus is None:
            raise
        raise ChargenError(f"{model.name} cannot read {error}") from None


def _encode(model: OtherModel, text: str) -> np.ndarray:
    if is_scorer(model.predictor):
        return code_points(text)
    return model.predictor.vocabulary.encode_typed(f"text for {model.name}", text)
