"""Train in child processes, kill them with SIGKILL at random times, and compare the results.

    PYTHONPATH=.:tests python tests/soak/kills.py --kills 200 --seed 0

Each run is killed and resumed until it ends. Everything in it but clock times must equal an
uninterrupted run. Give a printed seed as --seed to repeat its run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from tiny import TEXT, state_of

from chargen.runs.directory import LAST, is_run
from chargen.training import loop
from chargen.training.session import start

LONGEST = 0.4  # longest life of a child, as a share of an uninterrupted run's time


def train(corpus: Path, out: Path, seed: int, steps: int) -> None:
    rng = random.Random(seed)
    settings = {
        "cell": rng.choice(["simple", "lstm", "gru"]),
        "units": rng.choice([(5,), (6, 4)]),
        "state": rng.choice(["carry", "reset"]),
        "dropout": rng.choice([0.0, 0.3]),
        "timesteps": 8,
        "batch_size": 4,
        "patience": 0,
        "steps": steps,
        "seed": seed,
    }
    resume = is_run(out)
    with start([corpus], {} if resume else settings, out, resume=resume, device="cpu") as session:
        session.run()


def killed(corpus: Path, out: Path, seed: int, steps: int, delay: float) -> bool:
    """Train in a child for at most ``delay`` seconds; return whether it was killed."""
    child = os.fork()
    if not child:
        try:
            train(corpus, out, seed, steps)
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"seed {seed}: training failed")
    return code != 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150)
    wanted = parser.parse_args(arguments)
    torch.set_num_threads(1)
    loop.FEWEST_STEPS_BETWEEN, loop.VALIDATION_COST = 3, 100
    kills, seed, saved, steps = 0, wanted.seed, 0, wanted.steps
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "cat.txt"
        corpus.write_text(TEXT * 5)
        train(corpus, Path(folder) / "first", 0, steps)  # warm up what torch loads lazily
        while kills < wanted.kills:
            rng = random.Random(seed)
            began = time.monotonic()
            train(corpus, Path(folder) / f"{seed}-unbroken", seed, steps)
            longest = LONGEST * (time.monotonic() - began)
            out, here = Path(folder) / f"{seed}", 0
            while kills + here < wanted.kills:
                if not killed(corpus, out, seed, steps, rng.uniform(0, longest)):
                    break
                here += 1
                saved += (out / LAST).exists()
            train(corpus, out, seed, steps)
            if state_of(out) != state_of(Path(folder) / f"{seed}-unbroken"):
                raise SystemExit(f"seed {seed}: after {here} kills the end differs")
            kills += here
            print(f"seed {seed}: {here} kills, the same to the bit", flush=True)
            seed += 1
    if not saved and kills >= 20:  # fewer may all come early
        raise SystemExit("every child was killed before its first checkpoint")
    print(f"{kills} kills, {saved} of them after a first checkpoint: nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
