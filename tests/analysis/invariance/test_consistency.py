"""The protocol's scores against loops written out, and the exact facts of invariance."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial
from scipy import stats

from cnnjax import InputError, analysis, models, runtime
from tests.drawn import drawn_variables
from tests.drawn_cases import drawn_cases

ORBIT = analysis.rotations(60)  # five transforms and the identity


def score(classes, labels, variation=None, **options):
    classes = np.asarray(classes)
    variation = np.zeros((len(classes) - 1, classes.shape[1])) if variation is None else variation
    columns = analysis.image_columns(analysis.Predictions(classes, variation), np.asarray(labels), ORBIT, **options)
    return {k: float(v) for k, v in analysis.scores({k: v.mean() for k, v in columns.items()}).items()}


def by_hand(classes, labels):
    transforms, images = len(classes) - 1, len(labels)
    pairs = list(itertools.combinations(range(transforms + 1), 2))
    path = [0, 1, 2, 3, 4, 5, 0]
    total = dict.fromkeys(analysis.SCORES, 0.0)
    right_reference = 0
    for i in range(images):
        reference = classes[0][i]
        agree = [classes[t][i] == reference for t in range(1, transforms + 1)]
        right = [classes[t][i] == labels[i] for t in range(1, transforms + 1)]
        total["accuracy"] += (reference == labels[i]) / images
        total["mean_accuracy"] += np.mean(right) / images
        total["worst_accuracy"] += (all(right) and reference == labels[i]) / images
        total["consistency"] += np.mean(agree) / images
        total["pairwise_consistency"] += np.mean([classes[a][i] == classes[b][i] for a, b in pairs]) / images
        total["flip_rate"] += np.mean([classes[a][i] != classes[b][i] for a, b in itertools.pairwise(path)]) / images
        if reference == labels[i]:
            right_reference += 1
            total["consistency_if_correct"] += np.mean(agree)
    total["consistency_if_correct"] = total["consistency_if_correct"] / right_reference if right_reference else np.nan
    floor = max(0.0, total["accuracy"] + total["mean_accuracy"] - 1)
    total["adjusted_consistency"] = (total["consistency"] - floor) / (1 - floor) if floor < 1 else 1.0
    return total


answers = st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=6, max_size=6)


@given(answers, st.lists(st.integers(0, 2), min_size=4, max_size=4))
@drawn_cases(100)
def test_scores_are_those_of_loops_written_out(classes, labels):
    found, expected = score(classes, labels), by_hand(classes, labels)
    assert set(found) == set(analysis.SCORES)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)
    # What accuracy forces: the identity and a transform are both right, hence agree, at least this often.
    assert found["consistency"] >= found["accuracy"] + found["mean_accuracy"] - 1 - 1e-12
    assert -1e-12 <= found["adjusted_consistency"] <= 1 + 1e-12
    # Fact 10: consistency is 1 exactly when the prediction is constant over the orbit.
    assert (found["consistency"] == 1) == (np.asarray(classes) == np.asarray(classes)[0]).all()


def test_the_floor_is_the_2_accuracy_minus_1_of_the_literature_when_accuracies_are_equal():
    labels = np.zeros(10, int)
    classes = np.zeros((6, 10), int)
    classes[:, :2] = 1  # two images are wrong, the same under every transform
    classes[3, :4] = [0, 0, 1, 1]  # under one transform two others are
    found = score(classes, labels)
    assert found["accuracy"] == pytest.approx(found["mean_accuracy"]) == pytest.approx(0.8)
    floor = 2 * 0.8 - 1
    assert found["adjusted_consistency"] == pytest.approx((found["consistency"] - floor) / (1 - floor))


def test_adjusted_consistency_is_the_share_of_errors_that_are_shared_and_can_fall_where_all_else_rises():
    def found(wrong_alone, wrong_alike):
        """Of 100 images under one transform, so many wrong on only one side (half on each), and on both alike."""
        classes = np.zeros((2, 100), int)
        classes[0, : wrong_alone // 2] = classes[1, wrong_alone // 2 : wrong_alone] = 1
        classes[:, wrong_alone : wrong_alone + wrong_alike] = 1
        means = analysis.image_columns(
            analysis.Predictions(classes, np.zeros((1, 100))), np.zeros(100, int), analysis.rotations(180)
        )
        return analysis.scores({name: values.mean() for name, values in means.items()})

    worse, better = found(10, 30), found(8, 2)
    # Of the 70 errors 60 are shared; of the 12 later 4.
    assert worse["adjusted_consistency"] == pytest.approx(60 / 70)
    assert better["adjusted_consistency"] == pytest.approx(4 / 12)
    for name in ("accuracy", "mean_accuracy", "worst_accuracy", "consistency"):
        assert better[name] > worse[name]


def test_adjusted_consistency_jumps_at_an_accuracy_of_1():
    means = dict.fromkeys(("always_right", "pairs_agree", "agree_and_correct", "variation"), 0.0)
    for same, expected in ((0.999, 0), (1.0, 1)):
        assert (
            analysis.scores({**means, "correct": 1.0, "right": same, "agree": same})["adjusted_consistency"] == expected
        )


def test_every_interval_of_a_classifier_that_never_errs_reaches_as_far_as_its_images_allow():
    images = jax.random.uniform(jax.random.key(6), (40, 6, 6, 1))

    def constant(x):
        return jnp.stack([1 + 0 * x[:, 0, 0, 0], 0 * x[:, 0, 0, 0]], 1)

    found = analysis.consistency(constant, images, analysis.shifts(1), labels=np.zeros(40, int))
    for name in ("accuracy", "mean_accuracy", "worst_accuracy", "consistency", "consistency_if_correct"):
        assert (found[name].mean, found[name].high) == (1, 1), name
        assert found[name].low == pytest.approx(0.025 ** (1 / 40), abs=2e-3), name
    assert found["total_variation"].high == pytest.approx(1 - 0.025 ** (1 / 40), abs=2e-3)


def test_a_part_of_an_orbit_leaves_the_rest_out():
    classes = np.zeros((6, 3), int)
    classes[2] = 1
    among = np.array([True, False, True, True, True])
    assert score(classes, np.zeros(3, int), among=among)["consistency"] == 1
    assert score(classes, np.zeros(3, int), among=~among)["consistency"] == 0
    assert "flip_rate" not in score(classes, np.zeros(3, int), among=among)


def logits_of(weights, images):
    return jnp.einsum("bhwc,hwk->bk", images, weights, precision="highest")


@pytest.mark.parametrize("batch", [3, 7, 512])
def test_predictions_do_not_depend_on_the_batches(batch, monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: batch)
    random = np.random.default_rng(0)
    images = jnp.asarray(random.random((7, 6, 6, 1)), jnp.float32)
    weights = jnp.asarray(random.normal(size=(6, 6, 4)), jnp.float32)
    orbit = analysis.shifts(1, fill="circular")
    found = analysis.predict(Partial(logits_of, weights), images, orbit)
    for row, offset in enumerate([(0, 0), *orbit.parameters.tolist()]):
        logits = np.einsum("bhwc,hwk->bk", np.roll(images, offset, (1, 2)), weights)
        np.testing.assert_array_equal(found.classes[row], logits.argmax(-1))
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        if row == 0:
            reference = probabilities
        else:
            distance = np.abs(probabilities - reference).sum(-1) / 2
            np.testing.assert_allclose(found.total_variation[row - 1], distance, atol=1e-5)


def test_classify_all_takes_bytes_in_batches(monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 4)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10, 6, 6, 1), np.uint8)
    weights = jnp.asarray(random.normal(size=(6, 6, 4)), jnp.float32)
    expected = np.einsum("bhwc,hwk->bk", images / 255, weights).argmax(-1)
    np.testing.assert_array_equal(analysis.classify_all(Partial(logits_of, weights), images), expected)
    shares = np.float32(images / 255)  # a threshold that bytes would all pass
    bright = Partial(lambda x: jnp.stack([x.mean((1, 2, 3)), jnp.full(len(x), 0.5)], 1))
    np.testing.assert_array_equal(analysis.classify_all(bright, shares), images.mean((1, 2, 3)) <= 127.5)


def test_of_logits_and_activations_the_logits_are_taken_and_the_rest_is_not_computed():
    computed = []

    def activation(x):
        return jax.pure_callback(
            lambda a: computed.append(1) or np.asarray(a), jax.ShapeDtypeStruct(x.shape, x.dtype), x
        )

    def forward(weights, images):
        return logits_of(weights, images), {"maps": activation(images)}

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (3, 6, 6, 1), np.uint8)
    weights = jnp.asarray(random.normal(size=(6, 6, 4)), jnp.float32)
    both, logits, orbit = models.bind(forward, weights), Partial(logits_of, weights), analysis.shifts(1)
    np.testing.assert_array_equal(analysis.classify_all(both, pixels), analysis.classify_all(logits, pixels))
    floats = np.float32(pixels / 255)
    found, expected = (analysis.predict(f, floats, orbit) for f in (both, logits))
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.total_variation, expected.total_variation, atol=1e-6)
    assert computed == []
    both(floats)
    assert computed == [1]


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).random((6, 16, 16, 3)), jnp.float32)


def network(images, **fields):
    model = models.AllConv(num_classes=5, head_width=8, **fields)
    return Partial(lambda v, x: model.apply(v, x)[0], drawn_variables(model, images))


def test_stride_1_with_circular_padding_ignores_every_circular_shift(images):
    # Fact 2. A stage of factor 2 would alias; a residual network of one stage has stride 1 throughout.
    model = models.ResNet(num_classes=5, depth=1, widths=(8,), padding="circular")
    classify = Partial(lambda v, x: model.apply(v, x)[0], drawn_variables(model, images))
    found = analysis.predict(classify, images, analysis.shifts(2, fill="circular"))
    assert found.total_variation.max() < 1e-5
    assert (found.classes == found.classes[0]).all()
    # With zero padding the border term remains, small but there.
    bordered = dataclasses.replace(model, padding="same")
    classify = Partial(lambda v, x: bordered.apply(v, x)[0], classify.args[0])
    assert analysis.predict(classify, images, analysis.shifts(2, fill="circular")).total_variation.max() > 1e-4


def test_stride_2_with_circular_padding_ignores_even_shifts_alone(images):
    # Fact 1.
    orbit = analysis.shifts(2, fill="circular")
    found = analysis.predict(network(images, widths=(8,), depth=1, padding="circular"), images, orbit)
    even = (orbit.parameters % 2 == 0).all(1)
    assert found.total_variation[even].max() < 1e-5
    assert found.total_variation[~even].max() > 1e-4


def test_valid_features_of_crops_agree_bit_for_bit_where_they_see_the_same_pixels(images):
    # Fact 7.
    model = models.AllConv(num_classes=5, widths=(8,), depth=1, head_width=8, padding="valid")
    variables = drawn_variables(model, images)
    orbit = analysis.shifts(2, fill="crop")
    of_crop = jax.jit(lambda offset: model.apply(variables, orbit.apply(images, offset))[1]["head_conv1"])
    maps = {offset: of_crop(jnp.asarray(offset)) for offset in ((0, 0), (2, 0))}
    # Content two pixels lower is one step of the stride-2 map lower.
    np.testing.assert_array_equal(maps[2, 0][:, 1:], maps[0, 0][:, :-1])


def test_consistency_in_one_call(images):
    def brightest(x):
        return jnp.stack([x[:, :8].mean((1, 2, 3)), x[:, 8:].mean((1, 2, 3))], 1) * 100

    halves = images.at[:3, :8].add(1).at[3:, 8:].add(1)
    found = analysis.consistency(brightest, halves, analysis.rotations(180), labels=np.array([0, 0, 0, 1, 1, 1]))
    assert found["accuracy"].mean == 1
    assert found["mean_accuracy"].mean == found["consistency"].mean == 0
    without = analysis.consistency(brightest, halves, analysis.rotations(180))
    assert without == {name: found[name] for name in without}
    assert set(without) == {"consistency", "pairwise_consistency", "total_variation", "flip_rate"}


def test_the_interval_of_a_consistency_is_that_of_its_images():
    orbit = analysis.shifts(1, fill="circular")

    def classify(x):
        return jnp.stack([x[:, 0, 0, 0], x[:, 1, 1, 0]], 1)

    images = jax.random.uniform(jax.random.key(5), (8, 4, 4, 1))
    found = analysis.consistency(classify, images, orbit)["consistency"]
    agree = analysis.image_columns(analysis.predict(classify, images, orbit), np.zeros(8, int), orbit)["agree"]
    assert (found.n, found.over, found.level) == (8, "images", 0.95)
    # Of a mean over independent images the interval is known: Student's, near enough.
    half = stats.t.ppf(0.975, 7) * agree.std(ddof=1) / np.sqrt(8)
    np.testing.assert_allclose([found.low, found.high], [agree.mean() - half, agree.mean() + half], atol=0.25 * half)


@pytest.mark.parametrize(
    ("classify", "count", "labels", "message"),
    [
        (lambda x: x.mean((1, 2)), 0, 0, "no examples"),
        (lambda x: x.mean((1, 2)), 6, 1, r"labels have shape \(1,\) for 6 images"),
        (lambda x: {"a": x.mean((1, 2)), "b": x}, 6, 6, "expected logits"),
        (lambda x: (x, x.mean((1, 2))), 6, 6, "expected logits"),
        (lambda x: x.mean((1, 2, 3)), 6, 6, "expected logits"),
        (lambda x: jnp.log(-x.mean((1, 2))), 6, 6, "not finite on images of the orbit rotation"),
    ],
)
def test_what_cannot_be_measured_is_refused(images, classify, count, labels, message):
    with pytest.raises(InputError, match=message):
        analysis.consistency(classify, images[:count], ORBIT, labels=np.zeros(labels, int))


def test_no_images_cannot_be_classified():
    with pytest.raises(InputError, match="no images"):
        analysis.classify_all(lambda x: x.mean((1, 2)), np.zeros((0, 4, 4, 3), np.uint8))


def test_whole_numbers_that_are_no_bytes_are_not_guessed_at():
    with pytest.raises(InputError, match="images is of int64: give uint8"):
        analysis.classify_all(lambda x: x.mean((1, 2)), np.zeros((2, 4, 4, 3), np.int64))


def test_a_network_that_has_changed_is_measured_anew(images):
    weights = {"sign": jnp.ones(())}

    def classify(x):
        return weights["sign"] * jnp.stack([x.mean((1, 2, 3)), jnp.full(len(x), 0.5)], 1)

    orbit = analysis.shifts(1)
    before = analysis.predict(classify, images, orbit).classes
    pixels = np.asarray(images * 255, np.uint8)
    all_before = analysis.classify_all(classify, pixels)
    weights["sign"] = -jnp.ones(())
    np.testing.assert_array_equal(analysis.predict(classify, images, orbit).classes, 1 - before)
    np.testing.assert_array_equal(analysis.classify_all(classify, pixels), 1 - all_before)


def test_an_orbit_without_paths_has_no_flip_rate(images):
    orbit = dataclasses.replace(analysis.shifts(1), paths=())
    found = analysis.consistency(lambda x: x.reshape(len(x), -1)[:, :3], images, orbit)
    assert set(found) == {"consistency", "pairwise_consistency", "total_variation"}
