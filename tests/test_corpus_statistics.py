"""`chargen corpora stats`, compared with counts in plain Python and sources of known memory."""

import gzip
import json
import lzma
import math
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chargen.text import read_corpus, statistics
from chargen.text.mutual_information import default_distances, mutual_information
from chargen.text.statistics import LineCounter, entropies, longest_repeat, measure, report

FEW = st.text("ab\n", min_size=1, max_size=40)


def ids_of(text):
    return np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)[1]


def entropy(text, n):
    """Return H(n-grams) - H(contexts)."""
    grams = [text[k : k + n] for k in range(len(text) - n + 1)]

    def bits(counts):
        return sum(-c / len(grams) * math.log2(c / len(grams)) for c in counts.values())

    return bits(Counter(grams)) - bits(Counter(gram[:-1] for gram in grams))


@given(FEW)
@example("a")
@example("abababab")
def test_entropies_are_those_of_the_counts(text):
    found = entropies(ids_of(text), 4)
    assert [one["n"] for one in found] == list(range(1, min(4, len(text)) + 1))
    for one in found:
        grams = Counter(text[k : k + one["n"]] for k in range(len(text) - one["n"] + 1))
        once = sum(count == 1 for count in grams.values()) / grams.total()
        assert one["bits_per_char"] == pytest.approx(entropy(text, one["n"]), abs=1e-12)
        assert (one["distinct"], one["seen_once_share"]) == (len(grams), pytest.approx(once))


def repeat_by_hand(text):
    for chars in range(len(text) - 1, 0, -1):
        for place in range(len(text) - chars):
            again = text.find(text[place : place + chars], place + 1)
            if again > 0:
                return chars, place, again
    return 0, 0, 0


@given(FEW)
@example("a")
@example("ab")
@example("aaaaaaaaa")
@example("abcdefg abcdefg")
def test_the_longest_repeat_is_found(text):
    found = longest_repeat(ids_of(text))
    assert found == repeat_by_hand(text)


@given(FEW, st.data())
@example("a\n\na\n \nb", None)
@example("bba \nb", None)
def test_lines_do_not_depend_on_the_blocks(text, data):
    counter = LineCounter()
    cut = data.draw(st.integers(0, len(text))) if data else 3
    for block in (text[:cut], text[cut:]):
        counter.read(block)
    found = counter.statistics()
    lines = text.removesuffix("\n").split("\n")
    filled = [line for line in lines if line.strip()]
    lengths = sorted(map(len, lines))
    assert (found["count"], found["blank"]) == (len(lines), len(lines) - len(filled))
    assert found["median_chars"] == lengths[math.ceil(len(lines) * 0.5) - 1]
    assert found["p90_chars"] == lengths[math.ceil(len(lines) * 0.9) - 1]
    assert found["longest_chars"] == lengths[-1]
    repeated = 1 - len(set(filled)) / len(filled) if filled else 0
    assert found["repeated_share"] == pytest.approx(repeated)


TEXT = "Ein Jäger, 3 Hasen.\nשלום, мир! 日本語\n\x1b[31m e\u0301\n" * 30 + "😀"


@pytest.fixture
def file(home):
    Path("text.txt").write_text(TEXT, newline="")
    return "text.txt"


def test_characters_scripts_and_compressed_sizes(file):
    found, counts, data = measure(read_corpus([file])), Counter(TEXT), TEXT.encode()
    assert (found["chars"], found["bytes"]) == (len(TEXT), len(data))
    assert found["alphabet"] == "".join(sorted(counts))
    assert found["rarest"][0] == {"character": "😀", "name": "GRINNING FACE", "count": 1}
    assert [one["count"] for one in found["rarest"]] == sorted(counts.values())[:8]
    expected = {"Latin": 30 * 15, "Hebrew": 120, "Cyrillic": 90, "Han": 90, "Inherited": 30}
    scripts = found["scripts_chars"]
    assert {name: scripts[name] for name in expected} == expected
    assert sum(scripts.values()) == found["chars"]
    assert list(scripts.values()) == sorted(scripts.values(), reverse=True)
    packed, bits = found["packed"]["bytes"], found["packed"]["bits_per_char"]
    assert packed["zlib"] == len(zlib.compress(data, 9))
    assert packed["lzma"] == len(lzma.compress(data, preset=9))
    assert bits == {name: 8 * packed[name] / len(TEXT) for name in ("zlib", "lzma", "zstd")}


def test_large_texts_are_counted_in_part_and_the_report_says_so(file, monkeypatch):
    monkeypatch.setattr(statistics, "COUNTED_CHARS", 10)
    monkeypatch.setattr(statistics, "PACKED_CHARS", 25)
    monkeypatch.setattr("chargen.text.corpus.BLOCK", 7)
    seen = []
    found = measure(read_corpus([file]), lambda done, of: seen.append((done, of)))
    assert found["chars"] == len(TEXT)
    assert found["lines"]["count"] == TEXT.count("\n") + 1
    assert found["ngrams"]["counted_chars"] == 10
    assert found["ngrams"]["orders"][0]["distinct"] == len(set(TEXT[:10]))
    assert found["packed"]["bytes"]["zlib"] == len(zlib.compress(TEXT[:25].encode(), 9))
    assert found["packed"]["chars"] == 25
    assert seen[-1] == (len(TEXT.encode()), len(TEXT.encode()))
    table = report(found)
    assert "in the first 10 characters" in table
    assert "the first 25 characters, bits/char: zlib" in table


def test_the_command_takes_the_sources_of_train_and_escapes(file, cli):
    Path("more").mkdir()
    Path("more/one.txt.gz").write_bytes(gzip.compress(b"packed text\n"))
    shown = json.loads(cli(["corpora", "stats", file, "more", "fables", "--json"]).out)
    assert (shown["corpus"], shown["scripts_chars"]["Hebrew"]) == ("text-and-2-more", 120)
    assert shown["chars"] > len(TEXT) + 70_000
    assert shown["mutual_information"]["distances"][:3] == [1, 2, 4]
    out, err = cli(["corpora", "stats", file])
    assert (err, "\x1b" in out, r"\x1b" in out) == ("", False, True)
    assert f"{len(TEXT):,} characters, {len(TEXT.encode()):,} bytes" in out
    assert "😀 GRINNING FACE (1)" in out
    assert max(map(len, out.splitlines())) <= 100


DISTANCES = (1, 2, 4, 8, 16, 32, 64)


def covered(found, truth):
    """Return the share of the intervals that hold the true values."""
    rows = zip(found.low, truth, found.high, strict=True)
    return np.mean([low <= true <= high for low, true, high in rows])


@pytest.mark.parametrize(("chars", "size"), [(3000, 8), (6000, 60)])
def test_independent_characters_share_no_information(chars, size):
    shares, bits = [], []
    for seed in range(5):
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
    for seed in range(2):
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
