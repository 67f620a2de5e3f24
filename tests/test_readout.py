"""States of networks whose memory is set by hand, read out and exchanged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import UniformPredictor
from test_gradient import V, cued, latch

from chargen.errors import ChargenError
from chargen.probes.readout import measure as readout
from chargen.probes.readout.report import section
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.render.figures import PAGE, PICTURE
from chargen.render.report import Figure, Table, to_text
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

LENGTH = 12
VOCABULARY = Vocabulary("abcdefg")
IDS = np.random.default_rng(1).choice(V, 2600, p=[0.4, *[0.1] * 6])


def shift_register():
    """Return a linear recurrence whose state is the last `LENGTH` characters, one-hot."""
    model = CharModel.seeded(ModelSettings("simple", (LENGTH * V,), "linear"), V, 0)
    (layer,) = model.layers
    for parameter in model.parameters():
        parameter.data.zero_()
    layer.W_xh.data[:, :V] = torch.eye(V)
    layer.W_hh.data[:-V, V:] = torch.eye((LENGTH - 1) * V)
    return NetworkPredictor(model, VOCABULARY)


def measure(predictor=None, ids=IDS, **options):
    return readout.measure(predictor or shift_register(), ids, **options)


@pytest.fixture(scope="module")
def found():
    return measure(untrained=UniformState(), trained_timesteps=64)


class UniformState(UniformPredictor):
    """A model whose state says nothing."""

    def __init__(self):
        super().__init__(VOCABULARY)

    def advance(self, ids, state=None):
        return super().advance(ids)[0], {"h": [np.zeros((len(ids), 2))]}


def test_a_shift_register_is_read_to_its_length_and_guessed_beyond(found):
    for row in found.lags:
        if row.lag_chars < LENGTH:
            assert (row.accuracy.value, row.accuracy.low) == (1, 1)
        else:
            assert row.accuracy.value == pytest.approx(row.majority.value, abs=0.03)
        assert row.majority.low < 0.4 < row.majority.high
        assert row.untrained == row.majority
    assert found.held_chars == 8
    assert found.state_values == LENGTH * V
    assert found.finding() == (
        "the state tells the character 8 back in 100% (100–100%) of cases, guessing in "
        f"{found.lags[8].majority.value:.0%}; better than guessing up to 8 back"
    )
    assert len(found.finding().split()) <= 25
    assert measure(UniformState()).finding().endswith("better than guessing at no lag")


def test_permuted_text_is_read_no_better_than_by_guessing():
    """The characters that are asked for are not those that were read."""
    states = np.random.default_rng(0).normal(size=(24, 40, 30)).astype(np.float32)
    labels = [np.random.default_rng(seed).integers(0, 4, (1, 24, 40)) for seed in (1, 2)]
    hits = readout._read_out(states, states, labels, np.arange(4))
    assert hits.mean() == pytest.approx(0.25, abs=0.05)


def test_json_is_a_function_of_the_seed(found):
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values == measure(untrained=UniformState(), trained_timesteps=64).to_json()
    assert (values["instrument"], values["chars"]) == ("readout", 24 * ((1300 - 256) // 24))
    keys = {"lag_chars", "accuracy", "accuracy_low", "majority", "untrained"}
    assert keys <= set(values["lags"][0])


def test_a_short_text_and_a_state_without_numbers_are_refused():
    with pytest.raises(ChargenError, match="held-out text of 1280 characters, this has 1279"):
        measure(ids=IDS[:1279])
    for state in (np.array(["a"] * 24), (np.array([None] * 24),)):
        predictor = UniformState()
        log_probs = predictor.advance(np.zeros((24, 256), dtype=np.int64))[0]
        predictor.advance = lambda ids, _, x=log_probs, state=state: (x[:, : ids.shape[1]], state)
        with pytest.raises(ChargenError, match="not numeric"):
            measure(predictor)


def shares(patches, part):
    return {row.distance_chars: row.follows.value for row in patches if row.part == part}


def test_answers_follow_the_memory_cell_of_a_latch_until_the_cue():
    """Its h is made from c at every step: only c carries the answer."""
    predictor = NetworkPredictor(latch(), VOCABULARY)
    group = cued([20] * 40, chars=60)
    patches = measure(predictor, targets=[group], parts=("h", "c")).patches
    before = {1: 1, 4: 1, 16: 1, 20: 1, 52: 0}
    assert shares(patches, "whole") == shares(patches, "c") == before
    assert set(shares(patches, "h").values()) == {0}
    whole = next(row for row in patches if row.part == "whole")
    assert (whole.cases, whole.span_chars, whole.source) == (40, 20, "latch")
    assert whole.follows.low == pytest.approx(0.9124, abs=1e-3)  # Wilson, 40 of 40
    assert measure(predictor, targets=[replace(group, recued=None)]).patches == ()


@pytest.mark.parametrize("runs", [["run"], ["a", "b"]])
def test_the_report_has_both_tables_and_a_labelled_figure(found, runs):
    group = cued([20] * 40, chars=60)
    predictor = NetworkPredictor(latch(), VOCABULARY)
    one = measure(predictor, targets=[group], parts=("h", "c"), untrained=predictor)
    report = section(dict.fromkeys(runs, one))
    assert one.finding() in report.finding
    lags, patches = (block for block in report.blocks if isinstance(block, Table))
    assert lags.header == ["k", *runs, "majority", "untrained", ""]
    assert {"h", "c", "whole"} < set(patches.header)
    assert [row[2] for row in patches.rows[:5]] == ["1", "4", "16", "20", "52"]
    assert all(len(line) <= 100 for line in to_text([report]).splitlines())
    (figure,) = (block for block in report.blocks if isinstance(block, Figure))
    for size in (PICTURE, PAGE):
        (axes,) = figure.draw(size, "title").axes
        labels = {" ".join(box.offsetbox.get_text().split()) for box in axes.artists}
        assert {*runs, "untrained", "most frequent character"} == labels
