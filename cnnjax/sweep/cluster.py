"""Cells on the workers of a Ray cluster: each is a task, and one that is lost with its worker goes on with another.

The plans, the code that they are made of and the data go to the workers through Ray, and a cell's files come back the
same way, its checkpoints while it is computed. There is no shared file system, and nothing that was read from a disk is
executed.
"""

import contextlib
import importlib
import importlib.metadata
import io
import logging
import pickle
import socket
import sys
import sysconfig
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cnnjax
from cnnjax import runtime
from cnnjax.data import Dataset
from cnnjax.errors import InputError
from cnnjax.sweep.cell import CellPlan, compute
from cnnjax.sweep.protocol import ProtocolConfig

RETRIES = 3
"""How often a cell goes on with another worker when its own was lost."""

KEEP_EVERY = 30.0
"""Seconds between two checkpoints of a cell that come back, at least."""

LOOK_EVERY = 10.0
"""Seconds between two looks whether the head of the cluster is still there. Ray ends a process that cannot reach it for
60 seconds, without a word of this program's."""

SAME = ("jax", "jaxlib", "flax", "optax", "numpy")
"""Packages that must be of one version here and on the workers, lest a result depends on where it was computed."""


def compute_all(
    plans: Sequence[CellPlan],
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    seeds: Sequence[int],
    begun: Callable[[str], tuple[str, Mapping[str, bytes]]],
    keep: Callable[[str, dict[str, bytes], list[dict[str, Any]]], Any],
    *,
    note: Callable[[str], Any] = lambda text: None,
) -> Iterator[str]:
    """The name of each cell as they are finished.

    `begun` gives for a cell what its files are marked with, and those that it has already. `keep` is given a cell's
    files and records as they come, at the latest when it is finished. A cell takes one processor, or one accelerator
    where the cluster has any. Raises `InputError` as `connect` does, where a worker has other versions, for a cell
    whose worker is lost time and again, and where the cluster is lost.
    """
    ray = connect(plans)
    resources = ray.cluster_resources()
    accelerators = int(resources.get("GPU", 0))
    has = f"processors: {int(resources.get('CPU', 0))}, GPUs: {accelerators}"
    note(f"cells for the Ray cluster: {len(plans)}; its {has}")
    # Retries are begun here, each from what is kept by then: Ray would begin it with the first arguments again.
    task = ray.remote(max_retries=0, num_cpus=1, num_gpus=1 if accelerators else 0)(_compute)
    shared, versions, mail = ray.put(dataset), _versions(), _mail_here(ray)

    def start(plan: CellPlan) -> Any:
        return task.options(name=plan.name).remote(
            pickled(plan), shared, protocol, seeds, *begun(plan.name), versions, mail, KEEP_EVERY
        )

    def fetch() -> None:
        letters = mail.take.remote()
        while not ray.wait([letters], timeout=LOOK_EVERY)[0]:
            _check_that_it_answers(ray)
        for name, files, records in ray.get(letters):
            keep(name, files, records)

    errors = ray.exceptions
    # Of a node that dies, what its workers have computed may be lost too.
    with_its_worker = errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError, errors.ObjectLostError
    lost: Counter[str] = Counter()
    pending: dict[Any, CellPlan] = {}
    try:
        pending |= {start(plan): plan for plan in plans}
        while pending:
            finished, _ = ray.wait(list(pending), num_returns=1, timeout=LOOK_EVERY)
            if not finished:
                _check_that_it_answers(ray)
            fetch()
            for ready in finished:
                plan = pending.pop(ready)
                try:
                    files, records = ray.get(ready)
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, InputError) else error) from None
                except with_its_worker as error:
                    lost[plan.name] += 1
                    if lost[plan.name] > RETRIES:
                        raise InputError(
                            f"the cell {plan.name} was lost with its worker {RETRIES + 1} times "
                            f"({type(error).__name__}): look at the cluster's logs, perhaps for want of memory; the "
                            "same command goes on with what is missing"
                        ) from error
                    note(f"  {plan.name} was lost with its worker ({type(error).__name__}), and goes on with another")
                    pending[start(plan)] = plan
                    continue
                keep(plan.name, files, records)
                yield plan.name
    except ray.exceptions.RayTaskError:
        raise
    except (ray.exceptions.RayError, ConnectionError) as error:
        pending.clear()  # there is no one left to cancel them
        raise InputError(
            f"the Ray cluster was lost ({type(error).__name__}): start it anew, and the same command goes on with what "
            "is missing"
        ) from error
    finally:
        with contextlib.suppress(ray.exceptions.RayError, ConnectionError):
            if pending:
                fetch()
            for reference in pending:
                ray.cancel(reference, force=True)


