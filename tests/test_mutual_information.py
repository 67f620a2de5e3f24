"""Mutual information at a distance, against sources whose memory is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from chargen.cli import main
from chargen.text.mutual_information import default_distances, mutual_information

DISTANCES = (1, 2, 4, 8, 16, 32, 64)


def covered(found, truth):
    """Return the share of the intervals that hold the true values."""
    rows = zip(found.low, truth, found.high, strict=True)
    return np.mean([low <= true <= high for low, true, high in rows])


@pytest.mark.parametrize(("chars", "size"), [(3000, 8), (20_000, 60)])
def test_independent_characters_share_no_information(chars, size):
    shares, bits = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        ids = rng.choice(size, chars, p=rng.dirichlet(np.full(size, 0.5)))
        found = mutual_information(ids, size, DISTANCES, seed=seed)
        shares.append(covered(found, [0] * len(DISTANCES)))
        bits += [found.bits, found.control_bits]
        assert found.reach <= 1
    assert np.mean(shares) >= 0.9
    assert abs(np.mean(bits)) < 0.01  # without the correction 0.3 to 4 bits


def markov_chain(transitions, length, rng):
    bounds, points, state = transitions.cumsum(axis=1), rng.random(length), 0
    ids = np.empty(length, dtype=np.int64)
    for place, point in enumerate(points):
        ids[place] = state = int((point > bounds[state, :-1]).sum())
    return ids


def test_a_markov_chain_has_its_analytic_values_and_an_exponential_decay():
    transitions = np.array([[0.9, 0.07, 0.03], [0.04, 0.9, 0.06], [0.05, 0.05, 0.9]])
    shares = np.linalg.matrix_power(transitions, 10_000)[0]
    steps = [np.linalg.matrix_power(transitions, distance) for distance in DISTANCES]
    truth = [(shares[:, None] * step * np.log2(step / shares)).sum() for step in steps]
    coverage = []
    for seed in range(4):
        ids = markov_chain(transitions, 40_000, np.random.default_rng(seed))
        found = mutual_information(ids, 3, DISTANCES, seed=seed)
        coverage.append(covered(found, truth))
        assert found.bits == pytest.approx(truth, abs=0.03)
        assert found.fits[0].law == "exponential"
        assert found.fits[0].aic + 10 < found.fits[1].aic
        # The second eigenvalue to the power 2d bounds the information.
        eigenvalue = np.sort(np.abs(np.linalg.eigvals(transitions)))[-2]
        assert found.fits[0].rate == pytest.approx(-1 / (2 * np.log(eigenvalue)), rel=0.2)
    assert np.mean(coverage) >= 0.85


def test_correlations_of_a_power_law_are_named():
    rng, length = np.random.default_rng(0), 2**17
    waves = np.fft.rfft(rng.standard_normal(length))
    noise = np.fft.irfft(waves * np.maximum(np.arange(len(waves)), 1) ** -0.35)
    ids = (noise > 0).astype(np.uint8)
    found = mutual_information(ids, 2, default_distances(length), seed=0)
    assert found.reach >= 64
    assert (found.fits[0].law, found.fits[0].rate) == ("power law", pytest.approx(0.65, abs=0.2))
    assert found == mutual_information(ids, 2, default_distances(length), seed=0)
    # The powers of two that a text allows.
    assert default_distances(10) == (1,)
    assert default_distances(1_000_000)[-2:] == (4096, 8192)
    assert default_distances(10**9)[-1] == 65_536


def test_the_command_prints_the_memory_of_a_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ids = markov_chain(np.array([[0.95, 0.05], [0.05, 0.95]]), 20_000, np.random.default_rng(0))
    Path("x.txt").write_text("".join("ab"[id_] for id_ in ids))
    assert main(["corpora", "stats", "x.txt"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "distance bits interval shuffled 1 0.7" in out
    assert "fits its decay better than the power law does (AIC" in out
    assert main(["corpora", "stats", "x.txt", "--json", "--seed", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    memory, gains = found["mutual_information"], found["ngrams"]["orders"]
    assert memory["distances"] == list(default_distances(20_000))
    # In a Markov chain, the character before is all that helps to predict.
    assert gains[1]["gain_bits"] == pytest.approx(memory["bits"][0], abs=0.01)
    assert abs(gains[2]["gain_bits"]) < 0.01
