"""Tasks whose floor is known: what their texts say, and what fakes of known memory win."""

import re
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import READERS, Dealt, Habit, Solver

from chargen.cells import CELL_NAMES
from chargen.datasets import bundled
from chargen.datasets.tasks import LONGEST_SPAN, TASKS, task_named
from chargen.errors import ChargenError
from chargen.predictors import UniformPredictor
from chargen.probes.cells.tasks import PREFIX_CHARS, by_round, measure
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

VARIANTS = [(name, variant) for name, task in TASKS.items() for variant in task.floors]
ALL = pytest.mark.parametrize("name", TASKS)
EACH = pytest.mark.parametrize(("name", "variant"), VARIANTS)
SPANS = (4, 8, 16, 32, 64, 128, 256)
FOREVER = 10**9
PARTNERS = {")": "(", "]": "[", "}": "{", ">": "<"}

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)
wanted = st.lists(st.integers(0, 1500), max_size=2)


def rng_of(seed):
    return np.random.default_rng(seed)


def lines_of(name, seed, chars=4000):
    return TASKS[name].corpus(chars, seed).splitlines(keepends=True)


def depths(text):
    """How deep it is nested after each character; what does not match is an error."""
    opened, found = [], []
    for char in text:
        if char in PARTNERS:
            assert opened.pop() == PARTNERS[char]
        else:
            opened.append(char)
        found.append(len(opened))
    assert not opened
    return found


def asked(result, variant=""):
    """Share right by span."""
    return {row.span: row.right.share for row in result.of(variant)}


# ---- texts


@ALL
def test_a_corpus_is_whole_lines_and_a_function_of_its_seed(name):
    task = TASKS[name]
    text = task.corpus(3000, 5)
    assert text == task.corpus(3000, 5) != task.corpus(3000, 6)
    assert task.corpus(9000, 5).startswith(text)
    assert len(text) >= 3000 > len(text) - len(text.splitlines(keepends=True)[-1])
    assert text.endswith("\n")
    assert bundled.read(name, 3000, seed=5) == text[:3000]


def test_the_size_of_a_text_is_known_before_it_is_made(monkeypatch):
    monkeypatch.setattr(bundled, "GENERATED_CHARS", 20_000)
    for name in bundled.names():
        assert bundled.size(name) == pytest.approx(len(bundled.read(name)), abs=4000)
    assert bundled.size("fables") == len(bundled.read("fables"))
    monkeypatch.setattr(type(TASKS["copy"]), "corpus", None)  # nothing is made
    assert bundled.size("copy") == 20_000


@few
@given(seeds)
def test_copies_equal_what_they_copy(seed):
    for line in lines_of("copy", seed):
        symbols, delay, copy = re.fullmatch(r"([a-h]{10})(\.*)\|([a-h]{10})\n", line).groups()
        assert copy == symbols
        assert 10 + len(delay) <= LONGEST_SPAN


@few
@given(seeds)
def test_a_read_tells_the_last_write_and_no_span_is_longer_than_told(seed):
    for line in lines_of("flipflop", seed, 8000):
        assert re.fullmatch(r"(w[01])([wir][01])*\n", line)
        written, place = "", 0
        for at in range(0, len(line) - 1, 2):
            command, bit = line[at : at + 2]
            if command == "w":
                written, place = bit, at + 1
            elif command == "r":
                assert bit == written
                assert at + 1 - (place + 1) <= LONGEST_SPAN


@few
@given(seeds)
def test_what_is_recalled_was_told_and_values_differ(seed):
    for line in lines_of("recall", seed, 6000):
        assert re.fullmatch(r"([a-z]{2}\d)+(\.*[a-z]{2}\d)*\n", line)
        said = [(found[0], found.start()) for found in re.finditer(r"[a-z]{2}\d", line)]
        pairs = [pair for n, (pair, _) in enumerate(said) if pair not in line[: said[n][1]]]
        recalled = said[len(pairs) :]
        assert len(pairs) in (2, 4, 8)
        assert "".join(pairs) == line[: 3 * len(pairs)]
        assert len({pair[:2] for pair in pairs}) == len({pair[2] for pair in pairs}) == len(pairs)
        assert len({pair for pair, _ in recalled}) == len(recalled) <= 4
        for pair, at in recalled:
            assert at + 2 - (3 * pairs.index(pair) + 3) <= LONGEST_SPAN


