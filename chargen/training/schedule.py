"""The training budget, the learning rate over it, and the window sizes that a corpus can fill."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from chargen.errors import ChargenError
from chargen.settings import MINUTES, TrainingSettings

TIMESTEPS, BATCH_SIZE = 64, 16  # defaults
WARM_UP_STEPS = 100
WARM_UP_SHARE = 0.1  # maximum share of a budget in steps
VALIDATION_COST = 0.05  # approximate share of the time spent on validation
FORWARD_SHARE = 1 / 3  # of a training step's time
FEWEST_STEPS_BETWEEN = 25  # validations


@dataclass(frozen=True)
class Schedule:
    """A budget in steps, seconds or both, and the learning rate over it.

    Of two budgets, the one used more counts. The rate rises linearly during the warm-up and falls
    linearly to zero at the end of the budget.
    """

    peak: float
    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, settings: TrainingSettings, steps_per_epoch: int) -> Schedule:
        """Return the schedule for the budget of ``settings``, by default 5 minutes."""
        steps, minutes = settings.steps, settings.minutes
        if settings.epochs:
            steps = max(1, round(settings.epochs * steps_per_epoch))
        if not steps:
            minutes = minutes or MINUTES
        return cls(settings.learning_rate, steps, 60 * minutes if minutes else None)

    def used(self, step: int, seconds: float) -> float:
        """Return the fraction of the budget used after ``step`` updates; 1 or more ends it."""
        by_steps = step / self.steps if self.steps else 0.0
        return max(by_steps, seconds / self.seconds if self.seconds else 0.0)

    def rate(self, step: int, seconds: float) -> float:
        """Return the learning rate of update ``step``, counted from 0."""
        most = WARM_UP_SHARE * self.steps if self.steps else WARM_UP_STEPS
        warm = min(1.0, (step + 1) / max(1.0, min(WARM_UP_STEPS, most)))
        return self.peak * warm * max(0.0, 1 - self.used(step, seconds))


def steps_between_validations(settings: TrainingSettings, chars: int, training_chars: int) -> int:
    """Return a validation interval that costs a small share of the time on any corpus."""
    assert settings.batch_size is not None
    assert settings.timesteps is not None
    forward = (chars - training_chars) * FORWARD_SHARE
    steps = forward / VALIDATION_COST / (settings.batch_size * settings.timesteps)
    return max(FEWEST_STEPS_BETWEEN, round(steps))


def fit(
    settings: TrainingSettings,
    training_chars: int,
    usual_timesteps: int = TIMESTEPS,
    usual_batch_size: int = BATCH_SIZE,
) -> tuple[TrainingSettings, list[str]]:
    """Choose timesteps and batch size that the training text can fill.

    Returns:
        The settings with both sizes, and a note for each default that a short text lowers.

    Raises:
        ChargenError: a size that the user gave does not fit.
    """
    targets = training_chars - 1
    room = targets // (settings.batch_size or 1)
    timesteps = settings.timesteps or max(1, min(usual_timesteps, room))
    if timesteps > targets:
        raise ChargenError(
            f"--timesteps {timesteps}: the training text has {training_chars} characters, "
            f"enough for {targets} at most"
        )
    most = targets // timesteps
    batch_size = settings.batch_size or min(usual_batch_size, most)
    if batch_size > most:
        raise ChargenError(
            f"--batch-size {batch_size}: the training text of {training_chars} characters fills "
            f"{most} windows of {timesteps} timesteps; lower it, or --timesteps"
        )
    if isinstance(settings.loss_on, int) and settings.loss_on > timesteps:
        raise ChargenError(
            f"--loss-on {settings.loss_on}: a window has {timesteps} timesteps; lower it, or raise "
            "--timesteps"
        )
    notes = []
    if settings.timesteps is None and timesteps < usual_timesteps:
        notes.append(f"short text: timesteps {timesteps} instead of {usual_timesteps}")
    if settings.batch_size is None and batch_size < usual_batch_size:
        notes.append(f"short text: batch size {batch_size} instead of {usual_batch_size}")
    return replace(settings, timesteps=timesteps, batch_size=batch_size), notes
