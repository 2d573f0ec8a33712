"""Cases of a parametrised test that repeat what its first ones claim."""

import pytest


def repeated(cases, quick=1):
    """The cases, of which those after the first `quick` are run by `pytest -m slow` only.

    A tuple holds a value for each argument of the test: one argument whose values are tuples takes tuples of one.
    """
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=[pytest.mark.slow] * (at >= quick)) for at, case in enumerate(cases)]
