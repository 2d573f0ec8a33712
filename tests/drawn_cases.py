"""How many cases Hypothesis draws: a few where each claim is made once, all where claims are repeated."""

from hypothesis import settings

# Whatever the environment asks for otherwise, such as the same cases in every run where CI is set.
settings.register_profile("thorough", settings.default, deadline=None)
settings.register_profile("quick", settings.default, deadline=None, max_examples=25)


def drawn_cases(count: int) -> settings:
    """`count` drawn cases with `-m slow`; a quarter of them, at least two, without."""
    quick = settings.get_current_profile_name() == "quick"
    return settings(max_examples=max(2, count // 4) if quick else count, deadline=None)
