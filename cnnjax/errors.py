"""The exceptions that mean: what you gave cannot be used, and here is what would be right."""


class InputError(ValueError):
    """Raised at the door for a value the user can mend.

    The message names the offending value and the remedy. Command lines print it alone, without a traceback, and
    exit with status 2.
    """


class NotFiniteError(InputError):
    """A loss or a score is infinite or not a number."""
