"""What each array of a traced program reads of the images: the machinery behind `cnnjax.analysis.receptive_field`."""

from cnnjax.analysis.reach.summary import Summary, nothing, summarize
from cnnjax.analysis.reach.trace import follow
from cnnjax.analysis.reach.value import Value
from cnnjax.analysis.reach.window import Number

__all__ = ["Number", "Summary", "Value", "follow", "nothing", "summarize"]
