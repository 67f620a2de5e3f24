"""``--mix-ngram``: the n-gram baseline has a weight in evaluation, sampling, scores and probes."""

import json

import numpy as np
from tiny import LINES

import chargen
from chargen.predictors import check

RUN, WEIGHT, NAME = "runs/cat", 0.3, "runs/cat + 0.3 × 6-gram"
MIXED = ["--mix-ngram", "0.3"]


def test_probabilities_are_the_weighted_mean_of_network_and_ngram(at_run):
    alone, mixed = chargen.load(RUN), chargen.load(RUN, mix_ngram=WEIGHT)
    check(mixed.predictor)
    ids = mixed.held_out()[None, :50]
    three = (alone.predictor, *alone.ngrams(6).values(), mixed.predictor)
    own, other, found = (one.advance(ids)[0] for one in three)
    np.testing.assert_allclose(np.exp(found), 0.7 * np.exp(own) + 0.3 * np.exp(other), atol=1e-6)
    # The baseline knows this text by heart.
    assert mixed.evaluate().loss_nats < alone.evaluate().loss_nats - 0.2


def test_samples_are_drawn_from_the_mixture(at_run, cli):
    model = chargen.load(RUN, mix_ngram=WEIGHT)
    written = model.sample("the ", 30, temperature=0, begin=False)
    ids, state = model.vocabulary.encode("the "), None
    for character in written[4:]:
        log_probs, state = model.predictor.advance(ids[None], state)
        ids = log_probs[0, -1:].argmax(axis=1)
        assert character == model.vocabulary.decode(ids)
    options = ["sample", RUN, "--seed", "1", "--length", "80"]
    first, again, alone = (cli([*options, *more]).out for more in (MIXED, MIXED, []))
    assert first == again != alone
    assert json.loads(cli([*options, *MIXED, "--json"]).out)["mix_ngram"] == WEIGHT
    assert cli(["sample", RUN, "--beam", "2", "--length", "5", *MIXED]).out


def test_every_command_names_the_mixture(own_run, cli):
    assert cli(["evaluate", RUN, *MIXED]).out.startswith(NAME)
    assert json.loads(cli(["evaluate", RUN, *MIXED, "--json"]).out)["mix_ngram"] == WEIGHT
    assert NAME in cli(["score", RUN, "cat.txt", *MIXED]).out
    (own_run / "other.txt").write_text(LINES * 2)
    probe = ["probe-longrange", RUN, "--only", "context", "--text", "other.txt", *MIXED]
    assert "measured: cat + 0.3 × 6-gram\n" in cli([*probe, "--json", "found.json"]).err
    assert json.loads((own_run / "found.json").read_text())["run"] == NAME


def test_a_mixture_needs_the_training_text_and_no_placeholder(own_run, error):
    (own_run / "cat.txt").write_text("bbbaab\n" * 200)
    chargen.train("cat.txt", "runs/rare", units=(4,), steps=1, min_count=201)
    assert "leave out --mix-ngram" in error(["sample", "runs/rare", "--mix-ngram", "0.5"])
    chargen.train("cat.txt", "runs/own", units=(4,), steps=1, cache="cache")
    (own_run / "cat.txt").unlink()
    (own_run / "cache").rename("elsewhere")
    assert "name it with chargen evaluate" in error(["sample", "runs/own", "--mix-ngram", "0.5"])
    for weight in ("1", "nan", "-1"):
        assert f"ngram {weight}: must be 0" in error(["sample", RUN, "--mix-ngram", weight])
