"""`train --init-from` and `--min-count`: merged vocabularies, provenance, dropped characters."""

import hashlib
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from tiny import state_of

import chargen
from chargen.api import score
from chargen.cli import main
from chargen.runs.directory import BEST, LAST, RUN, Run
from chargen.text.vocabulary import PLACEHOLDER

OLD, NEW = "the cat sat on the mat.\n" * 30, "Zwölf Boxkämpfer; quick!\n" * 30
SMALL = ["--timesteps", "4", "--batch-size", "2", "--device", "cpu"]
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        Path("old.txt").write_text(OLD)
        Path("new.txt").write_text(NEW)
        for name, model in (("old", ["--units=5,4"]), ("blocks", ["--cell=minGRU", "--units=3"])):
            command = ["train", "old.txt", *model, *SMALL, "--steps=9", "--out", f"runs/{name}"]
            assert main([*command, "--quiet"]) == 0
    return home


def tune(*more, out="runs/new", init_from="old", steps=4):
    flags = ["--init-from", init_from, "--out", str(out), f"--steps={steps}", *SMALL, *more]
    return main(["train", "new.txt", *flags])


@pytest.mark.parametrize("source", ["old", "blocks"])
def test_a_fine_tuned_run_starts_from_the_old_weights_by_character(tmp_path, source):
    out = tmp_path / "run"
    assert tune("--learning-rate=1e-30", "--weight-decay=0", out=out, init_from=source) == 0
    old, new = (Run.open(path) for path in (Path("runs", source), out))
    known, merged = old.description.vocabulary, new.description.vocabulary
    assert merged.characters == "".join(sorted({*OLD, *NEW}))
    rows, weights = merged.encode(known.characters), new.weights()
    for name, before in old.weights().items():
        by_row = name == ("stack.W_in" if source == "blocks" else "stack.layers.0.W_xh")
        after = weights[name][rows] if by_row or name == "b_y" else weights[name]
        assert np.allclose(after[:, rows] if name == "W_hy" else after, before, atol=1e-6), name
    fresh = np.setdiff1d(np.arange(len(merged)), rows)
    assert (weights["b_y"][fresh] == old.weights()["b_y"].min()).all()
    assert np.unique(weights["W_hy"][:, fresh], axis=1).shape[1] == len(fresh)


def test_provenance_is_recorded_and_forgetting_reported(tmp_path, capsys, cli):
    assert tune("--dropout=0.2", "--learning-rate=0.1", out=tmp_path / "run", steps=60) == 0
    record = json.loads((tmp_path / "run" / RUN).read_text())
    origin, old = record["initialized_from"], Run.open(Path("runs/old"))
    assert origin["run"] == str(old.path.resolve())
    assert origin["sha256"] == hashlib.sha256((old.path / BEST).read_bytes()).hexdigest()
    assert origin["corpus"]["sha256"] == hashlib.sha256(OLD.encode()).hexdigest()
    before, after = chargen.load(tmp_path / "run").forgetting()
    assert before == pytest.approx(chargen.load("old").evaluate().loss_nats, abs=1e-5)
    assert after > before + 0.5
    err = capsys.readouterr().err
    assert f"The old text has {after:.4f} nats, {before:.4f} before fine-tuning." in err
    assert f"starts from runs/old: {len({*NEW} - {*OLD})} new characters" in err
    assert "fine-tuned from   old, weights" in cli(["inspect", str(tmp_path / "run")]).out
    text = Path("old.txt").rename(tmp_path / "old.txt")
    assert main(["train", "--resume", "--out", str(tmp_path / "run")]) == 0
    text.rename("old.txt")
    assert "The loss on the old text is unknown: " in capsys.readouterr().err


def test_a_fine_tuned_run_resumes_bit_for_bit(tmp_path, often):
    assert tune("--dropout=0.3", out=tmp_path / "whole", steps=8) == 0
    assert tune("--dropout=0.3", out=tmp_path / "parts", steps=4) == 0
    assert main(["train", "--resume", "--out", str(tmp_path / "parts"), "--steps=8"]) == 0
    whole, parts = (state_of(tmp_path / name) for name in ("whole", "parts"))
    assert whole[BEST][0].keys() == parts[BEST][0].keys()
    assert parts["description"] == whole["description"]
    (tmp_path / "whole" / LAST).unlink()
    (tmp_path / "whole" / "progress.jsonl").unlink()
    assert main(["train", "--resume", "--out", str(tmp_path / "whole")]) == 0  # from the beginning
    again = state_of(tmp_path / "whole")
    assert again["description"] == whole["description"]
    assert again[LAST][0] == whole[LAST][0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--units=9"], "--units 9: the run in runs/old uses 5,4; --init-from keeps it"),
        (["--resume"], "--resume and --init-from: give one"),
        (["--init-from=new.txt"], "--init-from new.txt: a file, not a run; chargen runs lists"),
        (["--out=runs/old", "--overwrite"], "--init-from runs/old: would be overwritten"),
    ],
)
def test_what_contradicts_the_old_run_is_one_line(tmp_path, capsys, more, message):
    assert tune(*more, out=tmp_path / "run") == 2
    err = capsys.readouterr().err.splitlines()
    assert message in err[-1]
    assert not (tmp_path / "run").exists()


def test_rare_characters_are_dropped_everywhere(tmp_path, cli):
    text, run = tmp_path / "rare.txt", str(tmp_path / "run")
    text.write_text("a red fox ran by\n" * 30 + "ÀÉ 7É7\n" + "a red fox ran by\n" * 3)
    command = ["train", str(text), "--out", run, "--min-count=3", "--units=4", "--steps=9", *SMALL]
    err = cli(command).err
    assert "dropped 3 of 15 characters that occur fewer than 3 times (5 occurrences)" in err
    model = chargen.load(run)
    assert model.vocabulary.dropped == "7ÀÉ"
    assert model.vocabulary.decode(model.corpus().ids) == text.read_text().translate(
        dict.fromkeys(map(ord, "7ÀÉ"), PLACEHOLDER)
    )
    written = model.sample("É", length=3000, temperature=5, seed=1)
    assert PLACEHOLDER not in written
    assert len(model.score("red É7").runs[0].nats) == 5
    two = score([model, chargen.load("old")], "the É", "skip")
    assert (two.text, two.left_out) == ("e ", 3)
    resume = ["train", "--resume", "--out", run]
    cli([*resume, "--steps=12"])
    assert "--min-count 2: the run in" in cli([*resume, "--min-count=2"], 2).err
    assert "7ÀÉ" in model.run.description.facts()["dropped"]
    none = ["train", text, "--out", f"{run}2", "--min-count=9999"]
    assert "no character occurs as often; lower it" in cli(none, 2).err


def test_the_script_of_the_how_to_runs(tmp_path, monkeypatch, capsys):
    folder = Path(__file__).parent.parent / "docs" / "how-to"
    script = runpy.run_path(str(folder / "fine_tune.py"))
    corpora = [str(Path(name).resolve()) for name in ("old.txt", "new.txt")]
    monkeypatch.chdir(tmp_path)
    script["main"](*corpora, units=(4,), steps=40, timesteps=4, batch_size=2)
    out = capsys.readouterr().out
    assert re.search(r"first author: \d\.\d+ nats before, \d\.\d+ after fine-tuning\n", out)
    assert re.search(r"second author: \d\.\d+ nats fine-tuned, \d\.\d+ from scratch\n", out)
