"""Baselines on the last tenth of a text: n-grams, compressors, a plain ``torch.nn`` loop.

    python -m benchmarks floors tinyshakespeare.txt fables --seconds 120

N-grams and the loop are fixed during evaluation. A compressor adapts while it reads, like dynamic
evaluation: its cost is the compressed size of the whole text minus that of the training part.
``whole`` is the cost of the whole text without training, the figure usually published. Compressors
read UTF-8; costs are per character.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chargen.errors import ChargenError
from chargen.evaluation import evaluate, nats_to_bits
from chargen.predictors import BackoffNgram, State
from chargen.runs.directory import COUNTED
from chargen.settings import HELD_OUT
from chargen.text import Vocabulary, read_corpus
from chargen.text.documents import training_chars

BUNDLED = ("python-docs", "fables")  # default texts
NGRAM_ORDERS = (4, 5, 6, 7, 8, 16)
PPM_ORDERS = (4, 5, 6, 8, 16)
PPM_MEGABYTES = 256  # the model restarts when this memory is full
UNITS, N, T = 256, 16, 64  # of the torch.nn loop
PEAK, WARM_UP, NORM = 0.02, 100, 1.0  # tuned for this LSTM
SECONDS = 120.0

Pack = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Text:
    """A text with the default split of `chargen train`."""

    name: str
    text: str
    vocabulary: Vocabulary
    ids: np.ndarray  # (L,)
    cut: int  # training characters

    @classmethod
    def of(cls, source: str) -> Text:
        """Read a file, a folder or a bundled corpus."""
        corpus = read_corpus([source])
        text = corpus.text
        vocabulary = Vocabulary.of(text)
        cut = training_chars(len(text), HELD_OUT, np.zeros(1, dtype=np.int64))
        return cls(corpus.name, text, vocabulary, vocabulary.encode(text), cut)

    @property
    def held_out(self) -> int:
        """Number of held-out characters."""
        return len(self.ids) - self.cut


@dataclass(frozen=True)
class Row:
    """The cost of one baseline per held-out character."""

    what: str
    nats: float
    bits_per_char: float
    whole_bits_per_char: float | None  # of the whole text, without training
    adapts: bool  # adapts to the held-out text
    condition: str


def ngrams(text: Text) -> Iterator[Row]:
    """Evaluate Kneser-Ney n-grams of the training text, as ``chargen evaluate`` does."""
    training = text.ids[max(0, text.cut - COUNTED) : text.cut]
    for order in NGRAM_ORDERS:
        found = evaluate(BackoffNgram(text.vocabulary, training, order), text.ids, text.cut)
        condition = f"context of {order - 1} characters"
        if len(training) < text.cut:
            condition += f"; counts of the last {COUNTED:,}"
        name = f"Kneser-Ney {order}-gram"
        yield Row(name, found.loss_nats, found.bits_per_char, None, False, condition)


def compressors(text: Text) -> Iterator[Row]:
    """Evaluate the standard library's compressors, and PPM if `pyppmd` is installed."""
    yield packed("gzip -9", lambda data: gzip.compress(data, 9, mtime=0), text, "window of 32 kB")
    yield packed("bzip2 -9", lambda data: bz2.compress(data, 9), text, "blocks of 900 kB")
    preset = 9 | lzma.PRESET_EXTREME
    yield packed("xz -9e", lambda data: lzma.compress(data, preset=preset), text, "window of 64 MB")
    try:
        library = import_module("pyppmd")
    except ModuleNotFoundError:
        print("PPM skipped: pip install pyppmd")
        return
    for order in PPM_ORDERS:
        condition = f"order of {order} bytes, {PPM_MEGABYTES} MB of contexts"
        yield packed(f"PPMd var. H, order {order}", ppmd(library, order), text, condition)


def ppmd(library: Any, order: int) -> Pack:
    """Return PPMd variant H (Shkarin, as in 7-Zip) with a round-trip check."""
    settings = (order, PPM_MEGABYTES * 2**20)

    def pack(data: bytes) -> bytes:
        encoder = library.Ppmd7Encoder(*settings)
        made: bytes = encoder.encode(data) + encoder.flush()
        if library.Ppmd7Decoder(*settings).decode(made, len(data)) != data:
            raise ValueError(f"PPMd of order {order} fails the round trip")
        return made

    return pack


def packed(what: str, pack: Pack, text: Text, condition: str) -> Row:
    """Return a compressor's row: the size that the held-out text adds."""
    whole = len(pack(text.text.encode()))
    more = whole - len(pack(text.text[: text.cut].encode()))
    bits = 8 * more / text.held_out
    return Row(what, bits * math.log(2), bits, 8 * whole / len(text.text), True, condition)


class Plain(nn.Module):
    """A plain model: `nn.LSTM` on one-hot characters with a linear head."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, size)

    def forward(
        self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ids ``(N, T)`` to logits ``(N, T, V)``."""
        characters = nn.functional.one_hot(ids, self.head.out_features).float()
        outputs, state = self.lstm(characters, state)
        return self.head(outputs), state


