"""What a training writes into its run's folder, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import BEST, LAST, Run
from chargen.training.saved import Counters


class Keeper:
    """Writes the best weights, the reports and the last checkpoint, in this order.

    What could not be written waits for the next save: the last checkpoint counts what comes before
    it, and is never ahead of it.
    """

    def __init__(self, run: Run) -> None:
        self.best: Checkpoint | None = None  # that is to be written yet
        self.saved_step: int | None = None  # that the last checkpoint is of
        self._run = run
        self._progress_bytes = 0  # of ``progress.jsonl``, that it counts
        self._lines: list[Mapping[str, Any]] = []  # of progress, that it does not yet

    def report(self, line: Mapping[str, Any]) -> None:
        """Have a line added to ``progress.jsonl`` at the next save."""
        self._lines.append(line)

    def copy_best(self) -> None:
        """Keep the best weights, which could not be written, apart from the model's own."""
        if self.best is not None:
            copies = {name: array.copy() for name, array in self.best.arrays.items()}
            self.best = Checkpoint(copies, self.best.values)

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        """Write all that waits, and then the checkpoint, which is of ``step``.

        `UnwritableError` where the system refuses; the last save then stands.
        """
        if self.best is not None:
            self._run.write_checkpoint(BEST, self.best)
            self.best = None
        written = self._progress_bytes
        if self._lines:
            written = self._run.append_progress(*self._lines, start=written)
        self._run.write_checkpoint(LAST, checkpoint)
        self._lines, self._progress_bytes = [], written
        self.saved_step = step

    def go_on(self, counters: Counters) -> None:
        """After the checkpoint that has these counters; what was reported after it is forgotten."""
        self._progress_bytes = self._run.keep_progress(counters.progress_lines)
        self.saved_step = counters.step

    def left(self) -> str:
        """What a run that diverged has, in words."""
        return "has no weights" if self.saved_step is None else "keeps the last good weights"

    def kept(self) -> str:
        """What a run whose last save failed has, in words."""
        if self.saved_step is None:
            return "has no save yet: --resume begins from the beginning"
        return f"can be resumed from its last good save, step {self.saved_step}, with --resume"
