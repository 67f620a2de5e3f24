"""Process groups: collectives, lost processes, and the launcher."""

import json
import os
import signal
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from groups import HOST, launched, listening, ranks, wait_for
from hypothesis import given
from hypothesis import strategies as st

from chargen.cli.environment import run_in_group
from chargen.distributed import PEER_LOST, PeerError, group
from chargen.distributed.group import ProcessGroup, join, peer_errors
from chargen.distributed.launch import _outcome
from chargen.errors import ChargenError

KILLED = -signal.SIGKILL


@given(st.integers(0, 1000), st.integers(1, 40))
def test_shares_cover_every_row_once_and_differ_by_one(count, size):
    shares = []
    for rank in range(size):
        one = ProcessGroup()
        one.rank, one.size = rank, size
        shares.append(range(count)[one.rows(count)])
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_collectives_of_a_single_process_are_the_identity():
    model = torch.nn.Linear(2, 3)
    with join("cpu") as single:
        assert (single.rank, single.size, single.leads, single.launchers) == (0, 1, True, [])
        assert single.rows(7) == slice(0, 7)
        single.synchronize(model)
        assert single.sum_gradients(model, [1.5, 2.5]) == [1.5, 2.5]
        assert single.sum(np.ones(2, np.float32)).tolist() == [1, 1]
        assert single.gather("a") == ["a"]
        assert single.broadcast("a") == single.run_on_lead(lambda: "a") == "a"
        assert single.run_on_all(lambda: 3) == 3
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error"), True),
        (dist.DistBackendError("NCCL error: remote process exited"), True),
        (dist.DistNetworkError("failed to recv, got 0 bytes"), True),
        (RuntimeError("shapes differ"), False),
        (dist.DistBackendError("NCCL: CUDA out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
    ],
)
def test_only_errors_about_lost_processes_are_translated(error, is_loss):
    with pytest.raises(PeerError if is_loss else type(error)), peer_errors():
        raise error


