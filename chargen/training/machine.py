"""The training speed of a machine, measured before a run whose budget is a time."""

import math
import statistics
import time

import numpy as np
import torch

from chargen.distributed.group import ProcessGroup
from chargen.recurrent.model import CharModel
from chargen.runs.description import Machine
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text.windows import WindowBatch
from chargen.training.step import TrainingState

WARM_UP_STEPS, TIMED_STEPS = 2, 5
LONGEST = 0.7  # seconds of steps with one number of threads, once one step is timed
ATTEMPTS = 2  # another program may slow one down for a moment
LEAST_GAIN = 0.9  # of the time with fewer threads; a smaller gain is lost beside other programs


def measure_machine(
    model: ModelSettings, training: TrainingSettings, size: int, threads: int | None = None
) -> Machine:
    """Time training steps of a model with a vocabulary of ``size`` on the CPU.

    Tries 1, 2, 4, ... threads, up to torch's number, while each is faster than the one before;
    torch keeps the fastest number. ``threads`` fixes it instead.
    """
    most = torch.get_num_threads()
    counts = [2**n for n in range(most.bit_length()) if 2**n < most] + [most]
    best = Machine(1.0, 1)
    for count in [threads] if threads else counts:
        torch.set_num_threads(count)
        seconds = (_seconds_per_step(model, training, size) for _ in range(ATTEMPTS))
        speeds = (60 * math.prod(training.window) / one for one in seconds)
        speed = next((one for one in speeds if one * LEAST_GAIN >= best.chars_per_minute), None)
        if speed is None:
            break
        best = Machine(speed, count)
    torch.set_num_threads(best.threads)
    return best


def _seconds_per_step(model: ModelSettings, training: TrainingSettings, size: int) -> float:
    N, T = training.window
    ids = np.random.default_rng(training.seed).integers(size, size=(N, T))
    batch = WindowBatch(ids, ids, None, ids.size, np.full(T, N))
    state = TrainingState(CharModel.seeded(model, size, training.seed), training, ProcessGroup())
    state.rows = slice(0, N)
    seconds: list[float] = []
    while len(seconds) < WARM_UP_STEPS + TIMED_STEPS:
        begun = time.perf_counter()
        state.step(batch, training.learning_rate, carry=False, message=[])
        seconds.append(time.perf_counter() - begun)
        if len(seconds) > 1 and sum(seconds) > LONGEST:
            break
    return statistics.median(seconds[min(WARM_UP_STEPS, len(seconds) - 1) :])
