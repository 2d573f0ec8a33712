"""A network as options: a name, and those fields of its module that the data do not decide."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax

from cnnjax.data import Dataset
from cnnjax.door import checked
from cnnjax.door.choices import check_choice
from cnnjax.door.words import one_of
from cnnjax.errors import InputError
from cnnjax.sweep.catalogue import CLASSES, maker
from cnnjax.sweep.module_fields import field_value, option_fields
from cnnjax.sweep.own_network import make_own, missing, own_class, own_fields
from cnnjax.sweep.ranges import check_memory
from cnnjax.sweep.traced import shapes_of


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """A network by name; `of` gives it the fields of that network, with their defaults."""

    name: str = dataclasses.field(
        metadata={
            "help": f"Which network: {one_of([*CLASSES])}, or a published one, such as resnet20 or all_cnn_c "
            "(`python -m experiments.parameters` lists them), or a class of your own, of Flax Linen or NNX, as "
            "my_package.nets:Net. With --help: the options and defaults of that one."
        }
    )

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @staticmethod
    def of(name: str, **fields: Any) -> "NetworkConfig":
        """The options of that network, those in `fields` as given.

        Raises `InputError` for an unknown name and for a field that it does not have, naming the networks that do.
        """
        kind = _options(name)
        _check_fields(kind, fields)
        if lacking := [field for field in _required(kind) if field not in fields]:
            raise missing(lacking, name)
        return kind(name, **fields)

    def __post_init__(self) -> None:
        if _options(self.name) is not type(self):
            raise InputError(f"network.name={self.name} has other fields: make it with NetworkConfig.of({self.name!r})")

    def replace(self, **fields: Any) -> "NetworkConfig":
        """The same network with other values of some fields; raises `InputError` as `of` does."""
        _check_fields(type(self), fields)
        return dataclasses.replace(self, **fields)

    def for_options(self, given: Mapping[str, str | None]) -> "NetworkConfig":
        """What a command line with these options has as its defaults: this, or another network where it names one."""
        name = given.get("name")
        chosen = self if name in (None, self.name) else _to_be_typed(_options(name), name)
        names = (option.removeprefix("no_") for option in given)
        _check_fields(type(chosen), [name for name in names if _having(name)])  # the parser says what nothing has
        return chosen


@functools.cache
def _options(name: str) -> type[NetworkConfig]:
    """The dataclass whose fields are the options of the network of that name."""
    if ":" in name:
        kind = own_class(name)
        fields = own_fields(kind, name)
    else:
        make = maker(name)
        kind = CLASSES.get(name) or make.func  # pyright: ignore[reportFunctionMemberAccess]
        fields = option_fields(kind, getattr(make, "keywords", {}))
    about = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
    return dataclasses.make_dataclass(
        name,
        fields,
        bases=(NetworkConfig,),
        frozen=True,
        namespace={"__doc__": f"{kind.__name__}. {about}", "__module__": __name__},
    )


@checked()
def build(config: NetworkConfig, dataset: Dataset) -> nn.Module:
    """The network for a dataset, proven on its image shape without running it.

    Raises `InputError` for fields that cannot be built, naming the layer where there is one.
    """
    options = {
        field.name: field_value(field.name, getattr(config, field.name))
        if field.metadata.get("named", True)
        else getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "name"
    }
    if ":" in config.name:
        return make_own(config.name, options, dataset)
    if options.get("group", "") is None and not options["exact"]:
        raise InputError("network.exact=False has no meaning without network.group: leave it out")
    model = maker(config.name)(num_classes=len(dataset.class_names), mean=dataset.mean, std=dataset.std, **options)
    prove_size(model, dataset, name=config.name)
    return model


def blocks_of(depth: int, *, option: str = "depth") -> int:
    """The blocks in each of the three stages of He et al.'s CIFAR networks of `depth` = 6n + 2 layers, n.

    Raises `InputError`, naming the option, for another depth.
    """
    if depth < 8 or depth % 6 != 2:
        near = max(8, round((depth - 2) / 6) * 6 + 2)
        raise InputError(f"{option} has {depth}, which is not 6n + 2 with n of 1 or more: {near} is")
    return (depth - 2) // 6


def prove_size(model: nn.Module, dataset: Dataset, *, name: str) -> None:
    """Raise `InputError` where the network called `name` cannot take the images, without running it."""
    shape = dataset.train.images.shape[1:]
    try:
        _, variables = shapes_of(model, shape)
    except InputError as error:
        height, width, _ = shape
        raise InputError(f"network {name} cannot take images of {height}×{width} pixels: {error}") from error
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    # The parameters, their gradient, the momentum and what comes of them.
    check_memory(16 * numbers, f"training the network {name} of {numbers:,} parameters", "give smaller widths")


def _required(kind: type[NetworkConfig]) -> list[str]:
    return [f.name for f in dataclasses.fields(kind) if f.name != "name" and f.default is dataclasses.MISSING]


def _to_be_typed(kind: type[NetworkConfig], name: str) -> NetworkConfig:
    """The network with its defaults, where what has none is still to be typed."""
    if not (required := _required(kind)):
        return kind(name)
    import tyro

    return kind(name, **dict.fromkeys(required, tyro.MISSING))


def _having(field: str) -> list[str]:
    """The networks with an option of that name."""
    return [name for name in CLASSES if field in _names(_options(name))]


def _names(kind: type[NetworkConfig]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _check_fields(kind: type[NetworkConfig], fields: Iterable[str]) -> None:
    for field in fields:
        if field in _names(kind):
            continue
        if having := _having(field):
            raise InputError(f"network.{field} has no meaning for {kind.__name__}: {one_of(having)} has it")
        check_choice("network field", field, _names(kind))
