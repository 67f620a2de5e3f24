"""Training for real, but tiny: it learns, keeps the best, ends, and resumes to the bit."""

import json
import math

import numpy as np
import pytest
import torch

from chargen.errors import ChargenError, NoNumbersError
from chargen.evaluation import evaluate
from chargen.recurrent import LAYERS, CharModel
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import BEST, LAST, PROGRESS, Run
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text.windows import IGNORED
from chargen.training import start
from chargen.training.loop import Trainer
from chargen.training.schedule import Schedule, fit, steps_between_validations
from chargen.training.step import next_char_loss

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 25
TINY = {"units": (8,), "timesteps": 8, "batch_size": 4, "learning_rate": 0.02}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "cat.txt"
    path.write_text(TEXT)
    return path


def train(corpus, out, should_stop=lambda step: False, **settings):
    """Train to the end; returns the reports, and leaves the folder free."""
    resume = settings.pop("resume", False)
    chosen = settings if resume else {**TINY, **settings}
    with start([corpus], chosen, out, resume=resume) as session:
        trainer = session.trainer
        reports = list(trainer.reports(lambda: should_stop(trainer.counters.step)))
        return trainer, reports


# The loss


def test_the_loss_is_the_mean_over_the_steps_that_count():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 3, IGNORED], [IGNORED, 2, 1]])
    log_probs = logits.log_softmax(dim=2)
    counted = [log_probs[0, 0, 0], log_probs[0, 1, 3], log_probs[1, 1, 2], log_probs[1, 2, 1]]
    torch.testing.assert_close(next_char_loss(logits, targets), -torch.stack(counted).mean())


def test_a_batch_in_which_nothing_counts_has_no_loss():
    targets = torch.full((2, 3), IGNORED)
    assert next_char_loss(torch.randn(2, 3, 4), targets).item() == 0


@pytest.mark.parametrize(
    ("loss_on", "counted"), [("all", 8), ("last", 1), (1, 1), (3, 3), (100, 8)]
)
def test_the_loss_is_on_all_steps_or_the_last_ones(loss_on, counted):
    assert TrainingSettings(loss_on=loss_on).counted_steps(8) == counted


@pytest.mark.parametrize(("loss_on", "counted"), [("all", 8), ("last", 1), (3, 3)])
def test_the_model_is_asked_for_the_counted_steps_alone(
    corpus, tmp_path, monkeypatch, loss_on, counted
):
    seen = []

    def spy(logits, targets, counted):
        seen.append((logits.shape[1], targets.shape[1]))
        return next_char_loss(logits, targets, counted)

    monkeypatch.setattr("chargen.training.step.next_char_loss", spy)
    train(corpus, tmp_path / "run", loss_on=loss_on, steps=2)
    assert seen == [(counted, counted)] * 2


# The schedule


def test_the_rate_warms_up_and_ends_at_zero():
    schedule = Schedule.of(TrainingSettings(steps=1000, learning_rate=0.5), 10)
    rates = [schedule.rate(step, 0) for step in range(1001)]
    assert rates[0] == pytest.approx(0.5 / 100, rel=0.01)
    assert rates[99] == pytest.approx(0.45, rel=0.01)
    assert max(rates) == rates[99]
    assert rates[500] == pytest.approx(0.25)
    assert rates[1000] == 0


def test_a_short_budget_has_a_short_warm_up():
    schedule = Schedule.of(TrainingSettings(steps=10), 10)
    assert schedule.rate(0, 0) == TrainingSettings.learning_rate


def test_budgets_in_epochs_and_minutes():
    epochs = Schedule.of(TrainingSettings(epochs=2.5), 100)
    assert [epochs.used(step, 99) for step in (0, 125, 250)] == [0, 0.5, 1]
    minutes = Schedule.of(TrainingSettings(minutes=2), 100)
    assert [minutes.used(99, seconds) for seconds in (0, 60, 120)] == [0, 0.5, 1]
    assert minutes.rate(10_000, 60) == pytest.approx(TrainingSettings.learning_rate / 2)
    assert Schedule.of(TrainingSettings(), 100).used(0, 300) == 1


