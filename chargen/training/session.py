"""Start or resume a training on one process or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from chargen.distributed.group import ProcessGroup
from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.settings import GivenSettings
from chargen.text.encoding import EncodedCorpus
from chargen.training.loop import Trainer
from chargen.training.plan import (
    TrainingPlan,
    TrainingRequest,
    build_model,
    encode_run_corpus,
    plan_training,
    write_plan,
)


class TrainingSession:
    """A trainer that is ready, notes for the user, and the lock on the run directory.

    Use it in a ``with`` statement, or `close` it. Rank 0 of a group holds the lock.
    """

    def __init__(self, trainer: Trainer, notes: Sequence[str], held: ExitStack) -> None:
        self.trainer = trainer
        self.notes = tuple(notes)
        self._held = held

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end and print nothing; see `Trainer.reports`."""
        for _ in self.trainer.reports(should_stop):
            pass

    def close(self) -> None:
        """Release the run directory."""
        self._held.close()

    def __enter__(self) -> TrainingSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def device_named(name: str) -> torch.device:
    """Return a torch device; ``auto`` is a GPU if torch finds one, else the CPU.

    Raises:
        ChargenError: torch has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device)
    except (RuntimeError, AssertionError):
        raise ChargenError(f"--device {name}: torch has no such device here; try cpu") from None
    return device


def start(
    sources: Sequence[str | Path],
    settings: Mapping[str, Any],
    out: Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
    group: ProcessGroup | None = None,
) -> TrainingSession:
    """Start a run, or resume one; the arguments are those of `chargen.train`.

    Every process of ``group`` calls this function; rank 0 decides. A process that does not see
    rank 0's files reads and encodes ``sources`` itself.

    Raises:
        ChargenError: the request is invalid; nothing is written.
    """
    group = group or ProcessGroup()
    place = device_named(device)
    place = group.device if group.device.type == place.type else place
    given = GivenSettings.parse(settings)
    request = TrainingRequest(sources, given, out, resume, overwrite, cache, place, progress)
    plans: list[TrainingPlan] = []
    held = ExitStack()

    def lead() -> TrainingPlan:
        plans.append(plan_training(request, group.launchers, held))
        return replace(plans[0], model=None, encoded=None)  # both stay in this process

    try:
        shared = group.run_on_lead(lead)
        plan = plans[0] if plans else shared
        description = plan.run.description
        encoded = _encoded(plan, request, group)
        model = plan.model or build_model(description, place)
        trainer = Trainer(plan.run, model, encoded, description.training, group)
        notes = list(plan.notes)
        if plan.checkpoint is not None:
            notes += trainer.restore(plan.checkpoint)
        group.run_on_lead(lambda: write_plan(plan, group.launchers, held))
        if plan.resets_patience:
            trainer.reset_patience()
    except BaseException:
        held.close()
        raise
    return TrainingSession(trainer, notes, held)


def _encoded(plan: TrainingPlan, request: TrainingRequest, group: ProcessGroup) -> EncodedCorpus:
    """Return the run's text; the first process of a machine encodes it if it must."""

    def own() -> EncodedCorpus:
        return plan.encoded or encode_run_corpus(plan.run, request)[0]

    made = group.run_on_all(lambda: own() if group.local_rank == 0 else None)
    return made or own()
