import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_groups import EXACT, ORDERS, matrices, on_image, on_map

from cnnjax import ops
from cnnjax.ops.groups import GROUPS


def draw(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


act = jax.jit(ops.group_action, static_argnames=("element", "group"))


@pytest.mark.parametrize("group", ORDERS)
class TestTables:
    def test_products_and_inverses_are_those_of_the_matrices(self, group):
        table, elements = GROUPS[group], matrices(group)
        assert table.order == len(elements) == ORDERS[group]
        for g, h in itertools.product(range(table.order), repeat=2):
            np.testing.assert_allclose(elements[table.product(g, h)], elements[g] @ elements[h], atol=1e-12)
        for g in range(table.order):
            np.testing.assert_allclose(elements[table.inverse(g)], np.linalg.inv(elements[g]), atol=1e-12)

    def test_axioms(self, group):
        table = GROUPS[group]
        everything = range(table.order)
        for g in everything:
            assert table.product(0, g) == table.product(g, 0) == g
            assert table.product(g, table.inverse(g)) == table.product(table.inverse(g), g) == 0
            assert sorted(table.product(g, h) for h in everything) == list(everything)
        for f, g, h in itertools.product(everything, repeat=3):
            assert table.product(table.product(f, g), h) == table.product(f, table.product(g, h))


class TestAction:
    @pytest.mark.parametrize(("group", "space"), [("p4", (4, 4)), ("p4m", (3, 5)), ("p8_approximate", (3, 5))])
    def test_moves_images_and_maps_as_numpy_does(self, group, space):
        step = 2 if group == "p8_approximate" else 1
        image, features = draw((2, *space, 3)), draw((2, *space, ORDERS[group], 3))
        for g in range(0, ORDERS[group], step):
            np.testing.assert_array_equal(act(image, g, group=group), on_image(image, g, group))
            np.testing.assert_array_equal(act(features, g, group=group), on_map(features, g, group))

    @pytest.mark.parametrize("group", EXACT)
    def test_one_after_the_other_is_the_product(self, group):
        x, table = draw((1, 3, 3, ORDERS[group], 1)), GROUPS[group]
        moved = [act(x, g, group=group) for g in range(table.order)]
        for g, h in itertools.product(range(table.order), repeat=2):
            np.testing.assert_array_equal(act(moved[h], g, group=group), moved[table.product(g, h)])

    def test_odd_eighths_interpolate_and_exchange_orientations(self):
        x = draw((2, 7, 7, 8, 3))
        rotate = jax.jit(lambda x, degrees: ops.rotate(x, degrees, order=3))
        for g in (1, 6):
            turned = [rotate(x[:, :, :, (h - g) % 8], 45 * g) for h in range(8)]
            np.testing.assert_allclose(act(x, g, group="p8_approximate"), np.stack(turned, axis=3), atol=1e-5)
            np.testing.assert_allclose(act(x[:, :, :, -g], g, group="p8_approximate"), turned[0], atol=1e-5)

    def test_any_dtype(self):
        x = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
        y = ops.group_action(jnp.asarray(x), 5, group="p4m")
        assert y.dtype == jnp.uint8
        np.testing.assert_array_equal(y, np.rot90(np.flip(x, 2), 1, (1, 2)))
