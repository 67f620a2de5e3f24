"""Training in several processes: the result of one process, and no loss with any of them."""

import json
import os
import signal
import sys

import numpy as np
import pytest
import torch
from groups import HOST, SLOW, chargen, children, ranks, torchrun, wait_for
from tiny import TINY, state_of
from torch.distributed import TCPStore

from chargen.cli import main
from chargen.distributed import PEER_LOST
from chargen.distributed.group import ProcessGroup
from chargen.runs.directory import LAST, Run
from chargen.training import start

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 60
# At a low learning rate, since differences in the order of summation grow from step to step.
CURVE = {"units": (8, 6), "timesteps": 8, "batch_size": 8, "dropout": 0.0, "patience": 0,
         "learning_rate": 0.004}  # fmt: skip
WAYS = (
    {"steps": 200, "cell": "simple"},
    {"steps": 40, "state": "reset", "loss_on": 3},
    {"steps": 40, "documents": "blank-line", "cell": "gru"},
    {"steps": 60, "curriculum": (2,), "resets": 0.3},
)
FAST = ["--units=4", "--timesteps=8", "--batch-size=8", "--device=cpu"]
LONG_FLAGS = [*FAST, "--dropout=0.5", "--patience=0", "--steps=100000"]
LONG = {"units": (4,), "timesteps": 8, "batch_size": 8, "dropout": 0.5, "patience": 0,
        "steps": 100_000}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "cat.txt"
    path.write_text(TEXT.replace("cat. ", "cat.\n\n"))
    return path


def train(group, corpus, *ways):
    """Return the loss of each step of a training in each of the ways."""
    torch.set_num_threads(1)
    return [_train(group, corpus, **way) for way in ways]


def _train(group, corpus, out, stop_at=-1, resume=False, **settings):
    given = settings if resume else {**TINY, **settings}
    # Several processes agree in one step to stop after the next.
    last = stop_at - 1 if group.size > 1 else stop_at
    with start([corpus], given, out, resume=resume, device="cpu", group=group) as session:
        reports = session.trainer.reports(lambda: session.trainer.counters.step == last)
        return [report.train_loss_nats for report in reports]


def in_group(folder, size, corpus, *ways):
    if size == 1:
        return train(ProcessGroup(), corpus, *ways)
    ended = [rank.ended() for rank in ranks(folder, size, train, corpus, *ways)]
    assert [(code, err) for code, _, err in ended] == [(0, "")] * size
    return json.loads(ended[0][1])


def validations(out):
    return [line["validation_loss_nats"] for line in Run.open(out).progress()]


def values(out):
    return Run.open(out).read_checkpoint(LAST).values


@pytest.fixture(scope="module")
def curves(corpus, tmp_path_factory):
    """The losses of `WAYS` and the folder of each run, by the number of processes."""
    found = {}
    for size, ways in ((1, WAYS), (2, WAYS), (4, WAYS[:1])):
        folder = tmp_path_factory.mktemp("curves")
        given = [{**CURVE, **way, "out": folder / str(n)} for n, way in enumerate(ways)]
        found[size] = in_group(folder, size, corpus, *given), [way["out"] for way in given]
    return found


@pytest.mark.parametrize(("size", "way"), [(2, 0), (2, 1), (2, 2), (2, 3), (4, 0)])
def test_several_processes_learn_what_one_does(curves, size, way):
    (losses, runs), (expected, expected_runs) = curves[size], curves[1]
    assert len(losses[way]) == WAYS[way]["steps"]
    np.testing.assert_allclose(losses[way], expected[way], rtol=1e-5)
    assert expected[way][-1] < expected[way][0]
    both = validations(runs[way]), validations(expected_runs[way])
    np.testing.assert_allclose(*both, rtol=1e-5)


def test_a_run_resumes_with_another_number_of_processes(corpus, tmp_path, curves):
    """One, two, four and one process in turn: no character is skipped or read twice."""
    out = tmp_path / "run"
    (losses,) = in_group(tmp_path, 1, corpus, {**CURVE, **WAYS[0], "out": out, "stop_at": 73})
    for size, stop in ((2, 120), (4, 160), (1, -1)):
        way = {"out": out, "resume": True, "stop_at": stop}
        losses += in_group(tmp_path, size, corpus, way)[0]
    np.testing.assert_allclose(losses, curves[1][0][0], rtol=1e-5)
    last, expected = values(out), values(curves[1][1][0])
    for name in ("step", "epoch", "batch", "chars"):
        assert last[name] == expected[name]


