"""Large numbers in a few digits."""

import math


def short(value: float | int) -> str:
    """Three digits and a letter: 25557032 as `25.6 M`."""
    power = min(max(0, int(math.log10(value)) // 3), 5) if value else 0
    scaled = value / 1000**power
    digits = 0 if scaled >= 100 or value == scaled == int(value) else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {('', 'k', 'M', 'G', 'T', 'P')[power]}".strip()
