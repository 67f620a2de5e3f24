"""The gradient instrument, validated by recurrences whose gradient is known. Nothing is trained."""

import copy
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from chargen.errors import ChargenError
from chargen.probes.gradient import measure as gradient
from chargen.probes.gradient.report import section, shown_distances
from chargen.recurrent import LAYERS, CharModel
from chargen.render.figures import PICTURE
from chargen.render.report import Figure, Table, to_text
from chargen.settings import ModelSettings

V, H = 7, 5
SHORT = 12
IDS = np.random.default_rng(0).integers(0, V, 1200).astype(np.uint16)
ALONE = IDS[: gradient.WARM_UP_CHARS + SHORT + 2]  # room for one position and no other

every_cell = pytest.mark.parametrize("cell", LAYERS)


def model_of(cell="lstm", units=(H,), activation="tanh", seed=0):
    """Weights far from small, biases other than zero, so that every way counts."""
    model = CharModel.seeded(ModelSettings(cell, units, activation), V, seed)
    for place, parameter in enumerate(model.parameters()):
        if parameter.ndim == 1:
            parameter.data.normal_(generator=torch.Generator().manual_seed(place))
    return model


def linear(rho, units=(H,)):
    """h_t = h_{t-1} W_hh, W_hh = rho times orthogonal; what is read does not matter."""
    model = model_of("simple", units, "linear").double()
    layer = model.stack.layers[0]
    for parameter in (layer.W_xh, layer.b_h):
        parameter.data.zero_()
    orthogonal, _ = torch.linalg.qr(layer.W_hh.data)
    layer.W_hh.data = rho * orthogonal
    return model


def measure(model, ids=IDS, **options):
    return gradient.measure(model, ids, **{"positions": 6, "span": SHORT} | options)


def loss_after(model, inputs, target, changed=None):
    """The loss at the last step; ``changed`` is (layer, part, k, what is added to that state)."""
    layers = model.stack.layers
    states = [layer.initial_state(1) for layer in layers]
    for step, char in enumerate(inputs):
        below = torch.tensor([[int(char)]])
        for place, layer in enumerate(layers):
            parts = list(layer.step(layer.project(below)[0], states[place]))
            if changed is not None and changed[0] == place and changed[2] == len(inputs) - 1 - step:
                parts[changed[1]] = parts[changed[1]] + changed[3]
            states[place] = tuple(parts)
            below = parts[0][:, None]
    logits = states[-1][0] @ model.W_hy + model.b_y
    return float(cross_entropy(logits, torch.tensor([int(target)])))


@torch.no_grad()
def by_differences(model, layer, part, k):
    """The norm of the gradient by a part of a state, by central differences of 1e-5."""
    double = copy.deepcopy(model).double()
    units = double.stack.layers[layer].units
    slopes = []
    for nudge in 1e-5 * torch.eye(units, dtype=torch.float64):
        up, down = (
            loss_after(double, ALONE[:-1], ALONE[-1], (layer, part, k, sign * nudge))
            for sign in (1, -1)
        )
        slopes.append((up - down) / 2e-5)
    return math.hypot(*slopes)


def test_a_linear_recurrence_fades_by_its_factor_exactly():
    result = measure(linear(0.9), span=200)
    (layer,) = result.layers
    expected = 0.9 ** np.arange(201)
    for values in (layer.whole.lower, layer.whole.median, layer.whole.upper):
        np.testing.assert_allclose(10**values, expected, rtol=1e-6, atol=0)
    assert layer.half_life == pytest.approx(math.log(2) / math.log(1 / 0.9), abs=1e-6)
    assert layer.hundredth == pytest.approx(math.log(100) / math.log(1 / 0.9), abs=1e-6)
    assert not layer.explodes
    assert layer.exploded == 0
    assert result.finding().startswith(
        "layer 1: the gradient halves in 6.6 characters, is 1/100 in 43.7"
    )
    assert "not of memory" in result.finding()


def test_a_recurrence_that_grows_is_an_explosion():
    result = measure(linear(1.1), span=60)
    (layer,) = result.layers
    assert layer.explodes
    assert (layer.exploded, layer.peak_chars) == (1.0, 60)
    assert layer.peak == pytest.approx(60 * math.log10(1.1))
    assert layer.half_life is None
    assert "the gradient explodes at 100% of positions, maximum 10^2.5" in result.finding()


def test_tenfold_is_where_an_explosion_begins():
    assert not measure(linear(1.1), span=24).layers[0].explodes
    assert measure(linear(1.1), span=25).layers[0].explodes


