"""Which devices a training runs on, and where its arrays lie on them.

The program is that of one device. Arrays say where they lie (`NamedSharding`), and XLA adds what devices exchange, so
the whole batch defines the result on any number of them: batch normalization is over it, and augmentation and dropout
are drawn for it.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from cnnjax import processes, runtime
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.training.config import TrainConfig

AXIS = "data"
"""The mesh axis along which networks, or the images of a batch, are shared out."""
_LEAST_IMAGES = 16  # of a step for each device, where the number of devices is left to us: a guess, not a measurement


@dataclasses.dataclass(frozen=True)
class Placement:
    """Several devices, and what of a training each of them has."""

    mesh: Mesh
    """Its axis "data" shares out."""
    over: Literal["networks", "batch"] = "batch"
    """Each device has whole networks, and exchanges nothing; or every network, and its part of each batch."""
    shard_parameters: bool = False
    """Over the batch: a device keeps its part of each parameter and of the optimizer's state, not all of it."""

    @property
    def devices(self) -> int:
        """How many share."""
        return self.mesh.shape[AXIS]

    @property
    def everywhere(self) -> NamedSharding:
        """The sharding of what every device has whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def shared(self) -> NamedSharding:
        """The sharding of what is shared out along its first axis: a batch, or what each of several networks has."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def of_state(self, tree: PyTree, *, stacked: bool = False) -> PyTree:
        """The sharding of each leaf of a training's state, or of its part; `stacked` with a first axis of networks.

        A leaf is whole on every device. With `shard_parameters` one of two axes or more is split along the longest that
        the devices divide; vectors, biases and statistics among them, are not worth what gathering each would take.
        """

        def sharding(leaf: Any) -> NamedSharding:
            shape = np.shape(leaf)[stacked:]
            fitting = [axis for axis, size in enumerate(shape) if size and size % self.devices == 0]
            if not (self.shard_parameters and fitting and len(shape) > 1):
                return self.everywhere
            longest = max(fitting, key=lambda axis: shape[axis])
            return NamedSharding(self.mesh, PartitionSpec(*(None,) * (stacked + longest), AXIS))

        return jax.tree.map(sharding, tree)

    def describe(self, networks: int) -> str:
        """What is shared out, in a few words."""
        if self.over == "networks":
            return f"{networks} networks over {self.devices} devices"
        return f"each batch{' and all parameters' if self.shard_parameters else ''} over {self.devices} devices"


@checked()
def choose_placement(config: TrainConfig, networks: Positive) -> Placement | None:
    """Where so many networks are trained in one program; None: on JAX's default device.

    `config.devices` says on how many devices. None is all of an accelerator's backend, as far as each gets 16 images
    of a step, and one of a CPU's, which share their cores; of several processes it is all that they have. Networks are
    shared out where that keeps more than half of the devices busy, else each batch is.

    Raises `InputError` for more devices than there are, and for a batch that they cannot share evenly.
    """
    count = device_count(config)
    fixed = config.devices is not None or processes.count() > 1
    if 2 * networks > count > 1 and not config.shard_parameters and processes.count() == 1:
        each = math.ceil(networks / count)
        return Placement(_mesh(math.ceil(networks / each)), "networks")
    images = config.batch_size // config.accumulate
    if not fixed:
        count = max(n for n in range(1, count + 1) if n == 1 or (images % n == 0 and images // n >= _LEAST_IMAGES))
    if images % count:
        parts = f" in train.accumulate={config.accumulate} parts" if config.accumulate > 1 else ""
        whole = count * config.accumulate
        raise InputError(
            f"train.batch_size={config.batch_size}{parts} cannot be shared evenly by {count} devices: give "
            f"{max(config.batch_size // whole, 1) * whole} images, or train.devices={math.gcd(images, count)}"
        )
    return Placement(_mesh(count), "batch", config.shard_parameters) if count > 1 else None


def device_count(config: TrainConfig) -> int:
    """How many devices a training of this recipe may take.

    Raises `InputError` for more than there are.
    """
    there = jax.device_count()
    if config.devices is None:
        # A CPU's devices share its cores: one for each process.
        return processes.count() if runtime.on_cpu() else there
    if config.devices > there:
        more = f", or set XLA_FLAGS=--xla_force_host_platform_device_count={config.devices}" if runtime.on_cpu() else ""
        raise InputError(f"train.devices={config.devices} are more than there are: give at most {there}{more}")
    if config.devices % processes.count():
        raise InputError(
            f"train.devices={config.devices} cannot be shared by {processes.count()} processes: give a multiple of them"
        )
    return config.devices


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """The same values, laid as the shardings say: one for all leaves, or one for each.

    Each of several processes has the values, and lays them on its own devices.
    """
    if processes.count() == 1:
        return jax.device_put(tree, shardings)
    return jax.tree.map(_laid, tree, jax.tree.broadcast(shardings, tree))


def _laid(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)  # it lies on the devices of all processes already
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_laid(jax.random.key_data(leaf), sharding))
    # `device_put` would compare the values of all processes, the whole dataset too.
    own = np.asarray(leaf)
    return jax.make_array_from_callback(own.shape, sharding, lambda index: own[index])


def gathered(tree: PyTree) -> PyTree:
    """The same values as arrays of this host, wherever they lie: what files and statistics are made of.

    All processes call it together.
    """

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            return process_allgather(leaf, tiled=True)
        return jax.device_get(leaf)

    return jax.device_get(tree) if processes.count() == 1 else jax.tree.map(whole, tree)


def _mesh(count: int) -> Mesh:
    """The first so many devices, of each process as many."""
    each = count // processes.count()
    own = [[d for d in jax.devices() if d.process_index == p][:each] for p in range(processes.count())]
    chosen = [device for devices in own for device in devices]
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=chosen)
