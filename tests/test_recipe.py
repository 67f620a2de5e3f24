"""What is chosen where nothing is said, and that what is said stays."""

import pytest

from chargen import api
from chargen.settings import split_settings
from chargen.training.recipe import Machine, completed, recipe_of

CHARS = 1_000_000


def chosen(device="cpu", chars=CHARS, multiplies_bfloat16=False, **given):
    machine = Machine(device, multiplies_bfloat16)
    settings, notes = completed(given, chars, machine)
    split_settings(settings)  # all of them are settings, and valid ones
    return settings, notes


def blocks(device="cpu", **given):
    return chosen(device, stack="residual", **given)


def test_a_processor_trains_an_lstm_and_a_gpu_residual_blocks():
    for budget in ({}, {"minutes": 2}, {"minutes": 60}, {"epochs": 90}, {"chars": 3_000}):
        on_cpu, on_gpu = (chosen(device, **budget)[0] for device in ("cpu", "cuda"))
        assert (on_cpu["cell"], on_cpu["stack"]) == ("lstm", "plain")
        assert (on_gpu["cell"], on_gpu["stack"]) == ("mingru", "residual")


@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_the_budget_chooses_the_size(stack):
    small, large = (chosen(minutes=minutes, stack=stack)[0] for minutes in (2, 60))
    assert sum(small["units"]) < sum(large["units"])


def test_the_size_is_said():
    (note,) = blocks(minutes=2)[1]
    assert note.startswith("4 layers of 96 units in residual blocks, for about 2 minutes on a proc")
    assert "GPU" in chosen("cuda", minutes=2)[1][0]
    notes = chosen(minutes=2)[1]
    assert notes == [
        "1 layer of 256 lstm units, for about 2 minutes on a processor (--units chooses others)"
    ]
    assert chosen(minutes=10)[1][0].startswith("2 layers of 256 lstm units, for about 10 minutes")


@pytest.mark.parametrize(("stack", "times"), [("plain", 4.8), ("residual", 3)])
def test_a_budget_of_steps_or_epochs_is_about_so_many_minutes(stack, times):
    wanted = chosen(stack=stack, minutes=2)[0]["units"]
    steps = round(times * CHARS / 1024)
    for budget in ({"steps": steps}, {"epochs": times}, {"epochs": 99, "minutes": 2},
                   {"epochs": times, "minutes": 99}):  # fmt: skip
        assert chosen(stack=stack, **budget)[0]["units"] == wanted


def test_without_a_budget_it_is_that_of_five_minutes():
    (settings, notes), (by_hand, same) = chosen(), chosen(minutes=5)
    assert ({**settings, "minutes": 5}, notes) == (by_hand, same)


def test_what_is_read_often_is_held_back_and_it_is_said():
    few, notes = blocks(minutes=2)
    assert (few["weight_decay"], few["dropout"], len(notes)) == (0.1, 0, 1)
    often, notes = blocks(minutes=25)
    assert (often["weight_decay"], often["dropout"]) == (0.5, 0.15)
    assert notes[-1] == (
        "--weight-decay 0.5 and --dropout 0.15, since the text is read up to 38 times"
    )
    by_hand, notes = blocks(minutes=25, dropout=0.0)
    assert (by_hand["weight_decay"], by_hand["dropout"]) == (0.5, 0)
    assert notes[-1].startswith("--weight-decay 0.5, since")
    assert len(blocks(minutes=25, dropout=0.0, weight_decay=0.1)[1]) == 1


def test_a_gpu_reads_much_at_a_step():
    machines = Machine("cuda"), Machine("cpu")
    assert len({recipe_of("lstm", "plain", machine) for machine in machines}) == 1
    on_gpu, on_cpu = (recipe_of("mingru", "residual", machine) for machine in machines)
    assert on_gpu.batch_size > on_cpu.batch_size


