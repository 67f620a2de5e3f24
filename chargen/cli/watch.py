"""``chargen watch``."""

import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chargen.cli.options import OUTPUT, option, run_argument
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line

if TYPE_CHECKING:
    from chargen.pages.watch_page import TrainingSample, TrainingStatus
    from chargen.runs.directory import Run

PAGE = "watch.html"
SAMPLE_CHARS = 200
TEMPERATURE = 0.8
MOST_SAMPLES = 20


@click.command()
@run_argument
@option("--out", OUTPUT, None, "Output file.  [default: RUN/watch.html]")
@option("--every", click.IntRange(1), 5, "Update interval in seconds.")
@option("--once", bool, None, "Write the page once and exit.")
def watch(run: Path | None, out: Path | None, every: int, once: bool) -> None:
    """Write a page that follows a training.

    The HTML page shows training and validation loss, the n-gram baseline, learning rate, gradient
    norm and samples. It is updated until the training ends, and the browser reloads it. Ctrl-C
    stops the updates, not the training.

    Example: chargen watch runs/fables --out fables.html
    """
    from chargen.files import write_file
    from chargen.pages.watch_page import watch_page
    from chargen.runs.directory import find

    path = find(run).path
    page, observer = out or path / PAGE, RunObserver(path)
    for turn in count():
        status = observer.observe(0 if once else every)
        write_file(page, watch_page(status).encode())
        if not turn:
            say(f"page: {visible_line(str(page))}")
        if not observer.compute_baseline():
            if not status.seconds:
                break
            time.sleep(every)


class RunObserver:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin(None)

    def _begin(self, description: object) -> None:
        self._description = description
        self._samples: list[TrainingSample] = []
        self._sampled: object = None  # values of the last checkpoint that was sampled
        self._baseline: float | str = ""

    def observe(self, every: int) -> "TrainingStatus":
        """Return the current status; ``every`` is the reload interval while the run is trained."""
        from chargen.pages.watch_page import TrainingStatus
        from chargen.runs.directory import Run
        from chargen.runs.lock import is_held

        run = Run.open(self._path)
        if run.description != self._description:  # another run with the same name
            self._begin(run.description)
        held = is_held(run.path)  # before the files are read
        self._sample(run)
        samples, lines = tuple(self._samples), [dict(line) for line in run.progress()]
        about = str(run.path), run.description
        return TrainingStatus(*about, lines, samples, self._baseline, every if held else 0)

    def _sample(self, run: "Run") -> None:
        from chargen.pages.watch_page import TrainingSample
        from chargen.runs.directory import BEST
        from chargen.sampling import Sampler

        values = run.read_checkpoint(BEST).values if (run.path / BEST).exists() else None
        if values in (None, self._sampled):
            return
        self._sampled = values
        step, loss = values.get("step"), values.get("validation_loss_nats")
        if not isinstance(step, int) or not isinstance(loss, float | int):
            raise ChargenError(f"{run.path / BEST}: has no step or validation loss; train it again")
        rows = Sampler.of(run).stream("", SAMPLE_CHARS, temperature=TEMPERATURE)
        text = "".join(row[0] for row in rows).strip("\n")
        self._samples.append(TrainingSample(step, float(loss), text))
        if len(self._samples) > MOST_SAMPLES:  # drop every second one; keep the first and the last
            self._samples = [*self._samples[:-1:2], self._samples[-1]]

    def compute_baseline(self) -> bool:
        """Compute the baseline unless that was done, or there is no model yet."""
        from chargen.api import load
        from chargen.runs.directory import Run

        if self._baseline != "" or not Run.open(self._path).weights_file.exists():
            return False
        try:
            self._baseline = load(self._path, "cpu").baseline().loss_nats
        except ChargenError as error:
            self._baseline = f"No n-gram baseline: {error.message}."
        return True
