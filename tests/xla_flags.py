"""What XLA is told in the tests, as far as the installed jaxlib knows the words."""

import os
import subprocess
import sys

# A program of the tests runs a few times: most optimisations would cost more than they save.
ALWAYS = "--xla_force_host_platform_device_count=8"
# XLA's older way to emit loops saves a quarter of the time that tests of operations and layers take; programs in one
# piece, not in parts for many cores, a tenth of what all tests take.
WHERE_KNOWN = "--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"


def xla_flags(*, level: int) -> str:
    """The value of XLA_FLAGS, with LLVM at an optimisation level from 0 to 3.

    A process ends at a flag that its jaxlib does not have, so another one tries each.
    """
    ask = [sys.executable, "-c", "import jax; jax.devices()"]
    known = [
        flag
        for flag in WHERE_KNOWN
        if subprocess.run(ask, env={**os.environ, "XLA_FLAGS": flag}, capture_output=True).returncode == 0
    ]
    return " ".join([ALWAYS, f"--xla_backend_optimization_level={level}", *known])