class PlainPredictor:
    """A `Plain` model as a `chargen.predictors.NextCharPredictor`."""

    def __init__(self, model: Plain, vocabulary: Vocabulary) -> None:
        self.model = model
        self.vocabulary = vocabulary

    @torch.no_grad()
    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """Advance by ids ``(N, T)``; the state is h and c, ``(N, H)`` each."""
        before = None if state is None else (state[0][None], state[1][None])
        logits, (h, c) = self.model(torch.from_numpy(np.asarray(ids, dtype=np.int64)), before)
        return logits.log_softmax(dim=-1).numpy(), (h[0], c[0])


def windows(ids: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield inputs, targets and whether an epoch starts, for N parallel streams, forever."""
    length = (len(ids) - 1) // N
    inputs, targets = (ids[shift:][: N * length].view(N, length) for shift in (0, 1))
    while True:
        for place in range(0, length - T + 1, T):
            window = slice(place, place + T)
            yield inputs[:, window], targets[:, window], place == 0


def train(model: Plain, ids: Tensor, seconds: float) -> int:
    """Train for ``seconds`` and return the number of steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, fused=True)
    state: tuple[Tensor, Tensor] | None = None
    begun = time.perf_counter()
    for step, (inputs, targets, begins) in enumerate(windows(ids)):
        left = 1 - (time.perf_counter() - begun) / seconds
        if left <= 0:
            return step
        optimizer.param_groups[0]["lr"] = PEAK * min(1, (step + 1) / WARM_UP) * left
        logits, (h, c) = model(inputs, None if begins else state)
        state = h.detach(), c.detach()
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
    raise AssertionError("unreachable")


def loop(text: Text, seconds: float, seed: int) -> Row:
    """Train a `Plain` model and evaluate its last weights."""
    torch.manual_seed(seed)
    model = Plain(len(text.vocabulary))
    ids = torch.from_numpy(text.ids[: text.cut].astype(np.int64))
    steps = train(model, ids, seconds)
    found = evaluate(PlainPredictor(model, text.vocabulary), text.ids, text.cut)
    condition = (
        f"{seconds:g} s, {torch.get_num_threads()} threads, seed {seed}: {steps:,} steps, "
        f"{steps * N * T / text.cut:.1f} epochs; last weights"
    )
    name = f"torch.nn loop, LSTM {UNITS}"
    return Row(name, found.loss_nats, nats_to_bits(found.loss_nats), None, False, condition)


def show(row: Row) -> None:
    """Print one row."""
    whole = "-" if row.whole_bits_per_char is None else f"{row.whole_bits_per_char:.4f}"
    print(
        f"{row.what:24}{row.bits_per_char:8.4f}{row.nats:8.4f}{whole:>8}"
        f"{'yes' if row.adapts else 'no':>8}  {row.condition}"
    )


def measured(text: Text, given: argparse.Namespace) -> list[dict[str, object]]:
    """Print the table of one text and return its rows."""
    print(
        f"{text.name}: {len(text.ids):,} characters, {len(text.vocabulary)} distinct, "
        f"{text.held_out:,} held out; whole: bits per character of the whole text"
    )
    print(f"{'':24}{'bits':>8}{'nats':>8}{'whole':>8}{'adapts':>8}")
    rows = []
    for rows_of in (ngrams, compressors):
        for row in rows_of(text):
            show(row)
            rows.append(row)
    if not given.without_loop:
        rows.append(loop(text, given.seconds, given.seed))
        show(rows[-1])
    sizes = {"text": text.name, "chars": len(text.ids), "held_out_chars": text.held_out}
    return [{**sizes, **asdict(row)} for row in rows]


def arguments_of(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[Text]]:
    """Parse the command line and read its texts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks floors",
        description="Baselines on the last tenth of a text.",
    )
    parser.add_argument("texts", nargs="*", default=BUNDLED, help="files or bundled corpora")
    parser.add_argument("--without-loop", action="store_true", help="skip the torch.nn loop")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="training time per text")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--threads", type=int, help="CPU threads")
    given = parser.parse_args(arguments)
    if not 0 < given.seconds < math.inf:
        parser.error(f"--seconds {given.seconds:g}: must be above 0")
    if given.threads is not None:
        if given.threads < 1:
            parser.error(f"--threads {given.threads}: must be 1 or more")
        torch.set_num_threads(given.threads)
    try:
        texts = [Text.of(source) for source in given.texts]
    except ChargenError as error:
        parser.error(str(error))
    for text in texts:
        if text.cut <= N * T and not given.without_loop:
            parser.error(
                f"{text.name}: {text.cut:,} training characters, the loop needs {N * T + 1:,}; "
                "use --without-loop"
            )
    return given, texts


def main(arguments: Sequence[str] = ()) -> list[dict[str, object]]:
    """Print one table per text and return all rows."""
    given, texts = arguments_of(arguments)
    rows = []
    for number, text in enumerate(texts):
        print("\n" if number else "", end="")
        rows += measured(text, given)
    return rows


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