class _Mail:
    """What workers send while they compute, until it is taken."""

    def __init__(self):
        self._letters: list[tuple] = []

    def send(self, *letter: Any) -> None:
        self._letters.append(letter)

    def take(self) -> list[tuple]:
        letters, self._letters = self._letters, []
        return letters


def _mail_here(ray: Any) -> Any:
    """An actor in this machine, which ends with this process."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    kind = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(_Mail)
    return kind.remote()


def connect(plans: Sequence[CellPlan]) -> Any:
    """Ray, connected to the cluster of this program, if it has one already, or to the one that runs here.

    There it is told where the code of `plans` lies. Raises `InputError` where Ray is not installed or no cluster is
    running.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("--engine ray needs Ray, which is not installed: pip install -e '.[cluster]'") from error
    if not ray.is_initialized():
        try:
            ray.init(
                address="auto",
                runtime_env={"py_modules": code_of(plans)},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except ConnectionError as error:
            raise InputError(
                f"no Ray cluster answers here ({str(error).strip().splitlines()[0]}): start one with `ray start "
                "--head`, more machines with the command that it prints, or name one in RAY_ADDRESS, with its token; "
                "or leave --engine out, to compute in this process"
            ) from error
    return ray


def _check_that_it_answers(ray: Any) -> None:
    """Raise ConnectionError unless something listens at the address of the cluster's head."""
    address = ray.get_runtime_context().gcs_address
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=LOOK_EVERY).close()
    except OSError as error:
        raise ConnectionError(f"the head at {address} does not answer") from error


def code_of(plans: Sequence[CellPlan]) -> list[str]:
    """The paths of cnnjax, and of the packages and modules by whose names `plans` go and that nothing has installed."""
    modules: set[str] = set()
    pickled(plans, modules)
    installed = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths = [Path(cnnjax.__path__[0])]
    for top in sorted({module.partition(".")[0] for module in modules} - {"cnnjax", "__main__"}):
        module = sys.modules[top]
        place = module.__path__[0] if hasattr(module, "__path__") else getattr(module, "__file__", None)
        if place is not None and not any(map(Path(place).is_relative_to, installed)):
            paths.append(Path(place))
    return [str(path.absolute()) for path in paths]


def pickled(value: Any, modules: set[str] | None = None) -> bytes:
    """`value` for another process, in which functions that have a name are those of that name.

    cloudpickle copies JAX's, such as `jax.nn.relu`, which then are equal to no other. To `modules` are added the names
    of those that functions and classes are of.
    """
    from ray import cloudpickle  # pyright: ignore[reportMissingImports]

    seen: set[str] = set() if modules is None else modules

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            home = obj.__name__ if isinstance(obj, types.ModuleType) else getattr(obj, "__module__", None)
            if isinstance(home, str) and home in sys.modules:
                seen.add(home)
            name = getattr(obj, "__qualname__", None)
            # Python's own functions and classes go by name already.
            if isinstance(obj, types.FunctionType | types.BuiltinFunctionType | type) or not isinstance(name, str):
                return super().reducer_override(obj)
            named = callable(obj) and _named(obj.__module__, name) is obj
            return (_named, (obj.__module__, name)) if named else super().reducer_override(obj)

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def _named(module: str | None, name: str) -> Any:
    found: Any = sys.modules.get(module or "") or importlib.import_module(module or "builtins")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in SAME}


def _compute(
    plan: bytes,
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    seeds: Sequence[int],
    of: str,
    files: Mapping[str, bytes],
    versions: Mapping[str, str],
    mail: Any,
    keep_every: float,
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """What a worker does."""
    if differing := [
        f"{name} {version}, not {versions[name]}" for name, version in _versions().items() if version != versions[name]
    ]:
        raise InputError(f"a worker of the cluster has {', '.join(differing)}: install there what is here")
    runtime.configure()
    one: CellPlan = pickle.loads(plan)

    def keep(files: dict[str, bytes], records: list[dict[str, Any]]) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        ray.get(mail.send.remote(one.name, files, records))

    return compute(one, dataset, protocol, seeds, files, of=of, keep=keep, keep_every=keep_every)
