"""Files as a stranger would make them, and what reading one may end in."""

import hashlib
import json
import random
import re
import warnings

import numpy as np

from chargen.datasets import phrases
from chargen.errors import ChargenError
from chargen.runs import checkpoint as checkpoints
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import BEST, LAST, PROGRESS, REPORTED, RUN, Run
from chargen.sampling.writer import Writer
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text import Vocabulary
from chargen.text.sources import read_file

TEXT = "the cat sat on the mat\n" * 4
PROGRESS_LINE = json.dumps({**dict.fromkeys(REPORTED, 1.5), "step": 7}).encode() + b"\n"
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
TOKENS = [
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\\",
        b"\\ud800",
        b"\0",
        b"\xff",
        b"\n",
        b"=",
        b"->",
    ),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"1.5", b"null", b"true", b'""', b"[]", b"{}"),
    *(
        b"9" * 30,
        b"1000000000",
        b"9223372036854775807",
        b"F64",
        b"BF16",
        b"\x80\x04",
        b"PK\x03\x04",
    ),
    *(b'"model":', b'"units":', b'"chars":', b'"shape":', b"[" * 3000, b"\x1b[2J"),
]


def make_run(folder):
    """A run of 40 weights, random ones."""
    model = ModelSettings("gru", (2,))
    vocabulary = Vocabulary.of(TEXT)
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    record = CorpusRecord("cat", ("-",), sha256, len(TEXT), len(TEXT) - 9)
    training = TrainingSettings(timesteps=3, batch_size=2, steps=7)
    run = Run.create(folder, Description(model, training, vocabulary, record, {"chargen": "1"}))
    generator = np.random.default_rng(0)
    shapes = model.shapes(len(vocabulary)).items()
    weights = {f"model.{name}": generator.normal(size=s).astype("f4") for name, s in shapes}
    run.write_checkpoint(BEST, Checkpoint(weights, {"step": 3, "validation_loss_nats": 1.5}))
    (folder / PROGRESS).write_bytes(PROGRESS_LINE * 2)
    return run


def small_checkpoint():
    """Two arrays, a few values: half a kilobyte."""
    arrays = {"model.b_y": np.arange(3, dtype="f4"), "generator": np.arange(5, dtype="u1")}
    return Checkpoint(
        arrays, {"step": 3, "best_loss": float("inf"), "at": {"torch": "2"}}
    ).to_bytes()


def sealed(data):
    """The same bytes with the digest that belongs to them, where one has its place."""
    found = re.search(rb'"sha256":"([0-9a-f]{64})"', data)
    if not found:
        return bytes(data)
    begin, end = found.span(1)
    digest = hashlib.sha256(data[:begin] + b"0" * 64 + data[end:]).hexdigest().encode()
    return data[:begin] + digest + data[end:]


def with_header(header, body=b"", more=0):
    """A sealed file with this header, a mapping or text, and ``more`` spaces at its end."""
    text = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    text += b" " * (-len(text) % 8 + more)
    return sealed(len(text).to_bytes(8, "little") + text + body)


def metadata(**changes):
    return {"format": "2", "sha256": "0" * 64, "values": "{}", **changes}


def mutant(data, rng):
    """``data``, bytes, changed in one to four places."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, end = sorted(rng.choices(range(len(data) + 1), k=2))
        end = min(end, at + 40)
        how = rng.randrange(7)
        if how == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif how == 1:
            data = data[:at]
        elif how == 2:
            data = data[:at] + data[end:]
        elif how == 3:
            data = data[:end] + data[at:end] * rng.randrange(1, 4) + data[end:]
        elif how == 4:
            data = data[:at] + rng.choice(TOKENS) + data[at:]
        elif how == 5:
            data = data[:at] + rng.choice(TOKENS) + data[end:]
        else:
            data = _another_number(data, rng)
    return data


def _another_number(data, rng):
    numbers = list(re.finditer(rb"\d+", data))
    if not numbers:
        return data
    found = rng.choice(numbers)
    return (
        data[: found.start()] + rng.choice((b"0", b"-3", b"1e9", b"9" * 18)) + data[found.end() :]
    )


def mutants(data, seed, count):
    rng = random.Random(seed)
    return [mutant(data, rng) for _ in range(count)]


def written_with(run):
    """The weights are not only read, but write a text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        "".join(row[0] for row in Writer.of(run).stream("the", 4, 1, 0))


READERS = {  # name: (the file that is read, what reads it, a good one of a run)
    "checkpoint": (LAST, lambda run: run.read_checkpoint(LAST), lambda run: small_checkpoint()),
    "weights": (BEST, written_with, lambda run: (run.path / BEST).read_bytes()),
    "description": (RUN, lambda run: Run.open(run.path), lambda run: (run.path / RUN).read_bytes()),
    "progress": (PROGRESS, lambda run: run.progress(), lambda run: PROGRESS_LINE * 3),
    "bank": ("my.bank", lambda run: phrases.read(run.path / "my.bank"), lambda run: BANK),
    "corpus": (
        "my.txt",
        lambda run: read_file(run.path / "my.txt"),
        lambda run: TEXT.encode() + "ü€😀\n".encode(),
    ),
}


def is_read(kind, run, data):
    """Whether a file is read; where it is not, one line names it. All else is raised."""
    file, read, _ = READERS[kind]
    (run.path / file).write_bytes(data)
    try:
        read(run)
    except ChargenError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 1000
        assert file in said or str(run.path) in said
        return False
    return True


def length_of_header(data):
    return int.from_bytes(data[: checkpoints.LENGTH], "little")
