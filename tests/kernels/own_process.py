"""Scripts in new processes, as users start them: with one device, and with the library's own choice of kernels."""

import json
import os
import subprocess
import sys
import textwrap


def environment(**more):
    """The variables of this process without those that only tests want."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | more


def run(script, *arguments, **variables):
    """What a script prints, as JSON, in a new process with one device."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
