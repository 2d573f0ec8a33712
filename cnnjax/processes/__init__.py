"""Several processes that train together, each by the same command: which one this is, and what they agree on.

Process 0 alone decides what depends on files and clocks, writes, and is heard; the others do the same computations,
keep their files in a folder of their own that goes with them, and are silent. A process that was told of no others
neither pays for this nor imports JAX for it.
"""

from cnnjax.processes.group import agreed as agreed
from cnnjax.processes.group import agreed_number as agreed_number
from cnnjax.processes.group import count as count
from cnnjax.processes.group import first as first
from cnnjax.processes.group import meet as meet
from cnnjax.processes.group import scratch as scratch
from cnnjax.processes.joining import end_together as end_together
from cnnjax.processes.joining import start as start
from cnnjax.processes.options import Distributed as Distributed
