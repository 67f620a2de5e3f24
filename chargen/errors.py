"""Errors that a user can correct."""


class ChargenError(Exception):
    """A user error: one line that names the thing, says what is wrong and what to do.

    The command line prints the line and exits with ``exit_code``. Any other exception is a bug and
    keeps its traceback.
    """

    exit_code = 2


class NonFiniteError(ChargenError):
    """A model's predictions are not finite."""

    def __init__(self) -> None:
        super().__init__(
            "the model's predictions are not finite: its weights are damaged or diverged; train "
            "again with a lower --learning-rate"
        )
