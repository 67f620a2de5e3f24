"""Dynamic evaluation: predictions, the order of learning, and the update rule."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import chargen
from chargen.cli import main
from chargen.errors import NonFiniteError
from chargen.evaluation import evaluate
from chargen.recurrent import CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text import Vocabulary
from chargen.training.dynamic import EPSILON, DynamicSettings, evaluate_dynamic

FROZEN = DynamicSettings(learning_rate=0.0, decay=0.0, timesteps=4)
VOCABULARY = Vocabulary("abcdef")
TRAINING = np.random.default_rng(0).integers(6, size=60)
TEXT = np.tile(np.random.default_rng(1).integers(6, size=11), 20)


@pytest.fixture
def model():
    return CharModel.seeded(ModelSettings(units=(7, 5)), 6, 0)


def static(model, ids, start=1, starts=None):
    return evaluate(NetworkPredictor(model, VOCABULARY), ids, start, 1, starts)


def dynamic(model, ids, start=1, adapting=FROZEN, starts=None):
    return evaluate_dynamic(model, ids, start, TRAINING, adapting, starts)


@pytest.mark.parametrize(
    ("start", "starts"), [(1, None), (200, None), (40, np.array([0, 3, 10, 50, 51, 200]))]
)
def test_without_learning_the_loss_is_the_static_one(model, start, starts):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found, wanted = dynamic(model, TEXT, start, FROZEN, starts), static(model, TEXT, start, starts)
    assert found.loss_nats == pytest.approx(wanted.loss_nats, abs=1e-6)
    assert (found.accuracy, found.chars) == (wanted.accuracy, wanted.chars)
    dynamic(model, TEXT, start, DynamicSettings(learning_rate=0.1), starts)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_update_rule_is_that_of_the_paper(model, monkeypatch):
    """Compare with the rule written out, over three stretches and every training window."""
    monkeypatch.setattr("chargen.training.dynamic.WINDOWS", 10**6)
    adapting = DynamicSettings(learning_rate=0.03, decay=0.2, timesteps=6)
    own = CharModel.seeded(ModelSettings(units=(7, 5)), 6, 0)
    weights = list(own.parameters())

    def gradients(ids, state=None):
        row = torch.from_numpy(ids)[None]
        logits, state = own(row[:, :-1], state)
        loss = cross_entropy(logits[0], row[0, 1:])
        own.zero_grad()
        loss.backward()
        after = tuple(tuple(part.detach() for part in layer) for layer in state)
        return loss.item(), [weight.grad.clone() for weight in weights], after

    every = [gradients(TRAINING[at : at + 7])[1] for at in range(len(TRAINING) - 6)]
    usual = [torch.stack(of).square().mean(0).sqrt() for of in zip(*every, strict=True)]
    mean = torch.cat([root.flatten() for root in usual]).mean()
    trained = [weight.detach().clone() for weight in weights]
    lost, state = [], None
    for at in range(1, 19, 6):
        nats, found, state = gradients(TEXT[at - 1 : at + 6], state)
        lost.append(nats)
        for weight, gradient, root, learned in zip(weights, found, usual, trained, strict=True):
            weight.data -= 0.03 * gradient / (root + EPSILON)
            weight.data += (0.2 * root / mean).clamp(max=1) * (learned - weight.data)
    result = dynamic(model, TEXT[:19], adapting=adapting)
    assert result.loss_nats == pytest.approx(np.mean(lost), abs=1e-5)


def test_non_finite_weights_are_an_error(model):
    with pytest.raises(NonFiniteError):
        dynamic(model, TEXT, adapting=DynamicSettings(learning_rate=1e38))


def test_command_reports_the_dynamic_loss_separately(at_run, monkeypatch, capsys):
    monkeypatch.setattr("chargen.training.dynamic.WINDOWS", 20)
    assert main(["evaluate", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "--json", "--dynamic"]) == 0
    both = json.loads(capsys.readouterr().out)
    found = both.pop("dynamic")
    assert plain == {**both, "dynamic": None}
    assert found["chars"] == both["chars"]
    assert found == chargen.load("runs/cat").evaluate_dynamic().to_json()
    assert found["loss_nats"] < both["loss_nats"]
    assert main(["evaluate", "--dynamic", "runs/cat", "cat.txt"]) == 0
    assert "\nmodel, dynamic " in capsys.readouterr().out
