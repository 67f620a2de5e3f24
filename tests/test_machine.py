"""The measured speed of the machine: threads, the record in ``run.json``, and resumed runs."""

import pytest
import tiny
import torch

from chargen.errors import ChargenError
from chargen.runs.description import Machine
from chargen.runs.directory import Run
from chargen.settings import GivenSettings
from chargen.training import machine
from chargen.training.defaults import Hardware, reference_settings
from chargen.training.session import start


@pytest.fixture
def slow(monkeypatch):
    """A machine that is fastest with one thread; the requests to measure it are recorded."""
    asked = []

    def measure(model, training, size, threads):
        asked.append((model.units, size, threads))
        return Machine(0.2e6, threads or 1)

    monkeypatch.setattr("chargen.training.session.measure_machine", measure)
    return asked


def set_threads(monkeypatch):
    """Return the list of numbers of threads that torch is given from now on."""
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    return given


def begin(source, out, **more):
    with start([source], {"units": (4,), "minutes": 0.001}, out, **more) as session:
        session.run()
    return Run.open(out).description


def test_a_time_budget_measures_the_machine_and_keeps_its_threads(cat, tmp_path, monkeypatch, slow):
    given = set_threads(monkeypatch)
    description = begin(cat, tmp_path / "run")
    assert slow == [((4,), len(set(tiny.TEXT)), None)]
    assert description.machine == Machine(0.2e6, 1)
    assert "200,000 characters per minute with 1 thread" in description.facts()["machine"]
    with start([], {"minutes": 1}, tmp_path / "run", resume=True):
        assert set(given) == {1}  # reading sets it too
    with start([], {"minutes": 1}, tmp_path / "run", resume=True, threads=3):
        assert given[-1] == 3
    assert len(slow) == 1
    assert begin(cat, tmp_path / "more", threads=2).machine == Machine(0.2e6, 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # a smaller machine
    with start([], {"minutes": 1}, tmp_path / "more", resume=True):
        assert given[-1] == 1


def test_a_budget_in_steps_measures_nothing(cat, tmp_path, slow):
    with start([cat], {"units": (4,), "steps": 1}, tmp_path / "run") as session:
        assert session.trainer.run.description.machine is None
    assert not slow


@pytest.mark.parametrize(
    ("seconds", "tried", "best"),
    [
        ({1: [1.0], 2: [0.6], 4: [0.4], 6: [0.2]}, [1, 2, 4, 6], 6),
        ({1: [1.0], 2: [0.95, 0.95], 4: [0.1]}, [1, 2], 1),
        ({1: [0.2], 2: [3.0, 0.1]}, [1, 2], 2),
    ],
    ids=str,
)
def test_more_threads_are_tried_while_they_gain(monkeypatch, seconds, tried, best):
    given = set_threads(monkeypatch)
    monkeypatch.setattr(torch, "get_num_threads", lambda: max(seconds))
    monkeypatch.setattr(machine, "_seconds_per_step", lambda *settings: seconds[given[-1]].pop(0))
    model, training = reference_settings(GivenSettings.parse({}), 10**6, Hardware())
    expected = Machine(pytest.approx(60 * 1024 / seconds[best][-1]), best)
    assert machine.measure_machine(model, training, 65) == expected
    assert given == [*tried, best]


def test_real_steps_are_timed():
    settings = GivenSettings.parse({"units": (4,), "batch_size": 2, "timesteps": 8})
    found = machine.measure_machine(*reference_settings(settings, 10**6, Hardware()), 5, threads=1)
    assert found.threads == 1
    assert found.chars_per_minute > 1000


def test_a_model_that_does_not_fit_is_refused_before_it_is_timed(cat, tmp_path, monkeypatch):
    def fails(*arguments):
        raise MemoryError

    monkeypatch.setattr("chargen.training.session.measure_machine", fails)
    with pytest.raises(ChargenError, match="units=4: out of memory"):
        begin(cat, tmp_path / "run")
    assert not (tmp_path / "run").exists()
