"""How processes come together, and how they part."""

import contextlib
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator

from cnnjax.processes import group
from cnnjax.processes.gathering import address_of, gather
from cnnjax.processes.options import PATIENCE, Distributed, Place, read_place
from cnnjax.processes.relay import Relay
from cnnjax.processes.watch import PERIOD, SILENCE, Watch, leave

_FOR_EVER = 10**6  # seconds: `Watch` judges who is gone, for JAX does it with SIGABRT

_watch: Watch | None = None


def start(options: Distributed) -> None:
    """Bring together the processes that the options name, before JAX has any devices; `end_together` parts them.

    From then on `jax.devices()` are those of all processes, and all but process 0 are silent. Raises `InputError` for
    wrong options, and where not all come within five minutes.
    """
    global _watch
    place = read_place(options)
    if place is None:
        return
    gather(place, PATIENCE)
    watch = Watch(place.index, place.count)
    _initialize(place, watch)
    from jax._src.distributed import global_state  # which holds the store that JAX has no public name for

    group.joined = group.Group(place.index, place.count, global_state.client)
    watch.start(group.joined.store)
    _watch = watch
    if not group.first():
        _silence()


def _initialize(place: Place, watch: Watch) -> None:
    import jax

    coordinator = place.coordinator
    if place.index > 0:
        coordinator = Relay(address_of(place), watch.coordinator_lost).address
    # Or gRPC asks the proxy for web pages that many clusters name, and waits for ever.
    os.environ.setdefault("no_grpc_proxy", f"127.0.0.1,{address_of(place)[0]}")
    jax.config.update("jax_check_proxy_envs", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # which would swallow SIGTERM
    jax.distributed.initialize(
        coordinator,
        place.count,
        place.index,
        list(place.devices) if place.devices else None,
        cluster_detection_method="deactivate",
        initialization_timeout=60,  # all are there: it takes no time
        heartbeat_timeout_seconds=_FOR_EVER,
    )


def _silence() -> None:
    """Write nothing to the standard output, and no warnings: process 0 does."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    warnings.simplefilter("ignore")


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """Part, at the end, the processes that the body has brought together by `start`, if it has.

    A process that ends by an error, or by a signal, lets the others know, which end with the same status and one line.
    So they do, with status 69, where one is gone without a word.
    """
    try:
        yield
    except SystemExit as error:
        if _watch is None:
            raise
        status = error.code if isinstance(error.code, int) else 1
        _watch.tell(status)
        leave(status)
    except BaseException as error:
        if _watch is None:
            raise
        if isinstance(error, RuntimeError | ValueError) and ("Gloo" in str(error) or _of_jax(error)):
            time.sleep(SILENCE + 10 * PERIOD)  # for another's sake, perhaps: then the watch finds it, and ends this one
        traceback.print_exc()
        _watch.tell(1)
        leave(1)
    if _watch is not None:
        _part()


def _of_jax(error: BaseException) -> bool:
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError)


def _part() -> None:
    import jax

    global _watch
    assert _watch is not None
    group.meet()
    _watch.stop()
    jax.distributed.shutdown()
    group.joined, _watch = None, None
    group.remove_scratch()
