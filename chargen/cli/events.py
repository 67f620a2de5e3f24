"""TensorBoard event files of a training."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from chargen.errors import ChargenError
from chargen.files import UnwritableError, linked, writing

if TYPE_CHECKING:
    from chargen.training import Report

FOLDER = "tensorboard"  # in the run directory
TAGS = {  # field of a report: TensorBoard tag
    "train_loss_nats": "loss_nats/training",
    "validation_loss_nats": "loss_nats/validation",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
}


def check_installed() -> None:
    """Raise `ChargenError` if TensorBoard is not installed."""
    if importlib.util.find_spec(FOLDER) is None:
        raise ChargenError(
            "--tensorboard: the package tensorboard is not installed; pip install tensorboard"
        )


class EventWriter:
    """Writes a run's event files; TensorBoard ignores earlier events after ``step``."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._failed = run / FOLDER, False
        if self._folder.is_symlink():
            raise linked(self._folder)
        with writing(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def write(self, report: Report) -> str:
        """Add a validation; return why that failed, which ends the files, or an empty string."""
        try:
            with writing(self._folder):
                for name, tag in TAGS.items() if not self._failed else ():
                    self._writer.add_scalar(tag, getattr(report, name), report.step)
                self._writer.flush()
        except UnwritableError as error:
            self._failed = True
            return f"{error}; training continues without event files"
        return ""

    def close(self) -> None:
        """Finish the files."""
        if not self._failed:
            self._writer.close()