def test_gates_learn_faster_than_a_layer_without():
    rates = {cell: chosen(cell=cell)[0]["learning_rate"] for cell in ("simple", "lstm", "gru")}
    assert rates["simple"] < rates["gru"] < rates["lstm"]


def test_a_wide_plain_stack_learns_slower():
    shapes = ((8,), (256,), (64, 1024))
    rates = [chosen(units=units, cell="gru")[0]["learning_rate"] for units in shapes]
    assert rates == [0.02, 0.02, 0.005]
    assert chosen(units=(1024,), learning_rate=0.02)[0]["learning_rate"] == 0.02


def test_lstm_layers_over_layers_learn_slower():
    one, several = (chosen(units=units)[0]["learning_rate"] for units in ((8,), (8, 8, 8)))
    assert several < one
    assert chosen(units=(8, 8), learning_rate=0.03)[0]["learning_rate"] == 0.03


def test_a_plain_stack_decays_and_is_averaged_as_blocks_are():
    plain, _ = chosen(minutes=2, cell="gru")
    for name in ("weight_decay", "average"):
        assert plain[name] == blocks(minutes=2)[0][name] > 0
    assert chosen(minutes=2)[0]["weight_decay"] == 0.03  # an LSTM that reads the text seldom
    for often in ({"minutes": 60}, {"minutes": 2, "chars": 9000}, {"chars": 10**8, "minutes": 60}):
        assert chosen(**often)[0]["weight_decay"] == plain["weight_decay"]
    assert chosen(weight_decay=0.0)[0]["weight_decay"] == 0


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_plain_stack_is_held_back_by_dropout_and_it_is_said(cell):
    found = [chosen(cell=cell, minutes=minutes) for minutes in (1, 3, 10, 60)]
    dropout = [settings["dropout"] for settings, _ in found]
    assert sorted(set(dropout)) == dropout
    assert dropout[0] == 0
    assert found[2][1][-1] == "--dropout 0.2, since the text is read up to 24 times"
    assert chosen(cell=cell, minutes=60, dropout=0.1)[0]["dropout"] == 0.1


def test_units_that_are_said_and_simple_layers_are_not_held_back():
    for given in ({"units": (64,)}, {"cell": "simple"}):
        settings, notes = chosen(minutes=60, **given)
        assert "dropout" not in settings
        assert notes == []
    assert chosen(cell="simple", minutes=60)[0]["units"] == (256,)


def test_a_short_text_makes_no_large_plain_stack_and_holds_it_back():
    settings, notes = chosen(minutes=60, chars=60_000)
    assert (settings["units"], settings["dropout"]) == ((256,), 0.5)
    assert notes[-1] == "--dropout 0.5, since the text is read up to 50 times"
    sizes = (60_000, 400_000, CHARS)
    for epochs, dropout in ((20, [0.5, 0.3, 0.2]), (4, [0, 0, 0])):
        assert [chosen(epochs=epochs, chars=c)[0]["dropout"] for c in sizes] == dropout


@pytest.mark.parametrize(("stack", "times"), [("plain", 50), ("residual", 5)])
def test_a_short_text_is_read_a_few_times_at_most(stack, times):
    settings, notes = chosen(minutes=2, chars=60_000, stack=stack)
    assert (settings["epochs"], settings["minutes"]) == (times, 2)
    assert notes[0].startswith(f"--epochs {times} beside the minutes: ")
    assert chosen(chars=60_000, stack=stack)[0]["minutes"] == 5
    for given in ({"epochs": 90.0, "minutes": 2.0}, {"steps": 9000}):
        settings, notes = chosen(chars=60_000, stack=stack, **given)
        assert {name: settings[name] for name in given} == given
        assert set(settings) & {"steps", "epochs", "minutes"} == set(given)
    assert "epochs" not in chosen(minutes=60, stack=stack)[0]


