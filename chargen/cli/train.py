"""``chargen train``, and the TOML files with its options."""

import importlib.util
import json
import os
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from msgspec import toml
from msgspec.structs import asdict

from chargen.cli.completion import devices, runs, texts
from chargen.cli.options import PATH, default, device_help, encoding_help, option, settings_options
from chargen.cli.terminal import hangup_ignored, put, say, set_up_memory
from chargen.errors import ChargenError
from chargen.settings import GIVEN, HELD_OUT, GivenSettings, TrainingSettings, flag, types_of

AUTO = "auto"
THREADS = "the fastest within --minutes, else chosen by torch"
SETTINGS = {  # options that are settings of `chargen.train`, by their heading in the help
    "Data": {
        "validation": "Fraction of the corpus held out for validation, from its end; 0 for none.",
        "documents": "Unit of text that starts from a zero state: file, line or paragraph.",
        "min_count": "Minimum count of a character; rarer ones become a placeholder.",
    },
    "Model": {
        "cell": "Recurrent cell of the layers.",
        "units": "Hidden units of each layer, as in 256,128.",
        "stack": "Arrangement of the layers: plain, or in residual blocks.",
        "activation": "Activation function of the recurrent units.",
    },
    "Training budget": {
        "minutes": "Maximum training time, in minutes.",
        "epochs": "Maximum number of epochs; with --minutes, whichever comes first.",
        "steps": "Maximum number of parameter updates.",
        "more_minutes": "Additional training time with --resume, in minutes.",
        "more_steps": "Additional parameter updates with --resume.",
        "patience": "Early-stopping patience, in validations; 0 disables it.",
    },
    "Optimization": {
        "learning_rate": "Peak learning rate of AdamW.",
        "batch_size": "Sequences per batch.",
        "timesteps": "Sequence length (truncated BPTT), in characters.",
        "dropout": "Dropout rate of each layer's outputs.",
        "weight_decay": "AdamW weight decay.",
        "distillation": "Weight of the 6-gram baseline's predictions in the loss.",
    },
    "Advanced": {
        "seed": "Random seed.",
        "precision": "Precision of large matrix multiplications.",
        "curriculum": "Shorter sequence lengths to train on first, such as 16,64, in equal shares.",
        "loss_on": "Timesteps included in the loss: all, last, or the last K.",
        "state": "Hidden state at the start of a window: carried over, or reset to zero.",
        "resets": "Fraction of windows that start from a zero state (10× higher after a newline).",
        "recurrent_rate": "Learning rate of the recurrent weights, as a multiple of the others'.",
        "input_rate": "Learning rate of layer 1's input weights, as a multiple of the others'.",
        "beta2": "AdamW beta2, the decay rate of the second-moment estimate.",
        "average": "Weight averaging window, as a fraction of updates so far; 0 disables it.",
        "clip_norm": "Gradient clipping: maximum global norm; larger gradients are rescaled.",
    },
}
TYPES = {name: kind for settings in GIVEN for name, kind in types_of(settings).items()}
FIXED = ("documents", "min_count", "patience", "seed", "loss_on", "state", "resets", "clip_norm")
SHOWN = {name: getattr(TrainingSettings(), name) for name in FIXED} | {  # of the others: AUTO
    "validation": f"{HELD_OUT}; less of a large corpus",
    "activation": "linear for mingru, else tanh",
    "minutes": "5",
    **dict.fromkeys(("steps", "more_steps", "more_minutes")),
}
# The other arguments of `chargen.train`.
ARGUMENTS = ("out", "resume", "overwrite", "init_from", "device", "cache", "encoding")
# Headings of the help, by the first option below each.
HEADINGS = {flag(next(iter(names))): heading for heading, names in SETTINGS.items()}
HEADINGS |= {"--out": "Output", "--help": "Other"}
EXCLUDED = ("config", "print_config")  # from such a file


