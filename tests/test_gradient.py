"""Test the gradient instrument on recurrences whose gradient is known, without training."""

import copy
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from msgspec.structs import astuple
from networks import network_and_engine
from results import blocks_of
from torch.nn.functional import cross_entropy

from chargen.errors import ChargenError
from chargen.probes.gradient import measure as gradient
from chargen.probes.gradient.report import section
from chargen.probes.gradient.result import WARM_UP_CHARS
from chargen.probes.targets import Targets
from chargen.recurrent import LAYERS, CharModel
from chargen.render.figures import PICTURE
from chargen.render.report import Figure, Table, to_text
from chargen.settings import ModelSettings

V, H = 7, 5
SHORT = 12
IDS = np.random.default_rng(0).integers(0, V, 1200).astype(np.uint16)
ONE = IDS[: WARM_UP_CHARS + SHORT + 2]  # a text with room for one position


def model_of(cell="lstm", units=(H,), activation="tanh", seed=0, stack="plain"):
    """Return a model with large weights and nonzero biases, so that every path counts."""
    return network_and_engine(cell, units, V, seed, activation=activation, stack=stack)[0]


def linear(rho, units=(H,)):
    """Return h_t = h_{t-1} W_hh, where W_hh is rho times an orthogonal matrix."""
    model = model_of("simple", units, "linear").double()
    layer = model.stack.layers[0]
    for parameter in (layer.W_xh, layer.b_h):
        parameter.data.zero_()
    orthogonal, _ = torch.linalg.qr(layer.W_hh.data)
    layer.W_hh.data = rho * orthogonal
    return model


def measure(model, ids=IDS, **options):
    return gradient.measure(model, ids, **{"positions": 6, "span": SHORT} | options)


@torch.no_grad()
def by_differences(model, layer, part, distances, monkeypatch):
    """Return the gradient norms by central differences of one part of a layer's states.

    One batch holds a row for each distance, sign and unit.
    """
    ids = torch.from_numpy(ONE.astype(np.int64))
    units, K = layer.units, len(distances)
    eye = 1e-5 * torch.eye(units, dtype=torch.float64)
    nudges = torch.cat([eye, -eye]).repeat(K, 1)
    steps = (len(ids) - 2 - torch.tensor(distances)).repeat_interleave(2 * units)

    def read(inputs, state, precision):
        outputs = []
        for number, projected in enumerate(layer.project(inputs)):
            parts = list(layer.step(projected, state))
            parts[part] = parts[part] + nudges * (steps == number)[:, None]
            state = tuple(parts)
            outputs.append(state[0])
        return torch.stack(outputs), state

    with monkeypatch.context() as patch:
        patch.setattr(layer, "read", read)
        logits = model(ids[:-1].repeat(len(steps), 1))[0][:, -1]
    losses = cross_entropy(logits, ids[-1].repeat(len(steps)), reduction="none")
    slopes = losses.view(K, 2, units).diff(dim=1).squeeze(1) / 2e-5
    return slopes.norm(dim=1).numpy()


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize(
    ("stack", "units"), [("plain", (H,)), ("plain", (4, H)), ("residual", (H, H))]
)
def test_central_differences_agree_for_each_part_of_the_state(cell, stack, units, monkeypatch):
    model = model_of(cell, units, stack=stack).double()
    result = measure(model, ONE, positions=1)
    distances = [0, 1, 2, 7, SHORT]
    for layer, found in zip(model.stack.layers, result.layers, strict=True):
        norms = [
            by_differences(model, layer, part, distances, monkeypatch)
            for part in range(len(layer.cell.state))
        ]
        if len(norms) > 1:
            norms.append(np.hypot(*norms))
        medians = [
            10 ** curve.median[distances] * found.last_state for curve in found.curves.values()
        ]
        np.testing.assert_allclose(medians, norms, rtol=1e-5, atol=1e-9)


def test_a_linear_recurrence_decays_by_its_factor_exactly():
    result = measure(linear(0.9), span=200)
    (layer,) = result.layers
    whole = layer.whole
    for values in (whole.lower, whole.median, whole.upper, whole.low, whole.high):
        np.testing.assert_allclose(10**values, 0.9 ** np.arange(201), rtol=1e-6, atol=0)
    found = result.to_json()["layers"][0]
    assert found["half_life_chars"] == pytest.approx(math.log(2) / -math.log(0.9), abs=1e-6)
    assert found["hundredth_chars"] == pytest.approx(math.log(100) / -math.log(0.9), abs=1e-6)
    assert (found["exploded_share"], found["explodes"]) == (0.0, False)
    assert result.finding() == (
        "the gradient halves in 6.6 characters, is 1/100 in 43.7 "
        "(the reach of the gradient, not of memory)"
    )
    assert "halves in >12 characters, is 1/100 in >12 " in measure(linear(1.0)).finding()


