"""Unprompted texts: the warm-up text before them, and runs that need one."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import network_and_engine

import chargen
from chargen.errors import ChargenError
from chargen.sampling import Sampler, engine
from chargen.sampling.engine import Engine
from chargen.sampling.interactive import Conversation
from chargen.sampling.sampler import MAX_WARM_UP, MIN_WARM_UP, warm_up_ids
from chargen.settings import ModelSettings, SamplingSettings
from chargen.text import Vocabulary

LETTERS = Vocabulary("\nabz")
OPENING = 0


def slow(drift=0.1, **given):
    """A sampler that writes z until its one unit, which counts characters, reaches 3."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in SHAPE.shapes(4).items()}
    arrays["stack.layers.0.W_hh"][:] = 1
    arrays["stack.layers.0.b_h"][:] = drift
    arrays["W_hy"][:] = [[0, 0, 0, -50]]
    arrays["b_y"][:] = [0, 0, 0, 150]
    return Sampler(Engine(SHAPE, arrays, 4), LETTERS, "runs/slow", **given)


SHAPE = ModelSettings("simple", (1,), "linear")


def texts(sampler, count=1, length=60, **settings):
    rows = list(sampler.stream("", length, count, **settings))
    return ["".join(pieces) for pieces in zip(*rows, strict=True)]


@given(st.lists(st.sets(st.integers(0, MAX_WARM_UP - 1), max_size=5), min_size=1, max_size=3))
def test_warm_up_text_ends_with_its_last_opening(openings):
    rows = np.random.default_rng(0).integers(1, 9, size=(MAX_WARM_UP, len(openings)))
    for n, places in enumerate(openings):
        rows[list(places), n] = OPENING
    waited = iter(rows.copy())
    found = warm_up_ids(waited, OPENING)
    read = MAX_WARM_UP - len(list(waited))
    after = [[p + 1 for p in places if p + 1 >= MIN_WARM_UP] for places in openings]
    assert read == max(min(own, default=MAX_WARM_UP) for own in after)
    rows[-1, [not own for own in after]] = OPENING
    ends = [1 + np.flatnonzero(row == OPENING).max() for row in rows[:read].T]
    assert found.shape == (len(openings), min(ends))
    for kept, own, end in zip(found, rows.T, ends, strict=True):
        assert kept.tolist() == own[end - len(kept) : end].tolist()


@pytest.mark.parametrize(
    ("place", "length"), [(MIN_WARM_UP - 2, MAX_WARM_UP), (MIN_WARM_UP - 1, MIN_WARM_UP)]
)
def test_warm_up_text_has_a_minimum_length(place, length):
    rows = np.ones((MAX_WARM_UP, 1), dtype=int)
    rows[place] = OPENING
    (found,) = warm_up_ids(iter(rows), OPENING)
    assert len(found) == length
    assert np.flatnonzero(found == OPENING).tolist() == sorted({place, length - 1})


def test_unprompted_text_begins_after_a_warm_up_text():
    assert all(text.startswith("z" * 25) for text in texts(slow(), 3))
    led = texts(slow(warms_up=True), 3)
    assert [len(text) for text in led] == [60] * 3
    assert "z" not in "".join(led)


def test_prompted_text_has_no_warm_up():
    first, second = slow(), slow(warms_up=True)
    assert list(first.stream("ab", 40)) == list(second.stream("ab", 40))


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"beam": 2}], ids=str)
def test_greedy_and_beam_search_have_no_warm_up(settings):
    plain = texts(slow(), length=20, **settings)
    for seed in (0, 1):
        assert texts(slow(warms_up=True), length=20, seed=seed, **settings) == plain


def test_every_text_has_its_own_warm_up_text():
    _, own = network_and_engine("lstm", (7, 3), size=4)
    sampler = Sampler(own, LETTERS, "runs/it", warms_up=True)
    found = sampler.start_ids(SamplingSettings(), np.random.default_rng(0), 3)
    assert len({ids.tobytes() for ids in found}) == 3


def test_both_forms_of_the_engine_warm_up_alike(monkeypatch):
    _, own = network_and_engine("lstm", (7, 3), size=4)
    sampler = Sampler(own, LETTERS, "runs/it", warms_up=True)
    found = []
    for worth in (0, np.inf):
        monkeypatch.setattr(engine, "MIN_COMPILED", worth)
        found.append(texts(sampler, 3))
    assert found[0] == found[1]


def test_same_seed_warms_up_alike():
    _, own = network_and_engine("lstm", (7, 3), size=4)
    sampler = Sampler(own, LETTERS, "runs/it", warms_up=True)
    one, again, other = (texts(sampler, seed=seed) for seed in (3, 3, 4))
    assert one == again != other


def test_unprompted_conversation_warms_up_as_a_sample_does():
    _, own = network_and_engine("lstm", (7, 3), size=4)
    sampler = Sampler(own, LETTERS, "runs/it", warms_up=True)
    (sampled,) = texts(sampler, seed=3, stop="zz")
    assert "".join(Conversation(sampler, 3, "zz").answer(60)) == sampled


def test_nan_in_a_warm_up_text_names_the_run():
    sampler = slow(drift=1e38, warms_up=True)
    rows = sampler.stream("", 5)
    with pytest.raises(ChargenError, match=r"^runs/slow: the model's predictions are not finite"):
        list(rows)
    with pytest.raises(ChargenError, match=r"^runs/slow: the model's predictions are not finite"):
        list(Conversation(sampler).answer(5))


@pytest.mark.parametrize(
    ("trained", "warms_up"),
    [
        ({}, True),
        ({"state": "reset"}, False),
        ({"resets": 0.1}, False),
        ({"documents": "blank-line"}, False),
    ],
    ids=str,
)
def test_runs_trained_on_zero_states_have_no_warm_up(tmp_path, trained, warms_up):
    model = chargen.train("fables", tmp_path / "run", units=(8,), steps=2, **trained)
    shape, vocabulary = model.run.description.model, model.vocabulary
    own = Engine(shape, model.run.weights(), len(vocabulary))
    expected = texts(Sampler(own, vocabulary, "it", warms_up=warms_up))
    other = texts(Sampler(own, vocabulary, "it", warms_up=not warms_up))
    assert model.sample(length=60) == texts(Sampler.of(model.run))[0] == expected[0]
    assert expected != other


def test_imported_runs_have_no_warm_up(tmp_path):
    model = chargen.train("fables", tmp_path / "run", units=(8,), steps=2)
    file = tmp_path / "run" / "run.json"
    said = json.loads(file.read_text()) | {
        "training": None,
        "corpus": None,
        "imported": {"file": "model.keras", "sha256": "0" * 64},
    }
    file.write_text(json.dumps(said))
    assert chargen.load(tmp_path / "run").run.description.begins_at_zeros
    assert not model.run.description.begins_at_zeros