def read_config(context: click.Context, option: click.Parameter, file: Path | None) -> None:
    """Use a file's values where the command line gives none; the callback of ``--config``."""
    if file is None or context.resilient_parsing:  # the latter completes a command line
        return
    try:
        values = toml.decode(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = "cannot be read" if isinstance(error, OSError) else "not a TOML file"
        raise ChargenError(f"{file}: {problem} ({getattr(error, 'strerror', error)})") from None
    known = {str(one.name): one for one in context.command.params if one.name not in EXCLUDED}
    context.default_map = {}
    for key, value in values.items():
        if (name := key.replace("-", "_")) not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0].replace('_', '-')}?" if near else "see chargen train -h"
            raise ChargenError(f"{file}: {key}: no such option; {hint}")
        context.default_map[name] = _converted(context, known[name], value, f"{file}: {key}")


def _converted(context: click.Context, option: click.Parameter, value: Any, place: str) -> Any:
    if isinstance(value, bool) != getattr(option, "is_flag", False):
        raise ChargenError(f"{place}: must {'not ' * isinstance(value, bool)}be true or false")
    if isinstance(value, list) and option.nargs == 1:
        value = ",".join(map(str, value)) if value else ()
    try:
        return option.type_cast_value(context, value)
    except (click.BadParameter, ChargenError) as error:
        raise ChargenError(f"{place}: {error.message}") from None


TYPED = ParameterSource.COMMANDLINE
CONFIG = {"callback": read_config, "is_eager": True, "expose_value": False}
CONTRADICTIONS = (("resume", "overwrite"), ("resume", "init_from"), ("quiet", "verbose"))


def options_of(heading: str) -> Any:
    return settings_options(TYPES, SETTINGS[heading], lambda name: SHOWN.get(name, AUTO))