def test_what_a_layer_above_gathers_is_no_explosion():
    """g(k)/g(0) of the lower layer is 1 + 0.95 + ... + 0.95^k: over tenfold, and under 20."""
    model = linear(0.95, (H, H))
    lower, upper = model.stack.layers
    identity = torch.eye(H, dtype=torch.float64)
    lower.W_hh.data, upper.W_xh.data, upper.W_hh.data = 0.95 * identity, identity, identity
    layer = measure(model, span=40).layers[0]
    expected = np.cumsum(0.95 ** np.arange(41))
    np.testing.assert_allclose(10**layer.whole.median, expected, rtol=1e-9)
    assert layer.peak > gradient.TENFOLD
    assert not layer.explodes


def test_what_does_not_fade_within_the_span_has_no_half_life():
    result = measure(linear(1.0))
    assert result.layers[0].half_life is None
    assert "halves in >12 characters, is 1/100 in >12" in result.finding()


@pytest.mark.parametrize("rho", [1e-20, 50.0])
def test_gradients_whose_squares_leave_float64_are_measured(rho):
    span = 14 if rho < 1 else 180
    (layer,) = measure(linear(rho), span=span).layers
    np.testing.assert_allclose(layer.whole.median, np.arange(span + 1) * math.log10(rho), rtol=1e-9)


@every_cell
@pytest.mark.parametrize("units", [(H,), (4, H)], ids=["one layer", "two layers"])
def test_central_differences_agree(cell, units):
    """For each part of the state of each layer, h through the layers above as well."""
    model = model_of(cell, units)
    result = measure(model, ALONE, positions=1)
    for place, layer in enumerate(result.layers):
        parts = len(LAYERS[cell].cell.state)
        assert len(layer.curves) == (1 if parts == 1 else 3)
        for k in (0, 1, 2, 7, SHORT):
            seen = [10 ** curve.median[k] * layer.last_state for curve in layer.curves]
            slopes = [by_differences(model, place, part, k) for part in range(parts)]
            expected = slopes if parts == 1 else [*slopes, math.hypot(*slopes)]
            assert seen == pytest.approx(expected, rel=1e-5, abs=1e-9)


@torch.no_grad()
@every_cell
def test_central_differences_agree_in_residual_blocks(cell, monkeypatch):
    """h is felt through the gate, the feed-forward and the convolutions of the blocks above too."""
    model = CharModel.seeded(ModelSettings(cell, (H, H), stack="residual"), V, 0).double()
    result = measure(model, ALONE, positions=1)
    ids, target = torch.from_numpy(ALONE[None, :-1].astype(np.int64)), torch.tensor([ALONE[-1]])

    def loss(layer, place, nudge):
        """With ``nudge`` added to a layer's h once it has read character number ``place``."""

        def read(inputs, state, precision):
            outputs = []
            for number, projected in enumerate(layer.project(inputs)):
                h, *others = layer.step(projected, state)
                state = (h + nudge if number == place else h, *others)
                outputs.append(state[0])
            return torch.stack(outputs), state

        with monkeypatch.context() as patch:
            patch.setattr(layer, "read", read)
            return float(cross_entropy(model(ids)[0][:, -1], target.long()))

    for layer, found in zip(model.stack.layers, result.layers, strict=True):
        for k in (0, 1, 2, 7, SHORT):
            nudges = 1e-5 * torch.eye(H, dtype=torch.float64)
            place = ids.shape[1] - 1 - k
            slopes = [(loss(layer, place, n) - loss(layer, place, -n)) / 2e-5 for n in nudges]
            seen = 10 ** found.curves[0].median[k] * found.last_state
            assert seen == pytest.approx(math.hypot(*slopes), rel=1e-5, abs=1e-9)


def test_a_layer_has_a_line_of_its_own():
    result = measure(model_of("gru", (3, 4, H)))
    assert [(layer.layer, layer.units) for layer in result.layers] == [(1, 3), (2, 4), (3, H)]
    medians = [layer.whole.median for layer in result.layers]
    assert all(median.shape == (SHORT + 1,) for median in medians)
    assert not np.allclose(medians[0], medians[1])
    assert result.finding().count("the gradient halves in") == 3


def test_the_parts_of_an_lstm_are_over_the_same_last_state():
    (layer,) = measure(model_of("lstm")).layers
    h, c, both = layer.curves
    assert [curve.part for curve in layer.curves] == ["h", "c", "both"]
    assert layer.whole is both
    assert (h.median[0], c.median[0], both.median[0]) == (0, -math.inf, 0)
    assert (c.median[1:] > -math.inf).all()


