"""One process of a group, which does what its first argument names; see `groups`."""

import atexit
import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from groups import listening
from tiny import TINY

from chargen import distributed as processes
from chargen.cli import main as chargen
from chargen.distributed import group
from chargen.errors import ChargenError
from chargen.training import schedule, start


def talk(us):
    """Everything that ranks can tell each other, and what each then knows."""
    torch.manual_seed(us.rank)
    model = us.wrap(torch.nn.Linear(1, 1))
    total = us.begin_sum([us.rank + 0.1, 1.0])
    with us.told():
        model(torch.full((1, 1), float(us.rank))).sum().backward()
    rows = us.gathered(torch.full((us.rank, 2), us.rank, dtype=torch.int32))
    texts = us.gathered_bytes(b"x" * (2 - us.rank))
    sending = [b"hi", b""] if us.leads else [None, b"not looked at"]
    said = {
        "sums": total(),
        "weight": [value.item() for value in model.parameters()],
        "gradient": [value.grad.item() for value in model.parameters()],
        "summed": us.summed(np.array([[2.0**60], [us.rank]])).tolist(),
        "rows": rows if rows is None else rows.tolist(),
        "texts": texts and [text.decode() for text in texts],
        "sent": [us.sent(given).decode() for given in sending],
        "led": us.led(lambda: b"done by %d" % us.rank).decode(),
        "everywhere": us.everywhere(lambda: us.rank),
        "launchers": us.launchers,
    }
    print(json.dumps(said), flush=True)


def work_long(us):
    """Longer than the others' patience, with signs of life; the last rank works, then the first."""
    group.PATIENCE_SECONDS, group.BEAT_SECONDS = 1.0, 0.1

    def work():
        time.sleep(2.5)
        return b"done"

    us.everywhere(lambda: us.rank == us.size - 1 and work())
    print(us.led(work).decode(), flush=True)


def freeze(us):
    """The last rank stops as it works, and shows no life any more."""
    group.PATIENCE_SECONDS, group.BEAT_SECONDS = 1.5, 0.1
    us.everywhere(lambda: us.rank == us.size - 1 and os.kill(os.getpid(), signal.SIGSTOP))


def die_summing(us):
    """The last rank is killed while the others wait for what it has to add."""
    us.begin_sum([1.0])()
    if us.rank == us.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    us.begin_sum([1.0])()


def err(us):
    """Two ranks are waited for by a third, and the last of them makes a mistake."""
    if us.rank == us.size - 1:
        raise ChargenError("the text is too short; give more")
    us.begin_sum([1.0])()


def fail(us):
    """The first rank has a bug as it works for all."""
    us.led(lambda: 1 // 0)


def hear(us):
    """Say what standard input and the arguments are; then a rank ends as its argument says."""
    if us.leads:
        print(json.dumps([sys.stdin.read(), sys.argv[2:]]), flush=True)
    print(f"rank {us.rank} speaks", file=sys.stderr, flush=True)
    us.everywhere(lambda: None)


def die_at_first(us):
    """A rank, the argument says which, is killed unless the file named by the second is there."""
    marker = Path(sys.argv[3])
    again = us.led(lambda: b"yes" if marker.exists() else b"")
    if not again and us.rank == int(sys.argv[2]):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    us.begin_sum([1.0])()


def wait_for_signal(us):
    """A signal ends each rank in order, which takes its time."""
    caught = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    us.everywhere(lambda: None)
    if us.leads:
        print("ready", flush=True)
    until = time.monotonic() + 60
    while not caught and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1)
    print(f"rank {us.rank} heard {len(caught)}", flush=True)
    us.everywhere(lambda: None)
    return 128 + caught[0]


def listen(us):
    """The addresses on which somebody listens once the group is there."""
    us.everywhere(lambda: None)
    if us.leads:
        print(json.dumps(listening()), flush=True)
    us.everywhere(lambda: None)


def is_at(counters, step):
    return lambda: counters.step == step


def train(us):
    """Train on the corpus and in the ways that the arguments name, one after another."""
    schedule.FEWEST_STEPS_BETWEEN, schedule.VALIDATION_COST = 20, 100
    corpus, *ways = sys.argv[2:]
    for way in map(json.loads, ways):
        out, stop, slowly = Path(way.pop("out")), way.pop("stop_at", 0), way.pop("slowly", 0)
        flags = {name: way.pop(name, False) for name in ("resume", "overwrite")}
        given = way if flags["resume"] else {**TINY, **way}
        losses = []
        with start([corpus], given, out, device="cpu", group=us, **flags) as session:
            # Who is told to stop says so with the next step, which is the last then.
            for report in session.trainer.reports(is_at(session.trainer.counters, stop - 1)):
                losses.append(report.train_loss_nats)
                time.sleep(slowly)
        if us.leads:
            (out / "losses.json").write_text(json.dumps(losses))


def command_line(us):
    """``chargen`` itself, which joins by itself."""
    schedule.FEWEST_STEPS_BETWEEN, schedule.VALIDATION_COST = 2, 100
    return chargen(sys.argv[2:])


def leave_late(us):
    """The first rank has something to do still when the others are done."""
    if us.leads:
        time.sleep(1)
        print(time.monotonic(), flush=True)


def abort_with_python(us):
    """A rank is killed; what is at work in the other as Python ends does it harm."""
    atexit.register(os.abort)
    die_summing(us)


def main():
    torch.set_num_threads(1)
    what = globals()[sys.argv[1]]
    try:
        with nullcontext() if what is command_line else group.join("cpu") as us:
            code = what(us)
        if what is leave_late:
            print(time.monotonic(), flush=True)
    except ChargenError as error:
        if what is err and type(error) is ChargenError:
            time.sleep(1)  # who is told has ended by then, and the launcher ends the others
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return code or 0


if __name__ == "__main__":
    sys.exit(processes.run(main))
