"""D: by how many bits the cue alone moves the choice between two targets.

    D = [lp(a | A) - lp(b | A)] - [lp(a | B) - lp(b | B)]

A frame tells fact A, whose target is a; B is the same text with the cue of another fact, as long,
in the cue's place, and b is that fact's target. 0 is a cue that says nothing, whatever the model
prefers without it. Its sign is no accuracy: a trace of 0.0001 bit would be right every time.
"""

from __future__ import annotations

from math import log

import numpy as np

from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS, Estimate
from chargen.probes.templates.cases import Batch


def contrasts(batch: Batch, told: np.ndarray, recued: np.ndarray) -> np.ndarray:
    """D of each frame of a batch, in bits: ``(N,)``.

    ``told`` and ``recued`` are log-probabilities of the K targets, ``(N, K)`` in nats, after the
    batch's contexts and after those with `Batch.others`' cues.
    """
    rows, own, other = np.arange(len(told)), batch.answers, batch.others
    moved: np.ndarray = told - recued
    bits: np.ndarray = (moved[rows, own] - moved[rows, other]) / log(2)
    return bits


def median(bits: np.ndarray, seed: int, span: int) -> Estimate:
    """The median over frames, ``(N,)``, with the 95 % interval of a bootstrap over them."""
    rng = np.random.default_rng([seed, span, 1])  # the frames themselves are drawn without the 1
    drawn = rng.integers(0, len(bits), (BOOTSTRAP_DRAWS, len(bits)))
    return Estimate.of(float(np.median(bits)), np.median(bits[drawn], axis=1))
