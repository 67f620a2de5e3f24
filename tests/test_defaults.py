"""Default hyperparameters: chosen from budget, corpus size and hardware; given settings stay."""

import pytest
from msgspec.structs import asdict

from chargen.settings import GivenSettings
from chargen.training import defaults

CHARS = 1_000_000


def choose(device="cpu", chars=CHARS, fast_bfloat16=False, speed=None, **given):
    """Return all settings by name, and the notes."""
    hardware = defaults.Hardware(device, fast_bfloat16, speed)
    model, training, notes = defaults.choose_defaults(GivenSettings.parse(given), chars, hardware)
    return asdict(model) | asdict(training), notes


def residual(device="cpu", **given):
    return choose(device, stack="residual", **given)


@pytest.mark.parametrize("budget", [{}, {"minutes": 60}, {"epochs": 90}, {"chars": 3_000}], ids=str)
def test_cpu_trains_plain_lstm_and_gpu_residual_mingru(budget):
    for device, cell, stack in (("cpu", "lstm", "plain"), ("cuda", "mingru", "residual")):
        chosen, _ = choose(device, **budget)
        assert (chosen["cell"], chosen["stack"]) == (cell, stack)


def test_cell_and_stack_follow_from_given_settings():
    for given, cell, stack in (
        ({"units": (8,)}, "lstm", "plain"),
        ({"activation": "relu"}, "lstm", "plain"),
        ({"cell": "gru"}, "gru", "plain"),
        ({"stack": "plain"}, "lstm", "plain"),
        ({"stack": "residual", "units": (8, 8)}, "mingru", "residual"),
        ({"cell": "gru", "stack": "residual"}, "gru", "residual"),
        ({"cell": "mingru", "stack": "plain"}, "mingru", "plain"),
        ({"cell": "mingru", "units": (8, 8)}, "mingru", "residual"),
    ):
        settings, _ = choose(minutes=0.5, **given)
        assert (settings["cell"], settings["stack"]) == (cell, stack)
        preset = defaults.preset_of(cell, stack, defaults.Hardware())
        assert settings["learning_rate"] == preset.learning_rate


def test_given_settings_are_never_changed():
    given = {"cell": "mingru", "units": (8, 8), "learning_rate": 0.1, "weight_decay": 0.0,
             "beta2": 0.5, "average": 0.0, "dropout": 0.3, "activation": "tanh",
             "stack": "residual", "resets": 0.2}  # fmt: skip
    settings, notes = choose(**given)
    assert {name: settings[name] for name in given} == given
    assert notes == []
    assert choose(minutes=None, units=None) == choose()
    assert not choose(cell="gru", reset_after=False)[0]["reset_after"]


@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_larger_budget_chooses_larger_model(stack):
    small, large = (choose(minutes=minutes, stack=stack)[0] for minutes in (2, 60))
    assert sum(small["units"]) < sum(large["units"])
    default, five = choose(stack=stack), choose(stack=stack, minutes=5)
    assert default == ({**five[0], "minutes": None}, five[1])


@pytest.mark.parametrize(("stack", "epochs"), [("plain", 4.8), ("residual", 3)])
def test_budgets_in_steps_epochs_and_minutes_are_comparable(stack, epochs):
    wanted = choose(stack=stack, minutes=2)[0]["units"]
    steps = round(epochs * CHARS / 1024)
    for budget in ({"steps": steps}, {"epochs": epochs}, {"epochs": 99, "minutes": 2},
                   {"epochs": epochs, "minutes": 99}):  # fmt: skip
        assert choose(stack=stack, **budget)[0]["units"] == wanted


def test_notes_state_size_and_regularization():
    assert choose(minutes=2)[1] == [
        "using 1 layer of 256 lstm units: about 4,800,000 characters are planned "
        "(override with --units)"
    ]
    assert choose("cuda", minutes=2)[1][0].startswith("using 6 residual blocks of 256 mingru units")
    settings, notes = residual(minutes=25)
    assert (settings["weight_decay"], settings["dropout"]) == (0.5, 0.15)
    assert notes[-1] == "using weight decay 0.5 and dropout 0.15: about 9 epochs are planned"
    settings, notes = residual(minutes=25, dropout=0.0)
    assert (settings["weight_decay"], settings["dropout"]) == (0.5, 0)
    assert notes[-1].startswith("using weight decay 0.5: ")
    assert len(residual(minutes=25, dropout=0.0, weight_decay=0.1)[1]) == 1


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_dropout_grows_with_the_epochs(cell):
    dropout = [choose(cell=cell, minutes=minutes)[0]["dropout"] for minutes in (3, 3.9, 10, 60)]
    assert dropout == [0, 0.05, 0.05, 0.1]
    # Ten minutes of a fast CPU keep the low rate on either side of a border of the speed.
    assert [choose(minutes=10, speed=one)[0]["dropout"] for one in (5e6, 6e6)] == [0.05, 0.05]
    assert choose(cell=cell, minutes=60, dropout=0.3)[0]["dropout"] == 0.3


