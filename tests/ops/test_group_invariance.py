import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_groups import EXACT, ORDERS, on_image, on_map

from cnnjax import InputError, ops


def draw(shape, seed=0, dtype=None):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def network(group, *, pool="max", exact=True):
    """Lifting, a strided group convolution and the pools over group and space."""
    order = ORDERS[group]

    def run(x):
        lift, mix = draw((3, 3, 2, 3), 1, x.dtype), draw((3, 3, order, 3, 4), 2, x.dtype)
        features = jax.nn.relu(ops.lifting_conv(x, lift, group=group))
        features = jax.nn.relu(ops.group_conv(features, mix, group=group, stride=2, exact=exact))
        return ops.global_avg_pool(ops.group_pool(features, reduce=pool))

    return jax.jit(run)


class TestInvariance:
    @pytest.mark.parametrize(
        ("group", "pool", "dtype", "tolerance"),
        [
            ("p4", "max", np.float64, 1e-12),
            ("p4", "mean", np.float32, 1e-5),
            ("p4m", "max", np.float32, 1e-5),
            ("p4m", "mean", np.float64, 1e-12),
            ("p8_approximate", "max", np.float64, 1e-12),
            ("p8_approximate", "mean", np.float64, 1e-12),
        ],
    )
    def test_of_a_network_to_the_turns_and_mirror_images_of_its_group_alone(self, group, pool, dtype, tolerance):
        with jax.enable_x64(True):
            x, f = draw((2, 9, 9, 2), dtype=dtype), network(group, pool=pool)
            y = np.asarray(f(x))
            assert y.dtype == dtype
            for g in range(8):
                turned = f(on_image(x, g, "p4m"))
                error = np.abs(turned - y).max() / np.abs(y).max()
                assert error < tolerance if g < 4 or group == "p4m" else error > 1e-2, (g, error)

    @pytest.mark.parametrize("group", EXACT)
    def test_is_lost_where_the_rule_is_breached(self, group):
        with jax.enable_x64(True):
            x, f = draw((2, 8, 8, 2)), network(group, exact=False)
            y = np.asarray(f(x))
            for g in (1, 2, 3):
                assert np.abs(f(on_image(x, g, group)) - y).max() > 1e-2 * np.abs(y).max()
            with pytest.raises(InputError, match=r"n=8, p=\(1, 1\), k'=3 and s=2: .* is 1,"):
                network(group)(x)

    @pytest.mark.parametrize("group", EXACT)
    def test_maps_of_rectangles_turn_with_them(self, group):
        with jax.enable_x64(True):
            x = draw((2, 5, 7, 2))
            lift, mix = draw((3, 3, 2, 3), 1), draw((2, 2, ORDERS[group], 3, 2), 2)

            @jax.jit
            def f(x):
                return ops.group_conv(ops.lifting_conv(x, lift, group=group, stride=2), mix, group=group, padding=1)

            for g in range(ORDERS[group]):
                np.testing.assert_allclose(f(on_image(x, g, group)), on_map(f(x), g, group), atol=1e-12)

    @pytest.mark.parametrize("group", EXACT)
    def test_batch_normalisation_over_the_group_axis_keeps_it(self, group):
        with jax.enable_x64(True):
            x = draw((3, 5, 5, 2))
            lift, mix = draw((3, 3, 2, 3), 1), draw((3, 3, ORDERS[group], 3, 2), 2)
            norm = nn.BatchNorm(use_running_average=False, force_float32_reductions=False, param_dtype=np.float64)
            scale, bias = draw((3,), 3), draw((3,), 4)
            statistics = {"mean": jnp.zeros(3), "var": jnp.ones(3)}

            @jax.jit
            def f(x):
                features = ops.lifting_conv(x, lift, group=group)
                variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": statistics}
                features, _ = norm.apply(variables, features, mutable="batch_stats")
                return ops.group_conv(jax.nn.relu(features), mix, group=group)

            for g in range(ORDERS[group]):
                np.testing.assert_allclose(f(on_image(x, g, group)), on_map(f(x), g, group), atol=1e-12)


class TestEighthTurns:
    """A derivative of a Gaussian and a picture of Gaussians, whose turns are known in closed form."""

    def field(self, size):
        center = (size - 1) / 2
        return np.meshgrid(np.arange(size) - center, np.arange(size) - center, indexing="ij")

    def derivative(self, turns):
        row, column = self.field(7)
        angle = turns * np.pi / 4
        wave = (np.cos(angle) * column - np.sin(angle) * row) * np.exp(-(row**2 + column**2) / 2)
        return jnp.asarray(wave)[:, :, None, None]

    def picture(self, turns):
        row, column = self.field(33)
        angle = turns * np.pi / 4
        image = np.zeros((33, 33))
        for i, j, width, height in ((4, -3, 2.5, 1.0), (-5, 1, 3.0, -0.7), (2, 6, 2.2, 0.9)):
            u, v = np.cos(angle) * i - np.sin(angle) * j, np.sin(angle) * i + np.cos(angle) * j
            image += height * np.exp(-((row - u) ** 2 + (column - v) ** 2) / (2 * width**2))
        return jnp.asarray(image)[None, ..., None]

    def error(self, ours, theirs):
        return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)

    def lifted(self, turns):
        kernel = self.derivative(0)
        return jax.jit(lambda x: ops.lifting_conv(x, kernel, group="p8_approximate"))(self.picture(turns))

    def test_lifting_meets_the_kernel_turned_in_closed_form(self):
        with jax.enable_x64(True):
            y = self.lifted(0)
            for g in range(8):
                theirs = jax.jit(ops.conv)(self.picture(0), self.derivative(g))
                assert self.error(np.asarray(y)[:, :, :, g], theirs) < (0.005 if g % 2 else 1e-12)

    def test_lifting_of_the_picture_turned_in_closed_form(self):
        with jax.enable_x64(True):
            y = self.lifted(0)
            for g in (1, 2, 7):
                turned = self.lifted(g)
                moved = jax.jit(lambda y, g=g: ops.group_action(y, g, group="p8_approximate"))(y)
                assert self.error(moved, turned) < (0.01 if g % 2 else 1e-12)
                assert self.error(y, turned) > 0.5