@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_a_processor_that_multiplies_bfloat16_is_given_it_to_multiply(stack):
    settings, notes = chosen(minutes=8, stack=stack, multiplies_bfloat16=True)
    assert settings["precision"] == "bfloat16"
    assert sum(settings["units"]) > sum(chosen(minutes=8, stack=stack)[0]["units"])  # in as many
    assert notes[-1] == "--precision bfloat16, since this processor multiplies that faster"
    for others in ({"precision": "float32"}, {"device": "cuda"}, {"units": (32, 32)}):
        settings, notes = chosen(minutes=8, stack=stack, multiplies_bfloat16=True, **others)
        assert settings.get("precision", "float32") == "float32"
        assert not any("bfloat16" in note for note in notes)


def test_cells_that_bfloat16_does_not_speed_up_are_not_rounded():
    assert "precision" not in chosen(cell="gru", multiplies_bfloat16=True)[0]


def test_what_is_said_stays():
    given = {"cell": "mingru", "units": (8, 8), "learning_rate": 0.1, "weight_decay": 0.0,
             "beta2": 0.5, "average": 0.0, "dropout": 0.3, "activation": "tanh",
             "stack": "residual", "resets": 0.2}  # fmt: skip
    assert chosen(**given) == (given, [])
    assert chosen(minutes=None, units=None)[0]["units"] == chosen()[0]["units"]


@pytest.mark.parametrize(
    ("given", "cell", "stack"),
    [
        ({"units": (8,)}, "lstm", "plain"),
        ({"activation": "relu"}, "lstm", "plain"),
        ({"cell": "gru"}, "gru", "plain"),
        ({"stack": "plain"}, "lstm", "plain"),
        ({"stack": "residual", "units": (8, 8)}, "mingru", "residual"),
        ({"cell": "gru", "stack": "residual"}, "gru", "residual"),
        ({"cell": "mingru", "stack": "plain"}, "mingru", "plain"),
        ({"cell": "mingru", "units": (8, 8)}, "mingru", "residual"),
    ],
)
def test_what_is_not_said_follows_from_what_is(given, cell, stack):
    settings, _ = chosen(**{"minutes": 0.5, **given})
    assert (settings["cell"], settings["stack"]) == (cell, stack)
    recipe = recipe_of(cell, stack, Machine())
    assert settings["learning_rate"] == recipe.learning_rate
    assert settings["average"] == recipe.average


def test_one_lstm_layer_reads_in_stages_where_nothing_is_said_of_it():
    settings, _ = chosen(minutes=2)
    found = settings["curriculum"], settings["timesteps"], settings["batch_size"]
    assert found == ((16, 64), 256, 4)
    for said in ({"timesteps": 64}, {"batch_size": 16}, {"loss_on": "last"}, {"chars": 1024}):
        assert "curriculum" not in chosen(minutes=2, **said)[0]
    said = chosen(minutes=2, curriculum=(8,), timesteps=32)[0]
    assert (said["curriculum"], "batch_size" in said) == ((8,), False)


@pytest.mark.parametrize(
    "said", [{"cell": "gru"}, {"cell": "simple"}, {"units": (64, 64)}, {"stack": "residual"}]
)
def test_whatever_else_reads_in_one(said):
    assert "curriculum" not in chosen(**said)[0]


def test_a_run_is_made_of_it(tmp_path):
    """With its windows, its model and what was said of the choice; a resumed one keeps them."""
    corpus = tmp_path / "text.txt"
    corpus.write_text("so it goes on and on. " * 200)
    notes = []

    def run(session):
        notes.extend(session.notes)
        session.run()

    model = api.train(corpus, tmp_path / "run", steps=1, run=run)
    description = model.run.description
    assert (description.model.cell, description.model.stack) == ("lstm", "plain")
    training = description.training
    assert (training.curriculum, training.timesteps) == ((16, 64), 256)
    assert (training.batch_size, training.beta2) == (4, 0.999)
    assert notes[0].startswith("1 layer of 256 lstm units")
