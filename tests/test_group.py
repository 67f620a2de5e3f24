"""Processes that train together: what they tell each other, and what ends them."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest
import torch
from groups import descendants, ended, is_alive, launched, listening, ranks
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import HashStore

from chargen.distributed import BROKEN, TOLD, GroupBrokenError, group
from chargen.distributed.group import ALONE, Several, join, shares
from chargen.errors import ChargenError

LOST = "another process of the group was lost; "


# One process


@given(st.integers(0, 1000), st.integers(1, 40))
def test_every_row_is_one_ranks_and_shares_are_even(count, size):
    rows = [row for share in shares(count, size) for row in range(count)[share]]
    assert rows == list(range(count))
    lengths = [share.stop - share.start for share in shares(count, size)]
    assert max(lengths) - min(lengths) <= 1


def test_one_process_is_a_group_that_changes_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model, rows = torch.nn.Linear(2, 3), torch.ones(2, 3)
    with join("cpu") as one:
        assert one is ALONE
        assert (one.rank, one.size, one.leads) == (0, 1, True)
        assert one.rows(7) == slice(0, 7)
        assert one.wrap(model) is model
        assert one.begin_sum([1.5, 2.5])() == [1.5, 2.5]
        assert one.summed(np.ones(2, np.float32)).tolist() == [1, 1]
        assert one.gathered(rows) is rows
        assert one.gathered_bytes(b"a") == [b"a"]
        assert one.sent(b"a") == one.led(lambda: b"a") == b"a"
        assert one.everywhere(lambda: 3) == 3
        assert one.launchers == ()


@pytest.fixture
def of_one():
    """What an elastic job that shrank to one process has."""
    return Several(HashStore(), 0, 1, "cpu")


def test_an_elastic_group_may_be_of_one(of_one):
    assert of_one.sent(b"a") == of_one.led(lambda: b"a") == b"a"
    assert of_one.everywhere(lambda: 3) == 3
    assert of_one.summed(np.ones((2, 1), np.float32)).tolist() == [[1], [1]]
    assert of_one.gathered_bytes(b"a") == [b"a"]


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error"), True),
        (torch.distributed.DistBackendError("NCCL error: remote process exited"), True),
        (torch.distributed.DistNetworkError("failed to recv, got 0 bytes"), True),
        (RuntimeError("shapes differ"), False),
        (torch.distributed.DistBackendError("NCCL: CUDA out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
    ],
)
def test_only_an_error_about_a_lost_process_is_ours(of_one, error, lost):
    with pytest.raises(GroupBrokenError if lost else type(error)), of_one.told():
        raise error


def test_an_environment_that_names_no_group_is_a_mistake(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ChargenError, match=r"RANK expected.*start with torchrun"):
        join("cpu")


def test_a_rank_beyond_the_group_is_a_mistake(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ChargenError, match="RANK is 2 and WORLD_SIZE 2: ranks are counted from 0"):
        join("cpu")


def test_more_processes_than_gpus_is_a_mistake(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ChargenError, match=r"process 2 of this machine has no GPU, .* are 1; "):
        Several(HashStore(), 0, 1, "cuda")


# Several processes


def test_what_ranks_tell_each_other():
    said = [ended(process) for process in ranks(3, "talk")]
    assert [(code, err) for code, _, err in said] == [(0, "")] * 3
    zero, one, two = (json.loads(out) for _, out, _ in said)
    torch.manual_seed(0)
    weight = [value.item() for value in torch.nn.Linear(1, 1).parameters()]
    for rank, each in enumerate((zero, one, two)):
        assert each["sums"] == pytest.approx([3.3, 3.0], abs=1e-15)
        assert each["weight"] == weight
        assert each["gradient"] == [1.0, 1.0]
        assert each["summed"] == [[3 * 2.0**60], [3.0]]
        assert each["sent"] == ["hi", ""]
        assert each["led"] == "done by 0"
        assert each["everywhere"] == rank
        assert each["launchers"] == []
    assert zero["rows"] == [[1, 1], [2, 2], [2, 2]]
    assert zero["texts"] == ["xx", "x", ""]
    assert [one["rows"], one["texts"], two["rows"], two["texts"]] == [None] * 4


def test_whoever_works_long_is_waited_for_while_it_shows_life():
    said = [ended(process) for process in ranks(3, "work_long")]
    assert said == [(0, "done\n", "")] * 3


def test_whoever_shows_no_life_is_lost():
    *others, last = ranks(3, "freeze")
    for process in others:
        code, _, err = ended(process)
        assert (code, err.count(LOST)) == (BROKEN, 1)
    last.kill()
    ended(last)


def test_a_killed_process_is_lost_to_the_others():
    said = [ended(process) for process in ranks(3, "die_summing")]
    assert [code for code, _, _ in said] == [BROKEN, BROKEN, -signal.SIGKILL]
    assert said[0][2].startswith(f"GroupBrokenError: process 1 of 3: {LOST}")
    assert said[1][2].startswith(f"GroupBrokenError: process 2 of 3: {LOST}")


def test_a_mistake_is_told_to_the_others():
    said = [ended(process) for process in ranks(3, "err")]
    assert [code for code, _, _ in said] == [TOLD, TOLD, 2]
    assert [err.split(":")[0] for _, _, err in said] == ["PeerFailedError"] * 2 + ["ChargenError"]


def test_a_bug_is_told_to_the_others_and_keeps_its_traceback():
    (code, _, err), other = [ended(process) for process in ranks(2, "fail")]
    assert (code, other[0]) == (1, TOLD)
    assert "ZeroDivisionError" in err
    assert other[2].startswith("PeerFailedError: another process of the group failed")


def test_who_is_done_waits_for_the_others():
    """As they left, the first had said what it does last."""
    said = [ended(process) for process in ranks(3, "leave_late")]
    (last_work, _), *left = (map(float, out.split()) for _, out, _ in said)
    assert [(code, err) for code, _, err in said] == [(0, "")] * 3
    assert all(at > last_work for (at,) in left)


def test_what_runs_as_python_ends_leaves_the_exit_code():
    survivor, killed = [ended(process) for process in ranks(2, "abort_with_python")]
    assert (survivor[0], killed[0]) == (BROKEN, -signal.SIGKILL)


def test_where_nobody_answers_is_said(monkeypatch):
    monkeypatch.setattr(group, "PATIENCE_SECONDS", 0.1)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(GroupBrokenError, match=r"can be reached at 127\.0\.0\.1:9; is it running"):
        join("cpu")


def test_who_does_not_come_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(group, "MEETING_SECONDS", 0.2)
    for rank in (0, 1):
        with pytest.raises(GroupBrokenError, match=LOST):
            Several(HashStore(), rank, 2, "cpu")


# Launched


def test_a_group_is_launched_and_hears_what_it_is_given():
    arguments = ["a b", "$HOME", "${rank}", "--flag=ü", ""]
    code, out, err = ended(launched(2, "hear", *arguments, stdin=-1), "some text")
    assert json.loads(out) == ["some text", arguments]
    assert (code, err) == (0, "rank 0 speaks\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_group_begins_again_where_a_process_was_killed(tmp_path, rank):
    code, out, err = ended(launched(2, "die_at_first", rank, tmp_path / "marker"))
    assert (code, out) == (0, "")
    assert f"process {rank + 1} was killed (SIGKILL): beginning again where it saved last" in err
    assert err.count("beginning again") == 1


def test_a_group_that_is_killed_again_and_again_ends(tmp_path):
    code, _, err = ended(launched(2, "die_summing"))
    assert code == 128 + signal.SIGKILL
    assert err.count("beginning again") == 3
    assert err.splitlines()[-1].endswith("after 3 restarts; --resume goes on where it saved last")


def test_a_mistake_ends_a_group_and_is_shown_once():
    """It is the second rank's, whose words are not seen as they are said."""
    code, out, err = ended(launched(2, "err"))
    assert (code, out) == (2, "")
    assert "ChargenError: the text is too short; give more\n" in err
    assert "beginning again" not in err


def test_a_bug_ends_a_group_with_its_traceback():
    code, _, err = ended(launched(2, "fail"))
    assert code == 1
    assert err.count("ZeroDivisionError") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_each_process_once_and_is_waited_for(number):
    process = launched(2, "wait_for_signal", start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    if number == signal.SIGINT:  # a terminal sends it to all
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code, out, err = ended(process)
    assert code == 128 + number
    assert "rank 0 heard 1" in out
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone lists its open ports in a file")
def test_nothing_listens_where_others_could_reach_it():
    before = set(listening())
    code, out, _ = ended(launched(2, "listen"))
    assert code == 0
    opened = set(json.loads(out)) - before
    assert opened
    assert all(address.startswith("0100007F:") for address in opened), opened  # 127.0.0.1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells that a parent ended")
def test_processes_end_with_a_launcher_that_is_killed():
    process = launched(2, "wait_for_signal")
    assert process.stdout.readline() == "ready\n"
    children = descendants(process.pid)
    assert len(children) >= 2
    process.kill()
    until = time.monotonic() + 10
    while any(map(is_alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, children))
    ended(process)
