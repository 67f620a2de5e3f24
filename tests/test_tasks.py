"""Tasks with a known chance level: their texts, and what predictors of known memory score."""

import re
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from fakes import READERS, Habit, Solver, UniformPredictor
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.datasets import bundled
from chargen.datasets.tasks import LONGEST_SPAN, TASKS
from chargen.probes.cells.measure import measure_task
from chargen.probes.cells.result import by_round
from chargen.probes.statistics.span50 import fit
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text.vocabulary import Vocabulary

VARIANTS = [(name, variant) for name, task in TASKS.items() for variant in task.floors]
ALL = pytest.mark.parametrize("name", TASKS)
SPANS = (4, 8, 16, 32, 64)
FOREVER = 10**9
GRAMMAR = {
    "copy": r"[a-h]{10}\.*\|[a-h]{10}\n",
    "flipflop": r"(w[01])([wir][01])*\n",
    "recall": r"([a-z]{2}\d)+(\.*[a-z]{2}\d)*\n",
    "brackets": r"[()\[\]{}<>]+\n",
}

few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@ALL
def test_a_corpus_is_whole_lines_and_a_function_of_its_seed(name):
    task = TASKS[name]
    text = task.corpus(3000, 5)
    assert text == task.corpus(3000, 5) != task.corpus(3000, 6)
    assert task.corpus(9000, 5).startswith(text)
    assert len(text) >= 3000 > len(text) - len(text.splitlines(keepends=True)[-1])
    assert text.endswith("\n")
    assert bundled.read(name, 3000, seed=5) == text[:3000]


@ALL
@few
@given(seed=seeds)
def test_a_line_is_grammatical_and_its_cues_lie_within_the_longest_span(name, seed):
    for line in TASKS[name].corpus(6000, seed).splitlines(keepends=True):
        assert re.fullmatch(GRAMMAR[name], line)
        reader = READERS[name]()
        for at, (char, following) in enumerate(pairwise(line)):
            found = reader.read(char, at)
            if found and following in TASKS[name].candidates:
                assert following == found[0]
                assert at - found[1] <= LONGEST_SPAN


def test_keys_of_trials_never_occur_in_a_corpus():
    def keys(texts):
        return {key for text in texts for key in re.findall("[a-z]{2}", text)}

    rng, task = np.random.default_rng(0), TASKS["recall"]
    queried = keys(task.trials("8 pairs", 64, rng)[0] for _ in range(400))
    trained = keys([task.corpus(60_000, 0)])
    assert len(trained) == len(queried) == 26 * 26 / 2
    assert not trained & queried


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
@few
@given(seeds, st.lists(st.integers(0, 1500), max_size=2))
def test_each_candidate_is_correct_once_per_round_at_an_exact_span(name, variant, seed, wanted):
    task = TASKS[name]
    for span in task.nearest(wanted, variant):
        trials = task.trials(variant, span, np.random.default_rng(seed))
        (chars,) = set(map(len, trials))  # the position gives no information
        for place in range(chars - task.queried, chars):
            assert sorted(trial[place] for trial in trials) == sorted(task.candidates)
            assert all(cue_end(name, trial, place) == place - span - 1 for trial in trials)
        if name == "flipflop":  # one write, one read
            assert all((trial.count("w"), trial.count("r")) == (1, 1) for trial in trials)


def cue_end(name, text, place):
    """Return the index of the last character of the cue, by the rules of the task."""
    reader = READERS[name]()
    for at, char in enumerate(text[:place]):
        found = reader.read(char, at)
    assert found[0] == text[place]
    return found[1]


def rows(*arguments, **options):
    """Return (span, chance, credits of the trials) of every variant and span."""
    return [
        (span, one.chance, np.array(credits))
        for one in measure_task(*arguments, **options)
        for span, credits in zip(one.spans, one.credits, strict=True)
    ]


def sampling_error(chance, credits, task):
    """Return four standard errors, with the rounds as independent units."""
    return 4 * sqrt(chance * (1 - chance) * len(task.candidates) / len(credits))