def test_of_epochs_and_minutes_the_first_to_be_used_up_counts():
    both = Schedule.of(TrainingSettings(epochs=1, minutes=2), 100)
    assert [both.used(*at) for at in ((50, 30), (50, 90), (100, 1), (1, 120))] == [0.5, 0.75, 1, 1]


def test_validation_takes_a_small_share_of_the_time_whatever_the_size():
    settings = TrainingSettings(batch_size=16, timesteps=64)
    for chars in (10**6, 10**8, 10**10):
        every = steps_between_validations(settings, chars, chars * 9 // 10)
        training, validation = every * 16 * 64, chars / 10 / 3
        assert validation / training == pytest.approx(0.05, rel=0.01)
    assert steps_between_validations(settings, 1000, 900) == 25


# Fitting defaults to a short text


def test_a_long_text_takes_the_defaults():
    fitted, notes = fit(TrainingSettings(), 10**6)
    assert (fitted.timesteps, fitted.batch_size, notes) == (64, 16, [])


@pytest.mark.parametrize("chars", [2, 10, 65, 270, 1000, 1025])
def test_defaults_adapt_to_a_short_text_and_say_so(chars):
    fitted, notes = fit(TrainingSettings(), chars)
    assert 1 <= fitted.timesteps * fitted.batch_size <= chars - 1
    assert bool(notes) == (chars < 1025)


@pytest.mark.parametrize(
    ("by_hand", "flag"),
    [
        ({"timesteps": 270}, "--timesteps 270"),
        ({"batch_size": 5, "timesteps": 64}, "--batch-size 5"),
        ({"batch_size": 270}, "--batch-size 270"),
        ({"loss_on": 65}, "--loss-on 65"),
        ({"loss_on": 9, "timesteps": 8}, "--loss-on 9"),
    ],
)
def test_what_was_set_by_hand_is_refused_never_bent(by_hand, flag):
    with pytest.raises(ChargenError, match=flag):
        fit(TrainingSettings(**by_hand), 270)


def test_what_was_set_by_hand_stays():
    assert fit(TrainingSettings(timesteps=200), 270)[0].timesteps == 200
    assert fit(TrainingSettings(batch_size=2), 270)[0].batch_size == 2
    fitted, notes = fit(TrainingSettings(batch_size=20), 270)
    assert (fitted.batch_size, fitted.timesteps) == (20, 13)
    assert notes == ["short text: timesteps 13 instead of 64"]


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"epochs": -1},
        {"minutes": float("nan")},
        {"timesteps": 0},
        {"batch_size": -3},
        {"curriculum": (0,)},
        {"curriculum": (4, 4), "timesteps": 8},
        {"curriculum": (4, 8), "timesteps": 8},
        {"loss_on": "first"},
        {"loss_on": 0},
        {"state": "kept"},
        {"resets": 1},
        {"resets": 0.1, "state": "reset"},
        {"learning_rate": 0},
        {"weight_decay": -1},
        {"clip_norm": 0},
        {"average": 1},
        {"dropout": 1},
        {"precision": "float16"},
        {"validation": 0},
        {"validation": 1},
        {"patience": -1},
        {"seed": -1},
    ],
    ids=str,
)
def test_training_settings_are_checked_and_named(settings):
    flag = f"--{next(iter(settings)).replace('_', '-')}"
    with pytest.raises(ChargenError, match=flag):
        TrainingSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"cell": "rnn"}, {"units": ()}, {"units": (8, 0)}, {"activation": "swish"}],
    ids=str,
)
def test_model_settings_are_checked_and_named(settings):
    with pytest.raises(ChargenError, match=f"--{next(iter(settings))}"):
        ModelSettings(**settings)


