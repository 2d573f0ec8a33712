"""What a decorated function takes, what it refuses in one line, and that the decorator is not seen otherwise."""

import inspect
import pathlib
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing
import pytest
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Float32, Int, Key, Num

from cnnjax import ops
from cnnjax.door import checked
from cnnjax.errors import InputError, NotFiniteError

IMAGE = np.arange(24, dtype=np.float32).reshape(1, 3, 4, 2)


def reading(annotation):
    """A decorated function of one argument `x` with this annotation, which returns what it is given."""

    def identity(x):
        return x

    identity.__annotations__["x"] = annotation
    return checked()(identity)


class TestArrays:
    @pytest.mark.parametrize(
        "given", [IMAGE.tolist(), IMAGE, tuple(IMAGE), jnp.asarray(IMAGE)], ids=["list", "NumPy", "tuple", "JAX"]
    )
    def test_what_holds_numbers_becomes_an_array(self, given):
        taken = reading(Float[Array, "batch *space channels"])(given)
        assert isinstance(taken, jax.Array)
        assert taken.dtype == jnp.float32
        np.testing.assert_array_equal(taken, IMAGE)

    def test_an_array_of_jax_is_not_copied(self):
        x = jnp.zeros(3)
        assert reading(Float[Array, " n"])(x) is x

    def test_integers_without_a_dtype_become_floats_where_floats_are_asked_for(self):
        assert reading(Float[Array, " n"])([1, 2]).dtype == jnp.float32
        assert reading(Num[Array, " n"])([1, 2]).dtype == jnp.int32

    def test_an_annotation_of_numpy_gives_numpy(self):
        assert isinstance(reading(Float[np.ndarray, " n"])(jnp.ones(2)), np.ndarray)
        assert reading(Float32[np.ndarray, " n"])(np.ones(2)).dtype == np.float32
        assert isinstance(reading(Float[Array, " n"] | Float[np.ndarray, " n"])(np.ones(2)), np.ndarray)

    def test_a_list_with_a_traced_entry_becomes_a_traced_array(self):
        for annotation in (Float[Array, " n"], ArrayLike):
            taken = jax.jit(lambda y, annotation=annotation: reading(annotation)([y, 2.0]))(1.0)
            np.testing.assert_array_equal(taken, [1, 2])

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("abc", "x='abc' is a str; give an array of numbers."),
            (None, "x=None is None; give an array of numbers."),
            (b"abc", "x=b'abc' is a bytes; give an array of numbers."),
            ({}, "x={} is a dict; give an array of numbers."),
            (len, "x=the function len is a builtin_function_or_method; give an array of numbers."),
            ([[1, 2], [3]], "x=[[1, 2], [3]] is ragged, its rows differ in length; give an array of numbers."),
            (["a"], "x=['a'] is a list; give an array of numbers."),
            (np.array([None]), "x=object[1] is an array of dtype object; give an array of numbers."),
            (np.array(["a"]), "x=<U1[1] is an array of dtype <U1; give an array of numbers."),
            ([2**70], f"x=[{2**70}] is a list; give an array of numbers."),
            (np.array([2**40]), f"x holds integers from {2**40} to {2**40}, beyond 32 bits."),
            (jax.random.key(0), "x=key<fry>[] is a key; give an array of numbers."),
        ],
    )
    def test_what_does_not_hold_numbers_is_refused(self, given, message):
        with pytest.raises(InputError) as refused:
            reading(Num[Array, " n"])(given)
        assert str(refused.value) == message

    @pytest.mark.parametrize("given", ["abc", None, [[1, 2], [3]], {}, [object()]])
    @pytest.mark.parametrize("annotation", [ArrayLike, numpy.typing.ArrayLike], ids=["JAX", "NumPy"])
    def test_what_is_like_an_array_is_read_too(self, given, annotation):
        with pytest.raises(InputError, match=r"give an array of numbers"):
            reading(annotation)(given)
        np.testing.assert_array_equal(reading(annotation)([1, 2]), [1, 2])
        assert reading(annotation)(2.5) == 2.5


