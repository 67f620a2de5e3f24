"""Training in several processes: what one alone would learn, and nothing lost with any of them."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from groups import descendants, ended, free_port, launched, listens_on, started, torchrun
from tiny import TINY, state_of

from chargen.cli import main
from chargen.runs.directory import LAST, Run
from chargen.training import schedule, start

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 60
# At a low rate, since what the order of summing rounds grows from step to step.
CURVE = {"units": (8, 6), "timesteps": 8, "batch_size": 8, "dropout": 0.0, "patience": 0,
         "learning_rate": 0.004}  # fmt: skip
WAYS = (
    {"steps": 200},
    {"steps": 200, "state": "reset", "loss_on": 3},
    {"steps": 60, "documents": "blank-line", "cell": "gru"},
    {"steps": 90, "curriculum": (2,), "resets": 0.3},
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "cat.txt"
    path.write_text(TEXT.replace("cat. ", "cat.\n\n"))
    return path


def in_group(size, corpus, *ways):
    """Train in a group of that size, each way in turn."""
    code, _, err = ended(launched(size, "train", corpus, *map(json.dumps, ways)))
    assert (code, err) == (0, "")


def alone(corpus, way, monkeypatch):
    monkeypatch.setattr(schedule, "FEWEST_STEPS_BETWEEN", 20)
    monkeypatch.setattr(schedule, "VALIDATION_COST", 100)
    way = dict(way)
    out, stop = Path(way.pop("out")), way.pop("stop_at", -1)
    with start([corpus], {**TINY, **way}, out, device="cpu") as session:
        reports = session.trainer.reports(lambda: session.trainer.counters.step == stop)
        return [report.train_loss_nats for report in reports]


def losses(out):
    return json.loads((out / "losses.json").read_text())


def validations(out):
    return [line["validation_loss_nats"] for line in Run.open(out).progress()]


# The same curve


@pytest.fixture(scope="module")
def curves(corpus, tmp_path_factory):
    """Folders with the runs of `WAYS` by 1, 2 and 4 processes."""
    folder = tmp_path_factory.mktemp("curves")
    for size in (2, 4):
        ways = [
            {**CURVE, **way, "out": str(folder / f"{size}-{number}")}
            for number, way in enumerate(WAYS)
        ]
        in_group(size, corpus, *ways)
    with pytest.MonkeyPatch.context() as patch:
        for number, way in enumerate(WAYS):
            out = folder / f"1-{number}"
            curve = alone(corpus, {**CURVE, **way, "out": out}, patch)
            (out / "losses.json").write_text(json.dumps(curve))
    return folder


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("size", [2, 4])
def test_processes_learn_what_one_alone_would(curves, way, size):
    wanted, own = (losses(curves / f"{count}-{way}") for count in (1, size))
    assert len(own) == WAYS[way]["steps"]
    np.testing.assert_allclose(own, wanted, rtol=1e-5)
    assert wanted[-1] < 0.9 * wanted[0]
    wanted, own = (validations(curves / f"{count}-{way}") for count in (1, size))
    np.testing.assert_allclose(own, wanted, rtol=1e-5)


def test_a_run_goes_on_with_other_processes(corpus, tmp_path, curves, monkeypatch):
    """One, two, four and one again take turns: nothing is seen twice, nothing is left out."""
    way = {**CURVE, **WAYS[0], "out": str(tmp_path)}
    own = alone(corpus, {**way, "stop_at": 73}, monkeypatch)
    for size, stop in ((2, 120), (4, 160)):
        in_group(size, corpus, {"out": str(tmp_path), "resume": True, "stop_at": stop})
        own += losses(tmp_path)
    with start([corpus], {}, tmp_path, resume=True, device="cpu") as session:
        assert any("processes 1 (was 4)" in note for note in session.notes)
        own += [report.train_loss_nats for report in session.trainer.reports()]
    np.testing.assert_allclose(own, losses(curves / "1-0"), rtol=1e-5)
    last, wanted = (Run.open(path).read_checkpoint(LAST) for path in (tmp_path, curves / "1-0"))
    counted = ("step", "epoch", "batch", "chars")
    assert [last.values[name] for name in counted] == [wanted.values[name] for name in counted]


def test_more_processes_than_texts_go_on(corpus, tmp_path):
    way = {**CURVE, "batch_size": 1, "dropout": 0.1, "steps": 6, "out": str(tmp_path)}
    in_group(2, corpus, {**way, "stop_at": 3})
    in_group(2, corpus, {"out": str(tmp_path), "resume": True})
    assert Run.open(tmp_path).read_checkpoint(LAST).values["step"] == 6


# Nothing lost


KEPT = {"dropout": 0.5, "steps": 150, "units": (5,)}  # drawn by each process for itself


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    in_group(2, corpus, {**KEPT, "out": str(folder / "run")})
    return folder / "run"


def test_each_process_drops_outputs_of_its_own(unbroken):
    arrays = Run.open(unbroken).read_checkpoint(LAST).arrays
    assert (arrays["generator"] != arrays["generator.1"]).any()


def test_a_run_outlives_its_killed_processes(corpus, tmp_path, unbroken):
    """The launcher begins the group again with the words that began it; none says --resume."""
    out = tmp_path / "run"
    way = json.dumps({**KEPT, "out": str(out), "overwrite": True, "slowly": 0.02})
    process = launched(2, "train", corpus, way)
    before = 0
    for rank in (0, 1):
        before = wait_for_save(out, before)
        os.kill(sorted(descendants(process.pid))[rank], signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 0
    assert err.count("beginning again") == 2
    assert state_of(out) == state_of(unbroken)


def wait_for_save(out, before):
    """Until a step after ``before`` is saved; returns it."""
    step = [before]

    def saved():
        if (out / LAST).exists():
            step[0] = Run.open(out).read_checkpoint(LAST).values["step"]
        return step[0] > before

    wait_for(saved)
    return step[0]


def wait_for(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "what was waited for does not come"
        time.sleep(0.01)


def test_an_elastic_group_goes_on_with_fewer(corpus, tmp_path, monkeypatch):
    """Two machines, as far as torchrun knows; one is lost for good."""
    out, port = tmp_path / "run", free_port()
    way = json.dumps({**CURVE, "steps": 120, "out": str(out), "slowly": 0.05})
    flags = ["--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d"]
    flags += [f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=x", "--local-addr=127.0.0.1"]
    flags += ["--rdzv-conf=join_timeout=60,last_call_timeout=2,keep_alive_interval=1"]
    first = torchrun(flags, "train", corpus, way, start_new_session=True)
    wait_for(lambda: listens_on(port))  # who comes first keeps the meeting
    second = torchrun(flags, "train", corpus, way, start_new_session=True)
    wait_for((out / LAST).exists)
    os.killpg(second.pid, signal.SIGKILL)
    ended(second)
    code, _, err = ended(first)
    assert code == 0, err
    last = Run.open(out).read_checkpoint(LAST)
    assert last.values["step"] == 120
    assert last.values["environment"]["processes"] == "1"
    alone(corpus, {**CURVE, "steps": 120, "out": str(tmp_path / "alone")}, monkeypatch)
    own, wanted = validations(out), validations(tmp_path / "alone")
    np.testing.assert_allclose(own, wanted, rtol=1e-5)


# The command line


def chargen(size, *arguments, **options):
    return launched(size, "command_line", "train", *arguments, **options)


FAST = ["--units=4", "--timesteps=4", "--batch-size=3", "--device=cpu"]


def test_one_process_of_several_speaks(corpus, tmp_path):
    code, out, err = ended(chargen(2, corpus, f"--out={tmp_path / 'run'}", "--steps=4", *FAST))
    assert (code, out) == (0, "")
    assert err.count("different") == err.count("Next:") == 1
    assert "seed 0, 2 processes" in err
    assert len(Run.open(tmp_path / "run").progress()) == 2


def test_standard_input_is_read_by_one_of_several(tmp_path):
    process = chargen(2, "-", f"--out={tmp_path / 'run'}", "--steps=2", *FAST, stdin=-1)
    code, _, err = ended(process, TEXT)
    assert (code, f"{len(TEXT):,} characters" in err) == (0, True)


def test_a_mistake_is_said_once(tmp_path):
    code, _, err = ended(chargen(2, tmp_path / "none.txt", f"--out={tmp_path / 'run'}"))
    assert (code, err.count("chargen: "), err.count("\n")) == (2, 1, 1)
    assert "none.txt: no such file" in err


def test_ctrl_c_saves_once(corpus, tmp_path):
    out = tmp_path / "run"
    process = chargen(2, corpus, f"--out={out}", "--minutes=5", *FAST, start_new_session=True)
    wait_for((out / LAST).exists)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = ended(process)
    assert (code, err.count("stopped")) == (130, 1)
    assert "Traceback" not in err
    step = Run.open(out).read_checkpoint(LAST).values["step"]
    assert f"ended after {step:,} steps" in err


def test_processes_and_torchrun_do_not_agree(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["train", "fables", "--processes", "2"]) == 2
    assert capsys.readouterr().err.startswith("chargen: --processes 2: 3 are started already")


def test_processes_are_started_from_the_command_line(corpus, tmp_path):
    """The whole of it, as a user types it."""
    out = tmp_path / "run"
    process = started(
        ["-m", "chargen", "train", corpus, "--processes=2", f"--out={out}", "--steps=2", *FAST]
    )
    code, _, err = ended(process)
    assert (code, "2 processes" in err) == (0, True)
