"""Training tiny models: settings, schedule, learning, early stopping, divergence, dynamic loss."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

import chargen
from chargen import evaluation
from chargen.errors import ChargenError, NonFiniteError
from chargen.evaluation import evaluate
from chargen.predictors import BackoffNgram
from chargen.recurrent import LAYERS, CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.runs.directory import BEST, LAST, Run
from chargen.settings import ModelSettings, SamplingSettings, TrainingSettings
from chargen.text import Vocabulary
from chargen.text.windows import IGNORED, ShuffledWindows, Streams
from chargen.training.defaults import fit
from chargen.training.dynamic import EPSILON, DynamicSettings, evaluate_dynamic
from chargen.training.loop import Schedule, Trainer, steps_between_validations
from chargen.training.session import start
from chargen.training.step import next_char_loss
from chargen.training.teacher import FOLDS, NgramTeacher

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 25
TINY = {"units": (8,), "timesteps": 8, "batch_size": 4, "learning_rate": 0.02}
STAGED = {"curriculum": (2, 4), "timesteps": 8, "batch_size": 4}


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr("chargen.training.loop.VALIDATION_COST", 100)  # every 25 steps
    path = tmp_path / "cat.txt"
    path.write_text(TEXT)
    return path


def train(corpus, out, should_stop=lambda step: False, **settings):
    """Train to the end; return the trainer and its reports."""
    resume = settings.pop("resume", False)
    chosen = settings if resume else {**TINY, **settings}
    with start([corpus], chosen, out, resume=resume) as session:
        trainer = session.trainer
        reports = list(trainer.reports(lambda: should_stop(trainer.counters.step)))
        return trainer, reports


# The loss


def test_loss_is_the_mean_over_counted_steps():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 3, IGNORED], [IGNORED, 2, 1]])
    log_probs = logits.log_softmax(dim=2)
    counted = [log_probs[0, 0, 0], log_probs[0, 1, 3], log_probs[1, 1, 2], log_probs[1, 2, 1]]
    torch.testing.assert_close(next_char_loss(logits, targets), -torch.stack(counted).mean())
    assert next_char_loss(logits, torch.full((2, 3), IGNORED)).item() == 0


# The schedule and the window sizes


def test_learning_rate_warms_up_and_falls_to_zero():
    schedule = Schedule.of(TrainingSettings(steps=1000, learning_rate=0.5), 10)
    rates = [schedule.rate(step, 0) for step in range(1001)]
    assert rates[0] == pytest.approx(0.5 / 100, rel=0.01)
    assert max(rates) == rates[99] == pytest.approx(0.45, rel=0.01)
    assert rates[500] == pytest.approx(0.25)
    assert rates[1000] == 0
    short = Schedule.of(TrainingSettings(steps=10), 10)
    assert short.rate(0, 0) == TrainingSettings().learning_rate


def test_budgets_in_epochs_and_minutes():
    epochs = Schedule.of(TrainingSettings(epochs=2.5), 100)
    assert [epochs.used(step, 99) for step in (0, 125, 250)] == [0, 0.5, 1]
    minutes = Schedule.of(TrainingSettings(minutes=2), 100)
    assert [minutes.used(99, seconds) for seconds in (0, 60, 120)] == [0, 0.5, 1]
    assert Schedule.of(TrainingSettings(), 100).used(0, 300) == 1
    both = Schedule.of(TrainingSettings(epochs=1, minutes=2), 100)
    assert [both.used(*at) for at in ((50, 30), (50, 90), (100, 1), (1, 120))] == [0.5, 0.75, 1, 1]


def test_validation_costs_the_same_share_for_any_corpus_size():
    settings = TrainingSettings(batch_size=16, timesteps=64)
    for chars in (10**6, 10**8, 10**10):
        every = steps_between_validations(settings, chars, chars * 9 // 10)
        assert 0.6 * chars / 10 / (every * 16 * 64) == pytest.approx(0.05, rel=0.01)
    assert steps_between_validations(settings, 1000, 900) == 25


def test_window_sizes_adapt_to_a_short_text():
    for chars in (2, 65, 270, 1024, 1025, 10**6):
        fitted, notes = fit(TrainingSettings(), chars)
        assert 1 <= fitted.timesteps * fitted.batch_size <= chars - 1
        assert bool(notes) == ((fitted.timesteps, fitted.batch_size) != (64, 16)) == (chars < 1025)
    assert fit(TrainingSettings(timesteps=200), 270)[0].timesteps == 200
    fitted, notes = fit(TrainingSettings(batch_size=20), 270)
    assert (fitted.batch_size, fitted.timesteps) == (20, 13)
    assert notes == ["short text: timesteps 13 instead of 64"]
    for given in ({"timesteps": 270}, {"batch_size": 5, "timesteps": 64}, {"loss_on": 65}):
        with pytest.raises(ChargenError, match="{}={}".format(*next(iter(given.items())))):
            fit(TrainingSettings(**given), 270)


# Settings


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3, "minutes": 3}, {"steps": 3, "epochs": 3, "minutes": 3},
        {"steps": 0}, {"steps": 1.5}, {"epochs": -1}, {"minutes": math.nan}, {"timesteps": 0},
        {"batch_size": -3}, {"curriculum": (0,)}, {"curriculum": (4, 4), "timesteps": 8},
        {"curriculum": (4, 8), "timesteps": 8}, {"loss_on": "first"}, {"loss_on": 0},
        {"state": "kept"}, {"resets": 1}, {"resets": 0.1, "state": "reset"},
        {"learning_rate": 0}, {"weight_decay": -1}, {"clip_norm": 0}, {"average": 1},
        {"dropout": 1}, {"precision": "float16"}, {"validation": -0.1}, {"validation": 1},
        {"patience": -1}, {"seed": -1}, {"cell": "rnn"}, {"units": ()}, {"units": (8, 0)},
        {"activation": "swish"}, {"units": (4, 5), "stack": "residual"}, {"stack": "ring"},
        {"reset_after": False}, {"reset_after": 0, "cell": "gru"}, {"cell": "gru-before"},
        {"temperature": -1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0},
        {"top_p": 0}, {"top_p": 2}, {"min_p": 0}, {"min_p": 1.1}, {"repetition_penalty": 0.9},
        {"beam": 0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_are_checked_and_named(settings):
    name = next(iter(settings))
    kinds = (ModelSettings, TrainingSettings, SamplingSettings)
    kind = next(kind for kind in kinds if name in kind.__struct_fields__)
    with pytest.raises(ChargenError, match=f"^{name}(=| )"):
        kind(**settings)


# Learning


@pytest.mark.parametrize(
    ("cell", "stack", "state"),
    [("lstm", "plain", "reset"), ("mingru", "residual", "carry")]
    + [(cell, "plain", "carry") for cell in LAYERS],
)
def test_every_cell_learns(corpus, tmp_path, cell, stack, state):
    settings = {"cell": cell, "stack": stack, "units": (12, 12), "state": state}
    trainer, reports = train(corpus, tmp_path / "run", steps=100, **settings)
    assert trainer.ending == "step budget reached"
    uniform = math.log(len(trainer.predictor.vocabulary))
    assert reports[0].train_loss_nats == pytest.approx(uniform, rel=0.2)
    assert trainer.counters.best_loss < 0.9 * reports[0].train_loss_nats
    assert reports[-1].step == 100


def test_reports_and_progress(corpus, tmp_path, monkeypatch):
    trainer, reports = train(corpus, tmp_path / "run", steps=60)
    assert [report.step for report in reports] == list(range(1, 61))
    assert reports[-1].budget_used == 1
    chars = [report.chars for report in reports]
    assert (chars[0], chars[33]) == (32, 1080)  # an epoch of 34 steps
    validated = [report.step for report in reports if report.validation_loss_nats is not None]
    assert validated == [25, 50, 60]
    assert [line["step"] for line in trainer.run.progress()] == validated
    ids = trainer.predictor.vocabulary.encode(TEXT)
    monkeypatch.setattr(evaluation, "STREAMS", 1)
    measured = evaluate(trainer.predictor, ids, 1080)
    assert reports[-1].validation_loss_nats == pytest.approx(measured.loss_nats, abs=1e-6)


def test_best_weights_are_kept(corpus, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(Trainer, "_validate", lambda self: next(losses))
    trainer, _ = train(corpus, tmp_path / "run", steps=100)
    best, last = (trainer.run.read_checkpoint(name) for name in (BEST, LAST))
    assert best.values == {"step": 50, "validation_loss_nats": 1.0}
    assert last.values["step"] == 100
    assert (best.arrays["model.W_hy"] != last.arrays["model.W_hy"]).any()


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"patience": 3}, 100),  # validations are 25 steps apart
        ({"patience": 0}, 174),
        ({"patience": 3, **STAGED}, 174),  # patience starts again in each stage
    ],
    ids=str,
)
def test_early_stopping(corpus, tmp_path, monkeypatch, settings, steps):
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0)
    trainer, reports = train(corpus, tmp_path / "run", steps=174, **settings)
    assert reports[-1].step == steps
    ending = "no improvement in 3 validations" if steps < 174 else "step budget reached"
    assert trainer.ending == ending


def test_loss_reads_the_counted_steps_only(corpus, tmp_path, monkeypatch):
    seen = []

    def spy(logits, targets, counted):
        seen.append((logits.shape[1], targets.shape[1]))
        return next_char_loss(logits, targets, counted)

    monkeypatch.setattr("chargen.training.step.next_char_loss", spy)
    for loss_on in ("all", "last", 3):
        train(corpus, tmp_path / f"{loss_on}", loss_on=loss_on, steps=1)
    assert seen == [(8, 8), (1, 1), (3, 3)]


def test_gradient_norm_is_clipped(corpus, tmp_path):
    plain, _ = train(corpus, tmp_path / "a", steps=1)
    clipped, reports = train(corpus, tmp_path / "b", steps=1, clip_norm=1e-12, weight_decay=0)
    assert reports[0].gradient_norm > 0.1
    assert plain.model.b_y.abs().max() > 0.01
    assert clipped.model.b_y.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("setting", "own"), [("recurrent_rate", "W_hh"), ("input_rate", "layers.0.W_xh")]
)
def test_some_weights_have_a_learning_rate_of_their_own_but_no_other_decay(
    corpus, tmp_path, setting, own
):
    changes = []
    for multiple in (1.0, 0.25):
        given = {**TINY, "units": (8, 8), "steps": 1, "weight_decay": 0.5, setting: multiple}
        with start([corpus], given, tmp_path / f"{multiple}") as session:
            weights = session.trainer.model.state_dict()
            before = {name: weight.clone() for name, weight in weights.items()}
            (report,) = session.trainer.reports()
            changes.append({name: weight - before[name] for name, weight in weights.items()})
    for name, change in changes[0].items():
        decay = -0.5 * report.learning_rate * before[name]
        expected = 0.25 * (change - decay) + decay if name.endswith(own) else change
        torch.testing.assert_close(changes[1][name], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("state", "carried"), [("carry", [False, True, True] * 2), ("reset", [False] * 6)]
)
def test_state_is_carried_within_an_epoch_or_reset(corpus, tmp_path, windows, state, carried):
    corpus.write_text(TEXT[:100])  # three batches of 4 x 8
    train(corpus, tmp_path / "run", state=state, steps=6)
    assert [has_state for _, has_state, _ in windows] == carried


def test_predicting_weights_are_running_averages(corpus, tmp_path):
    with start([corpus], {**TINY, "steps": 40, "average": 0.25}, tmp_path / "run") as session:
        trainer, means = session.trainer, {}
        for report in trainer.reports():
            for name, weight in trainer.model.state_dict().items():
                own = weight.numpy().astype(np.float64)
                mean = means.get(name, own)
                means[name] = mean + (own - mean) / max(1.0, 0.25 * report.step)
        arrays = trainer.run.read_checkpoint(LAST).arrays
        predicting = trainer.predictor.model.state_dict()
    for name, weight in trainer.model.state_dict().items():
        np.testing.assert_allclose(arrays[f"model.{name}"], means[name], rtol=1e-4, atol=1e-6)
        assert np.array_equal(arrays[f"model.{name}"], predicting[name].numpy())
        assert np.array_equal(arrays[f"unaveraged.{name}"], weight.numpy())
    assert not np.allclose(arrays["model.W_hy"], arrays["unaveraged.W_hy"], rtol=1e-3)


# The curriculum


def test_stages_share_the_budget_and_start_at_the_beginning(corpus, tmp_path, windows):
    _, reports = train(corpus, tmp_path / "run", **STAGED, steps=9)
    assert [ids.shape for ids, _, _ in windows] == [(16, 2)] * 3 + [(8, 4)] * 3 + [(4, 8)] * 3
    assert [has_state for _, has_state, _ in windows] == [False, True, True] * 3
    assert [report.chars for report in reports] == [32 * step for step in range(1, 10)]


def test_larger_budget_goes_back_to_no_earlier_stage(corpus, tmp_path, windows):
    train(corpus, tmp_path / "run", lambda step: step == 5, **STAGED, steps=6)
    windows.clear()
    trainer, _ = train(corpus, tmp_path / "run", resume=True, steps=60)
    assert trainer.counters.step == 60
    assert {len(ids) for ids, _, _ in windows} == {4}


# Distillation


def test_the_teacher_predicts_each_part_of_a_text_from_the_others():
    text = "".join(np.random.default_rng(0).choice([*"abcd", "the ", "cat\n"], 2000))
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    found = NgramTeacher(ids, len(vocabulary))(np.arange(len(ids))[None])[0]
    bounds = -(-len(ids) * np.arange(FOLDS + 1) // FOLDS)
    for first, end in pairwise(bounds):
        others = BackoffNgram(vocabulary, np.concatenate([ids[:first], ids[end:]]), 6)
        expected = np.exp(others.advance(ids[None, first : end - 1])[0][0])
        close = np.isclose(found[first + 1 : end], expected, atol=0.01).all(1)
        assert close.mean() > 0.9  # n-grams across a border count for the teacher alone


@pytest.mark.parametrize(("state", "windows"), [("carry", Streams), ("reset", ShuffledWindows)])
def test_a_model_learns_from_text_and_teacher(corpus, tmp_path, state, windows):
    given = {**TINY, "steps": 1, "distillation": 0.75, "state": state}
    with start([corpus], given, tmp_path / "run") as session:
        trainer = session.trainer
        text = trainer.text.ids[: trainer.run.description.corpus.training_chars]
        size = len(trainer.text.vocabulary)
        batch = windows(text, 4, 8, teacher=NgramTeacher(text, size)).batch(0, 0)
        ids, targets, soft = map(torch.from_numpy, (batch.inputs, batch.targets, batch.soft))
        kept = targets != IGNORED
        logits, _ = trainer.model(ids)
        wanted = 0.25 * one_hot(targets.clamp(min=0), size) + 0.75 * soft
        cross_entropy(logits[kept], wanted[kept]).backward()
        norm = sum(weight.grad.square().sum() for weight in trainer.model.parameters()).sqrt()
        (report,) = trainer.reports()
        assert report.gradient_norm == pytest.approx(norm.item(), rel=1e-5)


def test_ignored_targets_have_no_part_in_distillation():
    logits, soft = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 3, IGNORED], [IGNORED, 2, 1]])
    costs = -(soft.softmax(2) * logits.log_softmax(2)).sum(2)[targets != IGNORED]
    found = next_char_loss(logits, targets, None, soft.softmax(2))
    torch.testing.assert_close(found, costs.mean())


# Divergence


@pytest.mark.parametrize(
    ("what", "step", "kept"),
    [("loss", 31, [25]), ("gradient", 31, [25]), ("first", 1, []), ("nan", 50, [25]),
     ("error", 50, [25])],
)  # fmt: skip
def test_divergence_keeps_the_last_good_weights(corpus, tmp_path, monkeypatch, what, step, kept):
    calls = []

    def poisoned(logits, targets, counted):
        loss = next_char_loss(logits, targets, counted)
        calls.append(loss)
        if len(calls) < step or what in ("nan", "error"):  # in these, the validation diverges
            return loss
        return loss * 0 + (logits[0, 0, 0] * 0).sqrt() if what == "gradient" else loss * math.inf

    def validated(*arguments, **named):
        if len(calls) == 50 and what == "error":
            raise NonFiniteError
        return np.array([math.nan if len(calls) == 50 else 2.0, 1.0])

    if what in ("nan", "error"):
        monkeypatch.setattr("chargen.training.loop.losses", validated)
    monkeypatch.setattr("chargen.training.step.next_char_loss", poisoned)
    message = "keeps the last good weights; try a lower learning_rate" if kept else "has no weights"
    with pytest.raises(ChargenError, match=rf"diverged at step {step} .*{message}"):
        train(corpus, tmp_path / "run", steps=100)
    run = Run.open(tmp_path / "run")
    assert [line["step"] for line in run.progress()] == kept
    for name in (BEST, LAST) if kept else ():
        checkpoint = run.read_checkpoint(name)
        assert checkpoint.values["step"] == 25
        assert all(np.isfinite(array).all() for array in checkpoint.arrays.values())


FROZEN = DynamicSettings(learning_rate=0.0, decay=0.0, timesteps=4)
READ = np.random.default_rng(0).integers(6, size=60)
ASKED = np.tile(np.random.default_rng(1).integers(6, size=11), 20)


@pytest.fixture
def model():
    return CharModel.seeded(ModelSettings(units=(7, 5)), 6, 0)


def dynamic(model, ids, start=1, adapting=FROZEN, starts=None):
    return evaluate_dynamic(model, ids, start, READ, adapting, starts)


@pytest.mark.parametrize(
    ("start", "starts"), [(1, None), (200, None), (40, np.array([0, 3, 10, 50, 51, 200]))]
)
def test_without_learning_the_loss_is_the_static_one(model, start, starts, monkeypatch):
    monkeypatch.setattr(evaluation, "STREAMS", 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = dynamic(model, ASKED, start, FROZEN, starts)
    predictor = NetworkPredictor(model, Vocabulary("abcdef"))
    wanted = evaluate(predictor, ASKED, start, starts)
    assert found.loss_nats == pytest.approx(wanted.loss_nats, abs=1e-6)
    assert (found.accuracy, found.chars) == (wanted.accuracy, wanted.chars)
    dynamic(model, ASKED, start, DynamicSettings(learning_rate=0.1), starts)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_update_rule_is_that_of_the_paper_and_non_finite_weights_are_an_error(model, monkeypatch):
    """Compare with the rule written out, over three stretches and every training window."""
    monkeypatch.setattr("chargen.training.dynamic.WINDOWS", 10**6)
    adapting = DynamicSettings(learning_rate=0.03, decay=0.2, timesteps=6)
    own = CharModel.seeded(ModelSettings(units=(7, 5)), 6, 0)
    weights = list(own.parameters())

    def gradients(ids, state=None):
        row = torch.from_numpy(ids)[None]
        logits, state = own(row[:, :-1], state)
        loss = cross_entropy(logits[0], row[0, 1:])
        own.zero_grad()
        loss.backward()
        after = tuple(tuple(part.detach() for part in layer) for layer in state)
        return loss.item(), [weight.grad.clone() for weight in weights], after

    every = [gradients(READ[at : at + 7])[1] for at in range(len(READ) - 6)]
    usual = [torch.stack(of).square().mean(0).sqrt() for of in zip(*every, strict=True)]
    mean = torch.cat([root.flatten() for root in usual]).mean()
    trained = [weight.detach().clone() for weight in weights]
    lost, state = [], None
    for at in range(1, 19, 6):
        nats, found, state = gradients(ASKED[at - 1 : at + 6], state)
        lost.append(nats)
        for weight, gradient, root, learned in zip(weights, found, usual, trained, strict=True):
            weight.data -= 0.03 * gradient / (root + EPSILON)
            weight.data += (0.2 * root / mean).clamp(max=1) * (learned - weight.data)
    result = dynamic(model, ASKED[:19], adapting=adapting)
    assert result.loss_nats == pytest.approx(np.mean(lost), abs=1e-5)
    with pytest.raises(NonFiniteError):
        dynamic(model, ASKED, adapting=DynamicSettings(learning_rate=1e38))


def test_command_reports_the_dynamic_loss_separately(at_run, monkeypatch, cli):
    monkeypatch.setattr("chargen.training.dynamic.WINDOWS", 20)
    plain = json.loads(cli(["evaluate", "--json"]).out)
    both = json.loads(cli(["evaluate", "--json", "--dynamic"]).out)
    found = both.pop("dynamic")
    assert plain == {**both, "dynamic": None}
    assert found["chars"] == both["chars"]
    assert found == chargen.load("runs/cat").evaluate_dynamic().to_json()
    assert found["loss_nats"] < both["loss_nats"]
    assert "\nmodel, dynamic " in cli(["evaluate", "--dynamic", "runs/cat", "cat.txt"]).out