def test_one_budget_at_a_time():
    with pytest.raises(ChargenError, match="--steps and --minutes: give one"):
        TrainingSettings(steps=3, minutes=2)
    with pytest.raises(ChargenError, match="--steps and --epochs and --minutes: give one"):
        TrainingSettings(steps=3, epochs=1, minutes=2)


# Learning


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize(
    ("stack", "units"), [("plain", (12,)), ("plain", (12, 10, 8)), ("residual", (12, 12))]
)
@pytest.mark.parametrize("state", ["carry", "reset"])
def test_every_cell_learns(corpus, tmp_path, cell, stack, units, state):
    settings = {"cell": cell, "stack": stack, "units": units, "state": state}
    trainer, reports = train(corpus, tmp_path / "run", steps=300, **settings)
    assert trainer.ending == "step budget reached"
    assert reports[0].train_loss_nats == pytest.approx(math.log(len(trainer.vocabulary)), rel=0.2)
    assert trainer.counters.best_loss < 0.8 * reports[0].train_loss_nats
    assert reports[-1].step == 300


def test_reports_tell_where_training_stands(corpus, tmp_path):
    trainer, reports = train(corpus, tmp_path / "run", steps=60)
    assert [report.step for report in reports] == list(range(1, 61))
    assert reports[-1].budget_used == 1
    assert reports[-1].chars == sum(1 for _ in reports) * 32 - _short_of_32(trainer, 60)
    validated = [report.step for report in reports if report.validation_loss_nats is not None]
    assert validated == [25, 50, 60]
    lines = trainer.run.progress()
    assert [line["step"] for line in lines] == validated
    assert set(lines[0]) == {
        "step",
        "chars",
        "seconds",
        "train_loss_nats",
        "validation_loss_nats",
        "learning_rate",
        "gradient_norm",
    }


def _short_of_32(trainer, steps):
    """Characters by which the last batches of the epochs fall short of 4 x 8."""
    batches = trainer._batches
    sizes = [batches.batch(0, index % len(batches)).chars for index in range(steps)]
    return 32 * steps - sum(sizes)


