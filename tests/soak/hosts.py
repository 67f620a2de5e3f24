"""Trains on three machines that torchrun joins, cuts one off, and lets it come back.

    PYTHONPATH=.:tests python tests/soak/hosts.py

The machines are network namespaces of this one, each with an address of its own, joined by veth
pairs and a bridge in a fourth; it takes Linux, its iproute2, and root. Training must go on with two
while the third is away, and with three once it is back, and end with what one process learns alone.
"""

from __future__ import annotations

import json
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

from groups import PROGRAM, environment
from tiny import TINY

from chargen.errors import ChargenError
from chargen.runs.directory import LAST, Run
from chargen.training import schedule, start

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 60
WAY = {"units": (8, 6), "timesteps": 8, "batch_size": 8, "dropout": 0.0, "patience": 0}
STEPS, SECONDS_A_STEP = 1500, 0.15  # slowly: what is shown takes its minutes
PORT = 29400
HOSTS = 3
AS_GOOD = 1e-4  # relative difference of the last validation


class Network:
    """Hosts and the switch between them; ``with`` takes them away at its end."""

    def __init__(self) -> None:
        self._name = f"chargen-{os.getpid()}"
        self._switch = f"{self._name}-switch"
        self.hosts = [f"{self._name}-{number}" for number in range(HOSTS)]

    def address(self, host: int) -> str:
        return f"10.77.0.{host + 1}"

    def __enter__(self) -> Network:
        for name in (self._switch, *self.hosts):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self.hosts):
            port = f"port{number}"
            ip(
                "-n",
                self._switch,
                "link",
                "add",
                port,
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                name,
            )
            ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *exception: object) -> None:
        for name in (*self.hosts, self._switch):
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def cut(self, host: int, how: str = "down") -> None:
        """Take a host's cable out, or with ``up`` put it in again."""
        ip("-n", self._switch, "link", "set", f"port{host}", how)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def torchrun(network: Network, host: int, corpus: Path, way: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", network.hosts[host], sys.executable]
    command += ["-m", "torch.distributed.run", f"--nnodes=1:{HOSTS}", "--nproc-per-node=1"]
    command += ["--max-restarts=20", "--rdzv-backend=c10d", "--rdzv-id=soak"]
    command += [f"--rdzv-endpoint={network.address(0)}:{PORT}"]
    command += [f"--local-addr={network.address(host)}"]
    meeting = "join_timeout=300,last_call_timeout=5,keep_alive_interval=2"
    command += [f"--rdzv-conf={meeting},is_host={int(host == 0)}"]
    command += [str(PROGRAM), "train", str(corpus), way]
    own = environment(
        GLOO_SOCKET_IFNAME="eth0",
        TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1",
        TORCH_CPP_LOG_LEVEL="ERROR",
    )
    log = corpus.with_name(f"host{host}.log").open("a")
    return subprocess.Popen(command, env=own, stdout=log, stderr=log, start_new_session=True)


def standing(out: Path) -> tuple[int, int]:
    """The last save's step, and how many processes made it; zeros before the first."""
    try:
        values = Run.open(out).read_checkpoint(LAST).values
    except ChargenError:
        return 0, 0
    return values["step"], int(values["environment"]["processes"])


def wait(what: str, out: Path, holds: Callable[[int, int], bool], seconds: float) -> int:
    """Until the last save is such; returns its step."""
    begun = time.monotonic()
    while True:
        step, processes = standing(out)
        if holds(step, processes):
            print(f"{what}: step {step}, after {time.monotonic() - begun:.0f} s", flush=True)
            return step
        if time.monotonic() > begun + seconds:
            raise SystemExit(f"{what}: not within {seconds} s (step {step}, {processes} processes)")
        time.sleep(0.5)


@contextmanager
def ended(machines: dict[int, subprocess.Popen[str]]) -> Iterator[None]:
    try:
        yield
    finally:
        for machine in machines.values():
            if machine.poll() is None:
                os.killpg(machine.pid, signal.SIGKILL)
                machine.wait()


def alone(corpus: Path, out: Path) -> float:
    schedule.FEWEST_STEPS_BETWEEN, schedule.VALIDATION_COST = 20, 100
    with start([corpus], {**TINY, **WAY, "steps": STEPS}, out, device="cpu") as session:
        session.run()
    return float(Run.open(out).progress()[-1]["validation_loss_nats"])


def main() -> int:
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise SystemExit("no hosts can be made here: it takes root, and ip of iproute2")
    with tempfile.TemporaryDirectory() as name, Network() as network:
        folder = Path(name)
        corpus, out = folder / "cat.txt", folder / "run"
        corpus.write_text(TEXT)
        way = {**WAY, "steps": STEPS, "out": str(out), "slowly": SECONDS_A_STEP}
        machines = {host: torchrun(network, host, corpus, json.dumps(way)) for host in range(HOSTS)}
        with ended(machines):
            step = wait("three hosts train", out, lambda s, p: p == 3, 120)
            network.cut(2)
            step = wait("two go on", out, lambda s, p: p == 2 and s > step, 300)
            network.cut(2, "up")
            if machines[2].poll() is None:  # what it does with a meeting that it cannot reach
                os.killpg(machines[2].pid, signal.SIGKILL)
            machines[2].wait()
            machines[2] = torchrun(network, 2, corpus, json.dumps(way))
            step = wait("three again", out, lambda s, p: p == 3 and s > step, 300)
            wait("the end", out, lambda s, p: s == STEPS, 600)
            if any(machine.wait(60) for machine in machines.values()):
                raise SystemExit("a host ended with an error")
        own, wanted = (
            Run.open(out).progress()[-1]["validation_loss_nats"],
            alone(corpus, folder / "1"),
        )
        print(f"validation {own:.6f} nats; one process alone {wanted:.6f}")
        if abs(own / wanted - 1) > AS_GOOD:
            raise SystemExit("that is not the same")
    print("a host was lost and came back: nothing was")
    return 0


if __name__ == "__main__":
    sys.exit(main())