@ALL
@pytest.mark.parametrize("chars", [8, 32, FOREVER])
def test_a_memory_of_m_characters_is_perfect_within_m_and_at_chance_beyond(name, chars):
    task = TASKS[name]
    for one in measure_task(Solver(task, chars), task, spans=SPANS, trials=16):
        expected = [1 if span <= chars else one.chance for span in one.spans]
        assert one.accuracy == pytest.approx(expected)
        rounds = [by_round(credits, len(task.candidates)) for credits in one.credits]
        half = fit(one.spans, rounds, one.chance, 0)
        if chars < one.spans[0]:
            assert half.text() == f"<{one.spans[0]}"
        elif chars == FOREVER:
            assert half.text() == f">{one.spans[-1]}"
        else:
            last = max(place for place, span in enumerate(one.spans) if span <= chars)
            assert one.spans[last] <= half.chars <= one.spans[last + 1]
            assert half.low <= half.chars <= half.high


@ALL
def test_constant_and_uniform_predictors_score_exactly_one_in_k(name):
    task = TASKS[name]
    chance = 1 / len(task.candidates)
    for candidate in task.candidates[:2]:
        habit = Habit(task, lambda text, c=candidate: c)
        assert {c.mean() for _, _, c in rows(habit, task, spans=(16,), trials=16)} == {chance}
    uniform = UniformPredictor(Vocabulary.of(task.corpus(3000, 0)))
    assert all(set(c) == {chance} for _, _, c in rows(uniform, task, spans=SPANS, trials=16))


def last_of(characters):
    return lambda text: next((c for c in reversed(text) if c in characters), characters[0])


HABITS = [
    *((name, last_of(task.candidates)) for name, task in TASKS.items()),
    ("copy", lambda text: max(TASKS["copy"].candidates, key=text[-12:].count)),
    ("brackets", lambda text: ")]}>"["([{<".index(last_of("([{<")(text))]),
    ("recall", lambda text: (re.findall(r"\d", text[text.rfind("\n") + 1 :]) or "0")[0]),
]


@pytest.mark.parametrize(("name", "rule"), HABITS)
def test_no_rule_without_memory_beats_chance(name, rule):
    task = TASKS[name]
    for span, chance, credits in rows(Habit(task, rule), task, spans=(24,), trials=24):
        if span >= 23:
            assert credits.mean() < chance + sampling_error(chance, credits, task)


@ALL
def test_random_weights_do_not_beat_chance(name):
    task = TASKS[name]
    vocabulary = Vocabulary.of(task.corpus(3000, 0))
    model = CharModel.seeded(ModelSettings("lstm", (12,)), len(vocabulary), 0)
    predictor = NetworkPredictor(model, vocabulary)
    for _, chance, credits in rows(predictor, task, spans=(16,), trials=24):
        assert credits.mean() < chance + sampling_error(chance, credits, task)


class Recorder:
    """A uniform predictor that records the texts that it reads."""

    def __init__(self, task):
        self.vocabulary = Vocabulary.of(task.corpus(5000, 0))
        self.texts = []

    def advance(self, ids, state=None):
        self.texts.append([self.vocabulary.decode(row) for row in ids])
        return UniformPredictor(self.vocabulary).advance(ids, state)


def texts_at(task, *spans, **options):
    """Return the texts that a predictor reads, by span."""
    recorder = Recorder(task)
    (found,) = measure_task(recorder, task, spans=spans, trials=16, **options)
    return dict(zip(found.spans, recorder.texts, strict=True))


def test_the_trials_of_a_span_do_not_depend_on_other_spans():
    task = TASKS["flipflop"]
    alone, among = texts_at(task, 65), texts_at(task, 17, 65, 129)
    assert alone[65] == among[65]
    assert texts_at(task, 65, seed=1)[65] != alone[65]
    copied = texts_at(TASKS["copy"], 64, 128).values()
    assert len({tuple(text[-9:] for text in texts) for texts in copied}) == 3


def test_rounds_are_complete_and_the_untrained_network_answers_the_same_trials():
    assert by_round([1, 0, 1, 1], 2) == (0.5, 1)
    task = TASKS["recall"]
    found = measure_task(
        Solver(task, 10**9), task, spans=(32,), trials=5, untrained=Solver(task, 0)
    )
    assert [one.variant for one in found] == ["2 pairs", "4 pairs", "8 pairs"]
    assert [one.chance for one in found] == [1 / 2, 1 / 4, 1 / 8]
    assert found[2].spans == (23, 32)
    assert found[0].accuracy == (1, 1)
    assert found[2].untrained == ((1, 8), (1, 8))
    assert measure_task(Solver(task, 0), task, spans=(32,), trials=5)[0].untrained == ()