class TestWhereAFunctionFails:
    @staticmethod
    @checked()
    def first_plus_one(x: Float[Array, "batch height width 3"], y: Int[Array, " batch"]) -> Any:
        if x.ndim == 2:
            raise InputError("my own words")
        return {(4, 3): x[y]}[x.ndim, x.shape[-1]]

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.ones(3, np.float32), r"x has shape (3,); expected (batch, height, width, 3)."),
            (np.ones((1, 1, 1, 2), np.float32), r"x has shape (1, 1, 1, 2); expected (batch, height, width, 3)."),
            (np.ones((1, 3), np.float32), "my own words."),
            (np.ones((1, 1, 3), np.uint8), "x is uint8; it must be floating point. Divide images of 0 to 255 by 255."),
        ],
    )
    def test_shape_and_dtype_are_the_reason_unless_it_gives_its_own(self, x, message, without_type_checks):
        with pytest.raises(InputError) as refused:
            self.first_plus_one(x, [0])
        assert str(refused.value) == message

    def test_other_errors_stay_what_they_are(self):
        @checked()
        def fails(x: Float[Array, "..."]) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails(1.0)
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            fails()
        with pytest.raises(TypeError, match="unexpected keyword"):
            fails(x=1.0, z=2)


@pytest.mark.parametrize(
    ("annotation", "given", "taken"),
    [
        (int, np.int64(3), 3),
        (int, jnp.int32(3), 3),
        (float, 3, 3.0),
        (float, np.float32(0.5), 0.5),
        (float | int, 3, 3),
        (float | int, np.array(0.5), 0.5),
        (bool, np.bool_(True), True),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
        (tuple[float | int, float | int] | None, [0, 1], (0, 1)),
        (tuple[float | int, float | int] | None, None, None),
        (Sequence[int], np.array([1, 2]), (1, 2)),
        (Sequence[int] | None, [1, 2], [1, 2]),
        (Mapping[str, float], {"a": 1}, {"a": 1.0}),
        (int | Sequence[int], "left to the function", "left to the function"),
        (Any, "anything", "anything"),
    ],
)
def test_what_says_the_same_is_taken(annotation, given, taken):
    result = reading(annotation)(given)
    assert type(result) is type(taken)
    assert result == taken


