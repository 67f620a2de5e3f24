"""Malformed and malicious files, and the readers that must refuse them in one line."""

import hashlib
import json
import random
import re
import warnings

import numpy as np

from chargen.datasets import phrase_bank
from chargen.errors import ChargenError
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import BEST, LAST, PROGRESS, RUN, Run
from chargen.sampling.sampler import Sampler
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text import Vocabulary
from chargen.text.corpus import read_file

TEXT = "the cat sat on the mat\n" * 4
LOSSES = {"train_loss_nats": 1.5, "validation_loss_nats": 1.5}
RECORD = {"step": 7, "chars": 70, "seconds": 1.5, **LOSSES, "learning_rate": 1, "gradient_norm": 2}
PROGRESS_LINE = json.dumps(RECORD).encode() + b"\n"
BANK = b"""# facts
[facts one]
frame = "from {cue}{filler} in {target}."
decoy before = "by {cue} "
decoy after = ", past {cue}"
no cue = "boo"
eel -> Ada
bee -> Bob
[training fillers]
", so dry"
[test fillers]
", so ord"
[links]
" or"
"""
MARKS = rb'" { } [ ] : , \ \ud800 = -> NaN -Infinity 1e999 -1 0 1.5 null true "" [] {}'.split()
PIECES = rb'F64 BF16 1000000000 9223372036854775807 "model": "units": "chars": "shape":'.split()
BINARY = [b"\0", b"\xff", b"\n", b"\x80\x04", b"PK\x03\x04", b"\x1b[2J", b"9" * 30, b"[" * 3000]
TOKENS = [*MARKS, *PIECES, *BINARY]
NUMBERS = [None, True, -1, 0, 2, 1.5, 10**9, 2**63, 1e308]
TEXTS = ["", "x", "\x1b[2J\n", "\ud800", "\udc80", "9" * 10_000]
LISTS = [[], [0], [10**9], [1] * 1000, ["x"], {}, {"a": 1}, {"a": {"a": []}}]
ODD = [*NUMBERS, *TEXTS, *LISTS]


def paths(values, path=()):
    """Yield the path of every JSON value."""
    yield path
    inner = enumerate(values) if isinstance(values, list) else ()
    for key, value in values.items() if isinstance(values, dict) else inner:
        yield from paths(value, (*path, key))


def changed(values, path, value):
    """Return a copy of JSON values with another value at a path."""
    if not path:
        return value
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[path[0]] = changed(values[path[0]], path[1:], value) if path[1:] else value
    return copy


def make_run(folder):
    """Create a run with 40 random weights."""
    model, vocabulary = ModelSettings("gru", (2,)), Vocabulary.of(TEXT)
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    record = CorpusRecord("cat", ("-",), sha256, len(TEXT), len(TEXT) - 9)
    training = TrainingSettings(timesteps=3, batch_size=2, steps=7)
    run = Run.create(folder, Description(model, vocabulary, training, record, {"chargen": "1"}))
    generator = np.random.default_rng(0)
    shapes = model.shapes(len(vocabulary)).items()
    weights = {f"model.{name}": generator.normal(size=s).astype("f4") for name, s in shapes}
    run.write_checkpoint(BEST, Checkpoint(weights, {"step": 3, "validation_loss_nats": 1.5}))
    (folder / PROGRESS).write_bytes(PROGRESS_LINE * 2)
    return run


def small_checkpoint():
    """Return the bytes of a checkpoint with two arrays and three values."""
    arrays = {"model.b_y": np.arange(3, dtype="f4"), "generator": np.arange(5, dtype="u1")}
    values = {"step": 3, "best_loss": 1.5, "at": {"torch": "2"}}
    return Checkpoint(arrays, values).to_bytes()


def sealed(data):
    """Replace the digest of a checkpoint, if it has one, by the correct one."""
    found = re.search(rb'"sha256":"([0-9a-f]{64})"', data)
    if not found:
        return bytes(data)
    begin, end = found.span(1)
    digest = hashlib.sha256(data[:begin] + b"0" * 64 + data[end:]).hexdigest().encode()
    return data[:begin] + digest + data[end:]


def with_header(header, body=b""):
    """Return a checkpoint with a correct digest from a header, as a mapping or bytes."""
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return sealed(len(header).to_bytes(8, "little") + header + body)


def metadata(**changes):
    return {"format": "2", "sha256": "0" * 64, "values": "{}", **changes}


def mutant(data, rng):
    """Change bytes in one to four places."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, end = sorted(rng.choices(range(len(data) + 1), k=2))
        end = min(end, at + 40)
        token = rng.choice(TOKENS)
        numbers = [found.span() for found in re.finditer(rb"\d+", data)] or [(at, at)]
        first, last = rng.choice(numbers)
        data = rng.choice(
            (
                data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
                data[:at],
                data[:at] + data[end:],
                data[:end] + data[at:end] * rng.randrange(1, 4) + data[end:],
                data[:at] + token + data[at:],
                data[:at] + token + data[end:],
                data[:first] + rng.choice((b"0", b"-3", b"1e9", b"9" * 18)) + data[last:],
            )
        )
    return data


def mutants(data, seed, count):
    rng = random.Random(seed)
    return [mutant(data, rng) for _ in range(count)]


def sample_text(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        "".join(row[0] for row in Sampler.of(run).stream("the", 4, 1, 0))


READERS = {  # kind: (file, reader of a run's file, a valid file)
    "checkpoint": (LAST, lambda run: run.read_checkpoint(LAST), lambda run: small_checkpoint()),
    "weights": (BEST, sample_text, lambda run: (run.path / BEST).read_bytes()),
    "description": (RUN, lambda run: Run.open(run.path), lambda run: (run.path / RUN).read_bytes()),
    "progress": (PROGRESS, lambda run: run.progress(), lambda run: PROGRESS_LINE * 3),
    "bank": ("my.bank", lambda run: phrase_bank.read_bank(run.path / "my.bank"), lambda run: BANK),
    "corpus": (
        "my.txt",
        lambda run: read_file(run.path / "my.txt"),
        lambda run: TEXT.encode() + "ü€😀\n".encode(),
    ),
}


def is_read(kind, run, data):
    """Return whether a file is read; a refusal must be one line that names it."""
    file, read, _ = READERS[kind]
    (run.path / file).write_bytes(data)
    try:
        read(run)
    except ChargenError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1000
        assert file in message or str(run.path) in message
        return False
    return True