@pytest.mark.parametrize(
    ("epochs", "dropout", "distillation"),
    [(4, [0, 0, 0], [0, 0, 0]), (6, [0, 0.1, 0], [0, 0, 0]), (9, [0, 0.2, 0.05], [0, 0, 0]),
     (20, [0.5, 0.3, 0.05], [0, 0, 0]), (80, [0.5, 0.3, 0.1], [0, 0, 0.2])],
)  # fmt: skip
def test_regularization_grows_with_the_epochs_and_is_stronger_on_short_texts(
    epochs, dropout, distillation
):
    chosen = [choose(epochs=epochs, chars=chars)[0] for chars in (60_000, 400_000, CHARS)]
    assert [one["dropout"] for one in chosen] == dropout
    assert [one["distillation"] for one in chosen] == distillation


def test_weight_decay_of_one_lstm_layer_depends_on_epochs_and_text():
    decays = [
        [choose(epochs=epochs, chars=chars)[0]["weight_decay"] for epochs in (5.9, 6, 9.9, 10)]
        for chars in (60_000, 400_000, CHARS)
    ]
    assert decays == [[0.03, 0.03, 0.03, 0.1], [0.03, 0.1, 0.1, 0.1], [0.03, 0.03, 0.03, 0.1]]


def test_given_units_have_no_dropout_and_blocks_no_teacher():
    for given in ({"units": (64,)}, {"cell": "simple"}):
        settings, notes = choose(minutes=60, **given)
        assert (settings["dropout"], notes) == (0, [])
    assert residual(minutes=600)[0]["distillation"] == 0


@pytest.mark.parametrize(("stack", "epochs"), [("plain", 50), ("residual", 5)])
def test_epochs_are_capped_on_short_texts(stack, epochs):
    settings, notes = choose(minutes=2, chars=60_000, stack=stack)
    assert (settings["epochs"], settings["minutes"]) == (epochs, 2)
    assert notes[0].startswith(f"capped at {epochs} epochs to avoid overfitting a short text")
    assert choose(chars=60_000, stack=stack)[0]["minutes"] == 5
    for given in ({"epochs": 90.0, "minutes": 2.0}, {"steps": 9000}):
        settings, _ = choose(chars=60_000, stack=stack, **given)
        budget = {name: settings[name] for name in ("steps", "epochs", "minutes")}
        assert {name: value for name, value in budget.items() if value} == given
    assert choose(minutes=60, stack=stack)[0]["epochs"] is None


def test_learning_rate_depends_on_cell_width_and_depth():
    simple, gru, lstm = (choose(cell=x)[0]["learning_rate"] for x in ("simple", "gru", "lstm"))
    assert simple < gru < lstm
    for units, rate in (((8,), 0.02), ((256,), 0.02), ((64, 1024), 0.005)):
        assert choose(units=units, cell="gru")[0]["learning_rate"] == rate
    assert choose(units=(1024,), learning_rate=0.02)[0]["learning_rate"] == 0.02
    betas = [choose(units=units)[0]["beta2"] for units in ((256,), (384,), (256, 256))]
    assert betas == [0.99, 0.99, 0.999]

    def rates(*stacks):
        chosen = [choose(units=units)[0] for units in stacks]
        return [(one["learning_rate"], one["recurrent_rate"]) for one in chosen]

    third = 128 / 384
    one_layer = rates((64,), (256,), (384,), (768,))
    assert one_layer == [(0.03, 0.5), (0.03, 0.5), (0.03, third), (0.015, third)]
    assert rates((64, 64), (256, 256), (256, 512)) == [(0.03, 0.5), (0.03, 0.5), (0.015, 0.5)]
    assert choose(cell="gru")[0]["recurrent_rate"] == 1.0
    inputs = ({}, {"cell": "gru"}, {"cell": "simple"}, {"units": (64, 64)}, {"cell": "mingru"})
    assert [choose(**given)[0]["input_rate"] for given in inputs] == [4, 4, 8, 1, 1]


