"""Documents: where they begin, and that they are read independently; the held-out part."""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import TablePredictor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import network_and_engine

import chargen
from chargen import evaluation
from chargen.cells import CELL_NAMES
from chargen.evaluation import evaluate, losses
from chargen.predictors import BackoffNgram
from chargen.text import Vocabulary
from chargen.text.documents import MOST_HELD_OUT, DocumentSplitter, training_chars
from chargen.training.session import start

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


def starts_of(lengths):
    return np.array([0, *np.cumsum(lengths[:-1])], dtype=np.int64)


FILES = st.lists(
    st.text(st.sampled_from("ab\n\n\r\r é日"), min_size=1, max_size=40), min_size=1, max_size=4
)


def split(how, files, cuts=()):
    """Return the document starts in texts that are cut into blocks."""
    splitter, found = DocumentSplitter(how), []
    for number, text in enumerate(files):
        at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
        parts = [text[begin:end] for begin, end in pairwise(at)]
        found += [splitter.split(number, part.encode(), len(part)) for part in parts]
    return np.concatenate(found).tolist()


@example(["a\r\n\r\nb"], [3])
@example(["a\n\nb"], [2])
@example(["a\r\nb"], [2])
@example(["\n\na"], [1])
@example(["a" + "\n" * 20 + "b"], [3, 9, 15])
@given(FILES, st.lists(st.integers(1, 40), max_size=6))
def test_documents_do_not_depend_on_the_blocks(files, cuts):
    """Compare with a regular expression for line ends that contain an empty line."""
    expected, base = {"line": [], "blank-line": []}, 0
    for text in files:
        ends = re.finditer(r"(?<=[^\n\r])[\n\r]+(?=[^\n\r])", text)
        ends = [(m.end(), max(map(m[0].count, "\n\r"))) for m in ends]
        for how, least in {"line": 1, "blank-line": 2}.items():
            expected[how] += [base, *(base + at for at, lines in ends if lines >= least)]
        base += len(text)
    expected["file"] = np.cumsum([0, *map(len, files)])[:-1].tolist()
    for places in ((), cuts, range(1, 41)):
        for how, firsts in expected.items():  # each is read after the line end before it
            assert split(how, files, places) == [max(first - 1, 0) for first in firsts]
    assert split("none", files, cuts) == [0]


@pytest.mark.parametrize(
    ("chars", "share", "starts", "training"),
    [
        (1_115_394, None, [0], 1_003_854),
        (10**10, None, [0], 10**10 - MOST_HELD_OUT),
        (10**10, 0.1, [0], 9 * 10**9),
        (1000, 0.1, [0, 300, 870, 960], 870),
        (1000, 0.1, [0, 300, 920], 920),
        (1000, 0.1, [0, 800, 990], 900),  # too far away
        (1000, 0.1, [0, 850, 950], 850),
        (3, None, [0, 1], 2),
    ],
)
def test_the_held_out_part_is_a_tenth_and_begins_with_a_document(chars, share, starts, training):
    assert training_chars(chars, share, np.array(starts)) == training


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize(  # with 40 characters, an LSTM uses another kernel for its input
    ("units", "size", "last", "carried"),
    [((5, 6), 40, 4, True), ((5,), 4, None, False)],
)
@torch.no_grad()
def test_documents_in_a_window_are_read_independently(cell, units, size, last, carried):
    N, T = 3, 11
    generator = torch.Generator().manual_seed(2)
    model = network_and_engine(cell, units, size)[0]
    ids = torch.randint(size, (N, T), generator=generator)
    before = model(torch.randint(size, (N, 2), generator=generator))[1] if carried else None
    begins = torch.zeros(N, T, dtype=torch.bool)
    for row, step in ((0, 0), (0, 4), (0, 5), (1, 3), (1, 10), (2, 4)):
        begins[row, step] = True
    logits, state = model(ids, before, last, begins=begins)
    rows, ends = [], []
    for row in range(N):
        cuts = sorted({0, T, *begins[row].nonzero().flatten().tolist()})
        parts = []
        for first, end in pairwise(cuts):
            fresh = before is None or begins[row, first]
            at = None if fresh else tuple(tuple(p[row : row + 1] for p in s) for s in before)
            part, last_state = model(ids[row : row + 1, first:end], at)
            parts.append(part)
        rows.append(torch.cat(parts, dim=1)[:, -(last or T) :])
        ends.append(last_state)
    torch.testing.assert_close(logits, torch.cat(rows), rtol=1e-5, atol=1e-6)
    for layer, parts in enumerate(state):
        for part, value in enumerate(parts):
            torch.testing.assert_close(value, torch.cat([end[layer][part] for end in ends]))