@every_cell
def test_positions_do_not_mix(cell, monkeypatch):
    """One at a time they come out as all at once, whatever stands beside them."""
    model = model_of(cell, (4, H))
    together = measure(model)
    seen = []
    monkeypatch.setattr(gradient, "STATE_FLOATS", 1)
    alone = measure(model, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) == 6
    assert seen[-1] == (6 * (gradient.WARM_UP_CHARS + SHORT + 1),) * 2
    for one, other in zip(together.layers, alone.layers, strict=True):
        assert one.last_state == pytest.approx(other.last_state, rel=1e-9)
        for ours, theirs in zip(one.curves, other.curves, strict=True):
            for name in ("lower", "median", "upper"):
                np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_quartiles_are_those_of_the_places_each_taken_once(seed):
    model = model_of("gru")
    (layer,) = measure(model, IDS[: len(ALONE) + 4], positions=5, seed=seed).layers
    alone = [
        measure(model, IDS[place : place + len(ALONE)], positions=1).layers[0].whole.median
        for place in range(5)
    ]
    quartiles = (layer.whole.lower, layer.whole.median, layer.whole.upper)
    np.testing.assert_allclose(quartiles, np.sort(alone, axis=0)[1:4], rtol=1e-9, atol=1e-12)


def test_the_state_is_where_text_brings_it():
    """Text before the span counts, though no gradient is followed into it."""
    model, changed = model_of("gru"), ALONE.copy()
    changed[gradient.WARM_UP_CHARS - 1] = (changed[gradient.WARM_UP_CHARS - 1] + 1) % V
    one, other = (measure(model, ids, positions=1) for ids in (ALONE, changed))
    assert one.layers[0].last_state != other.layers[0].last_state


def test_all_is_done_in_double_precision():
    result = measure(model_of("lstm").half())
    finer = measure(model_of("lstm").half().double())
    assert result.to_json() == finer.to_json()
    assert all(curve.median.dtype == np.float64 for curve in result.layers[0].curves)


@torch.no_grad()
def test_the_model_is_left_as_it_was():
    """Also where the caller follows no gradients, and where it holds some."""
    model = model_of("lstm", (4, H)).train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(model.state_dict())
    measure(model)
    assert model.training
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert (parameter.grad == 1).all()
        assert parameter.numpy().tobytes() == before[name].numpy().tobytes()


def test_the_same_seed_gives_the_same_json_to_the_byte():
    model = model_of("lstm", (4, H))
    one, same, other = (measure(model, seed=seed).to_json() for seed in (3, 3, 4))
    assert json.dumps(one) == json.dumps(same)
    assert json.dumps(one["layers"]) != json.dumps(other["layers"])


def test_json_has_units_and_nothing_that_json_lacks():
    result = measure(model_of("lstm"), trained_timesteps=64)
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["distance_chars"] == list(range(SHORT + 1))
    assert (values["cell"], values["trained_timesteps"]) == ("lstm", 64)
    (layer,) = values["layers"]
    assert layer["curves"]["c"]["log10_ratio_median"][0] is None
    assert layer["gate"]["name"] == "forget gate"
    assert {"half_life_chars", "hundredth_chars", "peak_at_chars", "exploded_share"} <= set(layer)
    assert measure(linear(0.9)).to_json()["layers"][0]["gate"] is None
    assert measure(linear(1.0)).to_json()["layers"][0]["half_life_chars"] is None


@pytest.mark.parametrize(
    ("cell", "name"),
    [("lstm", "forget"), ("gru", "update"), ("mingru", "update")],
)
def test_how_often_the_state_is_kept(cell, name):
    model = model_of(cell)
    bias = model.stack.layers[0].b_h.data
    bias.fill_(0)
    block = 0 if cell == "mingru" else 1  # of the gate
    own = slice(block * H, (block + 1) * H)
    for values, share in (([50.0] * H, 1), ([-50.0] * H, 0), ([50, 50, -50, -50, -50], 2 / 5)):
        bias[own] = torch.tensor(values)
        (layer,) = measure(model).layers
        assert (layer.gate, layer.gate_open) == (f"{name} gate", pytest.approx(share))


@torch.no_grad()
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_gate_is_read_at_the_steps_of_the_span(cell):
    """With weights so large that it opens and shuts, counted step by step."""
    model = model_of(cell).double()
    model.stack.layers[0].W_hh.data *= 10
    layer = model.stack.layers[0]
    inputs = torch.from_numpy(ALONE[None, :-1].astype(np.int64))
    _, (state,) = model.stack(inputs[:, : gradient.WARM_UP_CHARS])
    gates = []
    for projected in layer.project(inputs[:, gradient.WARM_UP_CHARS :]):
        sums = projected + state[0] @ layer.W_hh
        gates.append(sums.chunk(len(layer.cell.gates), dim=1)[1].sigmoid())
        state = layer.step(projected, state)
    share = float((torch.stack(gates) > 0.9).double().mean())
    assert 0.1 < share < 0.9
    assert measure(model, ALONE, positions=1).layers[0].gate_open == pytest.approx(share)


