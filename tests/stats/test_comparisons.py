"""Paired comparisons against SciPy, sums by hand, and what their intervals and p promise under chance."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cnnjax import InputError
from cnnjax.stats import compare, compare_summary, effect_size, holm, over_seeds

SEEDS = {"none": [0.70, 0.72, 0.69, 0.74, 0.71], "crop": [0.78, 0.75, 0.77, 0.79, 0.74]}


def test_over_seeds_it_is_the_paired_t_test_and_the_bootstrap_of_the_differences():
    row = compare(SEEDS, baseline="none").iloc[0]
    crop, none = (np.asarray(SEEDS[name]) for name in ("crop", "none"))
    assert (row["cell"], row["against"], row["n"], row["higher"], row["lower"]) == ("crop", "none", 5, 5, 0)
    assert row["p"] == row["p_holm"] == pytest.approx(stats.ttest_rel(crop, none).pvalue, rel=1e-9)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx(over_seeds(crop - none)[:3], rel=1e-9)


def test_few_pairs_have_students_interval():
    row = compare({"none": [0.7, 0.72, 0.69], "crop": [0.78, 0.75, 0.77]}).iloc[0]
    expected = stats.ttest_rel([0.78, 0.75, 0.77], [0.7, 0.72, 0.69]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected), rel=1e-9)
    assert (row["low"] > 0) == (row["p"] < 0.05)


def test_cells_that_differ_on_no_image_may_on_others():
    right = np.arange(100)[None] < 90
    row = compare({"a": right, "b": right}, over="images").iloc[0]
    # One more image on which they differ, weighed as Clopper and Pearson do: 1 - .025^(1/100).
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0, -0.0362, 0.0362), abs=5e-4)


def test_pairing_takes_away_what_seeds_share():
    random = np.random.default_rng(0)
    seeds = random.normal(size=8)
    values = {"a": seeds, "b": seeds + 0.1 + 0.01 * random.normal(size=8)}
    assert compare(values)["p"][0] < 1e-6 < 0.5 < stats.ttest_ind(values["a"], values["b"]).pvalue


def test_the_effect_by_hand():
    # Differences 1, 2, 3: mean 2, standard deviation 1; Hedges' factor for 2 degrees of freedom is 1/√π.
    effect, low, high = effect_size([1.0, 2.0, 3.0])
    assert effect == pytest.approx(2 / math.sqrt(math.pi), rel=1e-9)
    # The ends are where the observed t = 2√3 lies at the tails of the noncentral distribution.
    t = 2 * math.sqrt(3)
    assert stats.nct.sf(t, 2, low * math.sqrt(3)) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 2, high * math.sqrt(3)) == pytest.approx(0.025, abs=1e-6)


def test_the_effect_turns_with_the_sign_and_joins_its_limit():
    differences = np.array([0.3, 0.5, 0.1, 0.4, 0.9])
    up, down = effect_size(differences), effect_size(-differences)
    assert down == pytest.approx([-up[0], -up[2], -up[1]], rel=1e-6)
    # On either side of where the distribution of a large t is replaced by its limit.
    near = [effect_size(1 + s * np.array([-1.0, 0.5, 0.0, -0.5, 1.0])) for s in (2.83e-3, 2.82e-3)]
    assert near[1] == pytest.approx(near[0], rel=0.01)


def test_the_effects_interval_covers_the_truth():
    random = np.random.default_rng(1)
    ends = [effect_size(random.normal(loc=0.8, size=5))[1:] for _ in range(300)]
    covered = np.mean([low <= 0.8 <= high for low, high in ends])
    assert covered == pytest.approx(0.95, abs=0.038)  # three standard errors


def test_over_images_one_network_against_another_is_mcnemar():
    random = np.random.default_rng(2)
    a = random.random((1, 200)) < 0.7
    b = a.copy()
    b[0, np.flatnonzero(~a[0])[:14]] = True
    b[0, np.flatnonzero(a[0])[:4]] = False
    row = compare({"a": a, "b": b}, over="images").iloc[0]
    assert (row["higher"], row["lower"], row["n"], row["over"]) == (14, 4, 200, "images")
    assert row["difference"] == pytest.approx(10 / 200)
    # Twice the chance of 14 heads or more in 18 throws.
    assert row["p"] == pytest.approx(2 * sum(math.comb(18, k) for k in range(14, 19)) / 2**18, rel=1e-9)


def test_over_images_several_networks_flip_signs():
    # Seven images change, by 1/2 or 1: of all 128 patterns of signs, 4 give a sum as far from 0 as 5.
    a = np.zeros((2, 30))
    b = a.copy()
    b[:, :4] = 1
    b[0, 4:6] = 1
    a[0, 6] = 1
    differences = (b - a).mean(0)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1)
    sums = np.abs(signs.T @ np.abs(differences[:7]))
    expected = (sums >= differences.sum() - 1e-12).mean()
    assert compare({"a": a, "b": b}, over="images")["p"][0] == pytest.approx(expected, rel=1e-9)


def test_holm_by_hand():
    # 4 × .01, then 3 × .02, then 2 × .03 (equal to it), then .04, which may not be less than the one before.
    np.testing.assert_allclose(holm([0.02, 0.04, 0.01, 0.03]), [0.06, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.9]), [1.0, np.nan, 1.0])
    assert holm([]).shape == (0,)


def test_holm_seldom_finds_anything_where_there_is_nothing():
    random = np.random.default_rng(3)
    studies = random.random((4000, 6))
    any_found = np.mean([holm(p).min() < 0.05 for p in studies])
    assert any_found == pytest.approx(0.05, abs=0.011)
    assert np.mean(studies.min(1) < 0.05) > 0.2  # uncorrected


def test_each_pair_or_each_against_the_baseline():
    values = {name: np.random.default_rng(i).random(4) for i, name in enumerate("abc")}
    every = compare(values)
    assert list(zip(every["cell"], every["against"], strict=True)) == [("b", "a"), ("c", "a"), ("c", "b")]
    some = compare(values, baseline="b")
    assert list(zip(some["cell"], some["against"], strict=True)) == [("a", "b"), ("c", "b")]
    np.testing.assert_allclose(every["p_holm"], holm(every["p"]))
    assert every["difference"][2] == pytest.approx(np.mean(values["c"]) - np.mean(values["b"]))


def test_a_summary_is_compared_score_by_score_without_what_failed():
    rows = [
        {"cell": cell, "seed": seed, "status": "ok", "accuracy": values[seed], "worst": values[seed] ** 2}
        for cell, values in SEEDS.items()
        for seed in range(5)
    ]
    rows += [{"cell": "failed", "seed": seed, "status": "not finite"} for seed in range(5)]
    frame = pd.DataFrame(rows)
    frame.loc[(frame["cell"] == "crop") & (frame["seed"] == 4), "worst"] = np.nan
    frame = frame.sample(frac=1, random_state=0)  # the order of the rows does not matter
    frame["cell"] = pd.Categorical(frame["cell"], ["none", "crop", "failed"])
    table = compare_summary(frame.sort_values("cell"), ["accuracy", "worst"], baseline="none")
    assert list(zip(table["score"], table["cell"], table["n"], strict=True)) == [
        ("accuracy", "crop", 5),
        ("worst", "crop", 4),
    ]
    assert table["p"][0] == pytest.approx(stats.ttest_rel(SEEDS["crop"], SEEDS["none"]).pvalue)
    np.testing.assert_allclose(table["p_holm"], holm(table["p"]))


def test_a_summary_is_compared_in_the_pairs_that_matter():
    values = {f"{kind},{depth}": np.random.default_rng(depth).random(4) for kind in "ab" for depth in (8, 20)}
    frame = pd.DataFrame([{"cell": c, "seed": s, "x": v} for c, row in values.items() for s, v in enumerate(row)])
    pairs = [("b,8", "a,8"), ("b,20", "a,20")]
    table = compare_summary(frame, ["x"], pairs=pairs)
    assert list(zip(table["cell"], table["against"], strict=True)) == pairs
    with pytest.raises(InputError, match="'c' is none of the cells"):
        compare_summary(frame, ["x"], pairs=[("c", "a,8")])


def test_pairs_that_tell_nothing():
    same = compare({"a": [0.5] * 4, "b": [0.5] * 4}).iloc[0]
    assert (same["difference"], same["effect"], same["p"]) == (0, 0, 1)
    shifted = compare({"a": [0.1, 0.2, 0.3], "b": [0.2, 0.3, 0.4]}).iloc[0]
    assert shifted["difference"] == pytest.approx(0.1)
    assert np.isnan([shifted["effect"], shifted["p"], shifted["p_holm"]]).all()
    alone = compare({"a": [0.5], "b": [0.6]}).iloc[0]
    assert np.isnan([alone["low"], alone["effect"], alone["p"]]).all()
    equal = compare({"a": np.ones((1, 9)), "b": np.ones((1, 9))}, over="images").iloc[0]
    assert (equal["p"], equal["higher"]) == (1, 0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"a": [0.1, 0.2]}, {}, "nothing to compare a with"),
        ({"a": [0.1, 0.2], "b": [0.1]}, {}, r"a \(2,\), b \(1,\)"),
        ({"a": [0.1, 0.2], "b": [0.1, 0.2]}, {"baseline": "c"}, "'c' is none of the cells: a, b"),
        ({"a": [0.1, 0.2], "b": [0.1, np.nan]}, {}, "is nan at seed 1"),
    ],
)
def test_bad_values(values, options, message):
    with pytest.raises(InputError, match=message):
        compare(values, **options)


def test_a_bad_summary():
    frame = pd.DataFrame({"cell": ["a", "b"], "seed": [0, 0], "accuracy": [0.1, 0.2]})
    with pytest.raises(InputError, match="no column worst"):
        compare_summary(frame, ["worst"])
    with pytest.raises(InputError, match="train more seeds"):
        compare_summary(frame, ["accuracy"])
    with pytest.raises(InputError, match="every p must lie"):
        holm([0.1, 1.2])


@pytest.mark.parametrize(
    ("differences", "level", "message"),
    [
        ([1.0, 2.0, 3.0], 1, "level of an interval is 1.0"),
        ([1.0, 2.0, 3.0], -1, "level of an interval is -1.0"),
        ([1.0, 2.0, np.nan], 0.95, "differences is nan at value 2"),
        ([], 0.95, "differences has the shape"),
    ],
)
def test_an_effect_of_no_numbers_or_no_level_is_refused(differences, level, message):
    with pytest.raises(InputError, match=message):
        effect_size(differences, level=level)
