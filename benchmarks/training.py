"""Speed of a training step against the same model on ``torch.nn``.

Both models read ids and end in a softmax head with cross-entropy, clipping and fused AdamW. The
columns are characters/s, the ratio, and the share of the step that its matmuls would take at the
float32 rate of torch and of oneDNN. The first layer looks up rows and has no input matmul.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import limits
from benchmarks.timing import medians
from chargen.cells import CELLS
from chargen.recurrent import CharModel
from chargen.recurrent.residual import ForwardMode
from chargen.settings import ModelSettings
from chargen.training.step import next_char_loss

PEERS = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
T, V = 64, 65
SHAPES = (
    (256, 1, 16, V),
    (256, 1, 32, V),
    (256, 1, 64, V),
    (512, 1, 64, V),
    (128, 1, 16, V),
    (128, 2, 16, V),
    (128, 3, 16, V),
    (256, 2, 32, V),
    (256, 3, 32, V),
    (256, 1, 32, 1000),
)
"""Units, layers, batch size, vocabulary size."""  # fmt: skip


class Peer(nn.Module):
    """The baseline: embedding, ``torch.nn`` layers, linear head."""

    def __init__(self, cell: str, units: int, layers: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, units)
        self.layers = PEERS[cell](units, units, layers, batch_first=True)
        self.head = nn.Linear(units, size)

    def forward(self, ids: Tensor) -> tuple[Tensor, object]:
        """Map ids ``(N, T)`` to logits ``(N, T, V)``."""
        outputs, state = self.layers(self.embedding(ids))
        return self.head(outputs), state


def step_of(model: nn.Module, ids: Tensor, mode: ForwardMode | None = None) -> Callable[[], None]:
    """Return a function that updates a model on a batch; ``mode`` is for a `CharModel`."""
    arguments = () if mode is None else (None, None, mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    targets = ids.roll(-1, dims=1)

    def step() -> None:
        logits, _ = model(ids, *arguments)
        optimizer.zero_grad()
        next_char_loss(logits, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def operations(cell: str, units: int, layers: int, size: int) -> int:
    """Return FLOP per character of the matmuls, forward and backward."""
    recurrent = len(CELLS[cell].gates) * units * units
    between = (layers - 1) * recurrent  # input of the upper layers
    return 6 * (layers * recurrent + between + units * size)


def compare(cell: str, units: int, layers: int, batch_size: int, size: int) -> tuple[float, float]:
    """Return characters/s of chargen and of the baseline."""
    ids = torch.randint(size, (batch_size, T), generator=torch.Generator().manual_seed(0))
    ours = CharModel.seeded(ModelSettings(cell, (units,) * layers), size, 0)
    times = medians(
        {
            "ours": step_of(ours, ids),
            "torch.nn": step_of(Peer(cell, units, layers, size), ids),
        }
    )
    return ids.numel() / times["ours"], ids.numel() / times["torch.nn"]


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    torchs, onednns = limits.products()
    threads = torch.get_num_threads()
    print(
        f"training step, {T} timesteps, {threads} threads, chars/s; float32 matmuls "
        f"at {torchs / 1e9:.0f} GFLOP/s by torch, {onednns / 1e9:.0f} by oneDNN"
    )
    print(
        f"{'cell':8}{'units':>9}{'batch':>7}{'V':>6}{'chargen':>10}{'torch.nn':>10}{'ratio':>7}"
        f"{'share':>7}{'oneDNN':>8}"
    )
    rows: list[dict[str, object]] = []
    for cell in PEERS:
        for units, layers, batch_size, size in SHAPES:
            ours, peer = compare(cell, units, layers, batch_size, size)
            rate = ours * operations(cell, units, layers, size)
            name = f"{layers} x {units}"
            print(
                f"{cell:8}{name:>9}{batch_size:7}{size:6}{ours:10,.0f}{peer:10,.0f}"
                f"{ours / peer:7.2f}{rate / torchs:7.0%}{rate / onednns:8.0%}"
            )
            rows.append(
                {
                    "cell": cell,
                    "units": units,
                    "layers": layers,
                    "batch_size": batch_size,
                    "vocabulary": size,
                    "timesteps": T,
                    "threads": threads,
                    "chars_per_second": round(ours),
                    "torch_nn_chars_per_second": round(peer),
                    "ratio": ours / peer,
                    "matrix_rate_share": rate / torchs,
                    "onednn_rate_share": rate / onednns,
                }
            )
    return rows


if __name__ == "__main__":
    main()
