"""The command line: parse, call, print. No command imports torch before it is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from chargen import __version__
from chargen.cli.compare import compare
from chargen.cli.corpora import corpora
from chargen.cli.evaluate import evaluate
from chargen.cli.export import export
from chargen.cli.import_keras import import_keras
from chargen.cli.inspect import inspect
from chargen.cli.probe import probe_longrange
from chargen.cli.process import speak_alone, spin_briefly
from chargen.cli.sample import sample
from chargen.cli.score import score
from chargen.cli.terminal import prepare
from chargen.cli.train import train
from chargen.cli.watch import watch
from chargen.distributed import PeerError, run
from chargen.errors import ChargenError
from chargen.render.text import visible_line

DONE, MISTAKE, INTERRUPTED = 0, 2, 130
MORE = """
\b
Exit codes:
  0         done
  1         a bug of ours, with a traceback
  2         a mistake in what was asked, told in one line
  130, 143  ended by Ctrl-C or SIGTERM; a training saves first

\b
Files:
  runs/NAME/           a run: run.json says what was trained, progress.jsonl how it went,
                       best.safetensors holds the weights that commands use and
                       last.safetensors what train --resume needs
  runs/compare-TASK/   a comparison, with a run for each training
  runs/.corpora/       corpora kept encoded; what is missing is made anew

\b
Environment:
  CUDA_VISIBLE_DEVICES   GPUs that may be used; empty for none
  TMPDIR                 folder where text from standard input is kept while it is read
  _CHARGEN_COMPLETE      bash_source, zsh_source or fish_source prints what makes that shell
                         complete commands: eval "$(_CHARGEN_COMPLETE=bash_source chargen)"
"""


class Commands(click.Group):
    """A group whose output may go to a pipe that is closed before its end, as by ``head``."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command; that nobody reads on is no error."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            # Nothing more can be written, by Python's own flush at exit neither.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return result


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog=MORE,
)
@click.version_option(__version__, prog_name="chargen")
def chargen() -> None:
    """Learn to write text one character at a time, and measure how far back the model remembers.

    \b
    chargen train corpus.txt        learn from a text
    chargen sample                  write something like it
    chargen probe-longrange         how far back does it remember?

    Each command explains itself: chargen train --help. RUN is a run's folder; left out, it is
    the newest one under runs/. Results go to standard output, all else to standard error.

    \b
    Example, a model of the bundled tales and what it writes:
      chargen train fables --minutes 1
      chargen sample --prompt "The miller" --length 400
    """


for command in (
    train,
    watch,
    sample,
    evaluate,
    score,
    probe_longrange,
    compare,
    inspect,
    export,
    import_keras,
    corpora,
):
    chargen.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 a mistake of the user's, 130 Ctrl-C.

    A mistake is one line on standard error. Any other exception is a bug and keeps its traceback.
    One of several processes that train together ends here and returns nothing.
    """
    spin_briefly()
    speak_alone()
    prepare()
    return run(lambda: _code(sys.argv[1:] if arguments is None else list(arguments)))


def _code(given: list[str]) -> int:
    try:
        result = chargen.main(given, "chargen", standalone_mode=False, obj=given)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return MISTAKE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "chargen"
        return _mistake(f"{_joined(error.format_message())} (see {path} --help)")
    except click.ClickException as error:
        return _mistake(_joined(error.format_message()))
    except ChargenError as error:
        is_quiet = isinstance(error, PeerError) and not _reports_peers()
        return error.exit_code if is_quiet else _mistake(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return result if isinstance(result, int) else DONE


def _reports_peers() -> bool:
    """Return whether to report a lost process: one process a machine does, or --processes."""
    return os.environ.get("ROLE_NAME") != "chargen" and os.environ.get("LOCAL_RANK", "0") == "0"


def _mistake(message: str, code: int = MISTAKE) -> int:
    click.echo(f"chargen: {visible_line(message)}", err=True)
    return code


def _joined(message: str) -> str:
    """Lines that click laid out one below the other, in one."""
    return " ".join(message.split())