@few
@given(seeds)
def test_brackets_match_and_are_not_too_deep(seed):
    for line in lines_of("brackets", seed):
        found = depths(line.rstrip("\n"))
        assert max(found) <= 4
        assert 0 not in found[:-1]  # one pair is round all
        assert len(line) - 3 <= LONGEST_SPAN


def test_keys_of_trials_are_never_told_in_a_corpus():
    def keys(texts):
        return {key for text in texts for key in re.findall("[a-z]{2}", text)}

    rng = rng_of(0)
    trials = TASKS["recall"].trials
    asked_for = keys(t.text for _ in range(400) for t in trials("8 pairs", 64, rng)[:1])
    learned = keys([TASKS["recall"].corpus(60_000, 0)])
    assert len(learned) == len(asked_for) == 26 * 26 / 2
    assert not learned & asked_for


@EACH
@few
@given(seeds, wanted)
def test_in_a_round_every_candidate_is_right_equally_often_at_an_exact_span(
    name, variant, seed, wanted
):
    task = TASKS[name]
    for span in task.nearest(wanted, variant):
        trials = task.trials(variant, span, rng_of(seed))
        assert len({len(trial.text) for trial in trials}) == 1  # position says nothing
        for answers in zip(*(trial.answers for trial in trials), strict=True):
            assert sorted(answers) == list(range(len(task.candidates)))
        for trial in trials:
            assert trial.places[-1] == len(trial.text) - 1
            for place, answer in zip(trial.places, trial.answers, strict=True):
                assert trial.text[place] == task.candidates[answer]
                assert source(name, trial.text, place) == place - span - 1


def source(name, text, place):
    """Where what must be remembered ends, found by the rules of the task."""
    reader = READERS[name]()
    for at, char in enumerate(text[:place]):
        found = reader.read(char, at)
    assert found[0] == text[place]
    return found[1]


@few
@given(seeds)
def test_in_a_trial_nothing_tells_the_bit_a_second_time(seed):
    for trial in TASKS["flipflop"].trials("", 65, rng_of(seed)):
        assert (trial.text.count("w"), trial.text.count("r")) == (1, 1)


@EACH
def test_nearest_gives_spans_near_those_wanted_and_the_shortest(name, variant):
    task = TASKS[name]
    shortest = task.shortest_spans[variant]
    found = task.nearest((4, 64, 64, 1024), variant)
    assert found[0] == shortest
    assert list(found) == sorted(set(found))
    assert {64, 1024} <= {span - span % task.stride for span in found}
    assert task.nearest((), variant) == (shortest,)
    assert task.nearest((0,), variant) == (shortest,)


