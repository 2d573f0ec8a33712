"""Several processes that train together, each of which runs the same command: which one this is, and what all agree on.

Process 0 alone decides what depends on files and clocks, writes, and is heard; the others do the same computations, keep
their files in a folder of their own that goes with them, and are silent. Of a process that was not told of any others
this costs nothing: JAX is imported only by `start`.
"""

from cnnjax.processes.group import agreed, agreed_number, count, first, index, meet, scratch
from cnnjax.processes.options import Distributed
from cnnjax.processes.joining import end_together, start
