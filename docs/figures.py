"""Draw docs/gradient.svg: ``python -m docs.figures``.

The figure shows g(k), as `chargen probe-longrange --only gradient` measures it, for untrained
networks: the reach of the gradient depends on the cell and its initialization.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from chargen.datasets import bundled
from chargen.probes.gradient.measure import measure
from chargen.recurrent import CharModel
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

DRAWN = Path(__file__).with_name("gradient.svg")
UNITS, SPAN, POSITIONS = 64, 100, 64
GATE = slice(UNITS, 2 * UNITS)  # bias of f (LSTM) or z (GRU)
LOWEST = -8  # log10


def curve(cell: str, *, activation: str = "tanh", rho: float = 1, bias: float | None = None):
    """Return the median of log10 g(k)/g(0) for k = 0 .. `SPAN`.

    ``rho`` scales W_hh; ``bias`` sets the bias of the gate that keeps the state.
    """
    text = bundled.read("longrange", 20_000)
    vocabulary = Vocabulary.of(text)
    model = CharModel.seeded(ModelSettings(cell, (UNITS,), activation), len(vocabulary), seed=0)
    (layer,) = model.stack.layers
    layer.W_hh.data *= rho
    if bias is not None:
        layer.b_h.data[GATE] = bias
    found = measure(model, vocabulary.encode(text), positions=POSITIONS, span=SPAN)
    return found.layers[0].whole.median


def draw() -> Figure:
    """Draw vanilla RNNs on the left and gated cells on the right."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for rho, color in ((1.1, "C3"), (1.0, "C4"), (0.9, "C2")):
        of_rho = curve("simple", activation="linear", rho=rho)
        left.plot(of_rho, color=color, label=f"linear, ρ = {rho}")
    left.plot(curve("simple"), color="black", label="tanh, ρ = 1.0")
    for cell, gate, color in (("lstm", "f", "C0"), ("gru", "z", "C1")):
        for bias, style in ((0, ":"), (1, "--"), (5, "-")):
            label = f"{cell.upper()}, $b_{gate}$ = {bias}"
            right.plot(curve(cell, bias=bias), style, color=color, label=label)
    right.plot(curve("simple"), color="black", label="vanilla RNN, tanh")
    for axes in (left, right):
        axes.set_ylim(LOWEST, 5)
        axes.set_yticks(range(LOWEST, 5, 2), [f"$10^{{{e}}}$" for e in range(LOWEST, 5, 2)])
        axes.set_xlim(0, SPAN)
        axes.set_xlabel("k")
        axes.grid(alpha=0.3)
    left.legend(fontsize="small", loc="lower left")
    right.legend(fontsize="small", loc="upper right", ncols=2)
    left.set_ylabel("g(k) / g(0)")
    return figure


if __name__ == "__main__":
    # Stable ids, and text as text.
    mpl.rcParams.update({"svg.hashsalt": "chargen", "svg.fonttype": "none"})
    figure = draw()
    assert np.isfinite(figure.axes[0].dataLim.get_points()).all()
    figure.savefig(DRAWN, metadata={"Date": None})
