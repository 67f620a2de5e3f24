"""What chargen says when the user, not the program, made a mistake."""


class ChargenError(Exception):
    """A mistake of the user's: one line that names the thing and the way out.

    The command line prints it and exits with ``exit_code``. Anything else that is raised is a
    bug of ours and keeps its traceback.
    """

    exit_code = 2


class NoNumbersError(ChargenError):
    """A model's predictions are no numbers any more."""

    def __init__(self) -> None:
        super().__init__(
            "the model predicts no numbers: its weights are damaged, or grew beyond measure; "
            "train again with a lower --learning-rate"
        )
