"""Runs of earlier versions open, evaluate, sample and resume.

Each directory in ``tests/golden`` was made once, by

    chargen train - --out lstm --units 3 --timesteps 8 --batch-size 4 --steps 60 \
        --learning-rate 0.05 < corpus.txt

and never changes: a version with a new format adds a directory.
"""

import json
import shutil
from pathlib import Path

import pytest

import chargen
from chargen.cli import main
from chargen.runs.directory import BEST, LAST, PROGRESS, Run

FOLDERS = sorted(path for path in Path(__file__).parent.glob("golden/*") if path.is_dir())
LOSSES = {"lstm": 1.5295991100274122}
WRITTEN = {"lstm": "thensa.\nha  thaatttcat n.t othms e\naa hta the .sac \nt.thtate sa\n"}


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name)
def golden(request, tmp_path):
    return shutil.copytree(request.param, tmp_path / request.param.name)


def test_a_golden_run_evaluates_to_the_same_loss_and_samples_the_same_text(golden, cli):
    model = chargen.load(golden, device="cpu")
    assert model.run.description.training.steps == 60
    measured = model.evaluate(golden / "corpus.txt")
    assert measured.loss_nats == pytest.approx(LOSSES[golden.name], abs=1e-6)
    best = Run.open(golden).read_checkpoint(BEST).values["validation_loss_nats"]
    assert measured.loss_nats == pytest.approx(best, abs=1e-6)
    sample = ["sample", golden, "--length", "60", "--seed", "5", "--prompt", "the"]
    assert cli(sample).out == WRITTEN[golden.name]


def test_a_golden_run_resumes(golden):
    before = (golden / PROGRESS).read_text()
    corpus = str(golden / "corpus.txt")
    assert main(["train", corpus, "--out", str(golden), "--resume", "--steps", "75"]) == 0
    after = (golden / PROGRESS).read_text()
    assert after.startswith(before)
    assert json.loads(after.splitlines()[-1])["step"] == 75
    assert Run.open(golden).read_checkpoint(LAST).values["step"] == 75
