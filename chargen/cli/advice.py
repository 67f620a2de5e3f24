"""Advice for beginners: options and commands of other tools, and values in the wrong place."""

import difflib
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import click

from chargen.errors import ChargenError

LAYERS = "--units 128,128 (one number a layer)"
FLAGS = {  # of other tools: ours
    **dict.fromkeys(("--layers", "--num-layers", "--n-layers", "--depth"), LAYERS),
    **dict.fromkeys(("--rnn-size", "--hidden-size", "--hidden", "--size", "--width"), "--units"),
    **dict.fromkeys(("--seq-length", "--seq-len", "--sequence-length", "--bptt"), "--timesteps"),
    **dict.fromkeys(("--max-iters", "--iters", "--iterations", "--max-steps"), "--steps"),
    **dict.fromkeys(("--num-epochs", "--max-epochs"), "--epochs"),
    **dict.fromkeys(("--lr", "--rate", "--step-size"), "--learning-rate"),
    **dict.fromkeys(("--model", "--type", "--rnn", "--rnn-type"), "--cell"),
    **dict.fromkeys(("--bs", "--batch"), "--batch-size"),
    **dict.fromkeys(("--save-dir", "--output", "--output-dir", "--name"), "--out"),
    **dict.fromkeys(("--primetext", "--prime", "--start", "--text", "--seed-text"), "--prompt"),
    **dict.fromkeys(("--chars", "--num-chars", "--max-length", "--max-new-tokens"), "--length"),
    **dict.fromkeys(("--num-samples", "--samples", "--number"), "--count"),
    **dict.fromkeys(("--gpu", "--cuda", "--use-cuda"), "--device cuda"),
    **dict.fromkeys(("--val-frac", "--validation-split"), "--validation"),
    "--wd": "--weight-decay",
}
COMMANDS = {
    "help": "chargen --help lists the commands, chargen sample --help the options of one",
    **dict.fromkeys(
        ("list", "ls"), "chargen runs lists the runs, chargen corpora list the corpora"
    ),
    **dict.fromkeys(("generate", "write", "run"), "chargen sample generates text"),
    **dict.fromkeys(("test", "eval"), "chargen evaluate measures the loss"),
    **dict.fromkeys(("probe", "memory"), "chargen probe-longrange measures the memory"),
    **dict.fromkeys(("download", "fetch"), "chargen corpora fetch NAME downloads a text"),
    "resume": "chargen train --resume continues a training",
}
SUBCOMMANDS = {  # of a group of commands: ours
    **dict.fromkeys(("delete", "remove", "del"), "chargen runs rm RUN"),
    **dict.fromkeys(("list", "ls", "show"), "chargen runs"),
    **dict.fromkeys(("get", "download", "add"), "chargen corpora fetch NAME"),
    **dict.fromkeys(("info", "inspect", "analyze"), "chargen corpora stats CORPUS"),
}
GRU_BEFORE = "--cell gru-before: removed; use gru (reset_after=False in Python)"
EXTRA = {  # of a command: where an argument too many belongs
    "sample": "a text to continue belongs after --prompt",
    "compare": "chargen probe-longrange RUN RUN compares runs",
}
TYPOGRAPHIC = re.compile("[–—][a-z]|[“”„‘’]")
LISTS = ("--units", "--curriculum", "--learning-rates", "--spans")  # options of numbers with commas


def message(error: click.UsageError) -> str:
    """Return the message in one line; it names the option that was probably meant."""
    if not isinstance(error, click.NoSuchOption):
        text = " ".join(error.format_message().split()).replace("integer range", "integer")
        name = error.ctx.command.name if error.ctx else None
        unknown = re.match(r"No such command '(.*)'\.$", text)
        meant = SUBCOMMANDS.get(unknown[1], "") if unknown else ""
        if meant.startswith(f"chargen {name}"):
            return f"{text[:-1]}: did you mean {meant}?"
        if "unexpected extra" in text and name in EXTRA:
            return f"{text}; {EXTRA[name]}"
        return GRU_BEFORE if "'gru-before' is not one of" in text else text
    command_options = error.ctx.command.params if error.ctx else ()
    flags = [flag for option in command_options for flag in option.opts if flag[:2] == "--"]
    words = [*(error.ctx.obj or () if error.ctx else ()), error.option_name]
    given = next(word for word in words if word.startswith(error.option_name)).partition("=")[0]
    dashes = "-" * (len(given) > 2 and given[1] != "-")  # other tools have one dash
    typed = dashes + given.lower().replace("_", "-")
    meant = FLAGS.get(typed, typed)
    likely = [meant] if meant.split()[0] in flags else []
    likely = likely or [flag for flag in flags if flag.startswith(typed)]
    likely = likely or difflib.get_close_matches(typed, flags, 2, 0.75)
    text = f"No such option {given}"
    return f"{text}: did you mean {' or '.join(likely)}?" if likely else text


def check(arguments: Sequence[str]) -> None:
    """Refuse numbers after an option that takes one list, and a word processor's dash or quote."""
    for before, text in pairwise(["", *arguments]):
        if before[:2] != "--" and TYPOGRAPHIC.match(text) and not Path(text).exists():
            raise ChargenError(f'{text}: typographic dash or quotation mark; type -- or " instead')
    for flag, first, *others in (arguments[start:] for start in range(len(arguments) - 2)):
        numbers = [first]
        for text in others:
            if not text.replace(".", "", 1).isdecimal() or Path(text).exists():
                break
            numbers.append(text)
        if flag in LISTS and len(numbers) > 1:
            wrong, right = (f"{flag} {mark.join(numbers)}" for mark in " ,")
            raise ChargenError(f"{wrong}: write the list with commas, as {right}")