def test_a_curve_reaches_a_level_where_it_stays_under_it():
    def curve(*median):
        return gradient.Curve("h", *[np.array(median, dtype=np.float64)] * 3)

    assert curve(0, -1, -3).reaches(-2) == 1.5
    assert curve(0, -3, -1, -3).reaches(-2) == 2.5
    assert curve(0, -1, -1).reaches(-2) is None
    assert curve(0, 1, -math.inf).reaches(-2) == 1
    assert curve(-3, -3).reaches(-2) == 0


def test_a_state_that_nothing_flows_to_is_told_not_divided_by():
    model = model_of("simple", activation="relu")
    model.stack.layers[0].W_hh.data.zero_()
    (layer,) = measure(model).layers
    assert (layer.whole.median[1:] == -math.inf).all()
    assert json.loads(json.dumps(measure(model).to_json(), allow_nan=False))
    model.W_hy.data.zero_()
    with pytest.raises(ChargenError, match="layer 1: the loss depends on its last state at no"):
        measure(model)


def test_refusals():
    with pytest.raises(ChargenError, match="takes a held-out text of 270 characters, this has 269"):
        measure(model_of(), IDS[:269], positions=1)
    measure(model_of(), IDS[:270], positions=1)
    with pytest.raises(ValueError, match="1 or more"):
        measure(model_of(), span=0)
    with pytest.raises(ChargenError, match="exceeds float64"):
        measure(linear(1e40))


def pair_of(units, **options):
    return tuple(measure(model_of(units=units, seed=seed), **options) for seed in (1, 0))


def blocks_of(kind, report):
    return [block for block in report.blocks if isinstance(block, kind)]


def test_the_report_of_a_run_has_reach_and_gradient_by_distance():
    result = measure(linear(0.9), span=200, trained_timesteps=64)
    report = section({"run": (result, result)})
    assert report.finding == result.finding()
    assert "a large gradient is not memory" in report.meaning
    reach, by_distance = blocks_of(Table, report)
    assert ["run", "1", "trained", "6.6", "43.7", "10^-0.0 at 1", "0%", "64", ""] in reach.rows
    assert ["8", *["-0.37 (-0.37 to -0.37)"] * 2, ""] in by_distance.rows
    assert by_distance.rules == [(8, "training length (64)")]
    assert [row[0] for row in by_distance.rows][-3:] == ["64", "128", "200"]
    assert all(len(line) <= 100 for line in to_text([report]).splitlines())


def test_the_report_has_a_table_per_layer_with_every_part_of_the_state():
    report = section({"run": pair_of((4, H))})
    reach, *by_distance = blocks_of(Table, report)
    names = ["k", "h", "c", "both", "initial h", "initial c", "initial both", ""]
    assert [table.header for table in by_distance] == [names, names]
    assert [row[:3] for row in reach.rows[:2]] == [["run", "1", "initial"], ["run", "1", "trained"]]
    assert all(row[-1].startswith("forget gate ") for row in reach.rows)
    assert by_distance[0].rows[0][2] == "none"
    assert "c begins at k = 1" in by_distance[0].caption
    assert all(len(line) <= 100 for line in to_text([report]).splitlines())


@pytest.mark.parametrize("runs", [["run"], ["a", "b"]])
def test_the_figure_has_a_panel_per_layer_with_bands_and_marks(runs):
    units = (3, 4, 4, H) if len(runs) == 1 else (4, H)
    report = section(dict.fromkeys(runs, pair_of(units, trained_timesteps=8)))
    (figure,) = blocks_of(Figure, report)
    shown = [axes for axes in figure.draw(PICTURE, "title").axes if axes.get_visible()]
    titles = [f"layer {number}, {n} units" for number, n in enumerate(units, 1)]
    if len(runs) > 1:
        titles = [f"{run}, {title}" for run in runs for title in titles]
        assert report.finding.startswith("characters after which half of the gradient is left: a ")
    assert [axes.get_title(loc="left") for axes in shown] == titles
    for axes in shown:
        labels = axes.get_legend_handles_labels()[1]
        assert {"trained, h alone", "trained, c alone", "one half"} <= set(labels)
        assert "trained, h and c together, with quartiles" in labels
        assert "at initialization, with quartiles" in labels
        assert len(axes.collections) == 2
        assert [text.get_text() for text in axes.texts] == ["training length (8)"]


@pytest.mark.parametrize(
    ("span", "shown"), [(1, [0, 1]), (8, [0, 1, 2, 4, 8]), (10, [0, 1, 2, 4, 8, 10])]
)
def test_distances_end_with_the_span(span, shown):
    assert shown_distances(span) == shown


def test_reports_import_neither_torch_nor_matplotlib():
    names = "context", "mined", "gradient"
    modules = ", ".join(f"chargen.probes.{name}.report" for name in names)
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "matplotlib"} & set(done.stdout.split())