class GroupedCommand(click.Command):
    """A command whose help lists options under `HEADINGS`, in their order of definition."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        heading, sections = "", dict[str, list[tuple[str, str]]]()
        for one in self.get_params(ctx):
            heading = HEADINGS.get(one.opts[-1], heading)
            if (record := one.get_help_record(ctx)) and record[1]:  # arguments have no help
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


@click.command(
    cls=GroupedCommand,
    epilog=f'Values of "{AUTO}" depend on the budget, the corpus and the device: see '
    "docs/explanation/defaults.md.",
)
@click.argument("corpus", nargs=-1, shell_complete=texts)
@options_of("Data")
@option("--encoding", str, "", encoding_help)
@option("--cache", PATH, None, "Cache of encoded corpora.  [default: .corpora beside the run]")
@options_of("Model")
@option("--init-from", PATH, None, "Run to fine-tune, from its best weights.", shell_complete=runs)
@options_of("Training budget")
@options_of("Optimization")
@option("--out", PATH, None, "Run directory.  [default: runs/<corpus name>]")
@option("--config", PATH, None, "TOML file of options; the command line overrides it.", **CONFIG)
@option("--print-config", bool, None, "Print all settings as a file for --config and exit.")
@option("--resume", bool, None, "Resume a run. Budgets are totals, including earlier training.")
@option("--overwrite", bool, None, "Delete the existing run and start over.")
@option("--quiet", bool, None, "Print errors only.")
@option("--verbose", bool, None, "Print one line per validation, and longer samples.")
@option("--tensorboard", bool, None, "Write TensorBoard event files to the run directory.")
@options_of("Advanced")
@option("--device", str, "auto", device_help, shell_complete=devices)
@option("--threads", click.IntRange(1), None, f"Number of CPU threads.{default(THREADS)}")
@option("--processes", click.IntRange(1), 1, "Number of training processes on this machine.")
@click.pass_context
@hangup_ignored
def train(
    context: click.Context,
    corpus: tuple[str, ...],
    threads: int | None,
    processes: int,
    quiet: bool,
    verbose: bool,
    tensorboard: bool,
    print_config: bool,
    **options: Any,
) -> int:
    """Train a model on CORPUS.

    CORPUS is a text file, a directory of *.txt files, - for standard input, or the name of a
    bundled corpus (see chargen corpora list). Files may be compressed: *.gz, *.zst. In a
    directory, hidden files and those that editors leave behind are skipped.

    Ctrl-C saves and stops. In another terminal, chargen watch shows curves and samples.

    \b
    Examples:
      chargen train poems/ --cell gru --units 128,128 --minutes 2
      chargen train --resume --more-minutes 5
      chargen train letters.txt --init-from fables --minutes 1
    """
    corpus = corpus or (context.default_map or {}).get("corpus", ())
    budgets = {name for name in SETTINGS["Training budget"] if name != "patience"}
    typed = {name for name in budgets if context.get_parameter_source(name) is TYPED}
    options |= dict.fromkeys(budgets - typed) if typed else {}  # they replace those of --config
    for pair in CONTRADICTIONS:
        if all(context.params[name] for name in pair):
            raise ChargenError(f"{' and '.join(map(flag, pair))}: give one")
    if not corpus and not options["resume"]:
        raise ChargenError("no CORPUS given: name a text file, or a bundled corpus such as fables")
    set_up_memory()
    how = {name: options.pop(name) for name in ARGUMENTS}
    if print_config:
        return _print_config(context, corpus, how, options)
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ChargenError("--tensorboard: needs the package; pip install tensorboard")
    started = os.environ.get("WORLD_SIZE", str(processes))
    if processes > 1 and started != str(processes):
        raise ChargenError(f"--processes {processes}: torchrun started {started}; leave it out")
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        from chargen.distributed.launch import launch

        command = ["-m", "chargen", *context.obj]
        return launch(processes, command, lambda line: say(f"chargen: {line}", err=True))
    from chargen.cli.training_display import TrainingDisplay

    beginning = ""
    if "WORLD_SIZE" not in os.environ:  # of several processes, rank 0 checks for all
        beginning = f"reading {' '.join(corpus)}" if corpus and not how["resume"] else ""
        _check(corpus, how, options)
    with TrainingDisplay(quiet, verbose, tensorboard, beginning) as display:
        from chargen import api

        how |= {"progress": display.reading, "run": display.run, "threads": threads}
        typed_command = shlex.join(["chargen", *context.obj])
        trained = api.train(corpus, command=typed_command, **how, **options)
        display.summarize(trained)
    return display.exit_code


def _print_config(
    context: click.Context, corpus: tuple[str, ...], how: dict[str, Any], options: dict[str, Any]
) -> int:
    """Print what reproduces a new run, or the settings of a run that would be resumed."""
    from chargen.runs.directory import find

    given = {
        name: context.params[name]
        for name in ("out", "cache", "init_from", "device", "threads", "processes")
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    settings = GivenSettings.parse(options)
    if how["resume"]:
        found = find(how["out"]).description
    else:
        from chargen.training.session import Request, describe

        found = describe(Request(corpus, settings, threads=given.get("threads"), **how))
    chosen = asdict(found.model) | asdict(found.training)
    chosen = {name: chosen.get(name) for names in SETTINGS.values() for name in names}
    given["encoding"] = found.corpus.encoding or None
    put("# chargen train --config FILE\n")
    for name, value in {"corpus": found.corpus.sources, **chosen, **given}.items():
        if value is not None:
            put(f"{name.replace('_', '-')} = {json.dumps(value, default=str)}\n")
    return 0


def _check(corpus: tuple[str, ...], how: dict[str, Any], options: dict[str, Any]) -> None:
    """Make the checks that need neither torch nor the text."""
    from chargen.runs.directory import RUNS, check_new, find
    from chargen.text.corpus import read_corpus

    GivenSettings.parse(options)
    named = RUNS / read_corpus(corpus).name if corpus else None
    path = how["out"] or named
    if source := how["init_from"]:
        if source.is_file():
            raise ChargenError(f"--init-from {source}: a file, not a run; chargen runs lists them")
        find(source)
    if how["resume"]:
        find(path)
    elif path:
        check_new(path, how["overwrite"])
