"""AlexNet's towers on a device each, as the paper trained them (Krizhevsky et al. 2012, section 3.2 and figure 2).

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python -c '
    import jax, jax.numpy as jnp
    from jax.sharding import AxisType
    from cnnjax import models

    mesh = jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,))
    model, images = models.alexnet_small(num_classes=10), jnp.ones((4, 32, 32, 3))
    variables = model.init(jax.random.key(0), images)
    placed = models.split_towers(variables, mesh)
    logits, activations = jax.jit(models.two_devices(model, mesh))(placed, images)
    print(activations["conv1"].sharding, abs(logits - model.apply(variables, images)[0]).max())
    '

Nothing here is specific to a kind of device: the flag only makes two out of one CPU.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.models.alexnet import AlexNet
from cnnjax.models.contract import Activations

AXIS = "model"
"""The mesh axis that the towers lie along."""


class _Tower(AlexNet):
    """The tower of the device that it runs on, for its part of the batch."""

    batch_axes: tuple[str, ...] = ()
    """Of the mesh, along which the batch is split."""

    def towers_here(self) -> int:
        return 1

    def gathered(self, x: Array, layer: str) -> Array:
        if not self.exchange:
            return x
        with jax.named_scope(layer):
            return lax.all_gather(x, AXIS, axis=x.ndim - 1, tiled=True)

    def kept(self, batch: int, width: int) -> Array:
        # Drawn for all towers and all images, so that this one drops what it drops beside the others.
        whole = super().kept(batch * lax.axis_size(self.batch_axes), width)
        width = width // self.towers
        mine = lax.dynamic_slice_in_dim(whole, lax.axis_index(AXIS) * width, width, axis=-1)
        if not self.batch_axes:
            return mine
        return lax.dynamic_slice_in_dim(mine, lax.axis_index(self.batch_axes) * batch, batch)

    def dot_general(self, *operands: Any, **options: Any) -> Array:
        return lax.psum(super().dot_general(*operands, **options), AXIS)


@checked()
def two_devices(model: AlexNet, mesh: Mesh) -> Callable[..., tuple[Float[Array, "batch classes"], Activations]]:
    """`model.apply` with each tower computed on a device of its own: the same numbers to rounding, gradients too.

    The result is called as `apply(variables, images, *, train=False, rngs=None)`, inside `jax.jit`, on variables placed
    by `split_towers`. Along the mesh's other axes the batch is split: on one of 2×2, ("data", "model"), each of four
    devices computes a tower for half of the images, and gradients are added up over both halves. Logits are on both
    towers' devices, other activations split along their channels or units. Differentiated with respect to the
    variables, gradients come back placed as those are.

    Devices exchange maps before conv3 and fc6 and units before fc7 (all-gather; in the gradient reduce-scatter), and
    add up what their units of fc7 contribute to the logits (all-reduce, which has no counterpart in the gradient). This
    needs `num_classes` values for each image where gathering fc7 would need all its units, and any number of classes
    will do. Nothing else is communicated, but for the gradient with respect to the images: the sum of both towers'.

    Raises `InputError` unless the mesh has an axis "model" with one device for each of the model's towers, and for the
    polyphase pools, which choose one phase for both towers and so would have to communicate.
    """
    _check_axis(mesh)
    if model.towers != mesh.shape[AXIS]:
        raise InputError(
            f"{type(model).__name__}: towers={model.towers} need as many devices along the mesh axis {AXIS!r}, which "
            f"has {mesh.shape[AXIS]}"
        )
    if model.downsample in ("polyphase", "learned_polyphase"):
        raise InputError(f"downsample={model.downsample!r} chooses one phase for both towers: use another pool")
    fields = [field.name for field in dataclasses.fields(AlexNet) if field.name not in ("parent", "name")]
    batch_axes = tuple(name for name in mesh.axis_names if name != AXIS)
    tower = _Tower(**{name: getattr(model, name) for name in fields}, batch_axes=batch_axes)
    parts, split = math.prod(mesh.shape[name] for name in batch_axes), PartitionSpec(batch_axes or None)

    def apply(
        variables: PyTree, images: Float[Array, "batch height width channels"], *, train: bool = False, rngs: Any = None
    ) -> tuple[Float[Array, "batch classes"], Activations]:
        def one_tower(variables: PyTree, images: Array, rngs: Any) -> tuple[Array, Activations]:
            return tower.apply(variables, images, train=train, rngs=rngs)  # pyright: ignore[reportReturnType]

        def both(variables: PyTree, images: Array, rngs: Any) -> tuple[Array, Activations]:
            return model.apply(variables, images, train=train, rngs=rngs)  # pyright: ignore[reportReturnType]

        _, shapes = jax.eval_shape(both, variables, images, rngs)
        if len(images) % parts:
            raise InputError(f"images are {len(images)}: give a multiple of {parts}, the devices along {batch_axes}")
        whole, specs = PartitionSpec(), jax.tree_util.tree_map_with_path(_spec, variables)
        activations = {
            name: split if name == "logits" else PartitionSpec(*split, *_along_last(x.ndim)[1:])
            for name, x in shapes.items()
        }
        run = jax.shard_map(one_tower, mesh=mesh, in_specs=(specs, split, whole), out_specs=(split, activations))
        return run(variables, images, rngs)

    return apply


@checked()
def split_towers(tree: PyTree, mesh: Mesh) -> PyTree:
    """The same tree, placed so that each device holds its tower: half of all parameters, but for the logits' bias.

    `tree` is an AlexNet's variables or parameters, or what is shaped like them, such as an optimiser's momentum; values
    and shapes stay as they are, so a checkpoint of either placement restores to both. Raises `InputError` as
    `two_devices` does.
    """
    return jax.device_put(tree, tower_shardings(tree, mesh))


@checked()
def tower_shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """The placement of `split_towers` for each leaf, which needs to have a shape only: for `jit` and for restoring."""
    _check_axis(mesh)
    if any(not hasattr(leaf, "ndim") for leaf in jax.tree.leaves(tree)):
        raise InputError("tree holds what is not an array; give the variables of an AlexNet, or what is like them")
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _placed(path, leaf, mesh), tree)


def _placed(path: tuple[Any, ...], leaf: Any, mesh: Mesh) -> NamedSharding:
    placement = NamedSharding(mesh, _spec(path, leaf))
    try:
        placement.shard_shape(leaf.shape)
    except ValueError as error:
        at = f"tree{jax.tree_util.keystr(path)} has shape {leaf.shape}"
        raise InputError(f"{at}, which {mesh.shape[AXIS]} devices cannot share; give an AlexNet's variables") from error
    return placement


def _spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
    """Along outputs, of which a tower has the first half or the second; the logits' kernel along its inputs."""
    names = [getattr(entry, "key", None) for entry in path]
    if "logits" not in names:
        return _along_last(leaf.ndim)
    return PartitionSpec(AXIS) if leaf.ndim > 1 else PartitionSpec()


def _along_last(rank: int) -> PartitionSpec:
    return PartitionSpec(*(None,) * (rank - 1), AXIS) if rank else PartitionSpec()


def _check_axis(mesh: Mesh) -> None:
    if AXIS not in mesh.axis_names:
        raise InputError(f"the mesh has axes {mesh.axis_names}: expected one named {AXIS!r}, jax.make_mesh((2,), ...)")
