"""The exceptions that mean: what you gave cannot be used, and here is what would be right."""


class InputError(ValueError):
    """Raised at the door for a value the user can mend.

    The message names the offending value and the remedy. Command lines print it alone, without a traceback, and
    exit with status 2. It is a sentence: the full stop is set here where it is left out. Several lines end as they are:
    in code to run.
    """

    def __init__(self, message: str):
        whole = message.endswith((".", "?", "!")) or "\n" in message
        super().__init__(message if whole else f"{message}.")


class NotFiniteError(InputError):
    """A loss or a score is infinite or not a number."""
