"""The command ``chargen sample``: its options and what it prints."""

import io
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny import LINES

import chargen
from chargen.cli import main
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import BEST, LAST
from chargen.sampling import Sampler
from chargen.sampling.engine import Engine
from chargen.settings import WEIGHT_FORMATS


def test_samples_start_with_the_prompt(at_run, cli):
    Path("prompt").write_text("the cat")
    for flags, chars, start in (
        (["--count", "3", "--length", "20", "--top-k", "1", "--prompt", "th"], 3 * 23, "th"),
        (["--length", "0", "--prompt", "the"], 4, "the\n"),
        (["--prompt-file", "prompt", "--length", "5"], 7 + 5 + 1, "the cat"),
    ):
        out = cli(["sample", *flags]).out
        assert (len(out), out[: len(start)]) == (chars, start)


def sampled(cli, *flags):
    """Return the texts of `sample --json`, 8 characters with seed 1, and what was said."""
    given = ["sample", "--json", "--length", "8", "--seed", "1", *flags]
    out, err = cli(given)
    return json.loads(out), err


def test_batches_bound_the_memory_and_change_nothing_up_to_one_batch(at_run, cli, monkeypatch):
    rows = list(chargen.load("runs/cat").stream("", 8, 5, 1))
    expected = ["".join(text) for text in zip(*rows, strict=True)]
    assert sampled(cli, "--count", "5")[0]["texts"] == expected
    monkeypatch.setattr(sys.modules["chargen.cli.sample"], "BATCH", 2)
    counts, stream = [], Sampler.stream

    def spy(self, *given, count=1, **options):
        counts.append(count)
        return stream(self, *given, count=count, **options)

    monkeypatch.setattr(Sampler, "stream", spy)
    texts = sampled(cli, "--count", "5")[0]["texts"]
    assert (len(set(texts)), counts) == (5, [2, 2, 1])


def test_int8_weights(at_run, cli, error):
    model = chargen.load("runs/cat")
    texts = [model.sample(length=300, seed=1, weights=form) for form in WEIGHT_FORMATS]
    assert texts[0] != texts[1]
    losses, ids = [], model.vocabulary.encode(LINES[:300])
    for form, text in zip(WEIGHT_FORMATS, texts, strict=True):
        engine, state, nats = Sampler.of(model.run, form=form).engine, None, []
        for one, after in pairwise(ids):
            logits, state = engine.advance(np.array([[one]]), state)
            nats.append(-(logits[0, 0] - np.log(np.exp(logits[0, 0]).sum()))[after])
        losses.append(np.mean(nats))
        assert sampled(cli, "--length", "300", "--weights", form)[0]["texts"] == [text]
    assert 0 < abs(losses[1] - losses[0]) < 0.01
    with pytest.raises(chargen.ChargenError, match="weights=int4: must be one of float32, int8"):
        model.sample(weights="int4")
    assert "'int4' is not one of 'float32', 'int8'" in error(["sample", "--weights", "int4"])


def test_unique_and_new_texts(at_run, cli):
    hot = ["--temperature", "2", "--length", "2", "--count", "30"]
    assert len(set(sampled(cli, *hot)[0]["texts"])) < 30
    texts = sampled(cli, *hot, "--unique")[0]["texts"]
    assert len(set(texts)) == len(texts) == 30
    new = sampled(cli, *hot, "--new", "--prompt", "t")[0]["texts"]
    assert len(new) == 30
    assert not any(f"t{text}" in LINES for text in new)
    one = ["sample", "--json", "--length=1", "--count=20", "--seed=1", "--prompt=t", "--continue"]
    out, err = cli([*one, "--length=0", "--new"], 2)
    assert out == ""
    assert "0 of 20 texts, after 448 were generated; raise --temperature or --length" in err
    assert "of 20 texts, after 448 were generated; a higher" in cli([*one, "--unique"]).err
    lines = [*hot, "--length", "40", "--stop", r"\n", "--new", "--prompt", "the c", "--begin"]
    assert LINES.split("\n")[0].removeprefix("the c") not in sampled(cli, *lines)[0]["texts"]


def test_separators_and_escapes(at_run, cli):
    given = ["sample", "--count", "3", "--length", "4", "--seed", "1", "--prompt", r"cat.\nthe"]
    lines = cli(given).out.split("\n\n")
    assert [text[:8] for text in lines] == ["cat.\nthe"] * 3
    assert len(cli([*given, "--separator", r"\n-\\-\t"]).out.split("\n-\\-\t")) == 3
    found, _ = sampled(cli, "--length", "99", "--stop-after", "at", "--temperature", "0")
    assert found["texts"][0].endswith("at")
    assert "at" not in found["texts"][0][:-2]
    err = cli(["sample", "--stop", r"\\n"], 2).err
    assert r"--stop '\\n': character '\\' at position 0 is not in" in err
    ended = ["sample", "--count", "2", "--stop-after", r"\n", "--seed", "1"]
    assert cli(ended).out.count("\n") == 2


def test_last_weights(own_run, cli):
    run = chargen.load("runs/cat").run
    best = run.read_checkpoint(BEST)
    arrays = {name: 0 * array for name, array in best.arrays.items()}
    run.write_checkpoint(BEST, Checkpoint(arrays, best.values))
    last, zero = (sampled(cli, *flags)[0]["texts"] for flags in (["--last"], []))
    shutil.copy(run.path / LAST, run.path / BEST)
    assert sampled(cli)[0]["texts"] == last != zero


def test_unknown_characters_of_a_prompt_can_be_skipped(at_run, cli):
    settings = ["--length", "30", "--temperature", "0"]
    skipped = cli(["sample", "--prompt", "t€he", "--unknown", "skip", "--begin", *settings]).out
    whole = cli(["sample", "--prompt", "the", *settings]).out
    assert skipped.removeprefix("t€he") == whole.removeprefix("the")


def test_closed_pipe_is_not_an_error(at_run):
    command = f"{sys.executable} -m chargen sample --seed 1 --length 9000 | head -c 20"
    shell = ["bash", "-o", "pipefail", "-c", command]
    ran = subprocess.run(shell, capture_output=True, check=False)
    assert (ran.returncode, len(ran.stdout), ran.stderr) == (0, 20, b"")


def test_text_streams_out_as_it_is_generated(at_run, monkeypatch):
    written, seen, read = io.StringIO(), [], Engine.read

    def spy(self, ids, state):
        seen.append(len(written.getvalue()))
        return read(self, ids, state)

    monkeypatch.setattr(Engine, "read", spy)
    monkeypatch.setattr(sys, "stdout", written)
    assert main(["sample", "--prompt", "the", "--length", "5", "--continue"]) == 0
    assert seen == [3, 3, 3, 4, 5, 6, 7]  # twice for the prompt alone