@pytest.mark.parametrize("state", ["carry", "reset"])
def test_training_resets_the_state_at_documents(tmp_path, windows, state):
    text = ("the cat sat on the mat.\n\n" * 40)[:-1]
    (tmp_path / "cat.txt").write_text(text)
    options = {"units": (4,), "timesteps": 8, "batch_size": 4, "steps": 10, "state": state}
    options["documents"] = "blank-line"
    with start([tmp_path / "cat.txt"], options, tmp_path / "run") as session:
        trainer, reports = session.trainer, list(session.trainer.reports())
    for step, (inputs, _, begins) in enumerate(windows):
        batch = trainer._batches.batch(0, step)
        np.testing.assert_array_equal(inputs, batch.inputs)
        np.testing.assert_array_equal(begins, batch.begins)
    assert sum(begins is not None for _, _, begins in windows) >= 3
    ids, starts = trainer.predictor.vocabulary.encode(text), np.arange(-1, len(text), 25)
    held = trainer.run.description.corpus.training_chars
    measured = evaluate(trainer.predictor, ids, held, starts=starts.clip(0))
    assert reports[-1].validation_loss_nats == pytest.approx(measured.loss_nats)


def by_itself(predictor, ids, start, starts):
    """Return nats and hits of ``ids[start:]``, document by document."""
    counts = np.zeros(2)
    for first, end in pairwise([*starts, len(ids)]):
        log_probs, _ = predictor.advance(ids[None, first:end].astype(np.int64))
        for place in range(max(first + 1, start), min(end + 1, len(ids))):
            row = log_probs[0, place - 1 - first]
            counts += -row[ids[place]], row.argmax() == ids[place]
    return counts


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.data())
def test_each_character_is_predicted_once_from_its_own_document(lengths, data):
    """The n-gram's memory is shorter than the warm-up."""
    starts, chars = starts_of(lengths), sum(lengths) + 2
    ids = np.random.default_rng(chars).integers(0, 3, chars).astype(np.uint8)
    vocabulary = Vocabulary("abc")
    predictor = BackoffNgram(vocabulary, np.array([0, 1, 2, 0, 0, 1, 2, 2, 1]), 4)
    start = data.draw(st.integers(1, chars - 1))
    size = data.draw(st.integers(1, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "WARM_UP", 3)
        patch.setattr(evaluation, "STREAMS", data.draw(st.integers(1, 6)))
        patch.setattr(evaluation, "DOCUMENTS", data.draw(st.integers(1, 50)))
        patch.setattr(evaluation, "CHUNK_FLOATS", 60)
        whole = losses(predictor, ids, start, starts)
        shares = [slice(rank, None, size) for rank in range(size)]
        shared = [losses(predictor, ids, start, starts, share) for share in shares]
        measured = evaluate(predictor, ids, start, starts)
    wanted = by_itself(predictor, ids, start, starts)
    np.testing.assert_allclose(whole, wanted, rtol=1e-5)
    np.testing.assert_allclose(sum(shared), whole, rtol=1e-9)
    assert measured.loss_nats == whole[0] / (chars - start)
    assert measured.accuracy == whole[1] / (chars - start)


def test_documents_are_read_in_parallel():
    lengths = np.random.default_rng(0).geometric(1 / 100, 2000)
    predictor = TablePredictor("ab", np.full((2, 2), 0.5))
    evaluate(predictor, np.zeros(lengths.sum(), dtype=np.uint8), starts=starts_of(lengths))
    assert predictor.calls < 100


def test_each_line_is_a_document_for_all_commands(home, cli):
    Path("names.txt").write_text("anna\nbert\n\ncarla\ndora\n" * 30)
    options = ["--documents", "line", "--units", "4", "--steps", "2", "--timesteps", "8"]
    assert "read 1 file, 120 documents" in cli(["train", "names.txt", *options]).err
    model = chargen.load()
    text = model.corpus()
    assert text.starts[:5].tolist() == [0, 4, 10, 16, 21]
    # In evaluation, each line is read from a zero state.
    held_out = model.run.description.corpus.training_chars
    loss = json.loads(cli(["evaluate", "--json"]).out)["loss_nats"]
    wanted = by_itself(model.predictor, text.ids, held_out, text.starts)[0]
    assert loss == pytest.approx(wanted / (len(text.ids) - held_out), rel=1e-5)
    # A text begins in a zero state after a line feed, as lines do in training, and ends with one.
    assert model.run.description.begins_at_zeros
    sample = ["sample", "--count", "3", "--length", "999", "--seed", "0", "--json"]
    texts = json.loads(cli(sample).out)["texts"]
    assert len(texts) == 3
    assert not any("\n" in text or len(text) == 999 for text in texts)
    assert "\n" in model.sample(stop_after="t", length=99)
