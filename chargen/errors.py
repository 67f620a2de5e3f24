"""Errors that a user can correct."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

# A command, which stays as it is, or an option with its value, if an error begins with them.
OPTION = re.compile(r"(?:chargen|torchrun|pip) [^;`]*|--([a-z][a-z0-9-]*)(?: ([^\s:)]+)(?=: |\)))?")
SWITCHES = ("resume", "overwrite")


class ChargenError(Exception):
    """A user error: one line that names the thing, says what is wrong and what to do.

    The command line prints the ``message``, which speaks of its options, and exits with
    ``exit_code``. `str` speaks of the arguments of Python's functions. Any other exception is a bug
    and keeps its traceback.
    """

    exit_code = 2

    @property
    def message(self) -> str:
        """The line, with command-line options."""
        return str(self.args[0])

    def __str__(self) -> str:
        return OPTION.sub(_argument, self.message)

    def __format__(self, spec: str) -> str:
        """Return `message`, which an error that quotes this one translates itself."""
        return format(self.message, spec)


@contextmanager
def named(name: object) -> Iterator[None]:
    """Put a name before the message of a `ChargenError`."""
    try:
        yield
    except ChargenError as error:
        raise ChargenError(f"{name}: {error}") from None


@contextmanager
def memory_errors(message: str) -> Iterator[None]:
    """Raise a `ChargenError` where Python, torch or a library that is loaded lacks memory."""
    try:
        yield
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ChargenError(message) from None


def _is_out_of_memory(error: BaseException | None) -> bool:
    if error is None or isinstance(error, MemoryError):
        return error is not None
    words = ("alloc", "out of memory", "not enough memory", "map seg")
    text = str(error).lower()
    return any(word in text for word in words) or _is_out_of_memory(error.__cause__)


def _argument(option: re.Match[str]) -> str:
    if option[1] is None:
        return option[0]
    name = option[1].replace("-", "_")
    value = option[2] or ("True" if name in SWITCHES else "")
    return f"{name}={value}" if value else name


class NonFiniteError(ChargenError):
    """A model's predictions are not finite."""

    def __init__(self) -> None:
        problem = "the model's predictions are not finite: its weights are damaged or diverged"
        super().__init__(f"{problem}; train again with a lower --learning-rate")
