"""What XLA is told in the tests, as far as the installed jaxlib knows the words."""

import os
import subprocess
import sys

# A program of the tests runs a few times: most optimisations would cost more than they save. Not level 0: there a value
# that is computed twice may differ in its last digit, which on the CPU was not seen at level 1 or the compiler's own.
ALWAYS = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=1"
# XLA's older way to emit loops saves a quarter of the time that tests of operations and layers take.
WHERE_KNOWN = "--xla_cpu_use_fusion_emitters=false"


def xla_flags() -> str:
    """The value of XLA_FLAGS. A process ends at a flag that its jaxlib does not have, so another one tries."""
    ask = [sys.executable, "-c", "import jax; jax.devices()"]
    tried = subprocess.run(ask, env={**os.environ, "XLA_FLAGS": WHERE_KNOWN}, capture_output=True)
    return f"{ALWAYS} {WHERE_KNOWN}" if tried.returncode == 0 else ALWAYS