@pytest.mark.parametrize(
    ("device", "variables", "message"),
    [
        ("cpu", {}, "RANK expected.*start with torchrun"),
        ("cpu", {"RANK": "2"}, "RANK must be less than WORLD_SIZE"),
        ("cuda", {"LOCAL_RANK": "1"}, r"process 2 of this machine has no GPU"),
        ("cpu", {"RANK": "1", "MASTER_ADDR": HOST, "MASTER_PORT": "9"}, rf"answer at {HOST}:9"),
    ],
)
def test_variables_that_describe_no_group_are_refused(monkeypatch, device, variables, message):
    monkeypatch.setattr(group, "TIMEOUT", timedelta(seconds=0.1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ChargenError, match=message), join(device):
        pass


@pytest.mark.parametrize("work", [lambda: 3, lambda: 1 // 0])
def test_a_process_of_a_group_skips_finalization(monkeypatch, capsys, work):
    """Finalization could replace the exit code."""
    codes = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(os, "_exit", codes.append)
    run_in_group(work)
    bug = "ZeroDivisionError" in capsys.readouterr().err
    assert codes == [1 if bug else 3]


def collectives(us):
    torch.manual_seed(us.rank)
    model = torch.nn.Linear(1, 1)
    us.synchronize(model)
    model(torch.full((1, 1), float(us.rank))).sum().backward()
    numbers = us.sum_gradients(model, [us.rank + 0.5, 1.0])
    values = [us.gather("x" * us.rank), us.broadcast(us.rank), us.run_on_lead(lambda: us.rank)]
    with join("cpu") as again:  # another training in the same process
        values += [again.sum(np.array([[2.0**60], [us.rank]])).tolist(), us.run_on_all(lambda: 7)]
    parameters = [[p.item(), p.grad.item()] for p in model.parameters()]
    return [numbers, parameters, *values]


def test_collectives(tmp_path):
    ended = [rank.ended() for rank in ranks(tmp_path, 3, collectives)]
    assert [(code, err) for code, _, err in ended] == [(0, "")] * 3
    torch.manual_seed(0)
    weight, bias = (value.item() for value in torch.nn.Linear(1, 1).parameters())
    for rank, (_, out, _) in enumerate(ended):
        numbers, parameters, gathered, *others = json.loads(out)
        assert numbers == [4.5, 3.0]
        assert parameters == [[weight, 3.0], [bias, 3.0]]
        assert gathered == (None if rank else ["", "x", "xx"])
        assert others == [0, 0, [[3 * 2.0**60], [3.0]], 7]


def end_early(us, how):
    us.sum(np.ones(1))
    if us.rank == us.size - 1:
        if how == "error":
            raise ChargenError("the text is too short")
        os.kill(os.getpid(), signal.SIGKILL) if how == "kill" else 1 // 0
    us.sum(np.ones(1))


@pytest.mark.parametrize(("how", "code"), [("error", 2), ("kill", KILLED), ("bug", 1)])
def test_a_process_that_ends_early_is_lost_to_the_others(tmp_path, how, code):
    *others, last = [rank.ended() for rank in ranks(tmp_path, 3, end_early, how)]
    assert [code for code, _, _ in others] == [PEER_LOST] * 2
    assert all(err.startswith("PeerError: another process failed") for _, _, err in others)
    assert (last[0], "ZeroDivisionError" in last[2]) == (code, how == "bug")


def patience(_, freezes):
    group.TIMEOUT = timedelta(seconds=1)
    dist.destroy_process_group()
    os.environ["TORCHELASTIC_RESTART_COUNT"] = "1"
    with join("cpu") as us:
        us.run_on_lead(lambda: time.sleep(1.5))
        us.run_on_all(lambda: us.leads or time.sleep(1.5))
        if freezes and not us.leads:
            os.kill(os.getpid(), signal.SIGSTOP)
        us.sum(np.ones(1))


@pytest.mark.parametrize("freezes", [False, True])
def test_long_work_is_waited_for_and_a_silent_process_is_not(tmp_path, freezes):
    lead, other = ranks(tmp_path, 2, patience, freezes)
    assert lead.ended()[0] == (PEER_LOST if freezes else 0)
    other.process.kill()


# Launched


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ({}, (0, "")),
        ({1: PEER_LOST, 0: 2}, (2, "")),
        ({0: KILLED, 1: 1}, (1, "")),
        ({1: KILLED, 0: PEER_LOST}, (137, "process 2 was killed (SIGKILL)")),
        ({0: -15, 1: PEER_LOST}, (PEER_LOST, "a process was lost")),
        ({0: 143, 1: -15}, (143, "")),
        ({1: -15}, (143, "")),
    ],
)
def test_the_exit_code_is_that_of_the_process_that_ended_the_group(codes, outcome):
    assert _outcome(codes) == outcome


RANK = "import os, signal, sys, time, json; rank = int(os.environ['RANK']);"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_get_arguments_and_input_and_listen_on_the_loopback_alone(tmp_path):
    before = listening()
    script = RANK + "rank or print(json.dumps([sys.stdin.read(), sys.argv[1:]])); time.sleep(1)"
    arguments = ["a b", "$HOME", "${rank}", "--flag=ü", ""]
    process = launched(tmp_path, 2, script, *arguments, stdin="text")
    wait_for(lambda: process.out)
    opened = listening() - before
    assert opened
    assert all(address.startswith("0100007F:") for address in opened), opened  # 127.0.0.1
    code, out, err = process.ended()
    assert (code, json.loads(out), err) == (0, ["text", arguments], "")


DIE = "rank == {} and (os.path.exists(sys.argv[1]) or os.kill(os.getpid(), 9)); time.sleep(.3)"


def test_a_group_restarts_after_a_kill_and_gives_up_after_three_restarts(tmp_path):
    process = launched(tmp_path, 2, RANK + DIE.format(1), tmp_path / "marker")
    wait_for(lambda: process.err)
    (tmp_path / "marker").touch()
    code, _, err = process.ended()
    assert (code, err.count("\n")) == (0, err.count("restarting"))
    assert err.startswith("process 2 was killed (SIGKILL); restarting, 3 left from the last save")
    code, _, err = launched(tmp_path, 2, RANK + DIE.format(0), tmp_path / "none").ended()
    assert (code, err.count("restarting")) == (137, 3)
    assert err.endswith("process 1 was killed (SIGKILL); --resume continues from the last save\n")


def test_an_error_ends_the_group_without_a_restart(tmp_path):
    script = RANK + "rank and (print('no such file', file=sys.stderr), sys.exit(2)); time.sleep(9)"
    assert launched(tmp_path, 2, script).ended() == (2, "", "no such file\n")


HEAR = """
caught = []
for number in (2, 15): signal.signal(number, lambda number, _: caught.append(number))
print("ready", flush=True)
while not caught: time.sleep(.02)
time.sleep(.5)
print("heard", len(caught), flush=True)
sys.exit(128 + caught[0])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_each_process_once(tmp_path, number):
    process = launched(tmp_path, 2, RANK + HEAR)
    wait_for(lambda: process.out.count("ready") == 2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    code, out, err = process.ended()
    assert (code, out.count("heard 1"), err) == (128 + number, 2, "")
