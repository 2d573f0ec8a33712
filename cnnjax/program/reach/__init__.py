"""What each array of a traced program reads of the images: the machinery behind `cnnjax.analysis.receptive_field`."""

from cnnjax.program.reach.summary import Summary, nothing, summarize
from cnnjax.program.reach.trace import follow
from cnnjax.program.reach.value import Value
from cnnjax.program.reach.window import Number

__all__ = ["Number", "Summary", "Value", "follow", "nothing", "summarize"]
