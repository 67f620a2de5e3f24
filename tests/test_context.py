"""Test the context instrument with predictors of known memory, without training."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import Echo, UniformPredictor, word
from msgspec import structs
from results import blocks_of

import chargen
from chargen.cli import main
from chargen.errors import ChargenError
from chargen.predictors import BackoffNgram
from chargen.predictors.protocol import BurnedIn
from chargen.probes.context import measure as context
from chargen.probes.context.blocks import BLOCK, Blocks, read_length
from chargen.probes.context.report import section
from chargen.probes.context.result import ContextResult, compare_bits
from chargen.probes.statistics.intervals import Estimate, TextMean, text_mean
from chargen.render.figures import PICTURE
from chargen.render.report import Figure, Table, to_text
from chargen.text import Vocabulary
from chargen.text.vocabulary import code_points

ABC = Vocabulary("abcde")
ONE = np.zeros(1, dtype=np.int64)  # the first character of the only document
NATURAL = np.random.default_rng(5).integers(0, 5, 6000)


def echoing(chars, length=6000):
    """A text in which most characters repeat the one ``chars`` before."""
    rng = np.random.default_rng(chars)
    ids = rng.integers(0, 5, length)
    for place in np.flatnonzero(rng.random(length) < 0.8):
        if place >= chars:
            ids[place] = ids[place - chars]
    return ids


def measure(predictor, ids, **options):
    return context.measure(predictor, ids, **{"positions": 640, "swap_ids": NATURAL} | options)


def effective(result):
    return result.effective, result.effective_low, result.effective_high


@pytest.mark.parametrize("order", [2, 5])
def test_an_ngram_has_exactly_zero_excess_from_its_order_minus_one(order):
    text = echoing(order - 1, 9000)
    ngram = BackoffNgram(ABC, text[:3000], order)
    result = measure(ngram, text[3000:], contexts=(1, 2, 3, 4, 8, 32, 128))
    for row in result.rows:
        for found in (row.swap, row.reset):
            zero = found == Estimate(0.0, 0.0, 0.0)
            assert found is None or zero == (row.context >= order - 1)
    assert effective(result) == (order - 1,) * 3


@pytest.mark.parametrize(
    ("chars", "contexts", "expected", "finding"),
    [
        (8, context.CONTEXTS, 8, "uses 8 characters of context"),
        (128, context.CONTEXTS, 128, "uses 128 characters of context"),
        (40, (16, 32, 64), 64, "uses 64 characters"),
        (1, (1, 4), 1, "uses 1 character of context"),
        (200, (1, 16, 128), None, "uses more than 128 characters"),
        (8, (1,), None, "uses more than 1 character of context"),
    ],
)
def test_exact_memory_is_the_effective_context_length(chars, contexts, expected, finding):
    result = measure(Echo(ABC, chars), echoing(chars), contexts=contexts)
    assert effective(result) == (expected,) * 3
    assert result.finding().startswith(finding)
    for row in result.rows:
        assert row.swap.value > 1 if row.context < chars else row.swap.value == 0


def test_parallel_reading_equals_reading_each_position_alone(monkeypatch):
    """The claims of `measure` about exactness, against one forward pass per position."""
    predictor, text, contexts, seed = Echo(ABC, 50), echoing(50), (4, 32), 7
    options = {"contexts": contexts, "seed": seed, "swap_ids": None}
    result = measure(predictor, text, **options)
    blocks = Blocks.of(len(text), contexts, 640, np.random.default_rng([seed, 0]), ONE)
    burned_in = BurnedIn(predictor, text[: blocks.full])

    def bits(before, place, predictor=burned_in):
        log_probs, _ = predictor.advance(before[None])
        return -log_probs[0, -1, text[place]] / np.log(2)

    for row in result.rows:
        n, length = row.context, read_length(row.context)
        swap, reset = [], []
        for begin, other in zip(blocks.begins, blocks.swaps, strict=True):
            for place in range(begin, begin + BLOCK):
                start = begin + (place - begin) // length * length - n if n else place
                assert n <= place - start <= row.context_most < n + max(1, n / 16)
                own = text[start:place]
                full = bits(text[begin - blocks.full : place], place)
                swapped = np.concatenate([text[other : other + blocks.full - n], own])
                swap.append(bits(swapped, place) - full)
                reset += [bits(own, place, predictor) - full] if n else []
        assert row.swap.value == pytest.approx(np.mean(swap), abs=1e-9)
        assert not n or row.reset.value == pytest.approx(np.mean(reset), abs=1e-9)
        apart = np.subtract(reset, swap).mean() if n else 0
        assert not n or row.difference.value == pytest.approx(apart, abs=1e-9)
    monkeypatch.setattr("chargen.evaluation.ROWS", 3)
    monkeypatch.setattr("chargen.evaluation.CHUNK_FLOATS", 50)
    assert measure(predictor, text, **options) == result


def test_a_model_of_strings_scores_one_continuation_of_each_block():
    def score(context, end):
        text = "." * 8 + context + end
        return sum(np.log(0.5 if text[-n] == text[-n - 8] else 0.1) for n in range(1, len(end) + 1))

    text, other = ("".join(np.array([*"de fg"])[ids]) for ids in (echoing(8), NATURAL))
    points, model = code_points(text), SimpleNamespace(log_prob=score)
    result = measure(model, points, contexts=(4, 8, 32), swap_ids=code_points(other))
    blocks = Blocks.of(len(text), (4, 8, 32), 640, np.random.default_rng([0, 0]), ONE, points)
    places = np.array([text.find(" ", begin + 8, begin + 32) for begin in blocks.begins])
    ends = np.where(places < 0, blocks.begins + 8, places)
    for row in result.rows:
        nats = np.zeros(3)
        for begin, end, at in zip(blocks.begins, ends, blocks.swaps, strict=True):
            own = text[begin - row.context : begin]
            swapped = other[at : at + 64 - row.context] + own
            nats -= [score(x, text[begin:end]) for x in (text[begin - 64 : begin], swapped, own)]
        full, swap, reset = nats / np.log(2) / sum(ends - blocks.begins)
        assert row.swap.value == pytest.approx(swap - full)
        assert not row.context or row.reset.value == pytest.approx(reset - full)
    assert effective(result) == (8, 8, 8)
    assert "from 20 continuations" in to_text([section({"run": (result, None)})])


def test_replacements_lie_outside_of_what_they_replace():
    blocks = Blocks.of(6300, (1, 256, 1024), 2000, np.random.default_rng(0), ONE)
    begins, ends = blocks.begins - blocks.full, blocks.begins + BLOCK
    swap_ends = blocks.swaps + blocks.full
    assert blocks.full == 2048
    assert ((swap_ends <= begins) | (blocks.swaps >= ends)).all()
    assert min(blocks.swaps.min(), begins[0]) >= 0
    assert max(swap_ends.max(), ends[-1]) <= 6300
    assert (np.diff(blocks.begins) >= BLOCK).all()


TOPICS = Vocabulary("".join(map(chr, range(65, 110))))


class TopicReader:
    """Predicts the letters that it read 100 to 200 characters back."""

    vocabulary = TOPICS

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(TOPICS)
        before = np.full((N, 200), -1) if state is None else state
        history = np.concatenate([before, ids], axis=1)
        seen = np.cumsum(history[:, :, None] == np.arange(V), axis=1) + 0.2
        counts = seen[:, 100 : 100 + T] - seen[:, :T] + 0.2
        return np.log(counts / counts.sum(axis=2, keepdims=True)), history[:, T:]


def topics(documents, chars=100_000):
    """Documents of equal length, each with a letter that is frequent in it alone."""
    starts = np.arange(documents) * (chars // documents)
    topic = np.searchsorted(starts, np.arange(chars), side="right") - 1
    rng = np.random.default_rng(0)
    return np.where(rng.random(chars) < 0.5, topic, rng.integers(0, 45, chars)), starts


def topic_excess(documents, **options):
    ids, starts = topics(documents)
    options = {"starts": starts, "swap_ids": None, "positions": 1024} | options
    return measure(TopicReader(), ids, contexts=(64, 128), **options)


def test_a_topic_reader_has_the_same_excess_with_any_number_of_documents():
    many, some, two, one = (topic_excess(n) for n in (40, 8, 2, 1))
    excess = [found.rows[1].swap.value for found in (many, some, two)]
    assert excess == pytest.approx([excess[0]] * 3, abs=0.3)
    assert excess[0] > 1.5
    assert [found.lower_bound for found in (many, some, two, one)] == [False] * 3 + [True]
    assert one.rows[1].swap.value < 0.1
    bound = structs.replace(one, effective=64, effective_low=16, effective_high=None)
    found = "uses at least 64 characters of context (95%: 16 to over 128; lower bound)"
    assert bound.finding() == found
    named = topic_excess(1, swap_ids=topics(2)[0][-5000:])
    assert named.rows[1].swap.low > 2
    assert not named.lower_bound
    with pytest.raises(ChargenError, match="swap text: has 100 characters, at least 256"):
        topic_excess(1, swap_ids=np.ones(100, dtype=np.int64))


def test_the_interval_covers_the_truth():
    """Excess of 64 characters on either side of the threshold, with subjects of four blocks."""
    rng, K = np.random.default_rng(2048), 64
    covered, answers = [], []
    for trial in range(600):
        true_bits, truth = ((0.0143, 64), (0.0145, 128))[trial % 2]
        subjects = np.repeat(rng.gamma(2, 0.5, K // 4), 4)
        bits = true_bits * rng.gamma(2, subjects / 2, K) + rng.normal(0, 0.02, K)
        means = [TextMean(1, 0, K), text_mean(32 * bits, np.full(K, 32)), TextMean(0, 0, K)]
        answer, low, high = context._effective((32, 64, 128), means)
        covered.append(low <= truth <= high)
        answers.append(answer)
    assert 0.93 <= np.mean(covered) <= 0.98
    assert answers.count(64) == pytest.approx(300, abs=40)


def test_loss_is_reported_by_class_by_distance_and_beside_ngrams():
    """Documents are 100 digits, then letters and spaces."""
    vocabulary = Vocabulary(" 0123456789abcdefghijжя")
    rng = np.random.default_rng(0)
    letters, digits = rng.choice([0, *range(11, 23)], (160, 80)), rng.integers(1, 11, (160, 20))
    ids = np.concatenate([digits, letters], axis=1).reshape(-1)
    starts = np.arange(160) * 100
    ngrams = {n: BackoffNgram(vocabulary, ids, n) for n in (2, 3)}
    echo = Echo(vocabulary, 8)
    result = context.measure(echo, ids, starts=starts, ngrams=ngrams, contexts=(4, 8))
    assert [one.name for one in result.classes] == ["letter", "digit", "space", "other scripts"]
    assert sum(one.positions for one in result.classes) == result.positions
    for one in result.classes:
        assert one.excess[2].value == 0
    by_place = {one.name: one.bits.value for one in result.beginnings}
    assert [*by_place] == ["4–7", "8–15", "16–31", "32–63", "64–127"]
    first, second = result.ngrams
    assert second.gain.value == pytest.approx(first.bits.value - second.bits.value)
    text = " ".join(to_text([section({"run": (result, result)})], verbose=True).split())
    assert "by character class" in text
    assert "since the document began" in text
    assert "n-grams of the training text" in text
    assert context.character_classes("aбc1 .!\n日ß").tolist() == [
        *("letter", "other scripts", "letter", "digit", "space", "punctuation", "punctuation"),
        *("space", "other scripts", "letter"),
    ]


def test_mutual_information_of_the_text_and_of_a_sample_stand_side_by_side():
    """A sample of an echo repeats itself after 8 characters, as its text does."""
    result = measure(Echo(ABC, 8), echoing(8), sample_chars=4096)
    for found in (result.text_memory, result.sample_memory):
        assert found.distances == (1, 2, 4, 8, 16, 32, 64)
        assert found.bits[3] > 10 * max(found.bits[:3])
        assert found.fits == () or found.fits[0].law in ("exponential", "power law")
    values = json.loads(json.dumps(result.to_json()))
    assert ContextResult.from_json(values).sample_memory == result.sample_memory
    assert "sample of the model" in to_text([section({"run": (result, result)})], verbose=True)
    assert measure(Echo(ABC, 8), echoing(8)).sample_memory is None


def test_a_short_document_is_read_from_its_beginning_only():
    """With 20 characters per document nothing farther back can matter."""
    text, starts = np.tile([*range(1, 5), *[0] * 16], 200), np.arange(200) * 20
    result = context.measure(Echo(ABC, 24), text, starts=starts, contexts=(4, 8, 32))
    assert [row.swap.value for row in result.rows] == [0, 0, 0, 0]
    assert result.full_bits == pytest.approx(np.log2(5))
    result = context.measure(Echo(ABC, 4), text, starts=starts, contexts=(2, 4, 8))
    assert result.rows[1].swap.low > 0
    assert [row.swap.value for row in result.rows[2:]] == [0, 0]


def test_a_short_text_has_fewer_contexts_or_is_refused():
    short = context.measure(UniformPredictor(ABC), NATURAL[:600])
    expected = "not measured: the text has 600 characters, at least 642 are needed"
    assert short.finding() == short.refusal == expected
    assert ContextResult.from_json(json.loads(json.dumps(short.to_json()))) == short
    assert expected in to_text([section({"run": (short, short), "b": (short, None)})])
    assert compare_bits({"a": short, "b": short}) == ()
    seen = []
    options = {"contexts": (1, 2, 512), "progress": lambda *counts: seen.append(counts)}
    enough = context.measure(UniformPredictor(ABC), NATURAL[:642], **options)
    assert [done for done, _ in seen] == [*range(1, seen[0][1] + 1)]
    assert ([row.context for row in enough.rows], enough.positions) == ([0, 1], 640)
    assert enough.finding().startswith("uses no context")


RESULT = measure(Echo(ABC, 32), echoing(32), trained_timesteps=64)
UNTRAINED = measure(UniformPredictor(ABC), echoing(32), trained_timesteps=64)


def test_json_has_units_is_a_function_of_the_seed_and_is_read_back():
    values = json.loads(json.dumps(RESULT.to_json()))
    again = measure(Echo(ABC, 32), echoing(32), trained_timesteps=64)
    assert json.dumps(again.to_json()) == json.dumps(RESULT.to_json())
    assert measure(Echo(ABC, 32), echoing(32), seed=1).to_json() != values
    assert values["effective_context_chars"] == values["effective_context_high_chars"] == 32
    assert (values["instrument"], values["chars"], values["bar_bits"]) == ("context", 6000, 0.0144)
    row = values["contexts"][3]
    assert row["excess_bits_low"] < row["excess_bits"] < row["excess_bits_high"]
    assert {"context_chars", "reset_excess_bits_high", "reset_minus_swap_bits"} <= set(row)
    for row in values["contexts"][1:]:
        low, high = row["reset_minus_swap_bits_low"], row["reset_minus_swap_bits_high"]
        differs = abs(row["reset_minus_swap_bits"]) >= 0.0144 and not low <= 0 <= high
        assert row["disagree"] == differs == (row["context_chars"] in values["disagree_at_chars"])
    assert [row["beyond_timesteps"] for row in values["contexts"][7:9]] == [False, True]
    assert ContextResult.from_json(values) == structs.replace(RESULT, block_bits=())
    assert sum(RESULT.block_bits) / RESULT.positions == pytest.approx(RESULT.full_bits)


def test_the_report_of_a_run_has_every_context_and_a_figure_with_controls():
    report = section({"run": (RESULT, UNTRAINED)})
    assert report.finding == RESULT.finding()
    (excess,) = blocks_of(Table, report)
    zero = "0.0000 (0.0000–0.0000)"
    assert excess.header == ["n", "swap", "reset", "untrained", ""]
    assert ("32", zero, zero, zero, "effective") in excess.rows
    assert len(excess.rows) == 11
    assert excess.rules == [(8, "training length (64)")]
    assert all(len(line) <= 100 for line in to_text([report]).splitlines())
    for low, high, bands in ((16, 64, 1), (16, None, 1), (32, 32, 0), (None, None, 0)):
        result = structs.replace(RESULT, effective_low=low, effective_high=high)
        (figure,) = blocks_of(Figure, section({"run": (result, UNTRAINED)}))
        (axes,) = figure.draw(PICTURE, "title").axes
        assert len(axes.patches) == bands
    labels = axes.get_legend_handles_labels()[1]
    assert {"swap: context replacement", "reset: zero state", "untrained, swap"} <= set(labels)
    assert any("0.0144" in label for label in labels)
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"training length (64)", "effective context length 32"}


def test_the_command_respects_documents_and_takes_a_swap_text(home, capsys):
    rng, out = np.random.default_rng(0), Path("found.json")
    Path("a.txt").write_text("\n\n".join(" ".join(word(rng) for _ in range(40)) for _ in range(25)))
    chargen.train("a.txt", "run", units=(4,), steps=1, documents="blank-line")
    probe = ["probe-longrange", "run", "--only", "context", "--json", str(out)]
    assert main(probe) == 0
    found = json.loads(out.read_text())["context"]["trained"]
    assert (found["documents"], found["lower_bound"]) == (3, False)
    assert found["beginnings"]
    assert [row["order"] for row in found["ngrams"]] == [2, 3, 5, 9, 17]
    Path("short.txt").write_text("abc")
    assert main([*probe, "--only", "context,mined", "--swap-text", "short.txt"]) == 2
    assert capsys.readouterr().err.count("swap text: has 3 characters, at least") == 2
