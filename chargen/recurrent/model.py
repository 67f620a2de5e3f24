"""The model: a recurrent stack that reads characters and a softmax head that predicts the next."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from chargen.errors import NoNumbersError
from chargen.recurrent.cells import CELLS
from chargen.recurrent.products import linear
from chargen.recurrent.residual import ResidualStack
from chargen.recurrent.stack import Stack, StackState
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

NORMED_HEAD = 0.3  # of the usual size
TIMESTEPS_AT_ONCE = 64  # of a long text that is only read: what its gates take stays small


class CharModel(nn.Module):
    """A stack of recurrent layers, plain or in residual blocks, and a softmax head over V ids.

        y_t = softmax(h_t W_hy + b_y)

    ``W_hy`` is ``(H, V)``, ``b_y`` ``(V,)``. A simple layer with its head holds three matrices
    and two biases: W_xh, W_hh, b_h, W_hy, b_y. ``generator`` draws the initial weights.
    """

    def __init__(
        self, settings: ModelSettings, size: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.stack = _stack(settings, size, generator)
        self.W_hy = nn.Parameter(torch.empty(settings.units[-1], size))
        self.b_y = nn.Parameter(torch.zeros(size))
        nn.init.xavier_uniform_(self.W_hy, generator=generator)
        if settings.stack == "residual":  # what it reads is normed: begin near a uniform guess
            self.W_hy.data *= NORMED_HEAD

    @classmethod
    def seeded(cls, settings: ModelSettings, size: int, seed: int) -> CharModel:
        """The model whose initial weights are those of ``seed``, for V = ``size``."""
        return cls(settings, size, torch.Generator().manual_seed(seed))

    @classmethod
    def of(cls, settings: ModelSettings, size: int, weights: Mapping[str, np.ndarray]) -> CharModel:
        """The model with these weights; `ChargenError` where they are not of this shape.

        Nothing of the size that ``settings`` ask for is allocated before that is known.
        """
        settings.check({name: value.shape for name, value in weights.items()}, size)
        with torch.device("meta"):
            model = cls(settings, size)
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        model.load_state_dict(tensors, assign=True)
        return model

    def forward(
        self,
        ids: Tensor,
        state: StackState | None = None,
        last: int | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        begins: Tensor | None = None,
    ) -> tuple[Tensor, StackState]:
        """``ids`` ``(N, T)`` int64 to logits ``(N, T, V)``, or of the ``last`` steps alone.

        ``dropout`` and ``generator`` are those of `Stack.forward`. Where ``begins`` ``(N, T)``
        bool says that an input is the first of a document, the state before it is zero, as it is
        where a text is read from its beginning. N may be 0, a share of a batch with nothing in it.
        """
        if not len(ids):  # not every kernel reads nothing; every weight gets its gradient, zero
            logits, state = self.forward(ids.new_zeros(1, ids.shape[1]), None, last)
            return logits[:0], tuple(tuple(part[:0] for part in layer) for layer in state)
        if begins is None:
            outputs, state = self.stack(ids, state, dropout, generator)
        else:
            outputs, state = self._read(ids, state, dropout, generator, begins)
        # Time first, as the layers keep it, so that the product needs no copy.
        outputs = outputs[:, -last:].transpose(0, 1) if last else outputs.transpose(0, 1)
        return linear(outputs, self.W_hy, self.b_y).transpose(0, 1), state

    def _read(
        self,
        ids: Tensor,
        state: StackState | None,
        dropout: float,
        generator: torch.Generator | None,
        begins: Tensor,
    ) -> tuple[Tensor, StackState]:
        """The stack's outputs and state, the window cut wherever a row begins a document."""
        cuts = begins.any(dim=0).nonzero().flatten().tolist()
        bounds = [0, *(cut for cut in cuts if cut), ids.shape[1]]
        parts = []
        for start, end in pairwise(bounds):
            if state is not None:
                fresh = begins[:, start, None]
                state = tuple(tuple(h.masked_fill(fresh, 0) for h in layer) for layer in state)
            outputs, state = self.stack(ids[:, start:end], state, dropout, generator)
            parts.append(outputs.transpose(0, 1))
        assert state is not None
        return torch.cat(parts).transpose(0, 1), state


def _stack(settings: ModelSettings, size: int, generator: torch.Generator | None) -> Stack:
    residual = settings.stack == "residual"
    features = (settings.units[0] if residual else size, *settings.units)
    layers = [
        CELLS[settings.cell](units, settings.activation, True, features[index], generator)
        for index, units in enumerate(settings.units)
    ]
    return ResidualStack(layers, size, generator) if residual else Stack(layers)


class NetworkPredictor:
    """A `CharModel` as a `NextCharPredictor` (see `chargen.predictors`)."""

    def __init__(self, model: CharModel, vocabulary: Vocabulary) -> None:
        self.model = model
        self.vocabulary = vocabulary

    @torch.no_grad()
    def advance(
        self, ids: np.ndarray, state: StackState | None = None
    ) -> tuple[np.ndarray, StackState | None]:
        """See `NextCharPredictor.advance`; the state is the stack's, on the model's device.

        `NoNumbersError` where a prediction is none.
        """
        device = self.model.b_y.device
        inputs = torch.from_numpy(np.asarray(ids, dtype=np.int64)).to(device)
        parts = []
        for part in inputs.split(TIMESTEPS_AT_ONCE, dim=1):
            logits, state = self.model(part, state)
            parts.append(log_softmax(logits, dim=-1).cpu().numpy())
        log_probs = np.concatenate(parts, axis=1)
        if np.isnan(log_probs.min()):  # a sum of what is very unlikely overflows
            raise NoNumbersError
        return log_probs, state
