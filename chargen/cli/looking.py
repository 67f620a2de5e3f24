"""What `chargen watch` sees of a run that another process trains; nothing of it is changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from chargen.errors import ChargenError
from chargen.pages.watch_page import Sample, Watched
from chargen.runs.directory import BEST, LAST, Run, is_held
from chargen.sampling import Sampler

SAMPLE_CHARS = 200
TEMPERATURE = 0.8
MOST_SAMPLES = 20


class Onlooker:
    """Looks at a run again and again, and remembers the samples that it has seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun: object = None
        self._samples: list[Sample] = []
        self._sampled = 0  # when the weights were written that wrote the last sample, ns
        self._floor: tuple[float | None, str, str] = (None, "", "")
        self._has_floor = False

    def look(self, every: int) -> Watched:
        """The run as it is now, to be looked at again after ``every`` seconds if it is trained."""
        run = Run.open(self._path)
        if run.description != self._begun:  # another run by now, of the same name
            self._begun, self._samples, self._has_floor = run.description, [], False
            self._floor = (None, "", "")
        trains = is_held(run.path)
        self._sample(run)
        return Watched(
            str(run.path),
            run.description,
            [dict(line) for line in run.progress()],
            tuple(self._samples),
            *self._floor,
            seconds=every if trains else 0,
        )

    def _sample(self, run: Run) -> None:
        """Have the best weights write, if they are others than the last time."""
        written = _written(run.path / BEST)
        if written in (0, self._sampled):
            return
        values = run.read_checkpoint(BEST).values
        sampler = Sampler.of(run)
        if _written(run.path / BEST) != written:  # between the two; they come next time
            return
        self._sampled = written
        rows = sampler.stream("", SAMPLE_CHARS, temperature=TEMPERATURE)
        text = "".join(row[0] for row in rows).strip("\n")
        step, loss = values.get("step"), values.get("validation_loss_nats")
        if not isinstance(step, int) or not isinstance(loss, float | int):
            raise ChargenError(f"{run.path / BEST}: does not say of what step it is")
        self._samples = _kept([*self._samples, Sample(step, float(loss), text)])

    def count_floor(self) -> bool:
        """Count the n-gram of the run's corpus, which takes seconds; whether it was to be done."""
        if self._has_floor or not any(map(os.path.exists, self._weights())):
            return False
        from chargen.api import BASELINE_ORDER, load

        self._has_floor = True
        try:
            found = load(self._path, "cpu").baseline()
            self._floor = (found.loss_nats, f"{BASELINE_ORDER}-gram", "")
        except ChargenError as error:
            self._floor = (None, "", f"Without the n-gram floor: {error}.")
        return True

    def _weights(self) -> Sequence[Path]:
        return self._path / BEST, self._path / LAST


def _written(file: Path) -> int:
    """When a file was written last, ns; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _kept(samples: list[Sample]) -> list[Sample]:
    """Not more than anybody reads: every second one goes, the first and the newest stay."""
    if len(samples) <= MOST_SAMPLES:
        return samples
    return [*samples[:-1:2], samples[-1]]
