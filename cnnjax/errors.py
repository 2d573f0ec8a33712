"""The exceptions that mean: what you gave cannot be used, and here is what would be right."""


class InputError(ValueError):
    """Raised at the door for a value the user can mend.

    The message names the offending value and the remedy. Command lines print it alone, without a traceback, and
    exit with status 2. It is a sentence: the full stop is set here where it is left out. One that ends in a line
    break ends in code to run, and stays as it is.
    """

    def __init__(self, message: str):
        super().__init__(message if message.endswith((".", "?", "!", "\n")) else f"{message}.")


class NotFiniteError(InputError):
    """A loss or a score is infinite or not a number."""


def first_line(error: Exception) -> str:
    """What somebody else's error says, in one line of at most 300 characters; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300].rstrip(".")
