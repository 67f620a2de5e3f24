"""Training in several processes: collectives, lost processes, and the result of one process."""

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
from groups import HOST, Forked, children, listening, ranks, run_launcher, wait_for
from tiny import TINY, state_of

from chargen.cli import main
from chargen.distributed import PEER_LOST, PeerError, group
from chargen.distributed.group import ProcessGroup, join, peer_errors
from chargen.errors import ChargenError
from chargen.runs.directory import LAST, Run
from chargen.training.session import start

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl are Linux's")


def test_only_errors_about_lost_processes_are_translated():
    gloo = RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error")
    memory = dist.DistBackendError("NCCL: CUDA out of memory")
    for error in (gloo, dist.DistBackendError("NCCL error"), RuntimeError("shapes"), memory):
        expected = PeerError if error is gloo or "NCCL error" in str(error) else type(error)
        with pytest.raises(expected), peer_errors():
            raise error


def test_variables_that_describe_no_group_are_refused(monkeypatch):
    monkeypatch.setattr(group, "TIMEOUT", timedelta(seconds=0.1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device, variables, message in (
        ("cpu", "WORLD_SIZE=2", "RANK expected.*start with torchrun"),
        ("cpu", "RANK=2", "RANK must be less than WORLD_SIZE"),
        ("cuda", "LOCAL_RANK=1", "process 2 of this machine has no GPU"),
        ("cpu", f"RANK=1 MASTER_PORT=9 MASTER_ADDR={HOST}", f"answer at {HOST}:9"),
    ):
        for variable in variables.split():
            monkeypatch.setenv(*variable.split("="))
        with pytest.raises(ChargenError, match=message), join(device):
            pass


def end_early(us, how):
    us.sum(np.ones(1))
    if us.rank == us.size - 1:
        os.kill(os.getpid(), signal.SIGKILL) if how == "kill" else 1 // 0
    us.sum(np.ones(1))


@pytest.mark.parametrize(("how", "code"), [("kill", -signal.SIGKILL), ("bug", 1)])
def test_a_process_that_ends_early_is_lost_to_the_others(tmp_path, how, code):
    *others, last = [rank.ended() for rank in ranks(tmp_path, 2, end_early, how)]
    assert [code for code, _, _ in others] == [PEER_LOST]
    assert all(err.startswith("PeerError: another process failed") for _, _, err in others)
    assert (last[0], "ZeroDivisionError" in last[2]) == (code, how == "bug")


def wait_long(_, freezes):
    group.TIMEOUT = timedelta(seconds=1)
    dist.destroy_process_group()
    os.environ["TORCHELASTIC_RESTART_COUNT"] = "1"
    with join("cpu") as us:
        us.run_on_lead(lambda: time.sleep(1.5))
        us.leads or time.sleep(1.5)
        us.wait()
        if freezes and not us.leads:
            os.kill(os.getpid(), signal.SIGSTOP)
        us.sum(np.ones(1))


@pytest.mark.parametrize(("freezes", "code"), [(False, 0), (True, PEER_LOST)])
def test_long_work_is_waited_for_and_a_silent_process_is_not(tmp_path, freezes, code):
    lead, other = ranks(tmp_path, 2, wait_long, freezes)
    assert lead.ended()[0] == code
    other.process.kill()


# Launched by --processes


RANK = "import os, signal, sys, time, json; rank = int(os.environ['RANK']);"


@only_linux
def test_processes_get_arguments_and_input_and_listen_on_the_loopback_alone(tmp_path):
    before = listening()
    script = RANK + "rank or print(json.dumps([sys.stdin.read(), sys.argv[1:]])); time.sleep(1)"
    arguments = ["a b", "$HOME", "${rank}", "--flag=ü", ""]
    process = Forked(tmp_path, run_launcher, 2, script, *arguments, stdin="text")
    wait_for(process.files[1].read_text)
    opened = listening() - before
    assert opened
    assert all(address.startswith("0100007F:") for address in opened), opened  # 127.0.0.1
    code, out, err = process.ended()
    assert (code, json.loads(out), err) == (0, ["text", arguments], "")


DIE = RANK + "rank == 1 and (os.path.exists(sys.argv[1]) or os.kill(os.getpid(), 9)); time.sleep(1)"


def test_a_group_restarts_after_a_kill_and_gives_up_after_three_restarts(tmp_path):
    process = Forked(tmp_path, run_launcher, 2, DIE, tmp_path / "marker")
    wait_for(lambda: process.err)
    (tmp_path / "marker").touch()
    code, _, err = process.ended()
    assert (code, err.count("\n")) == (0, err.count("restarting"))
    assert err.startswith("process 2 was killed (SIGKILL); restarting, 3 left from the last save")
    code, _, err = Forked(tmp_path, run_launcher, 2, DIE, tmp_path / "none").ended()
    assert (code, err.count("restarting")) == (137, 3)
    assert err.endswith("process 2 was killed (SIGKILL); --resume continues from the last save\n")


def test_an_error_ends_the_group_without_a_restart(tmp_path):
    script = RANK + "rank and (print('no such file', file=sys.stderr), sys.exit(2)); time.sleep(9)"
    assert Forked(tmp_path, run_launcher, 2, script).ended() == (2, "", "no such file\n")


HEAR = """
caught = []
for number in (2, 15): signal.signal(number, lambda number, _: caught.append(number))
print("ready", flush=True)
while not caught: time.sleep(.02)
time.sleep(.5)
os.write(1, b"heard %d\\n" % len(caught))  # whole: print writes a line in parts
sys.exit(128 + caught[0])
"""


@pytest.mark.parametrize(("send", "number"), [(os.killpg, 2), (os.kill, 15)])
def test_a_signal_reaches_each_process_once(tmp_path, send, number):
    process = Forked(tmp_path, run_launcher, 2, RANK + HEAR)
    wait_for(lambda: process.files[1].read_text().count("ready") == 2)
    send(process.process.pid, number)  # a terminal sends Ctrl-C to the process group
    code, out, err = process.ended()
    assert (code, out.count("heard 1"), err) == (128 + number, 2, "")


# Training

# At a low learning rate, since differences in the order of summation grow from step to step.
CURVE = {"units": (8, 6), "timesteps": 8, "batch_size": 8, "dropout": 0.0, "patience": 0,
         "learning_rate": 0.004}  # fmt: skip
WAYS = (
    {"steps": 100, "cell": "simple"},
    {"steps": 20, "state": "reset", "loss_on": 3},
    {"steps": 20, "documents": "blank-line", "cell": "gru", "curriculum": (2,), "resets": 0.3,
     "distillation": 0.5},
)  # fmt: skip
FAST = ["--units=4", "--timesteps=8", "--batch-size=8", "--device=cpu"]
LONG = {"units": (4,), "timesteps": 8, "batch_size": 8, "patience": 0, "steps": 100_000}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "cat.txt"
    path.write_text("the cat sat on the mat, the rat sat on the cat.\n\n" * 60)
    return path


def train(us, corpus, *ways):
    """Return the loss of each step of a training in each of the ways."""

    def losses(out, stop_at=-1, resume=False, init_from=None, **settings):
        given = settings if resume else {**TINY, **settings}
        how = {"resume": resume, "init_from": init_from, "device": "cpu"}
        # Several processes agree in one step to stop after the next.
        last = stop_at - 1 if us.size > 1 else stop_at
        with start([corpus], given, out, us, **how) as session:
            reports = session.trainer.reports(lambda: session.trainer.counters.step == last)
            return [report.train_loss_nats for report in reports]

    torch.set_num_threads(1)
    return [losses(**way) for way in ways]


def in_group(folder, size, corpus, *ways):
    if size == 1:
        return train(ProcessGroup(), corpus, *ways)
    ended = [rank.ended() for rank in ranks(folder, size, train, corpus, *ways)]
    assert [(code, err) for code, _, err in ended] == [(0, "")] * size
    return json.loads(ended[0][1])


def values(out):
    return Run.open(out).read_checkpoint(LAST).values


@pytest.fixture(scope="module")
def curves(corpus, tmp_path_factory):
    """Return the losses of `WAYS` and the folder of each run, by the number of processes."""
    found = {}
    for size, ways in ((1, WAYS), (2, WAYS), (4, WAYS[:1])):
        folder = tmp_path_factory.mktemp("curves")
        given = [{**CURVE, **way, "out": folder / str(n)} for n, way in enumerate(ways)]
        found[size] = in_group(folder, size, corpus, *given), [way["out"] for way in given]
    return found


@pytest.mark.parametrize(("size", "way"), [(2, 0), (2, 1), (2, 2), (4, 0)])
def test_several_processes_learn_what_one_does(curves, size, way):
    (losses, runs), (expected, expected_runs) = curves[size], curves[1]
    assert len(losses[way]) == WAYS[way]["steps"]
    np.testing.assert_allclose(losses[way], expected[way], rtol=1e-5)
    assert expected[way][-1] < expected[way][0]
    both = (Run.open(folders[way]).progress() for folders in (runs, expected_runs))
    own, single = ([line["validation_loss_nats"] for line in lines] for lines in both)
    np.testing.assert_allclose(own, single, rtol=1e-5)


def test_a_run_resumes_with_another_number_of_processes(corpus, tmp_path, curves):
    """Use one, two and one process in turn; no character is skipped or read twice."""
    out = tmp_path / "run"
    (losses,) = in_group(tmp_path, 1, corpus, {**CURVE, **WAYS[0], "out": out, "stop_at": 37})
    for size, stop in ((2, 60), (1, -1)):
        way = {"out": out, "resume": True, "stop_at": stop}
        losses += in_group(tmp_path, size, corpus, way)[0]
    np.testing.assert_allclose(losses, curves[1][0][0], rtol=1e-5)
    last, expected = values(out), values(curves[1][1][0])
    for name in ("step", "epoch", "batch", "chars"):
        assert last[name] == expected[name]


def test_a_fine_tuned_run_with_more_processes_than_sequences(corpus, tmp_path):
    """Every process starts from the weights of the old run and draws its own dropout."""
    old, out = tmp_path / "old", tmp_path / "run"
    in_group(tmp_path, 1, corpus, {**TINY, "out": old})
    way = {**TINY, "batch_size": 1, "learning_rate": 1e-30, "steps": 6, "out": out, "stop_at": 3}
    way |= {"weight_decay": 0.0, "init_from": old}
    in_group(tmp_path, 2, corpus, way, {"out": out, "resume": True})
    run = Run.open(out)
    assert values(out)["step"] == 6
    arrays = run.read_checkpoint(LAST).arrays
    assert (arrays["generator"] != arrays["generator.1"]).any()
    for name, weights in Run.open(old).weights().items():
        np.testing.assert_allclose(run.weights()[name], weights, atol=1e-6)


@only_linux
def test_killed_and_stopped_processes_lose_nothing(corpus, tmp_path):
    """The run restarts after a kill, saves on Ctrl-C, and equals an unbroken one to the bit."""
    out = tmp_path / "run"
    words = ["train", str(corpus), f"--out={out}", *FAST, "--processes=2", "--dropout=0.3"]
    process = Forked(tmp_path, main, [*words, "--patience=0", "--steps=100000"])
    wait_for((out / LAST).exists)
    os.kill(min(children(process.process.pid)), signal.SIGKILL)
    wait_for(lambda: process.err.count("2 processes") == 2)
    before = values(out)["step"]
    wait_for(lambda: values(out)["step"] > before)
    os.killpg(process.process.pid, signal.SIGINT)
    code, printed, err = process.ended()
    assert (code, printed, err.count("restarting"), err.count("Stopped (")) == (130, "", 1, 1)
    assert "process 1 was killed (SIGKILL)" in err
    assert "Traceback" not in err
    assert f"({values(out)['step']:,} steps, " in err
    way = {**LONG, "out": tmp_path / "unbroken", "stop_at": values(out)["step"]}
    in_group(tmp_path, 2, corpus, way)
    assert state_of(out) == state_of(tmp_path / "unbroken")


def test_one_process_reads_the_input_and_prints(corpus, tmp_path):
    words = ["train", "-", f"--out={tmp_path / 'run'}", "--steps=4", *FAST]
    lead, other = ranks(tmp_path, 2, main, words, stdin=corpus.read_text())
    code, printed, err = lead.ended()
    assert (code, printed, other.ended()) == (0, "", (0, "", ""))
    assert err.count("2 processes") == err.count("2,940 characters") == 1
    lead, other = ranks(tmp_path, 2, main, ["train", str(tmp_path / "none.txt")])
    code, printed, err = lead.ended()
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"chargen: {tmp_path / 'none.txt'}: no such file")
    assert other.ended() == (PEER_LOST, "", "")


def test_processes_and_torchrun_disagree(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["train", "fables", "--processes", "2"]) == 2
    assert capsys.readouterr().err.startswith("chargen: --processes 2: ")
