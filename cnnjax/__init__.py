"""What a convolutional network sees, and what it is invariant to."""

from cnnjax.errors import InputError

__all__ = ["InputError"]

__version__ = "0.1.0"
