"""The command line. Importing it loads no torch."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from chargen import __version__
from chargen.cli import advice
from chargen.cli.compare import compare
from chargen.cli.completion import shell_completion
from chargen.cli.corpora import corpora
from chargen.cli.evaluate import evaluate
from chargen.cli.export import export
from chargen.cli.import_keras import import_keras
from chargen.cli.inspect import inspect
from chargen.cli.probe import probe_longrange
from chargen.cli.runs import runs
from chargen.cli.sample import sample
from chargen.cli.score import score
from chargen.cli.terminal import configure_torch, drop_results, prepare, run_in_group
from chargen.cli.train import train
from chargen.cli.watch import watch
from chargen.distributed import PeerError
from chargen.errors import ChargenError, memory_errors
from chargen.render.text import visible_line

SUCCESS, USER_ERROR, INTERRUPTED = 0, 2, 130
SCARCE = "not enough memory: close other programs, or raise the limit (ulimit -v)"
EPILOG = """
\b
Exit codes:
  0         success
  1         internal error, with a traceback
  2         user error, one line
  75        another process of the training was lost
  130, 143  ended by Ctrl-C or SIGTERM; training saves first

\b
Files:
  runs/NAME/        run directory
  runs/.corpora/    cache of encoded corpora; safe to delete
"""


class Commands(click.Group):
    """The command group; its output may go to a pipe that closes early, as of ``head``."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] in advice.COMMANDS:
            raise ChargenError(f"No such command {args[0]}: {advice.COMMANDS[args[0]]}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with memory_errors(SCARCE):
                result = super().invoke(ctx)
                sys.stdout.flush()
        except BrokenPipeError:
            drop_results()
            return SUCCESS
        return result


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog=EPILOG,
)
@click.version_option(__version__, prog_name="chargen")
def chargen() -> None:
    """Train character-level RNNs, generate text, and measure how far back a model remembers.

    \b
    chargen train corpus.txt        train a model
    chargen sample                  generate text
    chargen probe-longrange         measure long-range memory

    Every command has its own help: chargen train --help. RUN is a run directory, by default the
    newest under runs/. Results go to standard output, everything else to standard error.
    """


COMMANDS = train, watch, sample, evaluate, score, probe_longrange, compare, inspect, export
for command in (*COMMANDS, runs, import_keras, corpora, shell_completion):
    chargen.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a process of several exits with it here."""
    configure_torch()
    prepare()
    return run_in_group(lambda: _exit_code(sys.argv[1:] if arguments is None else list(arguments)))


def _exit_code(given: list[str]) -> int:
    try:
        advice.check(given)
        result = chargen.main(given, "chargen", standalone_mode=False, obj=given)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USER_ERROR
    except click.UsageError as error:
        named = [f"chargen {name}" for name in given if name in chargen.commands]
        path = error.ctx.command_path if error.ctx else [*named, "chargen"][0]
        return _report(f"{advice.message(error)} (see {path} --help)")
    except click.ClickException as error:
        return _report(" ".join(error.format_message().split()))
    except PermissionError as error:
        if not error.filename:
            raise
        return _report(f"{error.filename}: {error.strerror}; check the permissions of its folder")
    except ChargenError as error:
        # One process a machine reports a lost process, or the one that launched them all does.
        rank, role = (os.environ.get(name) for name in ("LOCAL_RANK", "ROLE_NAME"))
        is_quiet = isinstance(error, PeerError) and (role == "chargen" or rank not in (None, "0"))
        return error.exit_code if is_quiet else _report(error.message, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        result = INTERRUPTED
    return result if isinstance(result, int) else SUCCESS


def _report(message: str, code: int = USER_ERROR) -> int:
    click.echo(f"chargen: {visible_line(message)}", err=True)
    return code
