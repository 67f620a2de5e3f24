"""``chargen import-keras``."""

from pathlib import Path
from typing import Any

import click

from chargen.cells import ACTIVATION_NAMES
from chargen.cli.options import PATH, option
from chargen.cli.terminal import say
from chargen.errors import ChargenError
from chargen.render.text import visible_line

ACTIVATION = "Activation function, which a .weights.h5 does not store.  [default: tanh]"
CELL = "GRU variant of a .weights.h5 without biases: gru is reset_after=True, gru-before False."


@click.command()
@click.argument("model", type=PATH)
@option("--alphabet", PATH, None, "Vocabulary as JSON: a list of characters, or a map to/from ids.")
@option("--alphabet-text", PATH, None, "Training text, whose sorted characters are the vocabulary.")
@option("--reserved", click.IntRange(0), 0, "Number of leading ids without a character, as [UNK].")
@option("--activation", click.Choice(ACTIVATION_NAMES), None, ACTIVATION)
@option("--cell", click.Choice(["gru", "gru-before"]), None, CELL)
@option("--out", PATH, None, "Run directory.  [default: runs/<model name>]")
@option("--overwrite", bool, None, "Replace an existing run.")
def import_keras(
    model: Path,
    alphabet: Path | None,
    alphabet_text: Path | None,
    reserved: int,
    cell: str | None,
    **options: Any,
) -> None:
    """Import a character model saved by Keras 3.

    MODEL is a .keras or .weights.h5 file: layers of SimpleRNN, LSTM or GRU, all of one kind, on
    one-hot input or an Embedding, followed by a softmax Dense. No code in the file is executed.
    Requires pip install h5py.

    \b
    Examples:
      chargen import-keras model.keras --alphabet characters.json
      chargen import-keras model.keras --alphabet-text corpus.txt --reserved 1
    """
    given = [file for file in (alphabet, alphabet_text) if file is not None]
    if len(given) > 1 or (reserved and not given):
        needs = "--reserved needs " if reserved and not given else ""
        raise ChargenError(f"{needs}--alphabet or --alphabet-text: give one")
    from chargen.formats.keras import Alphabet
    from chargen.formats.keras import import_keras as make_run

    known = Alphabet.of_json(alphabet, reserved) if alphabet else None
    if alphabet_text is not None:
        known = Alphabet.of_text(alphabet_text, reserved)
    reset_after = None if cell is None else cell == "gru"
    run, notes = make_run(model, known, reset_after=reset_after, **options)
    for note in notes:
        say(visible_line(note), err=True)
    say(visible_line(str(run.path)))