def test_more_processes_than_sequences(corpus, tmp_path):
    out = tmp_path / "run"
    way = {**CURVE, "batch_size": 1, "dropout": 0.1, "steps": 6, "out": out, "stop_at": 3}
    in_group(tmp_path, 2, corpus, way, {"out": out, "resume": True})
    assert values(out)["step"] == 6
    arrays = Run.open(out).read_checkpoint(LAST).arrays
    assert (arrays["generator"] != arrays["generator.1"]).any()  # each draws its own dropout


def test_killed_and_stopped_processes_lose_nothing(corpus, tmp_path):
    """The run restarts after a kill, saves on Ctrl-C, and equals an unbroken one to the bit."""
    out = tmp_path / "run"
    process = chargen(
        tmp_path,
        "train",
        corpus,
        "--processes=2",
        f"--out={out}",
        *FAST,
        "--dropout=0.5",
        "--patience=0",
        "--steps=100000",
    )
    wait_for((out / LAST).exists)
    os.kill(min(children(process.pid)), signal.SIGKILL)
    wait_for(lambda: "restarting" in process.err)
    wait_for(lambda: process.err.count("2 processes") == 2)
    before = values(out)["step"]
    wait_for(lambda: values(out)["step"] > before)
    os.killpg(process.pid, signal.SIGINT)
    code, printed, err = process.ended()
    assert (code, printed, err.count("restarting"), err.count("Stopped (")) == (130, "", 1, 1)
    assert "process 1 was killed (SIGKILL)" in err
    assert "Traceback" not in err
    assert f"({values(out)['step']:,} steps, " in err
    way = {**LONG, "out": tmp_path / "unbroken", "stop_at": values(out)["step"]}
    in_group(tmp_path, 2, corpus, way)
    assert state_of(out) == state_of(tmp_path / "unbroken")


@pytest.mark.skipif(sys.platform != "linux", reason="processes outlive a killed launcher elsewhere")
def test_an_elastic_group_continues_with_fewer_processes(corpus, tmp_path):
    """Two machines, as far as torchrun knows, of which one is lost with its launcher."""
    out = tmp_path / "run"
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    flags = ["--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d"]
    flags += [f"--rdzv-endpoint={HOST}:{store.port}", "--rdzv-id=x", f"--local-addr={HOST}"]
    meeting = "join_timeout=60,last_call_timeout=1,keep_alive_interval=1,is_host=0"
    flags += [f"--rdzv-conf={meeting}", "--no-python", sys.executable, "-c", SLOW, "train"]
    flags += [corpus, f"--out={out}", "--steps=150", *FAST]
    first, second = (torchrun(tmp_path, name, flags) for name in ("first", "second"))
    wait_for((out / LAST).exists)
    second.process.kill()
    code, _, err = first.ended()
    assert code == 0, err
    assert (values(out)["step"], values(out)["environment"]["processes"]) == (150, "1")


def test_one_process_reads_the_input_and_prints(tmp_path):
    out = tmp_path / "run"
    words = ["train", "-", f"--out={out}", "--steps=4", *FAST]
    lead, other = ranks(tmp_path, 2, main, words, stdin=TEXT)
    code, printed, err = lead.ended()
    assert (code, printed, other.ended()) == (0, "", (0, "", ""))
    assert "seed 0, 2 processes" in err
    assert f"{len(TEXT):,} characters" in err
    assert len(Run.open(out).progress()) == 1


def test_one_process_prints_a_user_error(tmp_path):
    words = ["train", str(tmp_path / "none.txt"), f"--out={tmp_path / 'run'}"]
    lead, other = ranks(tmp_path, 2, main, words)
    code, printed, err = lead.ended()
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"chargen: {tmp_path / 'none.txt'}: no such file")
    assert other.ended() == (PEER_LOST, "", "")


def test_processes_and_torchrun_disagree(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["train", "fables", "--processes", "2"]) == 2
    assert capsys.readouterr().err.startswith("chargen: --processes 2: 3 are started already")
