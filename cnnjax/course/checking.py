"""Whether an answer is the one that the library computes."""

import dataclasses
from typing import Any

import numpy as np

from cnnjax.course.exercises import EXERCISES
from cnnjax.door import checked
from cnnjax.door.choices import check_choice
from cnnjax.door.words import shown
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found of an answer: true where it is right, and a sentence that does not give it away where not."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


@checked()
def check(exercise: str, answer: Any) -> Verdict:
    """Whether `answer` is right for the exercise of that name in `EXERCISES`: a number, or a sequence of them.

    The right one is computed by the library, here and now. `...` stands for an answer that is still to come.
    Raises InputError for an unknown name, and for an answer that does not consist of numbers.
    """
    check_choice("exercise", exercise, EXERCISES)
    asked = EXERCISES[exercise]
    if answer is ...:
        return Verdict(False, f"Still open. {asked.question}")
    given = _numbers(answer)
    right = np.asarray(asked.answer(), np.float64)
    if given.shape != right.shape:
        wanted = f"{right.size} numbers in a row" if right.ndim else "one number"
        return Verdict(False, f"Not yet: the answer is {wanted}. {asked.hint}")
    if np.allclose(given, right, rtol=asked.tolerance, atol=1e-6):
        return Verdict(True, "Right: the library computes the same.")
    return Verdict(False, f"Not yet. {asked.hint}")


def _numbers(answer: Any) -> np.ndarray:
    try:
        numbers = np.asarray(answer)
        if numbers.dtype.kind in "iuf" and numbers.size and np.isfinite(numbers).all():
            return numbers.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise InputError(f"answer={shown(answer)} must be a number or a sequence of numbers.")
