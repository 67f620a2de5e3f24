"""Trains in child processes, kills them with SIGKILL at random moments, and compares the ends.

    python tests/soak/kills.py --kills 200 --seed 0

Each run is killed and resumed until it ends; then it must be an unbroken run's to the bit, clock
times apart. The seed of each run is printed: give it as --seed to begin there again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from chargen.runs.directory import BEST, LAST, Run, is_run
from chargen.training import schedule, start

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 20
LONGEST = 0.4  # of the time that an unbroken run takes: so long a child lives at most


def settings_of(seed: int) -> dict:
    rng = random.Random(seed)
    return {
        "cell": rng.choice(["simple", "lstm", "gru"]),
        "units": rng.choice([(5,), (6, 4)]),
        "state": rng.choice(["carry", "reset"]),
        "dropout": rng.choice([0.0, 0.3]),
        "timesteps": 8,
        "batch_size": 4,
        "patience": 0,
        "steps": 150,
        "seed": seed,
    }


def train(corpus: Path, out: Path, seed: int) -> None:
    resume = is_run(out)
    given = {} if resume else settings_of(seed)
    with start([corpus], given, out, resume=resume, device="cpu") as session:
        session.run()


def state_of(path: Path) -> list:
    run = Run.open(path)
    found: list = [run.description]
    for name in (BEST, LAST):
        checkpoint = run.read_checkpoint(name)
        found.append({key: array.tobytes() for key, array in checkpoint.arrays.items()})
        found.append({k: v for k, v in checkpoint.values.items() if k != "seconds"})
    found.append([{k: v for k, v in line.items() if k != "seconds"} for line in run.progress()])
    return found


def killed(corpus: Path, out: Path, seed: int, delay: float) -> bool:
    """Train in a child for ``delay`` seconds at most; whether it had to be killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(corpus, out, seed)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)  # nothing happens to one that ended, which nobody waited for
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"seed {seed}: training failed")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    schedule.FEWEST_STEPS_BETWEEN, schedule.VALIDATION_COST = 3, 100
    kills, seed, saved = 0, wanted.seed, 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "cat.txt"
        corpus.write_text(TEXT)
        train(corpus, Path(folder) / "first", 0)  # loads what torch loads late
        while kills < wanted.kills:
            rng = random.Random(seed)
            began = time.monotonic()
            train(corpus, Path(folder) / f"{seed}-unbroken", seed)
            longest = LONGEST * (time.monotonic() - began)
            out, here = Path(folder) / f"{seed}", 0
            while kills + here < wanted.kills:
                if not killed(corpus, out, seed, rng.uniform(0, longest)):
                    break
                here += 1
                saved += (out / LAST).exists()
            train(corpus, out, seed)
            if state_of(out) != state_of(Path(folder) / f"{seed}-unbroken"):
                raise SystemExit(f"seed {seed}: after {here} kills it ended otherwise")
            kills += here
            print(f"seed {seed}: {here} kills, the same to the bit", flush=True)
            seed += 1
    if not saved:
        raise SystemExit("no child lived to its first save: nothing was shown")
    runs = seed - wanted.seed
    print(f"{kills} kills in {runs} runs, {saved} of them after a first save: nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
