"""Train on three machines joined by torchrun, disconnect one, and let it return.

    PYTHONPATH=.:tests python tests/soak/hosts.py

The machines are network namespaces, joined by veth pairs and a bridge in a fourth; this takes
Linux, iproute2 and root. Training must continue with two machines while the third is away, and with
three once it is back, and end with the validation loss of one process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chargen.cli import main as chargen
from chargen.errors import ChargenError
from chargen.runs.directory import LAST, Run

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 60
STEPS = 4000
TRAIN = f"--units=8,6 --timesteps=8 --batch-size=8 --dropout=0 --patience=0 --steps={STEPS}".split()
TRAIN += ["--learning-rate=0.002"]  # at the default rate, rounding grows to another result
# chargen, 20 ms a step slower.
SLOW = """
import sys, time
from chargen.cli import main
from chargen.training.loop import Trainer
reports = Trainer.reports
Trainer.reports = lambda *given: (time.sleep(0.02) or report for report in reports(*given))
sys.exit(main(sys.argv[1:]))
"""
SWITCH, HOSTS = "chargen-switch", [f"chargen-{number}" for number in range(3)]
RELATIVE_DIFFERENCE = 1e-4  # of the last validation loss


def ip(words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words.split()], check=check)


@contextmanager
def network() -> Iterator[None]:
    """Make the machines and remove them at the end."""
    try:
        for name in (SWITCH, *HOSTS):
            ip(f"netns add {name}")
            ip(f"-n {name} link set lo up")
        ip(f"-n {SWITCH} link add bridge type bridge")
        ip(f"-n {SWITCH} link set bridge up")
        for number, name in enumerate(HOSTS):
            ip(f"-n {SWITCH} link add port{number} type veth peer eth0 netns {name}")
            ip(f"-n {SWITCH} link set port{number} master bridge up")
            ip(f"-n {name} address add 10.77.0.{number + 1}/24 dev eth0")
            ip(f"-n {name} link set eth0 up")
        yield
    finally:
        for name in (*HOSTS, SWITCH):
            ip(f"netns delete {name}", check=False)


def torchrun(host: int, folder: Path) -> subprocess.Popen[bytes]:
    flags = f"--nnodes=1:{len(HOSTS)} --nproc-per-node=1 --max-restarts=20 --rdzv-backend=c10d "
    flags += f"--rdzv-id=soak --rdzv-endpoint=10.77.0.1:29400 --local-addr=10.77.0.{host + 1} "
    flags += "--rdzv-conf=join_timeout=300,last_call_timeout=5,keep_alive_interval=2,"
    flags += f"is_host={int(host == 0)} --no-python"
    command = ["ip", "netns", "exec", HOSTS[host], sys.executable, "-m", "torch.distributed.run"]
    command += [*flags.split(), sys.executable, "-c", SLOW, "train", str(folder / "cat.txt")]
    own = {"GLOO_SOCKET_IFNAME": "eth0", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **own}
    log = (folder / f"host{host}.log").open("a")
    given = [*command, f"--out={folder / 'run'}", *TRAIN]
    return subprocess.Popen(given, env=environment, stdout=log, stderr=log, start_new_session=True)


def last_save(out: Path) -> tuple[int, int]:
    """Return the step of the last save and its number of processes, zeros before the first."""
    try:
        values = Run.open(out).read_checkpoint(LAST).values
    except ChargenError:
        return 0, 0
    return values["step"], int(values["environment"]["processes"])


def wait(what: str, out: Path, holds: Callable[[int, int], bool], seconds: float) -> int:
    """Wait for a save for which ``holds(step, processes)`` is true; return its step."""
    begun = time.monotonic()
    while not holds(*last_save(out)):
        if time.monotonic() > begun + seconds:
            raise SystemExit(f"{what}: not within {seconds} s, last save {last_save(out)}")
        time.sleep(0.5)
    print(f"{what}: step {last_save(out)[0]}, after {time.monotonic() - begun:.0f} s", flush=True)
    return last_save(out)[0]


def main() -> None:
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise SystemExit("network namespaces take root and iproute2")
    with tempfile.TemporaryDirectory() as name, network():
        folder, out = Path(name), Path(name) / "run"
        (folder / "cat.txt").write_text(TEXT)
        machines = [torchrun(host, folder) for host in range(len(HOSTS))]
        try:
            step = wait("three machines train", out, lambda s, p: p == 3, 120)
            ip(f"-n {SWITCH} link set port2 down")
            step = wait("two continue", out, lambda s, p: p == 2 and s > step, 600)
            ip(f"-n {SWITCH} link set port2 up")
            os.killpg(machines[2].pid, signal.SIGKILL)
            machines[2] = torchrun(2, folder)
            step = wait("three again", out, lambda s, p: p == 3 and s > step, 600)
            wait("the end", out, lambda s, p: s == STEPS, 600)
            if any(machine.wait(60) for machine in machines):
                raise SystemExit("a machine ended with an error")
        finally:
            for machine in machines:
                machine.kill()
        chargen(["train", str(folder / "cat.txt"), f"--out={folder / 'single'}", "--quiet", *TRAIN])
        runs = (Run.open(path) for path in (out, folder / "single"))
        own, single = (run.progress()[-1]["validation_loss_nats"] for run in runs)
    print(f"validation {own:.6f} nats, {single:.6f} with one process")
    if abs(own / single - 1) > RELATIVE_DIFFERENCE:
        raise SystemExit("the results differ")


if __name__ == "__main__":
    main()