def test_weight_decay_is_weaker_for_an_lstm_trained_for_few_epochs():
    assert choose(minutes=2)[0]["weight_decay"] == 0.03
    for given in ({"minutes": 60}, {"minutes": 2, "chars": 9000}, {"minutes": 2, "cell": "gru"}):
        assert choose(**given)[0]["weight_decay"] == 0.1


@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_bfloat16_is_used_where_the_cpu_multiplies_it(stack):
    settings, notes = choose(minutes=8, stack=stack, fast_bfloat16=True)
    assert settings["precision"] == "bfloat16"
    assert sum(settings["units"]) > sum(choose(minutes=8, stack=stack)[0]["units"])
    assert notes[-1] == "using precision bfloat16: this CPU multiplies it faster"
    for others in (
        {"precision": "float32"},
        {"device": "cuda"},
        {"units": (32, 32)},
        {"cell": "gru"},
    ):
        settings, notes = choose(**{"minutes": 8, "stack": stack, "fast_bfloat16": True, **others})
        assert settings["precision"] == "float32"
        assert not any("bfloat16" in note for note in notes)


def test_lstm_layers_train_with_a_curriculum():
    def windows(**given):
        settings, _ = choose(**{"minutes": 2, **given})
        return settings["curriculum"], settings["timesteps"], settings["batch_size"]

    assert windows() == windows(units=(64, 64)) == ((16, 64), 256, 4)
    assert windows(curriculum=(8,), timesteps=32) == ((8,), 32, 16)
    for given in ({"timesteps": 64}, {"batch_size": 16}, {"loss_on": "last"}, {"chars": 1024},
                  {"cell": "gru"}, {"cell": "simple"}, {"stack": "residual"}):  # fmt: skip
        assert windows(**given)[0] == ()


def test_size_and_dropout_follow_the_measured_speed():
    def sized(speed):
        settings, notes = choose(minutes=10, speed=speed)
        return settings["units"], settings["dropout"], notes[0].split()[8]

    assert sized(0.25e6) == ((256,), 0.0, "2,500,000")
    assert sized(0.5e6) == ((256,), 0.0, "5,000,000")
    assert sized(0.7e6) == ((384,), 0.0, "3,900,000")
    assert sized(1.1e6) == ((384,), 0.05, "5,500,000")
    assert sized(2e6) == ((256, 256), 0.05, "8,400,000")
    # Noise changes nothing between 0.96 and 1.35 times a power of the square root of two.
    assert sized(0.96e6) == sized(1.34e6) != sized(1.36e6)
    assert sized(None) == (*sized(2.4e6)[:2], "10,000,000")
    # A budget in epochs is exact: no other model's speed changes it.
    assert choose(epochs=20)[1][0].split()[8] == "20,000,000"


def test_a_short_time_trains_a_smaller_lstm_that_reads_more():
    def sized(speed, **given):
        settings, notes = choose(speed=speed, **{"minutes": 2, **given})
        return settings["units"], next(note.split()[8] for note in notes if "planned" in note)

    assert sized(0.125e6) == ((96,), "880,000")
    assert sized(0.5e6) == ((128,), "2,400,000")
    assert sized(1e6) == ((160,), "4,000,000")
    assert sized(2e6) == ((256,), "4,000,000")
    # Where no time ends the training, a larger model learns more from as many characters.
    for given in ({"cell": "gru"}, {"minutes": None, "steps": 900}, {"minutes": 9, "epochs": 1}):
        assert sized(0.5e6, **given)[0] == (256,)
    assert sized(0.5e6, chars=90_000)[0] == (256,)  # 11 epochs of 256 units, 27 of 128


def test_the_reference_is_the_given_model_or_a_small_one():
    def reference(**given):
        model, training = defaults.reference_settings(
            GivenSettings.parse(given), CHARS, defaults.Hardware()
        )
        return model.cell, model.units, training.window

    assert reference(minutes=60) == ("lstm", (256,), (16, 64))
    assert reference(minutes=1, cell="mingru") == ("mingru", (96,) * 4, (8, 128))
    assert reference(units=(8, 8), batch_size=2, curriculum=(4,)) == ("lstm", (8, 8), (2, 64))


def test_speed_is_measured_where_it_decides():
    for given, device, measured in (
        ({}, "cpu", True),
        ({"minutes": 1, "epochs": 3}, "cpu", True),
        ({"epochs": 3}, "cpu", False),
        ({"steps": 3}, "cpu", False),
        ({"minutes": 1}, "cuda", False),
    ):
        assert defaults.measures_speed(GivenSettings.parse(given), device) == measured
