"""Observation of a training: `chargen watch`, TensorBoard events, messages of `chargen train`."""

import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from chargen.cli import main, training_display
from chargen.cli.terminal import say
from chargen.cli.training_display import TAGS, EventWriter
from chargen.cli.watch import RunObserver
from chargen.errors import ChargenError
from chargen.pages import watch_page as page_module
from chargen.pages.watch_page import TrainingSample, TrainingStatus, draw_loss, watch_page
from chargen.render.figures import PAGE, panel
from chargen.runs.directory import BEST, Run
from chargen.runs.lock import lock
from chargen.settings import TrainingSettings

FLAGS = [*tiny.FLAGS[1:], "--steps=5"]


def line(step, validation, **more):
    return {
        "step": step, "chars": step * 10, "seconds": step / 2, "train_loss_nats": validation + 0.1,
        "validation_loss_nats": validation, "learning_rate": 0.002, "gradient_norm": 0.7, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def status(finished):
    lines = [line(100, 2.5), line(200, 1.9), line(300, 1.625), line(400, 1.75)]
    samples = (
        TrainingSample(100, 2.5, "first </pre><script>"),
        TrainingSample(300, 1.625, "second\nline"),
    )
    return TrainingStatus("runs/<b>", Run.open(finished).description, lines, samples, 1.5, 5)


def test_the_page_shows_losses_baseline_and_samples(status, browser):
    page = watch_page(status)
    for part in (
        "Best validation loss 1.6250 nats per character, 2.344 bits, at step 300.",
        "No improvement since; step 400: 1.7500.",
        "<title>1.625 nats, runs/&lt;b&gt;</title>",
        "lstm of 3 + 2 units",
        '<meta http-equiv="refresh" content="5">',
        "every 5 s",
        "step 300, 1.625 nats",
    ):
        assert part in page
    assert (page.count("<svg"), "<script" in page) == (3, False)
    browser.show(page, 360)
    assert (browser.overflows(), browser.errors(), browser.requests()) == (False, [], [])
    sentence = "The n-gram baseline has 1.5000 nats, 0.1250 lower than the best loss."
    assert sentence in [note.text for note in browser.all("p")]
    assert [pre.text for pre in browser.all("pre")] == ["first </pre><script>", "second\nline"]


def test_the_page_of_a_finished_or_a_new_run(status, monkeypatch):
    monkeypatch.setattr("chargen.render.report.Figure.svg", lambda figure: "<svg></svg>")
    ended = watch_page(replace(status, seconds=0, lines=status.lines[:3], baseline=1.75))
    assert not any(part in ended for part in ("refresh", "No improvement since"))
    assert all(part in ended for part in ("not training", "0.1250\nhigher than the best loss"))
    new = watch_page(replace(status, lines=[], samples=()))
    assert ("No validation yet." in new, "<svg" in new) == (True, False)
    for baseline, sentence in (("", "is being computed"), ("Without: gone.", "Without: gone.")):
        assert sentence in watch_page(replace(status, baseline=baseline))


def test_long_curves_are_thinned_and_keep_the_best_and_the_ends():
    lines = [line(n, 3 - n / 10_000) for n in range(5000)]
    lines[1234]["validation_loss_nats"] = 0.5
    shown = page_module.thinned(lines)
    assert (shown[0], shown[-1], page_module.best(lines)) == (lines[0], lines[-1], lines[1234])
    assert lines[1234] in shown
    assert len(shown) <= page_module.MOST


def test_figures_draw_the_recorded_numbers(status):
    first = line(10, 2.0, first_losses_nats={"1": 4.0, "2": 3.5, "4": 3.0})
    status = replace(status, lines=[first, line(20, 1.0)], baseline=1.2)
    (axes,) = panel(partial(draw_loss, status), "x", "y")(PAGE, "").axes
    drawn = {curve.get_label(): list(curve.get_ydata()) for curve in axes.get_lines()}
    expected = {"validation": [2, 1], "n-gram baseline": [1.2, 1.2]}
    assert expected.items() <= drawn.items()
    training, *_, mark = axes.get_lines()
    assert training.get_xydata().tolist() == [[1, 4], [2, 3.5], [4, 3], [20, 1.1]]
    assert mark.get_xydata().tolist() == [[20, 1]]
    assert (axes.get_xscale(), *axes.get_xlim()) == ("log", 1, 20)
    first = line(1, 2.0, first_losses_nats={"1": 1.7e308})  # extreme numbers are drawn
    watch_page(replace(status, lines=[first, dict.fromkeys(line(2, 1.0), -1.7e308)]))


def test_once_writes_the_page_and_changes_no_file_of_the_run(run, cli):
    before = {file: file.read_bytes() for file in run.iterdir()}
    assert cli(["watch", "runs/cat", "--once"]) == ("page: runs/cat/watch.html\n", "")
    page = (run / "watch.html").read_text()
    assert "The n-gram baseline has " in page
    assert "Samples" in page
    assert {file: file.read_bytes() for file in before} == before
    assert set(run.iterdir()) == {*before, run / "watch.html"}


def test_updates_end_with_the_training_or_with_ctrl_c(run, monkeypatch):
    pages, held = [], ExitStack()

    def sleep(seconds):
        pages.append((run / "watch.html").read_text())
        assert seconds == 7
        if len(pages) == 2:
            held.close()
        if len(pages) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("chargen.pages.watch_page.watch_page", lambda status: str(status.seconds))
    held.enter_context(lock(run))
    assert main(["watch", str(run), "--every", "7"]) == 0
    assert pages == ["7", "7"]
    assert (run / "watch.html").read_text() == "0"
    with lock(run):
        assert main(["watch", str(run), "--every", "7"]) == 130
    assert (run / "watch.html").read_text() == "7"


def test_each_better_checkpoint_adds_a_sample_and_the_first_stays(run, monkeypatch):
    monkeypatch.setattr(sys.modules["chargen.cli.watch"], "MOST_SAMPLES", 4)
    observer = RunObserver(run)
    best, first = Run.open(run).read_checkpoint(BEST), observer.observe(5).samples
    assert [len(first), first[0].step] == [1, 5]
    assert observer.observe(5).samples == first
    kept = []
    for n in range(1, 6):
        Run.open(run).write_checkpoint(BEST, replace(best, values={**best.values, "step": 5 + n}))
        samples = observer.observe(5).samples
        kept.append(len(samples))
        assert samples[0] is first[0]
    assert kept == [2, 3, 4, 3, 4]


def test_an_overwritten_run_resets_the_observer(run, tmp_path):
    observer = RunObserver(run)
    observer.observe(5)
    assert observer.compute_baseline()
    assert observer.observe(5).baseline > 0
    assert not observer.compute_baseline()
    file, text = run / "run.json", (run / "run.json").read_text()
    file.write_text(text.replace("cat.txt", "gone.txt"))  # another run, whose text is missing
    again = observer.observe(5)
    assert (len(again.samples), again.baseline) == (1, "")
    assert observer.compute_baseline()
    assert "No n-gram baseline: " in observer.observe(5).baseline


@pytest.fixture(autouse=True)
def _samples(monkeypatch):
    monkeypatch.setattr("chargen.cli.training_display.SECONDS_BETWEEN_SAMPLES", 0)


def messages(cli, *arguments):
    """Train; return the messages on standard error."""
    out, err = cli(["train", "cat.txt", *FLAGS, "--overwrite", *arguments])
    assert out == ""
    return err


@pytest.mark.usefixtures("home", "often")
def test_quiet_prints_warnings_only_and_verbose_prints_samples(cli, monkeypatch):
    normal, verbose = messages(cli), messages(cli, "--verbose")
    assert len(re.findall(r"^epoch .* left$", normal, re.M)) == 3
    details = r"  step \d  best \d\.\d{4}  learning rate \d\.\d\de-\d\d  gradient norm \d"
    assert len(re.findall(rf"^epoch .* left{details}", verbose, re.M)) == 3
    assert len(verbose) > len(normal) + 3 * 300  # samples
    *_, done, best_loss, baseline, next_one = normal.splitlines()
    assert re.fullmatch(r"Done: step budget reached \(5 steps, \d+ s\)\.", done)
    assert re.fullmatch(r"Best validation loss .* nats \(.* bits per character\)\.", best_loss)
    assert re.fullmatch(r"The 6-gram baseline has .* nats: the model is .* worse\.", baseline)
    assert next_one == "Next: chargen train --resume --out runs/cat --more-steps 5"
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    lost = "tensorboard: cannot be written (No space left on device); training continues without"
    assert messages(cli, "--quiet", "--tensorboard") == f"runs/cat/{lost} event files\n"
    Path("tensorboard").symlink_to(Path("runs/cat/tensorboard"))
    with pytest.raises(ChargenError, match="a symbolic link"):
        EventWriter(Path(), 0)


def test_the_next_command_suits_the_run():
    settings, counters = TrainingSettings(epochs=0.5, minutes=2), SimpleNamespace(step=7)
    for out, sources, margin, ending, command in (
        ("runs/cat", "/cat.txt", 0.1, "time budget reached", "sample runs/cat"),
        ("a b", "/cat.txt", None, "time budget reached", "sample 'a b'"),
        ("o", "longrange", 0.1, "time budget reached", "probe-longrange o"),
        ("o", "longrange", -0.1, "epoch budget reached", "train --resume --out o --more-steps 7"),
        ("o", "/c", -0.1, "time budget reached", "train --resume --out o --more-minutes 2"),
        ("o", "/c", 0.1, "stopped", "train --resume --out o"),
        ("o", "/c", -0.1, "no improvement in 10 validations", "sample o"),
    ):
        description = SimpleNamespace(corpus=SimpleNamespace(sources=(sources,)))
        run = SimpleNamespace(path=Path(out), description=description)
        trainer = SimpleNamespace(run=run, settings=settings, ending=ending, counters=counters)
        found = training_display.next_command(trainer, ending == "stopped", margin)
        assert found == f"chargen {command}"


def test_no_color_is_respected(monkeypatch, capsys):
    for value, shown in (("", "\x1b[2mdim\x1b[0m\n"), ("1", "dim\n")):
        monkeypatch.setenv("NO_COLOR", value)
        monkeypatch.setattr("click.utils.should_strip_ansi", lambda *given: False)
        say("dim", dim=True)
        assert capsys.readouterr().out == shown


def test_tensorboard_events_equal_the_progress_file(home, often, cli, monkeypatch):
    run = home / "runs" / "cat"
    for more in (["cat.txt", *FLAGS, "--overwrite"], ["--resume", "--steps", "9"]):
        assert main(["train", *more, "--tensorboard"]) == 0
        read, lines = EventAccumulator(str(run / "tensorboard")), Run.open(run).progress()
        read.Reload()
        for name, tag in TAGS.items():
            found = {one.step: one.value for one in read.Scalars(tag)}
            assert found == {line["step"]: pytest.approx(line[name], rel=1e-6) for line in lines}
    assert [line["step"] for line in lines] == [2, 4, 5, 6, 8, 9]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    err = cli(["train", "cat.txt", *FLAGS, "--tensorboard"], 2).err
    assert err.endswith("needs the package; pip install tensorboard\n")
