"""A training that is watched: the page, TensorBoard, and what train says on standard error."""

import os
import pty
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from chargen.cli import events, main, training_display
from chargen.cli.events import TAGS, EventWriter
from chargen.cli.watch import RunObserver
from chargen.errors import ChargenError
from chargen.pages.watch_page import (
    MOST,
    TrainingSample,
    TrainingStatus,
    best,
    draw_loss,
    draw_norm,
    thinned,
    watch_page,
)
from chargen.render.figures import PAGE
from chargen.runs.directory import BEST, HOLDER, Run, is_held, lock
from chargen.settings import TrainingSettings
from chargen.training import Report

FLAGS = [*tiny.FLAGS[1:], "--steps=5"]


def line(step, validation, **more):
    return {
        "step": step, "chars": step * 10, "seconds": step / 2, "train_loss_nats": validation + 0.1,
        "validation_loss_nats": validation, "learning_rate": 0.002, "gradient_norm": 0.7, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a corpus and a run of a few steps, of several validations."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "cat.txt").write_text(tiny.TEXT)
    with pytest.MonkeyPatch.context() as patch:
        tiny.often(patch)
        tiny.train(folder / "cat.txt", folder / "runs" / "cat")
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of it, which a test may change."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "cat"
    path.mkdir(parents=True)
    for file in (trained / "runs" / "cat").iterdir():
        if not file.name.startswith("."):
            (path / file.name).write_bytes(file.read_bytes())
    return path


@pytest.fixture(scope="module")
def seen(trained):
    """What was seen of a run of which much is made up."""
    description = Run.open(trained / "runs" / "cat").description
    lines = [line(100, 2.5), line(200, 1.9), line(300, 1.625), line(400, 1.75)]
    samples = (
        TrainingSample(100, 2.5, "first </pre><script>"),
        TrainingSample(300, 1.625, "second\nline"),
    )
    return TrainingStatus("runs/<b>", description, lines, samples, 1.5, "6-gram", seconds=5)


@pytest.fixture(scope="module")
def page(seen):
    return watch_page(seen)


def test_the_page_says_how_it_stands(page):
    assert "Best validation loss 1.6250 nats per character, 2.344 bits, at step 300." in page
    assert "No improvement since; step 400: 1.7500." in page
    assert "a 6-gram of the same corpus: 1.5000 nats, 0.1250 lower than the best loss." in page
    assert "<title>1.625 nats, runs/&lt;b&gt;</title>" in page
    assert page.count("<svg") == 3
    assert "lstm of 3 + 2 units" in page
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "every 5 s" in page


def test_the_page_of_a_run_that_has_ended(seen):
    ended = watch_page(replace(seen, seconds=0, lines=seen.lines[:3], baseline_nats=1.75))
    assert "refresh" not in ended
    assert "not training" in ended
    assert "No improvement since" not in ended
    assert "0.1250 higher than the best loss" in ended


@pytest.mark.parametrize(
    ("note", "told"), [("", "is being computed"), ("Without: gone.", "Without: gone.")]
)
def test_a_page_without_a_floor(seen, note, told):
    assert told in watch_page(replace(seen, baseline_nats=None, baseline_note=note))


def test_samples_stand_newest_first_and_are_text(seen, page):
    assert page.index("second\nline") < page.index("first &lt;/pre&gt;&lt;script&gt;")
    assert "step 300, 1.625 nats" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page == watch_page(seen)


def test_before_the_first_validation_there_is_a_page(seen):
    page = watch_page(replace(seen, lines=[], samples=()))
    assert "No validation yet." in page
    assert "<svg" not in page


def test_long_curves_are_thinned_and_keep_what_matters():
    lines = [line(n, 3 - n / 10_000) for n in range(5000)]
    lines[1234]["validation_loss_nats"] = 0.5
    shown = thinned(lines)
    assert len(shown) <= MOST
    assert (shown[0], shown[-1]) == (lines[0], lines[-1])
    assert lines[1234] in shown
    assert best(lines) is lines[1234]
    assert thinned(shown) is shown


def test_the_curves_are_those_of_the_lines(seen):
    lines = [line(10, 2.0, gradient_norm=3.0), line(20, 1.0, gradient_norm=0.5)]
    status = replace(seen, lines=lines, baseline_nats=1.2)
    curves = draw_loss(status, PAGE).axes[0].get_lines()
    drawn = {curve.get_label(): list(curve.get_ydata()) for curve in curves}
    assert drawn["validation"] == [2, 1]
    assert drawn["training"] == [2.1, 1.1]
    assert drawn["6-gram baseline"] == [1.2, 1.2]
    assert drawn["best"] == [1]
    clip, norms = draw_norm(lines, 0.8, PAGE).axes[0].get_lines()
    assert (list(clip.get_ydata()), list(norms.get_ydata())) == ([0.8, 0.8], [3, 0.5])


@pytest.mark.parametrize("name", list(line(0, 0)))
def test_numbers_of_a_strangers_run_are_drawn_or_cut(seen, name):
    for value in (-1.7e308, 1.7e308):
        watch_page(replace(seen, lines=[line(1, 2.0), line(2, 1.0) | {name: value}]))


def test_who_holds_a_run_is_seen_without_touching_the_lock(tmp_path):
    assert not is_held(tmp_path)
    with lock(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / HOLDER).write_text(f"{ended.pid} 2026-01-01 00:00:00")
    assert not is_held(tmp_path)
    (tmp_path / HOLDER).write_text(f"{os.getpid()} 2026-01-01 00:00:00")
    assert is_held(tmp_path)
    (tmp_path / HOLDER).write_text("nobody")
    assert not is_held(tmp_path)


def test_once_writes_the_page_and_nothing_else(run, trained, capsys):
    before = {file: file.read_bytes() for file in run.iterdir()}
    assert main(["watch", "runs/cat", "--once"]) == 0
    assert capsys.readouterr() == ("page: runs/cat/watch.html\n", "")
    page = (run / "watch.html").read_text()
    assert "Baseline, a 6-gram of the same corpus: " in page
    assert "Samples" in page
    assert {file: file.read_bytes() for file in before} == before
    assert set(run.iterdir()) == {*before, run / "watch.html"}
    assert main(["watch", "--once", "--out", "here.html"]) == 0
    assert Path("here.html").read_text() == page


def test_it_is_watched_until_no_process_trains_it(run, monkeypatch):
    pages, held = [], ExitStack()
    held.enter_context(lock(run))

    def sleep(seconds):
        pages.append((seconds, (run / "watch.html").read_text()))
        if len(pages) == 3:
            held.close()

    monkeypatch.setattr("time.sleep", sleep)
    assert main(["watch", str(run), "--every", "7"]) == 0
    assert [seconds for seconds, _ in pages] == [7, 7, 7]
    assert all('http-equiv="refresh" content="7"' in page for _, page in pages)
    assert "refresh" not in (run / "watch.html").read_text()


def test_ctrl_c_leaves_the_page(run, monkeypatch):
    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    with lock(run):
        assert main(["watch", str(run)]) == 130
    assert "Samples" in (run / "watch.html").read_text()


def test_a_sample_comes_with_each_better_model_and_the_first_stays(run, monkeypatch):
    monkeypatch.setattr(sys.modules["chargen.cli.watch"], "MOST_SAMPLES", 4)
    observer = RunObserver(run)
    data, first = (run / BEST).read_bytes(), observer.observe(5).samples
    assert [len(first), first[0].step] == [1, 5]
    assert observer.observe(5).samples == first
    kept = []
    for n in range(1, 9):
        (run / BEST).write_bytes(data)
        os.utime(run / BEST, ns=(n, n))
        samples = observer.observe(5).samples
        kept.append(len(samples))
        assert samples[0] is first[0]
    assert kept == [2, 3, 4, 3, 4, 3, 4, 3]


def test_a_run_that_was_started_over_is_another_one(run, tmp_path):
    observer = RunObserver(run)
    observer.observe(5)
    assert observer.compute_baseline()
    assert observer.observe(5).baseline_nats is not None
    assert not observer.compute_baseline()
    (tmp_path / "other.txt").write_text(tiny.TEXT + "another text ")
    tiny.train(tmp_path / "other.txt", run, overwrite=True)
    again = observer.observe(5)
    assert (len(again.samples), again.baseline_nats) == (1, None)
    assert observer.compute_baseline()


def test_without_its_text_there_is_no_floor_and_the_page_says_so(run, trained):
    assert "cat.txt" in (run / "run.json").read_text()
    told = (run / "run.json").read_text().replace("cat.txt", "gone.txt")
    (run / "run.json").write_text(told)
    assert main(["watch", str(run), "--once"]) == 0
    assert "No n-gram baseline: " in (run / "watch.html").read_text()


@pytest.mark.parametrize("arguments", [["none"], [], ["none", "--out", "no/x.html"]])
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), list(tmp_path.iterdir())) == ("", 1, [])


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_in_a_browser(browser, page, tmp_path, width):
    (tmp_path / "watch.html").write_text(page, encoding="utf-8")
    browser.open(tmp_path / "watch.html", width)
    assert not browser.overflows()
    assert (browser.errors(), browser.requests()) == ([], [])
    assert [pre.text for pre in browser.all("pre")] == ["second\nline", "first </pre><script>"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a corpus, and trainings that validate often."""
    monkeypatch.chdir(tmp_path)
    Path("cat.txt").write_text(tiny.TEXT)
    tiny.often(monkeypatch)
    monkeypatch.setattr("chargen.cli.training_display.SECONDS_BETWEEN_SAMPLES", 0)
    return tmp_path


def said(capsys, *arguments):
    """What a training says; nothing of it on standard output."""
    assert main(["train", "cat.txt", *FLAGS, "--overwrite", *arguments]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_quiet_says_nothing_and_verbose_says_more(home, capsys):
    assert said(capsys, "--quiet") == ""
    plain, verbose = said(capsys), said(capsys, "--verbose")
    assert len(re.findall(r"^epoch .* left$", plain, re.M)) == 3
    told = (
        r"^epoch .* left  step \d  best \d\.\d{4}  learning rate \d\.\d\de-\d\d  gradient norm \d"
    )
    assert len(re.findall(told, verbose, re.M)) == 3
    assert len(verbose) > len(plain) + 3 * 300  # samples
    assert main(["train", "cat.txt", "--quiet", "--verbose"]) == 2
    assert "--quiet and --verbose: give one" in capsys.readouterr().err


def test_quiet_says_what_goes_wrong(home, capsys, monkeypatch):
    monkeypatch.setattr(EventWriter, "write", lambda events, report: f"lost {report.step}")
    assert said(capsys, "--quiet", "--tensorboard") == "lost 2\nlost 4\nlost 5\n"


def test_summary_compares_with_the_baseline_and_names_a_next_command(home, capsys):
    closing = said(capsys).splitlines()[-4:]
    assert re.fullmatch(r"Done: step budget reached \(5 steps, \d+ s\)\.", closing[0])
    assert re.fullmatch(r"Best validation loss .* nats \(.* bits per character\)\.", closing[1])
    assert re.fullmatch(r"The 6-gram baseline has .* nats: the model is .* worse\.", closing[2])
    assert closing[3] == "Next: chargen train --resume --out runs/cat --steps 10"
    assert main(shlex.split(closing[3])[2:]) == 0
    assert "--steps 20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "sources", "margin", "ending", "command"),
    [
        ("runs/cat", "/cat.txt", 0.1, "time budget reached", "sample runs/cat"),
        ("a b", "/cat.txt", None, "time budget reached", "sample 'a b'"),
        ("o", "longrange", 0.1, "time budget reached", "probe-longrange o"),
        ("o", "longrange", -0.1, "epoch budget reached", "train --resume --out o --epochs 1"),
        ("o", "/c", -0.1, "time budget reached", "train --resume --out o --minutes 4"),
        ("o", "/c", 0.1, "stopped", "train --resume --out o"),
    ],
)
def test_next_command_suits_the_run(out, sources, margin, ending, command):
    corpus = SimpleNamespace(sources=(sources,))
    run = SimpleNamespace(path=Path(out), description=SimpleNamespace(corpus=corpus))
    settings = TrainingSettings(epochs=0.5, minutes=2)
    trainer = SimpleNamespace(run=run, settings=settings, ending=ending)
    found = training_display.next_command(trainer, ending == "stopped", margin)
    assert found == f"chargen {command}"


def on_a_terminal(**environment):
    own, its = pty.openpty()
    program = "from chargen.cli.terminal import say; say('dimmed', err=True, dim=True)"
    ran = subprocess.run(
        [sys.executable, "-c", program], stderr=its, check=True, env=os.environ | environment
    )
    os.close(its)
    shown = os.read(own, 1000)
    os.close(own)
    assert ran.returncode == 0
    return shown


def test_no_color_is_respected():
    assert on_a_terminal(NO_COLOR="") == b"\x1b[2mdimmed\x1b[0m\r\n"
    assert on_a_terminal(NO_COLOR="1") == b"dimmed\r\n"


def events_of(run):
    read = EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    return {tag: {one.step: one.value for one in read.Scalars(tag)} for tag in TAGS.values()}


def lines_as_events(run):
    lines = Run.open(run).progress()
    return {
        tag: {line["step"]: pytest.approx(line[name], rel=1e-6) for line in lines}
        for name, tag in TAGS.items()
    }


def test_tensorboard_reads_what_the_run_says(home, capsys):
    said(capsys, "--tensorboard")
    run = home / "runs" / "cat"
    assert events_of(run) == lines_as_events(run)
    assert main(["train", "--resume", "--steps", "9", "--tensorboard"]) == 0
    assert [*events_of(run)["loss_nats/validation"]] == [2, 4, 5, 6, 8, 9]
    assert events_of(run) == lines_as_events(run)
    said(capsys, "--tensorboard")
    assert events_of(run) == lines_as_events(run)


def test_without_tensorboard_the_way_to_it_is_named(home, capsys, monkeypatch):
    monkeypatch.setattr(events, "FOLDER", "no_such_package")
    assert main(["train", "cat.txt", *FLAGS, "--tensorboard"]) == 2
    err = capsys.readouterr().err
    assert (err.count("\n"), "pip install 'chargen[tensorboard]'" in err) == (1, True)
    assert not Path("runs").exists()
    assert said(capsys)
    assert not Path("runs/cat/tensorboard").exists()


def test_events_that_cannot_be_written_end_no_training(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    report = Report(1, 10, 0.5, 2.0, 2.1, 0.001, 0.5, 0.1)
    with EventWriter(tmp_path, 0) as one:
        monkeypatch.setattr(one._writer, "add_scalar", full)
        told = one.write(report)
        assert "tensorboard: cannot be written (No space left on device); training" in told
        assert one.write(report) == ""


def test_events_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ChargenError, match="a symbolic link"):
        EventWriter(tmp_path / "run", 0)
    assert not list((tmp_path / "elsewhere").iterdir())
