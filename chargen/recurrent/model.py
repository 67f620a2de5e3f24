"""The character model: a recurrent stack and a softmax head that predicts the next character."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from chargen.errors import NonFiniteError
from chargen.recurrent.cells import LAYERS
from chargen.recurrent.layer import RecurrentLayer
from chargen.recurrent.matmul import linear
from chargen.recurrent.residual import EVALUATION, ForwardMode
from chargen.recurrent.stack import Stack, StackState
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

NORMED_HEAD = 0.3  # scale of the initial head weights on normalized inputs
LEAST_SHARED = 2e9  # multiplications; fewer are not worth the start of threads
TIMESTEPS_AT_ONCE = 64  # of long texts in evaluation, which bounds the memory of the gates


class CharModel(nn.Module):
    """A stack of recurrent layers, plain or in residual blocks, and a softmax head over V ids.

        y_t = softmax(h_t W_hy + b_y)

    ``W_hy`` is ``(H, V)``, ``b_y`` ``(V,)``; ``size`` is V, the number of characters in the
    vocabulary. Initial weights come from ``generator``, torch's global one by default.
    """

    def __init__(
        self, settings: ModelSettings, size: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        residual = settings.stack == "residual"
        features = (settings.units[0] if residual else size, *settings.units)
        variant: dict[str, Any] = {} if settings.reset_after else {"reset_after": False}
        make: Callable[..., RecurrentLayer] = partial(LAYERS[settings.cell], **variant)
        layers = [
            make(units, settings.activation, True, F, generator)
            for units, F in zip(settings.units, features, strict=False)
        ]
        self.stack = Stack(layers, size if residual else None, generator)
        self.W_hy = nn.Parameter(torch.empty(settings.units[-1], size))
        self.b_y = nn.Parameter(torch.zeros(size))
        nn.init.xavier_uniform_(self.W_hy, generator=generator)
        if residual:  # near-uniform initial predictions
            self.W_hy.data *= NORMED_HEAD

    @classmethod
    def seeded(cls, settings: ModelSettings, size: int, seed: int) -> CharModel:
        """Return a model with the initial weights that ``seed`` determines."""
        return cls(settings, size, torch.Generator().manual_seed(seed))

    @classmethod
    def of(cls, settings: ModelSettings, size: int, weights: Mapping[str, np.ndarray]) -> CharModel:
        """Return the model with these weights; `ChargenError` if one is missing or misshapen.

        Shapes are checked before anything of the size in ``settings`` is allocated.
        """
        settings.check({name: value.shape for name, value in weights.items()}, size)
        with torch.device("meta"):
            model = cls(settings, size)
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        model.load_state_dict(tensors, assign=True)
        return model

    @property
    def layers(self) -> list[RecurrentLayer]:
        return list(self.stack.layers)

    @property
    def cell(self) -> str:
        return next(name for name, kind in LAYERS.items() if type(self.layers[0]) is kind)

    def forward(
        self,
        ids: Tensor,
        state: StackState | None = None,
        last: int | None = None,
        mode: ForwardMode = EVALUATION,
        begins: Tensor | None = None,
    ) -> tuple[Tensor, StackState]:
        """Return the logits of the next characters, ``(N, T, V)``, and the state after the last.

        ``ids`` is ``(N, T)`` int64; N may be 0, an empty share of a batch. Only the logits of the
        ``last`` time steps are computed, by default of all. ``begins``, ``(N, T)`` bool, is True
        where an input is the first of a document; the state before it is zero.
        """
        if not len(ids):  # not every kernel supports N = 0; every weight gets a zero gradient
            logits, state = self.forward(ids.new_zeros(1, ids.shape[1]), None, last)
            return logits[:0], tuple(tuple(part[:0] for part in layer) for layer in state)
        # Documents begin at zeros: the window is cut wherever a row begins one.
        cuts = [] if begins is None else begins.any(dim=0).nonzero().flatten().tolist()
        parts = []
        for start, end in pairwise([0, *(cut for cut in cuts if cut), ids.shape[1]]):
            if state is not None and begins is not None:
                fresh = begins[:, start, None]
                state = tuple(tuple(h.masked_fill(fresh, 0) for h in layer) for layer in state)
            outputs, state = self.stack(ids[:, start:end], state, mode)
            # Time-major, as the layers keep it, so that the matmul needs no copy.
            parts.append(outputs.transpose(0, 1))
        assert state is not None
        outputs = torch.cat(parts) if len(parts) > 1 else parts[0]
        outputs = outputs[-last:] if last and last < len(outputs) else outputs
        return linear(outputs, self.W_hy, self.b_y, mode.precision).transpose(0, 1), state


class NetworkPredictor:
    """A `CharModel` behind the `NextCharPredictor` protocol of `chargen.predictors`."""

    def __init__(self, model: CharModel, vocabulary: Vocabulary) -> None:
        self.model = model
        self.vocabulary = vocabulary

    def advance(
        self, ids: np.ndarray, state: StackState | None = None
    ) -> tuple[np.ndarray, StackState | None]:
        """See `NextCharPredictor.advance`; raise `NonFiniteError` if a log-probability is NaN.

        On the CPU, each thread reads its own rows: threads that share a matrix product wait for one
        another, which beside other programs takes longer than with one thread.
        """
        inputs = torch.from_numpy(np.asarray(ids, dtype=np.int64)).to(self.model.b_y.device)
        threads, on_cpu = torch.get_num_threads(), inputs.device.type == "cpu"
        work = inputs.numel() * sum(weight.numel() for weight in self.model.parameters())
        count = min(threads, len(inputs)) if on_cpu and work > LEAST_SHARED else 1
        if count == 1:
            torch.set_num_threads(1)
            try:
                return self._read(inputs, state)
            finally:
                torch.set_num_threads(threads)
        parts = inputs.tensor_split(count)
        states: list[StackState | None] = [None] * count
        if state is not None:
            tensors = [[part.tensor_split(count) for part in layer] for layer in state]
            states = [tuple(tuple(p[n] for p in layer) for layer in tensors) for n in range(count)]
        with one_thread_each(count) as pool:
            log_probs, after = zip(*pool.map(self._read, parts, states), strict=True)
        layers = zip(*after, strict=True)
        joined = tuple(tuple(map(torch.cat, zip(*layer, strict=True))) for layer in layers)
        return np.concatenate(log_probs), joined

    @torch.no_grad()
    def _read(self, inputs: Tensor, state: StackState | None) -> tuple[np.ndarray, StackState]:
        parts = []
        for part in inputs.split(TIMESTEPS_AT_ONCE, dim=1):
            logits, state = self.model(part, state)
            parts.append(log_softmax(logits, dim=-1).cpu().numpy())
        log_probs = np.concatenate(parts, axis=1)
        if np.isnan(log_probs.min()):
            raise NonFiniteError
        assert state is not None
        return log_probs, state


@contextmanager
def one_thread_each(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield ``count`` threads that compute with one thread of torch each."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads that begin later take the last number set