@pytest.mark.parametrize(
    ("annotation", "given", "message"),
    [
        (int, 1.5, "x=1.5 must be an int."),
        (int, True, "x=True must be an int."),
        (int, "3", "x='3' must be an int."),
        (int, None, "x=None must be an int."),
        (int, np.array([1, 2]), "x=int64[2] must be an int."),
        (int, 2**70, f"x={2**70} is beyond 64 bits; give an int that fits."),
        (float, "a", "x='a' must be a number."),
        (float, float("nan"), "x=nan must be a finite number."),
        (float | int, float("inf"), "x=inf must be a finite number."),
        (float, 10**400, "must be a finite number."),
        (float, 1j, "x=1j must be a number."),
        (float | int, np.ones(2), "x=float64[2] must be a number."),
        (bool, 1, "x=1 must be True or False."),
        (str, 3, "x=3 must be a str."),
        (
            Literal["zero", "reflect"],
            "reflct",
            "x='reflct' is unknown; use one of zero, reflect (perhaps you meant reflect).",
        ),
        (Literal["zero"] | None, 3, "x=3 is unknown; use one of zero."),
        (Callable[[Array], Any], 3, "x=3 must be a function."),
        (Callable[[Array], Any], lambda: 0, "must take 1 argument; it takes ()."),
        (Callable[[int, int], Any], lambda done: 0, "must take 2 arguments; it takes (done)."),
        (Num[np.ndarray, " n"], np.array(["a"]), "an array of dtype <U1; give an array of numbers."),
        (pathlib.Path, b"a", "x=b'a' must be a path."),
        (pathlib.PurePath, "a", "x='a' must be a PurePath."),
        (Sequence[int], "12", "x='12' must be a list."),
        (Sequence[int], [1, "a"], "x[1]='a' must be an int."),
        (Sequence[str], "abc", "x='abc' must be a list."),
        (tuple[int, int], (1, 2, 3), "x=(1, 2, 3) must be a tuple of 2."),
        (Mapping[str, int], [1], "x=[1] must be a dict."),
        (Mapping[str, int], {"a": "b"}, "x['a']='b' must be an int."),
        (Iterable[int], 3, "x=3 must be a list."),
        (str | pathlib.PurePath, 3, "x=3 must be a str or a PurePath."),
        (Key[Array, ""], 7, "x=7 must be a random key; give jax.random.key(7)."),
        (Key[Array, "n"], 7, "x=7 must be an array of keys; give jax.random.split(jax.random.key(7), n)."),
        (Bool[Array, " n"] | None, "a", "x='a' is a str; give an array of numbers."),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(annotation, given, message):
    with pytest.raises(InputError) as refused:
        reading(annotation)(given)
    assert str(refused.value).endswith(message)
    assert "\n" not in str(refused.value)


def test_an_error_is_a_sentence():
    assert str(InputError("k=0 must be positive")) == "k=0 must be positive."
    assert str(InputError("is k=0 meant?")) == "is k=0 meant?"
    assert str(pickle.loads(pickle.dumps(NotFiniteError("a")))) == "a."


def test_a_class_of_a_package_that_is_not_imported_is_known_by_its_name():
    class DataFrame:
        pass

    frame = DataFrame()
    read = reading("pandas.DataFrame | Sequence[Mapping[str, Any]]")
    assert read(frame) is frame
    with pytest.raises(InputError, match=r"x=3 must be a DataFrame or a list of dicts"):
        read(3)


@pytest.mark.parametrize("key", [jax.random.key(0), jax.random.PRNGKey(0), jax.random.key(0, impl="rbg")])
def test_keys_are_taken_typed_and_raw(key):
    assert reading(Key[Array, ""])(key) is key


class TestTheDecorator:
    def test_signature_documentation_and_name_are_the_functions(self):
        assert list(inspect.signature(ops.conv).parameters)[:2] == ["x", "kernel"]
        assert ops.conv.__doc__.startswith("Cross-correlate")
        assert (ops.conv.__name__, ops.conv.__module__) == ("conv", "cnnjax.ops.convolution")

    def test_a_function_is_pickled_by_its_name(self):
        assert pickle.loads(pickle.dumps(ops.max_pool)) is ops.max_pool

    def test_transformations_go_through(self):
        x = jnp.asarray(IMAGE)
        pool = jax.tree_util.Partial(ops.avg_pool, window=2)
        np.testing.assert_allclose(jax.jit(pool)(x), pool(x))
        np.testing.assert_allclose(jax.vmap(pool)(x[None])[0], pool(x))
        np.testing.assert_allclose(jax.grad(lambda x: pool(x).sum())(x)[0, :2], np.full((2, 4, 2), 0.25))

    def test_programs_of_one_function_are_shared(self):
        traces = []

        @checked()
        def double(x: Float[Array, " n"]) -> Any:
            traces.append(x)
            return 2 * x

        call = jax.jit(lambda f, x: f(x))
        for _ in range(3):
            call(jax.tree_util.Partial(double), jnp.ones(2))
        assert len(traces) == 1


def test_axes_of_one_name_that_differ_in_size_are_why_a_function_failed():
    @checked()
    def product(x: Float[Array, "*batch n k"], y: Float[Array, "k m"], z: Float[Array, " m"] | None = None) -> Array:
        return x @ y

    assert product(jnp.ones((2, 3, 4)), jnp.ones((4, 5))).shape == (2, 3, 5)
    with pytest.raises(InputError, match=r"^y has shape \(3, 5\); its k must be 4, as in x\.$"):
        product(jnp.ones((2, 3, 4)), jnp.ones((3, 5)))
