"""The gated recurrent unit as it was first written (Cho et al. 2014): reset, then the product."""

from __future__ import annotations

from torch import Tensor

from chargen.recurrent.layer import LayerState, RecurrentLayer


class GRUBefore(RecurrentLayer):
    """A layer of gated recurrent units whose reset applies before the product with W_hn.

        r_t, z_t = sigmoid(x_t W_x{r,z} + h_{t-1} W_h{r,z} + b_{r,z})
        n_t = tanh(x_t W_xn + b_n + (r_t * h_{t-1}) W_hn)
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    ``tanh`` is the ``activation``. Keras calls it ``reset_after=False``; `GRU` is the other one.
    The product with W_hn has to wait for r, so a step has two products one after the other: it is
    here for weights that were trained so, and has no faster form. The columns of the weights are
    the blocks ``r, z, n``. The state is ``(h,)``.
    """

    blocks = 3

    def gates(self, projected: Tensor, state: LayerState) -> dict[str, Tensor]:
        """``r``, ``z`` and ``n``; see `RecurrentLayer.gates`."""
        (h,), H = state, self.units
        of_both, x_n = projected.split([2 * H, H], dim=-1)
        W_both, W_hn = self.W_hh.split([2 * H, H], dim=1)
        r, z = (of_both + h @ W_both).sigmoid().chunk(2, dim=-1)
        return {"r": r, "z": z, "n": self.activation.function(x_n + (r * h) @ W_hn)}

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """See `RecurrentLayer.step`."""
        (h,) = state
        _, z, n = self.gates(projected, state).values()
        return ((1 - z) * n + z * h,)
