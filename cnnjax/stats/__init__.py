"""Intervals over seeds and over images, and paired comparisons."""

from cnnjax.stats.comparisons import compare, compare_summary, effect_size, holm
from cnnjax.stats.intervals import Interval, over_images, over_seeds

__all__ = ["Interval", "compare", "compare_summary", "effect_size", "holm", "over_images", "over_seeds"]
