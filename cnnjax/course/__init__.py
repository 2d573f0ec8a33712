"""Exercises to the notebooks, with a checker: the library computes the right answer when one is checked.

- `check`: whether an answer is right, as a `Verdict`, with a hint where it is not
- `EXERCISES`: each `Exercise` by name, with its question
"""

from cnnjax.course.checking import Verdict, check
from cnnjax.course.exercises import EXERCISES, Exercise

__all__ = ["EXERCISES", "Exercise", "Verdict", "check"]