def test_growth_of_more_than_tenfold_is_an_explosion():
    result = measure(linear(1.1), span=60)
    assert "explodes at 100% of positions, maximum 10^2.5" in result.finding()
    spans = [measure(linear(1.1), span=span).layers[0].explodes for span in (24, 25)]
    assert spans == [False, True]  # 1.1**24 = 9.8


@pytest.mark.parametrize(("rho", "span"), [(1e-20, 14), (50.0, 180)])
def test_gradients_whose_squares_exceed_float64_are_measured(rho, span):
    (layer,) = measure(linear(rho), span=span).layers
    np.testing.assert_allclose(layer.whole.median, np.arange(span + 1) * math.log10(rho), rtol=1e-9)


@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_a_batch_of_positions_equals_single_positions(cell, monkeypatch):
    model, seen = model_of(cell, (4, H)), []
    together = measure(model)
    monkeypatch.setattr(gradient, "STATE_FLOATS", 1)
    alone = measure(model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]
    for one, other in zip(together.layers, alone.layers, strict=True):
        assert one.last_state == pytest.approx(other.last_state, rel=1e-9)
        for part, curve in one.curves.items():
            np.testing.assert_allclose(astuple(curve), astuple(other.curves[part]), rtol=1e-9)


def test_quartiles_are_over_distinct_positions():
    model = model_of("gru")
    (layer,) = measure(model, IDS[: len(ONE) + 4], positions=5).layers
    alone = [
        measure(model, IDS[place : place + len(ONE)], positions=1).layers[0].whole.median
        for place in range(5)
    ]
    quartiles = (layer.whole.lower, layer.whole.median, layer.whole.upper)
    np.testing.assert_allclose(quartiles, np.sort(alone, axis=0)[1:4], rtol=1e-9, atol=1e-12)
    changed = IDS[: len(ONE) + 4].copy()
    changed[:WARM_UP_CHARS] = 0  # burn-in text determines the state
    assert measure(model, changed, positions=5).layers[0].last_state != layer.last_state
    whole = measure(model, positions=200).layers[0].whole
    bounds = [whole.lower[1:], whole.low[1:], whole.median[1:], whole.high[1:], whole.upper[1:]]
    assert all((below < above).all() for below, above in pairwise(bounds))


def latch():
    """Return an LSTM that stores which of the characters 0 and 1 it read last, and a third unit.

    The forget gate is closed at 0 and 1 and open at other characters; h shows c always.
    """
    model = CharModel.seeded(ModelSettings("lstm", (2,)), V, 0).double()
    (layer,) = model.layers
    for parameter in model.parameters():
        parameter.data.zero_()
    gate_i, gate_f, gate_g, gate_o = layer.W_xh.data.split(2, dim=1)
    gate_i.fill_(-800), gate_f.fill_(800), gate_o.fill_(800)
    gate_i[:2], gate_f[:2] = 800, -800  # their sigmoids are exactly 0 and 1
    gate_g[0], gate_g[1] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    model.W_hy.data[:, :2] = 2 * torch.eye(2)
    return model


def cued(spans, chars=40, cues=(0, 1)):
    """Return texts of filler with a cue of one character ``spans`` characters before the end."""
    rng = np.random.default_rng(0)
    cue = rng.integers(0, 2, len(spans))
    texts = rng.integers(2, V, (len(spans), chars))
    texts[np.arange(len(spans)), chars - 1 - np.asarray(spans)] = cue
    other = np.where(texts < 2, 1 - texts, texts)
    return Targets("latch", texts, cue, np.asarray(spans), other, 1 - cue)


def test_the_gradient_at_targets_is_aligned_to_the_cue():
    """The gradient of a latch is constant back to the cue and zero before it."""
    one, several = cued([20] * 9), cued([*range(4, 9)] * 2)
    (layer,) = measure(latch(), targets=(one, several)).layers
    for group, (low, high) in zip(layer.targets, ((20, 20), (4, 8)), strict=True):
        assert (group.span_chars_low, group.span_chars_high) == (low, high)
        assert group.first_offset_chars == -low
        reached = group.whole.median[: low + 1]
        np.testing.assert_allclose(reached[1:], reached[1], atol=1e-9)
        assert (group.whole.median[low + 1 :] == -math.inf).all()
        assert group.at_cue.low == pytest.approx(group.at_cue.high)
        # only c carries the gradient beyond the last state: h is made anew from it
        assert (group.curves["h"].median[1:] == -math.inf).all()
        np.testing.assert_array_equal(group.curves["c"].median[1:], group.whole.median[1:])
    assert [group.positions for group in layer.targets] == [9, 10]
    assert len(layer.targets[1].whole.median) == 4 + 1 + gradient.BEFORE_CUE - 1
    result = measure(latch(), targets=(one,))
    assert len(result.finding().split()) <= 25
    found = result.to_json()["layers"][0]["targets"][0]
    assert found["first_offset_chars"] == -20
    assert found["curves"]["both"]["log10_ratio_median"][-1] is None


