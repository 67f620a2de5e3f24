"""Texts that are given no beginning: what they go on from, and where zeros will not do."""

import json

import numpy as np
import pytest
from chargen.sampling.beginning import LEAST, MOST, led_in
from chargen.sampling.conversation import Conversation
from hypothesis import given
from hypothesis import strategies as st
from test_engine import made

import chargen
from chargen.errors import ChargenError
from chargen.sampling import Writer, engine
from chargen.sampling.engine import Engine
from chargen.settings import ModelSettings, SamplingSettings
from chargen.text import Vocabulary

LETTERS = Vocabulary("\nabz")
OPENING = 0


def slow(drift=0.1, **given):
    """A writer of z alone while its one unit, which counts characters, is below 3; then of none."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in SHAPE.shapes(4).items()}
    arrays["stack.layers.0.W_hh"][:] = 1
    arrays["stack.layers.0.b_h"][:] = drift
    arrays["W_hy"][:] = [[0, 0, 0, -50]]
    arrays["b_y"][:] = [0, 0, 0, 150]
    return Writer(Engine(SHAPE, arrays, 4), LETTERS, "runs/slow", **given)


SHAPE = ModelSettings("simple", (1,), "linear")


def texts(writer, count=1, length=60, **settings):
    rows = list(writer.stream("", length, count, **settings))
    return ["".join(pieces) for pieces in zip(*rows, strict=True)]


@given(st.lists(st.sets(st.integers(0, MOST - 1), max_size=5), min_size=1, max_size=3))
def test_a_lead_in_ends_with_its_last_opening(openings):
    """Of those that were written by the time that all had one after enough characters."""
    rows = np.random.default_rng(0).integers(1, 9, size=(MOST, len(openings)))
    for n, places in enumerate(openings):
        rows[list(places), n] = OPENING
    waited = iter(rows.copy())
    found = led_in(waited, OPENING)
    read = MOST - len(list(waited))
    first = [min((p + 1 for p in places if p + 1 >= LEAST), default=MOST) for places in openings]
    assert read == max(first)
    rows[-1, [not any(p + 1 >= LEAST for p in places) for places in openings]] = OPENING
    ends = [1 + np.flatnonzero(row == OPENING).max() for row in rows[:read].T]
    assert found.shape == (len(openings), min(ends))
    for kept, own, end in zip(found, rows.T, ends, strict=True):
        assert kept.tolist() == own[end - len(kept) : end].tolist()


@pytest.mark.parametrize(("place", "length"), [(LEAST - 2, MOST), (LEAST - 1, LEAST)])
def test_a_text_begins_after_enough_characters(place, length):
    rows = np.ones((MOST, 1), dtype=int)
    rows[place] = OPENING
    (found,) = led_in(iter(rows), OPENING)
    assert len(found) == length
    assert np.flatnonzero(found == OPENING).tolist() == sorted({place, length - 1})


def test_a_text_without_a_prompt_begins_where_a_lead_in_has_led():
    assert all(text.startswith("z" * 25) for text in texts(slow(), 3))
    led = texts(slow(leads_in=True), 3)
    assert [len(text) for text in led] == [60] * 3
    assert "z" not in "".join(led)


def test_what_a_prompt_begins_is_not_led_in():
    first, second = slow(), slow(leads_in=True)
    assert list(first.stream("ab", 40)) == list(second.stream("ab", 40))


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"beam": 2}], ids=str)
def test_what_is_not_drawn_depends_on_no_chance(settings):
    plain = texts(slow(), length=20, **settings)
    for seed in (0, 1):
        assert texts(slow(leads_in=True), length=20, seed=seed, **settings) == plain


def test_every_text_has_a_lead_in_of_its_own():
    _, own = made("lstm", (7, 3), size=4)
    writer = Writer(own, LETTERS, "runs/it", leads_in=True)
    found = writer.beginning(SamplingSettings(), np.random.default_rng(0), 3)
    assert len({ids.tobytes() for ids in found}) == 3


def test_both_forms_lead_in_alike(monkeypatch):
    _, own = made("lstm", (7, 3), size=4)
    writer = Writer(own, LETTERS, "runs/it", leads_in=True)
    found = []
    for worth in (0, np.inf):
        monkeypatch.setattr(engine, "WORTH", worth)
        found.append(texts(writer, 3))
    assert found[0] == found[1]


def test_a_seed_leads_in_alike():
    _, own = made("lstm", (7, 3), size=4)
    writer = Writer(own, LETTERS, "runs/it", leads_in=True)
    one, again, other = (texts(writer, seed=seed) for seed in (3, 3, 4))
    assert one == again != other


def test_a_conversation_that_nobody_begins_is_led_in_as_a_sample_is():
    _, own = made("lstm", (7, 3), size=4)
    writer = Writer(own, LETTERS, "runs/it", leads_in=True)
    (sampled,) = texts(writer, seed=3, stop="zz")
    assert "".join(Conversation(writer, 3, "zz").answer(60)) == sampled


def test_a_lead_in_without_numbers_names_the_run():
    writer = slow(drift=1e38, leads_in=True)
    rows = writer.stream("", 5)
    with pytest.raises(ChargenError, match=r"^runs/slow: the model's predictions are not finite"):
        list(rows)
    with pytest.raises(ChargenError, match=r"^runs/slow: the model's predictions are not finite"):
        list(Conversation(writer).answer(5))


@pytest.mark.parametrize(
    ("trained", "leads_in"),
    [
        ({}, True),
        ({"state": "reset"}, False),
        ({"resets": 0.1}, False),
        ({"documents": "blank-line"}, False),
    ],
    ids=str,
)
def test_only_where_texts_do_not_begin_at_zeros_in_training_one_is_led_in(
    tmp_path, trained, leads_in
):
    model = chargen.train("fables", tmp_path / "run", units=(8,), steps=2, **trained)
    shape, vocabulary = model.run.description.model, model.vocabulary
    own = Engine(shape, model.run.weights(), len(vocabulary))
    expected = texts(Writer(own, vocabulary, "it", leads_in=leads_in))
    other = texts(Writer(own, vocabulary, "it", leads_in=not leads_in))
    assert model.sample(length=60) == texts(Writer.of(model.run))[0] == expected[0]
    assert expected != other


def test_what_was_imported_is_not_led_in(tmp_path):
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
