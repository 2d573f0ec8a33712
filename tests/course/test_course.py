"""The exercises: what the library computes is what one finds by hand, and the notebooks' folded answers are right."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from cnnjax import InputError, course

BY_HAND = {
    "flip": [0, 1, 2, 3, 0],
    "output_size": (224 + 4 - 11) // 4 + 1,
    "unread": (10 - 3) % 3,
    "sizes_back": [7, 8],
    "weights": [5 * 5, 3],
    "photograph": [224 * 224 * 3 * 64, 3 * 3 * 3 * 64],
    "peak": [9 / 9, 9],
    "max_after_shift": 2,
    "phases": [4, 8],
    "receptive_field": [1 + 2 * (1 + 1 + 2 + 2 + 4 + 4), 2 * 2],
    "layers_to_see": 14,
    "effective_share": 4 * (20 * 8 / 12) ** 0.5 / 41,
    "orbits": [(2 * 4 + 1) ** 2 - 1, 360 // 15 - 1],
    "free_shifts": 16 // (2 * 2 * 2),
    "forced": 9 + 8 - 10,
    "second_layer": [5 * 5 * 48 * 256, 5 * 5 * 96 * 256],
    "gathered": 13 * 13 * 128,
    "shortcuts": [3 * (56 - 2) // 6, 0],
    "backward": [1, 0, -1, 1, 1, 0],
    "integrated": [1, 1 / 2],
    "grad_cam": [4 / 4, 0],
    "ramp": 0.3,
    "rolled": [0, (1 * 2 + 3) / (2 * 2 + 3)],
}
FOLDED = re.compile(r'`course\.check\("(\w+)", ([^`]+)\)`')


def test_every_exercise_was_solved_by_hand():
    assert list(BY_HAND) == list(course.EXERCISES)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_answer_found_by_hand_is_right_and_another_is_not(name):
    answer = BY_HAND[name]
    assert course.check(name, answer)
    assert str(course.check(name, answer)) == "Right: the library computes the same."
    wrong = course.check(name, np.asarray(answer) + 1)
    assert not wrong
    assert course.EXERCISES[name].hint in str(wrong)


def test_an_answer_that_is_still_to_come_gets_the_question_again():
    assert str(course.check("flip", ...)) == f"Still open. {course.EXERCISES['flip'].question}"


def test_how_many_numbers_are_asked_for_is_said():
    assert str(course.check("weights", 25)).startswith("Not yet: the answer is 2 numbers in a row.")
    assert str(course.check("unread", [1, 2])).startswith("Not yet: the answer is one number.")


def test_what_is_no_answer_is_refused():
    with pytest.raises(InputError, match=r"exercise='flp' is unknown; .* \(perhaps you meant flip\)"):
        course.check("flp", 1)
    for answer in ("55", None, [1, None], float("nan"), []):
        with pytest.raises(InputError, match="must be a number or a sequence of numbers"):
            course.check("output_size", answer)


def test_folded_answers_of_the_notebooks_are_right_and_each_exercise_has_one():
    found = {}
    for notebook in (Path(__file__).parents[2] / "notebooks").glob("0*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            found |= dict(FOLDED.findall("".join(cell["source"])))
    assert found.keys() == course.EXERCISES.keys()
    assert [name for name, answer in found.items() if not course.check(name, json.loads(answer))] == []