def test_each_pair_is_asked_equally_often_at_every_span():
    task = TASKS["recall"]
    for pairs in (2, 4, 8):
        variant = f"{pairs} pairs"
        rng = rng_of(pairs)
        places = [
            task.trials(variant, task.shortest_spans[variant], rng)[0] for _ in range(100 * pairs)
        ]
        counts = np.bincount([trial.text.index(trial.text[-3:]) // 3 for trial in places])
        assert len(counts) == pairs
        assert min(counts) > 60


def test_an_unknown_task_is_a_mistake():
    assert task_named("copy") is TASKS["copy"]
    with pytest.raises(ChargenError, match="no task 'magic'; choose from copy, recall"):
        task_named("magic")


# ---- the instrument, with predictors whose answer is known


@ALL
def test_an_oracle_is_right_at_every_span(name):
    task = TASKS[name]
    found = measure(Solver(task, FOREVER), task, spans=(*SPANS, 512), trials=16)
    assert {row.right.share for row in found.rows} == {1}
    assert {half.text() for half in found.span50.values()} == {">" + str(found.rows[-1].span)}


@ALL
@pytest.mark.parametrize("chars", [8, 32, 128])
def test_a_memory_of_so_many_characters_is_perfect_within_and_at_the_floor_beyond(name, chars):
    task = TASKS[name]
    found = measure(Solver(task, chars), task, spans=SPANS, trials=16)
    for variant, floor in task.floors.items():
        for span, share in asked(found, variant).items():
            assert share == pytest.approx(1 if span <= chars else floor)
        half, grid = found.span50[variant], task.nearest(SPANS, variant)
        if chars < grid[0]:
            assert half.text() == f"<{grid[0]}"
        else:
            last = max(place for place, span in enumerate(grid) if span <= chars)
            assert grid[last] <= half.chars <= grid[last + 1]
            assert half.low <= half.chars <= half.high


@ALL
def test_one_that_always_says_the_same_wins_exactly_one_in_k(name):
    task = TASKS[name]
    for candidate in task.candidates:
        found = measure(Habit(task, lambda text, c=candidate: c), task, spans=(16, 64), trials=32)
        assert {row.right.share for row in found.rows} == {1 / len(task.candidates)}


@ALL
def test_one_that_knows_nothing_shares_its_credit(name):
    task = TASKS[name]
    found = measure(UniformPredictor(Vocabulary.of(task.corpus(3000, 0))), task, trials=16)
    assert {row.right.share for row in found.rows} == {1 / len(task.candidates)}
    assert all(set(row.credits) == {1 / len(task.candidates)} for row in found.rows)


@ALL
def test_dealt_out_anew_the_answers_are_nobodys(name):
    task = TASKS[name]
    found = measure(Solver(task, FOREVER), Dealt(task), spans=(16, 64), trials=400)
    for row in found.rows:
        assert abs(row.right.share - 1 / len(task.candidates)) < sampling_error(row, task)


def last_of(characters):
    def said(text):
        return next((char for char in reversed(text) if char in characters), characters[0])

    return said


def most_frequent_of(characters):
    return lambda text: max(characters, key=text[-12:].count)


def closer_of_the_last_opener(text):
    return ")]}>"["([{<".index(last_of("([{<")(text))]


def first_told(text):
    """The first value told on the line."""
    found = re.search(r"\d", text[text.rfind("\n") + 1 :])
    return found[0] if found else "0"


HABITS = [
    *((name, last_of(TASKS[name].candidates)) for name in TASKS),
    *((name, most_frequent_of(TASKS[name].candidates)) for name in TASKS),
    ("brackets", closer_of_the_last_opener),
    ("recall", first_told),
]


@pytest.mark.parametrize(("name", "said"), HABITS)
def test_no_habit_without_memory_beats_the_floor(name, said):
    task = TASKS[name]
    for row in measure(Habit(task, said), task, spans=(24,), trials=400).rows:
        if row.span >= 23:
            assert row.right.share < row.floor + sampling_error(row, task)


def sampling_error(row, task):
    """Four standard errors, since the trials of a round may all come out the same."""
    rounds = row.right.trials / len(task.candidates)
    return 4 * sqrt(row.floor * (1 - row.floor) / rounds)


@ALL
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_random_weights_do_not_beat_the_floor(name, cell):
    task = TASKS[name]
    vocabulary = Vocabulary.of(task.corpus(3000, 0))
    for seed in range(3):
        model = CharModel.seeded(ModelSettings(cell, (12,)), len(vocabulary), seed)
        found = measure(NetworkPredictor(model, vocabulary), task, spans=(16, 64), trials=200)
        for row in found.rows:
            if row.span >= 16:
                assert row.right.share < row.floor + sampling_error(row, task)


class Watched:
    """Knows nothing, and keeps what it reads."""

    def __init__(self, task):
        self.vocabulary = Vocabulary.of(task.corpus(5000, 0))
        self.texts = []

    def advance(self, ids, state=None):
        self.texts.append([self.vocabulary.decode(row) for row in ids])
        return UniformPredictor(self.vocabulary).advance(ids, state)


def read_at(task, *spans, **settings):
    """By span, the texts that were read."""
    watched = Watched(task)
    found = measure(watched, task, spans=spans, trials=16, **settings)
    return dict(zip([row.span for row in found.rows], watched.texts, strict=True))


def test_trials_follow_other_lines_whose_length_the_span_has_no_part_in():
    task = TASKS["copy"]
    before = []
    for seed in range(120):
        for span, texts in read_at(task, 64, seed=seed).items():
            trial = len(task.trials("", span, rng_of(0))[0].text)
            before.append((span, len(texts[0]) + 1 - trial))
            cut = [text[: len(text) + 1 - trial] for text in texts]
            assert all(text.endswith("\n") for text in cut)
            assert len(set(cut)) == len(cut)
    least, under = PREFIX_CHARS
    for span in (10, 64):
        chars = [count for at, count in before if at == span]
        assert least <= min(chars) < least + 8
        assert under - 8 < max(chars) < under
        assert np.mean(chars) == pytest.approx((least + under - 1) / 2, abs=10)


def test_other_spans_do_not_change_the_trials_of_one():
    task = TASKS["flipflop"]
    alone, among = read_at(task, 65), read_at(task, 17, 65, 129)
    assert alone[65] == among[65]
    assert read_at(task, 65, seed=1)[65] != alone[65]
    copied = read_at(TASKS["copy"], 64, 128).values()
    assert len({tuple(text[-9:] for text in texts) for texts in copied}) == 3  # and its own trials


def test_what_a_result_tells():
    task = TASKS["flipflop"]
    told = []
    found = measure(
        Solver(task, 64),
        task,
        spans=(32, 64, 256, 1024),
        trials=5,
        seed=3,
        controls={"uniform": UniformPredictor(Vocabulary.of("wir01\n"))},
        trained_timesteps=64,
        progress=lambda done, total: told.append((done, total)),
    )
    spans = found.to_json()["spans"]
    assert [row["span_chars"] for row in spans] == [1, 33, 65, 257, 1025]
    assert [row["beyond_timesteps"] for row in spans] == [False, False, True, True, True]
    assert [row["beyond_corpus"] for row in spans] == [False, False, False, True, True]
    assert [row["accuracy"] for row in spans] == [1, 1, 0.5, 0.5, 0.5]
    assert {row["controls"]["uniform"]["accuracy"] for row in spans} == {0.5}
    assert {(row["chance"], row["frames"]) for row in spans} == {(0.5, 6)}  # rounds are whole
    assert found.to_json()["span50"][""]["span50_chars"] == pytest.approx(46, abs=2)
    assert told[-1][0] == told[-1][1]
    assert all(a <= b for (a, _), (b, _) in pairwise(told))
    assert found.rows[0].beyond_timesteps is False
    unknown = measure(Solver(task, 64), task, spans=(4,), trials=2).to_json()
    assert unknown["spans"][0]["beyond_timesteps"] is None
    assert unknown["span50"] == {}


def test_texts_read_in_pieces_say_the_same(monkeypatch):
    task = TASKS["copy"]
    whole = measure(Solver(task, 32), task, spans=SPANS, trials=8)
    monkeypatch.setattr("chargen.evaluation.CHUNK_FLOATS", 8 * 12 * 7)
    assert measure(Solver(task, 32), task, spans=SPANS, trials=8) == whole


def test_a_model_of_another_text_is_told_what_to_learn():
    with pytest.raises(ChargenError, match=r"copy: not learned: .*train on the copy corpus"):
        measure(UniformPredictor(Vocabulary.of("abc")), TASKS["copy"], trials=8)


def test_rounds_are_what_is_independent(monkeypatch):
    assert by_round([1, 0, 1, 1], 2) == (0.5, 1)
    task, fitted = TASKS["brackets"], []
    monkeypatch.setattr(
        "chargen.probes.cells.tasks.fit", lambda spans, won, *rest: fitted.append(won)
    )
    measure(Solver(task, 8), task, spans=(8, 16), trials=32)
    assert fitted == [[(1,) * 8, (1,) * 8, (0.25,) * 8]]
