"""Trainings in processes of their own, several at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event

import torch

from chargen.errors import ChargenError
from chargen.probes.cells.jobs import Job
from chargen.probes.cells.result import Training
from chargen.settings import ComparisonSettings

POLL_SECONDS = 0.5
MISTAKE = 2  # the exit code of a training that diverged

Watch = Callable[[float, int, str], None]
"""Called with the trainings that are done, in part or whole, of how many, and what goes on."""

Stop = Callable[[], bool]


class Workers:
    """Up to ``at_a_time`` trainings side by side, each on ``threads`` threads."""

    def __init__(
        self,
        settings: ComparisonSettings,
        at_a_time: int,
        threads: int,
        watch: Watch,
        should_stop: Stop,
    ) -> None:
        self.settings = settings
        self.at_a_time = at_a_time
        self.threads = threads
        self._watch = watch
        self._should_stop = should_stop
        self._stopped = Event()

    def train(self, jobs: Sequence[Job], ask: bool = True) -> list[Training] | None:
        """Train and ask all that is not finished yet; None where it was stopped before the end.

        The first mistake ends it, once the trainings that are under way have been told to save.
        """
        asked: set[str] = set()  # the cells whose untrained network is asked, once each
        torch.set_num_threads(self.threads)
        with ThreadPoolExecutor(self.at_a_time) as pool:
            futures: list[Future[Training | None]] = []
            for job in jobs:
                untrained = ask and job.cell not in asked
                asked.add(job.cell)
                futures.append(pool.submit(self._one_or_none_more, job, ask, untrained))
            try:
                self._attend(jobs, futures)
            except BaseException:
                self._stopped.set()
                raise
        trained = [future.result() for future in futures]
        done = [training for training in trained if training is not None]
        return done if len(done) == len(jobs) else None

    def _attend(self, jobs: Sequence[Job], futures: Sequence[Future[Training | None]]) -> None:
        """Watch until all are done or one fails; stop them where that is wanted."""
        left = set(futures)
        while left:
            over, left = wait(left, POLL_SECONDS, FIRST_COMPLETED)
            for future in over:
                future.result()
            if self._should_stop():
                self._stopped.set()
            running = [job for job, future in zip(jobs, futures, strict=True) if future.running()]
            done = len(futures) - len(left) + sum(job.used() for job in running)
            self._watch(done, len(futures), ", ".join(job.folder.name for job in running))

    def _one_or_none_more(self, job: Job, ask: bool, untrained: bool) -> Training | None:
        try:
            return self._one(job, ask, untrained)
        except BaseException:
            # Said here, not where the result is looked at: this thread takes its next job at once.
            self._stopped.set()
            raise

    def _one(self, job: Job, ask: bool, untrained: bool) -> Training | None:
        finished = job.finished()
        if finished is not None or self._is_over():
            return finished
        code = self._process(job)
        # A terminal sends Ctrl-C to this process and to the training's: that may end first.
        if self._is_over():
            return None
        said = job.log.read_text("utf-8").strip().splitlines()
        diverged = code == MISTAKE and bool(said) and "diverged" in said[-1]
        if code and not diverged:
            last = said[-1] if said else f"ended with exit code {code}"
            raise ChargenError(f"{job.folder}: {last} (see {job.log})")
        return job.finish(diverged, ask, untrained)

    def _is_over(self) -> bool:
        return self._stopped.is_set() or self._should_stop()

    def _process(self, job: Job) -> int:
        command = [sys.executable, "-m", "chargen", *job.arguments(self.threads)]
        with job.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            while True:
                try:
                    return process.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    if self._stopped.is_set():
                        process.send_signal(signal.SIGTERM)
                        return process.wait()