@torch.no_grad()
def test_float64_is_used_and_the_model_stays_unchanged():
    model = model_of("lstm", (4, H)).half().float().train()
    before = copy.deepcopy(model.state_dict())
    result = measure(model)
    assert result.to_json() == measure(copy.deepcopy(model).half().double()).to_json()
    assert model.training
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


def test_json_has_units_and_is_a_function_of_the_seed():
    values = json.loads(json.dumps(measure(model_of(), seed=3).to_json(), allow_nan=False))
    assert values == measure(model_of(), seed=3).to_json()
    assert values["layers"] != measure(model_of(), seed=4).to_json()["layers"]
    assert values["distance_chars"] == list(range(SHORT + 1))
    assert (values["instrument"], values["cell"], values["seed"]) == ("gradient", "lstm", 3)
    (layer,) = values["layers"]
    starts = [layer["curves"][part]["log10_ratio_median"][0] for part in ("h", "c", "both")]
    assert starts == [0, None, 0]  # the loss does not depend on the last c
    assert {"half_life_chars", "hundredth_chars", "peak_at_chars"} <= set(layer)
    (layer,) = measure(linear(1.0)).to_json()["layers"]
    assert layer["gate"] is layer["half_life_chars"] is None


@torch.no_grad()
@pytest.mark.parametrize(("cell", "gate"), [("lstm", "forget gate"), ("gru", "update gate")])
def test_gates_are_counted_at_the_steps_of_the_span(cell, gate):
    model = model_of(cell).double()
    layer = model.stack.layers[0]
    layer.W_hh.data *= 10  # the gates open and close
    inputs = torch.from_numpy(ONE[None, :-1].astype(np.int64))
    _, (state,) = model.stack(inputs[:, :WARM_UP_CHARS])
    gates = []
    for projected in layer.project(inputs[:, WARM_UP_CHARS:]):
        sums = projected + state[0] @ layer.W_hh
        gates.append(sums.chunk(len(layer.cell.gates), dim=1)[1].sigmoid())
        state = layer.step(projected, state)
    share = float((torch.stack(gates) > 0.9).double().mean())
    assert 0.1 < share < 0.9
    found = measure(model, ONE, positions=1).layers[0].gate
    assert (found.name, found.open_share) == (gate, pytest.approx(share))


def test_a_gradient_of_zero_is_reported_and_not_divided_by():
    model = model_of("simple", activation="relu")
    model.stack.layers[0].W_hh.data.zero_()
    (layer,) = measure(model).layers
    assert (layer.whole.median[1:] == -math.inf).all()
    assert json.loads(json.dumps(measure(model).to_json(), allow_nan=False))
    model.W_hy.data.zero_()
    with pytest.raises(ChargenError, match="layer 1: the loss depends on its last state at no"):
        measure(model)


def test_a_short_text_and_a_gradient_beyond_float64_are_refused():
    with pytest.raises(ChargenError, match="takes a held-out text of 270 characters, this has 269"):
        measure(model_of(), IDS[:269], positions=1)
    measure(model_of(), IDS[:270], positions=1)
    with pytest.raises(ChargenError, match="exceeds float64"):
        measure(linear(1e40))


def test_the_report_has_the_reach_of_every_layer_and_a_figure_of_one():
    models = (model_of(units=(4, H), seed=seed) for seed in (1, 0))
    report = section({"run": tuple(measure(one, trained_timesteps=8) for one in models)})
    (reach,) = blocks_of(Table, report)
    assert [row[1:3] for row in reach.rows[:2]] == [["1", "initial"], ["1", "trained"]]
    assert all(row[-1].startswith("forget ") for row in reach.rows)
    assert "training length (8)" in reach.caption
    assert all(len(line) <= 100 for line in to_text([report]).splitlines())
    (figure,) = blocks_of(Figure, report)
    (axes,) = figure.draw(PICTURE, "title").axes
    labels = axes.get_legend_handles_labels()[1]
    assert {"trained, h alone", "trained, c alone", "one half"} <= set(labels)
    assert {"trained, h and c together, with quartiles"} < set(labels)
    assert len(axes.collections) == 2
    assert [text.get_text() for text in axes.texts] == ["training length (8)"]


def test_targets_have_a_table_and_an_aligned_figure():
    pair = tuple(measure(latch(), targets=(cued([20] * 9),)) for _ in range(2))
    report = section(dict.fromkeys("ab", pair))
    table = blocks_of(Table, report)[0]
    assert [row[2:4] for row in table.rows] == [["latch, 20", "9"]] * 2
    assert table.rows[0][5] == "-inf"
    names = [figure.name for figure in blocks_of(Figure, report)]
    assert names == ["gradient-targets", "gradient-targets-1", "gradient", "gradient-1"]
    (axes,) = blocks_of(Figure, report)[0].draw(PICTURE, "title").axes
    assert axes.get_xlabel() == "characters before the end of the cue"
    assert "latch, cue 20 back" in axes.get_legend_handles_labels()[1]