def test_the_validation_loss_is_that_of_evaluate(corpus, tmp_path):
    trainer, reports = train(corpus, tmp_path / "run", steps=50)
    ids = trainer.vocabulary.encode(TEXT)
    measured = evaluate(trainer.predictor, ids, len(TEXT) * 9 // 10, streams=1)
    assert measured.chars == len(TEXT) // 10
    assert reports[-1].validation_loss_nats == pytest.approx(measured.loss_nats, abs=1e-6)


def test_the_best_weights_are_kept(corpus, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(Trainer, "_validate", lambda self: next(losses))
    trainer, _ = train(corpus, tmp_path / "run", steps=100)
    best = trainer.run.read_checkpoint(BEST)
    assert best.values == {"step": 50, "validation_loss_nats": 1.0}
    last = trainer.run.read_checkpoint(LAST)
    assert last.values["step"] == 100
    assert (best.arrays["model.W_hy"] != last.arrays["model.W_hy"]).any()


def test_training_ends_where_validation_stops_improving(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0)
    trainer, reports = train(corpus, tmp_path / "run", steps=1000, patience=3)
    assert trainer.ending == "no improvement in 3 validations"
    assert reports[-1].step == 4 * 25


def test_patience_can_be_endless(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0)
    assert train(corpus, tmp_path / "run", steps=300, patience=0)[1][-1].step == 300


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_divergence_stops_with_a_word_and_keeps_the_last_good_weights(
    corpus, tmp_path, monkeypatch, what
):
    def poisoned(logits, targets, counted):
        loss = next_char_loss(logits, targets, counted)
        poisoned.calls += 1
        if poisoned.calls <= 30:
            return loss
        return loss * math.inf if what == "loss" else loss * 0 + (logits[0, 0, 0] * 0).sqrt()

    poisoned.calls = 0
    monkeypatch.setattr("chargen.training.step.next_char_loss", poisoned)
    with pytest.raises(ChargenError, match=r"diverged at step 31 .* try a lower --learning-rate"):
        train(corpus, tmp_path / "run", steps=100)
    run = Run.open(tmp_path / "run")
    for name in (BEST, LAST):
        checkpoint = run.read_checkpoint(name)
        assert checkpoint.values["step"] == 25
        assert all(np.isfinite(array).all() for array in checkpoint.arrays.values())


@pytest.mark.parametrize("error", [None, NoNumbersError])
def test_divergence_that_validation_sees_is_no_progress(corpus, tmp_path, monkeypatch, error):
    results = iter([np.array([2.0, 1.0]), error or np.array([math.nan, 0.0])])

    def evaluated(*arguments, **named):
        result = next(results)
        if result is error:
            raise result
        return result

    monkeypatch.setattr("chargen.training.loop.losses", evaluated)
    with pytest.raises(ChargenError, match=r"diverged at step 50 .*keeps the last good weights"):
        train(corpus, tmp_path / "run", steps=100)
    run = Run.open(tmp_path / "run")
    assert [line["step"] for line in run.progress()] == [25]
    assert run.read_checkpoint(LAST).values["step"] == 25


def test_divergence_before_anything_was_saved_says_so(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "chargen.training.step.next_char_loss", lambda *a: next_char_loss(*a) * math.nan
    )
    with pytest.raises(ChargenError, match=r"diverged at step 1 .*has no weights"):
        train(corpus, tmp_path / "run", steps=100)


def test_the_gradient_is_clipped_by_norm(corpus, tmp_path):
    """An update of plain size s from a gradient of norm 1e-12 is all AdamW's epsilon leaves."""
    plain, _ = train(corpus, tmp_path / "a", steps=1)
    clipped, reports = train(corpus, tmp_path / "b", steps=1, clip_norm=1e-12, weight_decay=0)
    assert reports[0].gradient_norm > 0.1
    begun = plain.model.seeded(ModelSettings("lstm", (8,)), len(plain.vocabulary), 0).b_y
    assert (plain.model.b_y - begun).abs().max() > 0.01
    assert (clipped.model.b_y - begun).abs().max() < 1e-4


def test_state_is_carried_or_reset(corpus, tmp_path, monkeypatch):
    """At the beginning of an epoch there is nothing to carry on from: the text begins anew."""
    corpus.write_text(TEXT[:100])  # 90 characters to train on are three batches of 4 x 8
    epoch = [False, True, True]
    for state, expected in (("carry", [*epoch, *epoch]), ("reset", [False] * 6)):
        given = []
        with start([corpus], {**TINY, "state": state, "steps": 6}, tmp_path / state) as session:
            model = session.trainer.model
            forward = model.forward

            def spy(ids, state=None, *rest, given=given, forward=forward):
                if torch.is_grad_enabled():  # validation reads without
                    given.append(state is not None)
                return forward(ids, state, *rest)

            monkeypatch.setattr(model, "forward", spy)
            list(session.trainer.reports())
        assert given[:6] == expected


def test_a_share_of_the_windows_begins_at_a_state_of_zeros(corpus, tmp_path, monkeypatch):
    told, forward = [], CharModel.forward

    def spy(self, *given):
        if torch.is_grad_enabled():
            told.append(given[5])
        return forward(self, *given)

    monkeypatch.setattr(CharModel, "forward", spy)
    corpus.write_text("abcdefghij" * 200 + "\n")  # no window but one begins with a line feed
    settings = {**TINY, "batch_size": 4, "curriculum": (2, 4), "steps": 300}
    for resets in (0.0, 0.3):
        told.clear()
        train(corpus, tmp_path / str(resets), resets=resets, **settings)
        found = [0.0 if begins is None else begins[:, 0].float().mean().item() for begins in told]
        assert len(found) == 300
        assert np.mean(found) == pytest.approx(resets, abs=0.05)


# A curriculum


STAGED = {"curriculum": (2, 4), "timesteps": 8, "batch_size": 4}


def test_a_curriculum_ends_where_its_settings_say():
    found = TrainingSettings(timesteps=256, batch_size=4, curriculum=(16, 64)).stages()
    sizes = [(stage.timesteps, stage.batch_size, stage.curriculum) for stage in found]
    assert sizes == [(16, 64, ()), (64, 16, ()), (256, 4, ())]
    (alone,) = TrainingSettings(timesteps=8, batch_size=4).stages()
    assert (alone.timesteps, alone.batch_size) == (8, 4)


def batches_of(session, monkeypatch):
    """A list that fills with the shape of each batch, and whether state was carried to it."""
    seen, forward = [], session.trainer.model.forward

    def spy(ids, state=None, *rest):
        if torch.is_grad_enabled():  # validation reads without
            seen.append((tuple(ids.shape), state is not None))
        return forward(ids, state, *rest)

    monkeypatch.setattr(session.trainer.model, "forward", spy)
    return seen


def test_each_stage_has_an_equal_share_of_the_budget_and_begins_anew(corpus, tmp_path, monkeypatch):
    with start([corpus], {**TINY, **STAGED, "steps": 9}, tmp_path / "run") as session:
        seen = batches_of(session, monkeypatch)
        reports = list(session.trainer.reports())
    assert [shape for shape, _ in seen] == [(16, 2)] * 3 + [(8, 4)] * 3 + [(4, 8)] * 3
    assert [carried for _, carried in seen] == [False, True, True] * 3
    assert [report.chars for report in reports] == [32 * step for step in range(1, 10)]


def test_a_larger_budget_takes_no_stage_back(corpus, tmp_path, monkeypatch):
    train(corpus, tmp_path / "run", lambda step: step == 5, **STAGED, steps=6)
    with start([corpus], {"steps": 60}, tmp_path / "run", resume=True) as session:
        seen = batches_of(session, monkeypatch)
        list(session.trainer.reports())
    assert session.trainer.counters.step == 60
    # At its fifth step it was in the third stage, in which it stays.
    assert {rows for (rows, _), _ in seen} == {4}


def test_each_stage_has_all_of_the_patience(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0)
    ends = {}
    for name, stages in (("one", {}), ("three", STAGED)):
        trainer, _ = train(corpus, tmp_path / name, **stages, steps=174, patience=3)
        ends[name] = trainer.counters.step  # validations are 25 steps apart
    assert ends == {"one": 100, "three": 174}


def test_a_stage_that_is_none_is_refused(corpus, tmp_path):
    train(corpus, tmp_path / "run", **STAGED, steps=2)
    run = Run.open(tmp_path / "run")
    last = run.read_checkpoint(LAST)
    run.write_checkpoint(LAST, Checkpoint(last.arrays, {**last.values, "stage": 3}))
    with pytest.raises(ChargenError, match=r"last\.safetensors: does not fit the run \(stage 3"):
        train(corpus, tmp_path / "run", resume=True, steps=4)


# Resuming


def bytes_of(run_path):
    """All that must be equal: checkpoints apart from clock times, and the lines of progress."""
    run = Run.open(run_path)
    found = {}
    for name in (BEST, LAST):
        checkpoint = run.read_checkpoint(name)
        found[name] = {key: array.tobytes() for key, array in checkpoint.arrays.items()}
        found[name]["values"] = {k: v for k, v in checkpoint.values.items() if k != "seconds"}
    found["lines"] = [{k: v for k, v in line.items() if k != "seconds"} for line in run.progress()]
    return found


@pytest.mark.parametrize(
    "ways",
    [
        {},
        {"state": "reset"},
        {"resets": 0.3},
        {"average": 0.2},
        STAGED,
        {**STAGED, "resets": 0.3},
        {**STAGED, "state": "reset"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stops", [(1,), (25,), (30,), (40, 41, 77)])
def test_a_resumed_run_ends_like_an_unbroken_one_to_the_bit(corpus, tmp_path, ways, stops):
    settings = {"dropout": 0.3, "units": (8, 6), "steps": 90, **ways}
    train(corpus, tmp_path / "unbroken", **settings)
    first, *others = stops
    train(corpus, tmp_path / "broken", lambda step: step == first, **settings)
    for stop in others:
        train(corpus, tmp_path / "broken", lambda step, stop=stop: step == stop, resume=True)
    train(corpus, tmp_path / "broken", resume=True)
    assert bytes_of(tmp_path / "broken") == bytes_of(tmp_path / "unbroken")


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        train(corpus, tmp_path / name, seed=seed, dropout=0.2, steps=30)
    one, same, other = (bytes_of(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other


def test_the_weights_kept_are_averages_of_those_passed_through(corpus, tmp_path):
    """Training goes on from its own; all that predicts has the averages."""
    with start([corpus], {**TINY, "steps": 40, "average": 0.25}, tmp_path / "run") as session:
        trainer, wanted = session.trainer, {}
        for report in trainer.reports():
            for name, weight in trainer.model.state_dict().items():
                own = weight.numpy().astype(np.float64)
                mean = wanted.get(name, own)
                wanted[name] = mean + (own - mean) / max(1.0, 0.25 * report.step)
        arrays = trainer.run.read_checkpoint(LAST).arrays
        predicting = trainer.predictor.model.state_dict()
    for name, weight in trainer.model.state_dict().items():
        np.testing.assert_allclose(arrays[f"model.{name}"], wanted[name], rtol=1e-4, atol=1e-6)
        assert np.array_equal(arrays[f"model.{name}"], predicting[name].numpy())
        assert np.array_equal(arrays[f"unaveraged.{name}"], weight.numpy())
    assert not np.allclose(arrays["model.W_hy"], arrays["unaveraged.W_hy"], rtol=1e-3)
    ids = trainer.vocabulary.encode(TEXT)
    measured = evaluate(trainer.predictor, ids, len(TEXT) * 9 // 10, streams=1)
    assert report.validation_loss_nats == pytest.approx(measured.loss_nats, abs=1e-6)


def test_rounded_factors_train_other_weights_which_are_kept_whole(corpus, tmp_path):
    settings = {"units": (8, 8), "stack": "residual", "steps": 30}
    for precision in ("float32", "bfloat16"):
        trainer, reports = train(corpus, tmp_path / precision, precision=precision, **settings)
        assert reports[-1].train_loss_nats < reports[0].train_loss_nats
        arrays = trainer.run.read_checkpoint(LAST).arrays
        assert {a.dtype.name for name, a in arrays.items() if "step" not in name} >= {"float32"}
        assert "bfloat16" not in {array.dtype.name for array in arrays.values()}
    whole, rounded = (bytes_of(tmp_path / name) for name in ("float32", "bfloat16"))
    assert whole != rounded
    train(corpus, tmp_path / "broken", lambda step: step == 17, precision="bfloat16", **settings)
    train(corpus, tmp_path / "broken", resume=True)
    assert bytes_of(tmp_path / "broken") == rounded


def test_what_was_reported_after_the_checkpoint_is_forgotten(corpus, tmp_path):
    trainer, _ = train(corpus, tmp_path / "run", lambda step: step == 30, steps=90)
    trainer.run.append_progress({"step": 999, "validation_loss_nats": 0.1})
    train(corpus, tmp_path / "run", resume=True)
    assert [line["step"] for line in trainer.run.progress()] == [25, 50, 75, 90]


def test_a_finished_run_goes_on_with_a_larger_budget(corpus, tmp_path):
    train(corpus, tmp_path / "run", steps=30)
    assert train(corpus, tmp_path / "run", resume=True)[1] == []
    trainer, reports = train(corpus, tmp_path / "run", resume=True, epochs=2)
    assert reports[0].step == 31
    assert trainer.ending == "epoch budget reached"
    settings = Run.open(tmp_path / "run").description.training
    assert (settings.steps, settings.epochs) == (None, 2)


def test_a_run_that_patience_ended_goes_on_with_a_larger_budget(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0)
    train(corpus, tmp_path / "run", steps=1000, patience=2)
    assert train(corpus, tmp_path / "run", resume=True)[1] == []
    trainer, reports = train(corpus, tmp_path / "run", resume=True, steps=2000)
    assert trainer.ending == "no improvement in 2 validations"
    assert len(reports) == 50


def test_what_a_begun_run_cannot_change_is_refused(corpus, tmp_path):
    train(corpus, tmp_path / "run", steps=10)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(ChargenError, match=r"--units 9: .* uses 8;"):
        train(corpus, tmp_path / "run", resume=True, units=(9,))
    corpus.write_text(TEXT + "!")
    with pytest.raises(ChargenError, match="trained on another corpus"):
        train(corpus, tmp_path / "run", resume=True)
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}


def test_saying_the_same_again_is_no_change(corpus, tmp_path):
    train(corpus, tmp_path / "run", lambda step: step == 5, steps=10)
    assert len(train(corpus, tmp_path / "run", resume=True, units=(8,), timesteps=8)[1]) == 5


def test_a_checkpoint_of_other_weights_is_refused_by_name(corpus, tmp_path):
    train(corpus, tmp_path / "run", steps=10)
    train(corpus, tmp_path / "wide", steps=10, units=(9,))
    (tmp_path / "run" / LAST).write_bytes((tmp_path / "wide" / LAST).read_bytes())
    with pytest.raises(ChargenError, match=r"last\.safetensors: does not fit the run"):
        train(corpus, tmp_path / "run", resume=True)


def test_a_run_is_touched_only_when_asked(corpus, tmp_path):
    train(corpus, tmp_path / "run", steps=10)
    before = (tmp_path / "run" / PROGRESS).read_text()
    with pytest.raises(ChargenError, match=r"--resume.*--overwrite"):
        start([corpus], TINY, tmp_path / "run")
    assert (tmp_path / "run" / PROGRESS).read_text() == before
    with start([corpus], {**TINY, "steps": 5}, tmp_path / "run", overwrite=True) as session:
        list(session.trainer.reports())
    lines = (tmp_path / "run" / PROGRESS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5]


def test_a_run_that_is_training_is_left_alone(corpus, tmp_path):
    with start([corpus], {**TINY, "steps": 5}, tmp_path / "run"):
        with pytest.raises(ChargenError, match="another process is training"):
            start([corpus], TINY, tmp_path / "run", overwrite=True)
        with pytest.raises(ChargenError, match="another process is training"):
            start([corpus], {}, tmp_path / "run", resume=True)


def test_out_that_is_a_file_is_refused(corpus, tmp_path):
    with pytest.raises(ChargenError, match="exists and is not a directory"):
        start([corpus], TINY, corpus)


def test_a_device_that_is_not_there_is_refused(corpus, tmp_path):
    with pytest.raises(ChargenError, match="--device quantum"):
        start([corpus], TINY, tmp_path / "run", device="quantum")
    assert not (tmp_path / "run").exists()


def test_fitted_settings_are_written_down(corpus, tmp_path):
    corpus.write_text("short text " * 20)
    with start([corpus], {"units": (4,), "steps": 1}, tmp_path / "run") as session:
        assert "short text: batch size 3 instead of 16" in session.notes
    settings = Run.open(tmp_path / "run").description.training
    assert (settings.timesteps, settings.batch_size) == (64, 3)
