"""Samples of given labels against brute force, intervals against planted truth, and the page in a real browser."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from jftdata import judge, precision, sources, tail, world
from jftdata.cli import precision as verbs
from jftdata.cli import run
from jftdata.errors import BadArgument, BadInput, MissingInput, UnknownName, UnknownOption
from jftdata.hashing import keyed_hash, uniform
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.precision import draw
from jftdata.sources.ingest import Listed, Record, ingest
from tests.browser import CHROMIUM, browser
from tests.strategies import picture

ALL = 10**9


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A catalog of the world and every given label of it with its true answer and a score that tells some wrong ones."""
    folder = tmp_path_factory.mktemp("world")
    none = {"num_eval": 0, "num_clean_train": 0, "num_clean_test": 0}
    files = world.write(folder / "w", num_images=600, seed=0, size=32, workers=1, **none)
    catalog = sources.from_hub(
        files.train, label="labels", hierarchy=Hierarchy.load("world"), out=folder / "c", workers=2
    )
    named = [catalog.scan(), pl.scan_parquet(catalog.path / "duplicates.parquet")]
    images = pl.concat([x.select("image", path=pl.col("source").str.split(":").list.last()) for x in named]).collect()
    truth = (
        pl.read_parquet(files.truth_labels).join(images, on="path").unique(["image", "label"]).sort("image", "label")
    )
    noise = uniform(keyed_hash(np.arange(len(truth)), seed=0, stream="test"))
    wrong = (truth["error"] != "").to_numpy()
    answer = np.where(wrong, "no", "yes")
    return catalog, truth.select("image", "label", answer=pl.Series(answer), score=pl.Series(noise + 0.7 * wrong))


def scores_of(truth):
    return truth.select("image", "label", wrong="score")


# ---- the sample ------------------------------------------------------------------------------------------------------


def brute_force(catalog, truth, num, seed):
    """The rows of a sample by frequency and score, worked out pair by pair."""
    counts = dict(tail.label_counts(catalog).select("label", "num_images").iter_rows())
    edges = np.quantile(truth["score"], (0.5, 0.8, 0.95))
    strata = {}
    for image, label, score in scores_of(truth).iter_rows():
        n = counts[label]
        frequency = "head" if n > 100 else "medium" if n >= 20 else "tail"
        band = draw.BANDS[sum(score > edge for edge in edges)]
        key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") ^ image
        (place,) = keyed_hash(np.array([key], np.uint64), seed=seed, stream="precision").tolist()
        strata.setdefault(f"{frequency}, {band}", []).append((place, image, label))
    rows = []
    for name, pairs in strata.items():
        some = sum(1 for stratum in draw_of(catalog, truth, num, seed)["stratum"] if stratum == name)
        rows += [(image, label, name, len(pairs), some / len(pairs)) for _, image, label in sorted(pairs)[:some]]
    return sorted(rows)


def draw_of(catalog, truth, num, seed, **changed):
    how = {"strata": ("frequency", "score"), "scores": scores_of(truth), "workers": 1} | changed
    return precision.sample(catalog, num=num, seed=seed, **how)


def test_a_sample_is_the_pairs_of_least_hash_of_each_stratum(planted):
    drawn = draw_of(*planted, 150, 3)
    assert drawn.schema == precision.SAMPLE
    found = drawn.select("image", "label", "stratum", "population", "probability").sort("image", "label")
    assert found.rows() == brute_force(*planted, 150, 3)
    assert len(drawn) == 150
    assert drawn["score"].equals(
        drawn.join(planted[1], on=["image", "label"], how="left", maintain_order="left")["score_right"],
        check_names=False,
    )


def test_a_sample_does_not_depend_on_threads_or_the_order_of_scores_but_on_the_seed(planted):
    catalog, truth = planted
    drawn = draw_of(catalog, truth, 100, 0)
    assert drawn.equals(draw_of(catalog, truth.sample(fraction=1, shuffle=True, seed=1), 100, 0, workers=3))
    other = draw_of(catalog, truth, 100, 1)
    assert len(drawn.join(other, on=["image", "label"])) < 50
    assert not drawn["stratum"].is_sorted()  # so that nobody guesses what comes next
    assert drawn["stratum"].head(30).n_unique() > 5


def test_rows_of_a_table_without_pixels_are_sampled_from_every_row_group(tmp_path):
    table = world.jft300m(50_000, seed=0, out=tmp_path / "t")
    drawn = precision.sample(table, num=200, seed=0)
    parts = drawn.unique("stratum")
    assert parts["population"].sum() == table.sidecar.facts["num_given_labels"]
    labels = table.rows(drawn["image"].to_numpy(), columns=("labels",))["labels"]
    assert all(table.hierarchy.index(label) in given for label, given in zip(drawn["label"], labels, strict=True))
    with pytest.raises(BadInput, match="no pixels"):
        precision.write_page(drawn, table, out=tmp_path / "p.html")


def test_every_pair_is_drawn_as_often_as_its_probability_says(planted):
    catalog, truth = planted
    drawn = pl.concat([draw_of(catalog, truth, 200, seed) for seed in range(50)])
    times = drawn.group_by("image", "label").agg(times=pl.len().cast(pl.Float64))
    p = drawn.group_by("stratum").agg(pl.col("probability").first())
    pairs = draw_of(catalog, truth, ALL, 0).drop("probability").join(p, on="stratum").filter(pl.col("probability") < 1)
    pairs = pairs.join(times, on=["image", "label"], how="left").with_columns(pl.col("times").fill_null(0))
    z = (pl.col("times") - 50 * pl.col("probability")) / (
        50 * pl.col("probability") * (1 - pl.col("probability"))
    ).sqrt()
    found = pairs.select(z=z)["z"].to_numpy()
    assert len(found) > 700
    assert abs(found).max() < 6
    assert 0.85 < (found**2).mean() < 1.15  # independent from seed to seed


def test_suspicious_pairs_are_drawn_more_often_and_pairs_without_a_score_have_a_band(planted):
    catalog, truth = planted
    drawn = draw_of(catalog, truth, 300, 0, strata=("score",), scores=scores_of(truth)[::2])
    by = dict(drawn.select("score_band", "probability").unique().iter_rows())
    assert set(by) == set(draw.BANDS)
    assert by["score 95-100%"] > by["score 80-95%"] > by["score 50-80%"] > by["score 0-50%"]
    nulls = scores_of(truth).with_columns(wrong=pl.when(pl.int_range(pl.len()) % 2 == 0).then("wrong"))
    assert drawn.equals(draw_of(catalog, truth, 300, 0, strata=("score",), scores=nulls))
    without = drawn.filter(pl.col("score").is_null())
    assert set(without["score_band"]) == {"no score"}
    assert without["population"][0] == len(truth) - len(truth[::2])


def test_what_strata_are_made_of_is_chosen(planted):
    catalog, truth = planted
    one = precision.sample(catalog, num=50, seed=0, strata=())
    assert one["stratum"].unique().to_list() == ["all"]
    assert one["population"].unique().to_list() == [len(truth)]
    assert one["score"].null_count() == one["score_band"].null_count() == 50
    deep = precision.sample(catalog, num=50, seed=0, strata=("depth",))
    assert deep["stratum"].equals(deep["depth"], check_names=False)
    for name, label in deep.select("depth", "label").iter_rows():
        low, _, high = name.removeprefix("depth ").partition("-")
        assert int(low) <= catalog.hierarchy.depth(label) <= int(high or low)
    assert len(precision.sample(catalog, num=50, seed=0, scores=scores_of(truth))["stratum"][0].split(", ")) == 3
    census = precision.sample(catalog, num=ALL, seed=0)
    assert census["probability"].unique().to_list() == [1.0]
    assert census.select("image", "label").sort("image", "label").equals(truth.select("image", "label"))


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30), st.integers(0, 3000), st.data())
def test_allocation_adds_up_and_no_stratum_gets_nothing_or_more_than_it_has(population, more, data):
    num = len(population) + more
    spread = data.draw(st.lists(st.floats(0.01, 1), min_size=len(population), max_size=len(population)))
    got = draw.allocate(np.array(population), num, spread=np.array(spread))
    assert got.sum() == min(num, sum(population))
    assert (got >= 1).all()
    assert (got <= population).all()
    floor = min(draw.FLOOR, num // (2 * len(population)))
    assert (got >= np.minimum(floor, population)).all()
    size = np.array(population) * spread
    for a, b in zip(range(len(size) - 1), range(1, len(size)), strict=True):
        if size[a] > size[b] and population[a] > got[a]:
            assert got[a] >= min(got[b], population[b]) - 1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"num": 0}, BadArgument, r"`num` must be at least 1\. Got 0"),
        ({"num": 3}, BadArgument, r"`num` must be at least 1 for each of \d+ strata\. Got 3"),
        ({"seed": -1}, BadArgument, r"`seed` must be"),
        ({"strata": ("frequency", "deep")}, UnknownOption, r"stratum 'deep' is not known\. .*'depth'"),
        ({"scores": None}, BadArgument, r"has `score`, but no `scores`"),
        ({"split": "test"}, UnknownName, r"split 'test' is not known"),
    ],
)
def test_arguments_out_of_range_are_refused(planted, changed, error, message):
    with pytest.raises(error, match=message):
        draw_of(*planted, **{"num": 100, "seed": 0} | changed)


def test_scores_that_cannot_be_used_are_errors_that_name_them(planted):
    catalog, truth = planted
    good = scores_of(truth)
    image, label = good.row(5)[:2]
    other = next(x for x in catalog.hierarchy.labels if x not in truth.filter(pl.col("image") == image)["label"])
    nan = good.with_columns(wrong=pl.when(pl.int_range(pl.len()) == 5).then(float("nan")).otherwise("wrong"))
    with pytest.raises(BadInput, match=rf"1 scores are NaN, for example of image {image} and label '{label}'"):
        draw_of(catalog, truth, 100, 0, scores=nan)
    row = good[5:6]
    cases = [
        (pl.concat([good, row]), BadInput, rf"image {image} and label '{label}' are scored twice"),
        (pl.concat([good, row.with_columns(label=pl.lit("applee"))]), UnknownName, r"'applee' is not in the hierarchy"),
        (pl.concat([good, row.with_columns(label=pl.lit(other))]), BadInput, rf"1 scores are not .* label '{other}'"),
        (pl.concat([good, row.with_columns(image=pl.lit(7, pl.Int64))]), BadInput, r"1 scores are not .* image 7 and"),
        (good.drop("wrong"), BadInput, r"scores have no column 'wrong'"),
    ]
    for scores, error, message in cases:
        with pytest.raises(error, match=message):
            draw_of(catalog, truth, 100, 0, scores=scores)


# ---- the estimate ----------------------------------------------------------------------------------------------------


def made(strata, *, order=0):
    """A sample and answers of strata (name, population, yes, no, unsure, unjudged)."""
    rows, answers = [], []
    for name, population, *counts in strata:
        for answer, count in zip(("yes", "no", "unsure", None), counts, strict=True):
            for _ in range(count):
                rows.append((len(rows), "cat", name, name, "depth 1", None, None, population, sum(counts) / population))
                answers += [(len(rows) - 1, "cat", answer)] if answer else []
    frame = pl.DataFrame(rows, schema=precision.SAMPLE, orient="row")
    schema = {"image": pl.Int64(), "label": pl.String(), "answer": pl.String()}
    return frame, pl.DataFrame(answers, schema=schema, orient="row")


def only(found, group="all", name="all"):
    return found.row(by_predicate=(pl.col("group") == group) & (pl.col("name") == name), named=True)


@given(st.floats(0, 1), st.integers(1, 100), st.sampled_from([0.8, 0.95, 0.99]))
def test_an_interval_of_one_stratum_is_wilsons(share, num, confidence):
    yes = round(share * num)
    reference = binomtest(yes, num).proportion_ci(confidence, method="wilson")
    assert precision.wilson(yes / num, num, confidence=confidence) == pytest.approx((reference.low, reference.high))
    found = only(precision.estimate(*made([("a", 10**9, yes, num - yes, 0, 0)]), confidence=confidence))
    if 0 < yes < num:
        assert (found["low"], found["high"]) == pytest.approx((reference.low, reference.high), abs=1e-6)
    assert found["precision"] == pytest.approx(yes / num)
    assert found["low"] <= found["precision"] <= found["high"]
    assert found["design_effect"] == pytest.approx(1)


def test_an_estimate_weighs_strata_by_their_population():
    found = precision.estimate(*made([("a", 9000, 45, 5, 0, 0), ("b", 1000, 10, 40, 0, 0)]))
    row = only(found)
    assert row["precision"] == pytest.approx((9000 * 0.9 + 1000 * 0.2) / 10000)
    assert row["num_right"] == pytest.approx(9000 * 0.9 + 1000 * 0.2)
    assert row["population"] == 10000
    assert row["if_all_no"] == row["if_all_yes"] == pytest.approx(row["precision"])
    assert only(found, "frequency", "b")["precision"] == pytest.approx(0.2)
    assert found["group"].to_list() == ["all", "frequency", "frequency", "depth", "stratum", "stratum"]
    prior = (0.83 * 100 + 1) / 102 / 2 + 1 / 4
    p = (np.array([45, 10]) + prior) / 51
    variance = (np.array([0.9, 0.1]) ** 2 * p * (1 - p) / 50 * (1 - 50 / np.array([9000, 1000]))).sum()
    q = 0.9 * p[0] + 0.1 * p[1]
    assert (row["low"], row["high"]) == pytest.approx(precision.wilson(0.83, q * (1 - q) / variance))


def test_the_ratio_of_a_part_that_cuts_across_strata_is_hajeks(planted):
    catalog, truth = planted
    drawn = draw_of(catalog, truth, 200, 0)
    answers = drawn.select("image", "label").join(truth, on=["image", "label"])
    found = precision.estimate(drawn, answers, hierarchy=catalog.hierarchy, under=["living thing"])
    tree = catalog.hierarchy
    assert set(found.filter(pl.col("group") == "subtree")["name"]) <= {"living thing", *tree.children("living thing")}
    below = {"living thing", *tree.descendants("living thing")}
    joined = drawn.join(truth.select("image", "label", "answer"), on=["image", "label"])
    inside = joined.filter(pl.col("label").is_in(below))
    weight, right = 1 / inside["probability"].to_numpy(), (inside["answer"] == "yes").to_numpy()
    row = only(found, "subtree", "living thing")
    assert row["precision"] == pytest.approx((weight * right).sum() / weight.sum())
    assert (row["num_right"], row["population"]) == pytest.approx(((weight * right).sum(), weight.sum()))
    assert row["num_yes"] + row["num_no"] == len(inside)
    roots = precision.estimate(drawn, answers, hierarchy=tree).filter(pl.col("group") == "subtree")
    assert roots["name"][0] == tree.roots[0]
    assert roots["precision"][0] == pytest.approx(only(found)["precision"])


def test_all_pairs_answered_leave_no_doubt(planted):
    catalog, truth = planted
    census = draw_of(catalog, truth, ALL, 0)
    found = precision.estimate(census, truth, hierarchy=catalog.hierarchy)
    assert only(found)["precision"] == pytest.approx((truth["answer"] == "yes").mean())
    assert (found["high"] - found["low"]).max() < 1e-9
    assert (found["unrepresented"] == 0).all()


def test_unsure_is_left_out_and_bounds_say_what_it_could_have_been():
    row = only(precision.estimate(*made([("a", 1000, 60, 20, 20, 0)])))
    assert row["precision"] == pytest.approx(0.75)
    assert (row["if_all_no"], row["if_all_yes"]) == pytest.approx((0.6, 0.8))
    assert (row["num_yes"], row["num_no"], row["num_unsure"], row["num_unjudged"]) == (60, 20, 20, 0)
    assert row["high"] - row["low"] > only(precision.estimate(*made([("a", 1000, 75, 25, 0, 0)])))["high"] - 0.75


def test_an_item_without_an_answer_is_as_the_others_of_its_stratum():
    some = precision.estimate(*made([("a", 9000, 45, 5, 0, 50), ("b", 1000, 20, 80, 0, 0)]))
    full = precision.estimate(*made([("a", 9000, 45, 5, 0, 0), ("b", 1000, 20, 80, 0, 0)]))
    assert only(some)["num_unjudged"] == 50
    for column in ("precision", "low", "high", "num_right", "population"):
        assert only(some)[column] == pytest.approx(only(full)[column])


def test_only_unsure_answers_are_a_result_without_an_estimate():
    found = precision.estimate(*made([("a", 1000, 0, 0, 9, 1), ("b", 10, 0, 0, 5, 0)]))
    row = only(found)
    assert (row["precision"], row["low"], row["high"], row["if_all_no"], row["if_all_yes"]) == (None, 0, 1, 0, 1)
    assert precision.describe(found) == "precision unknown: nobody said yes or no (14 unsure, 1 unjudged)"
    nothing = precision.estimate(*made([("a", 1000, 0, 0, 0, 9)]))
    assert (only(nothing)["precision"], only(nothing)["unrepresented"]) == (None, 1000)


def test_a_stratum_without_an_answer_is_counted_and_bounds_allow_for_it():
    found = precision.estimate(*made([("a", 900, 80, 20, 0, 0), ("b", 100, 0, 0, 0, 10)]))
    row = only(found)
    assert row["precision"] == pytest.approx(0.8)
    assert (row["unrepresented"], row["population"]) == (100, 1000)
    assert (row["if_all_no"], row["if_all_yes"]) == pytest.approx((0.72, 0.82))
    assert only(found, "stratum", "b")["precision"] is None
    assert "100 given labels are in strata that nobody answered for" in precision.describe(found)


def test_what_cannot_be_weighed_is_an_error_that_names_it():
    drawn, answers = made([("a", 100, 3, 2, 0, 0), ("b", 50, 2, 0, 0, 0)])
    first = pl.int_range(pl.len()) == 0
    for value in (float("nan"), 1.5, 0.0, -0.1, None):
        wrong = drawn.with_columns(probability=pl.when(first).then(value).otherwise("probability"))
        with pytest.raises(
            BadInput, match=r"probabilities must be in \(0, 1\]\. Got (nan|1\.5|0\.0|-0\.1|None) for image 0"
        ):
            precision.estimate(wrong, answers)
    stray = answers[:1].with_columns(image=pl.lit(99, pl.Int64))
    maybe = answers.with_columns(answer=pl.when(first).then(pl.lit("maybe")).otherwise("answer"))
    both = pl.concat([answers, answers[:1].with_columns(answer=pl.lit("unsure"))])
    moved = drawn.with_columns(population=pl.when(first).then(101).otherwise("population"))
    cases = [
        (drawn, pl.concat([answers, stray]), UnknownName, r"1 answers are .* not in the sample, for example image 99"),
        (drawn, maybe, BadInput, r"an answer is 'maybe', expected yes, no or unsure"),
        (drawn, both, BadInput, r"image 0 and label 'cat' have two answers"),
        (drawn, answers.drop("answer"), BadInput, r"judgements have no column 'answer'"),
        (drawn[1:], answers[1:], BadInput, r"stratum 'a' has 4 rows, expected .* Give all of one sample"),
        (moved, answers, BadInput, r"stratum 'a' has 5 rows, expected .*: 100 to 101 pairs"),
        (pl.concat([drawn, drawn]), answers, BadInput, r"stratum 'a' has 10 rows"),
        (drawn[:0], answers, BadInput, r"the sample has no rows"),
        (drawn.drop("stratum"), answers, BadInput, r"the sample has no column 'stratum'"),
    ]
    for sample, judgements, error, message in cases:
        with pytest.raises(error, match=message):
            precision.estimate(sample, judgements)
    with pytest.raises(BadArgument, match=r"`under` names 'cat', but no `hierarchy`"):
        precision.estimate(drawn, answers, under=["cat"])
    with pytest.raises(BadArgument, match=r"`confidence` must be in \(0, 1\)\. Got 1"):
        precision.estimate(drawn, answers, confidence=1)
    with pytest.raises(UnknownName, match=r"'kat' is not in the hierarchy .*'cat'"):
        precision.estimate(drawn, answers, hierarchy=Hierarchy.load("toy"), under=["kat"])
    assert len(precision.estimate(drawn, pl.concat([answers, answers]))) > 0  # the same answer twice is one


# ---- does the interval cover the truth -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num", "how", "unsure"),
    [(100, {"strata": ("frequency", "depth")}, 0.0), (150, {"strata": ("frequency", "score")}, 0.05)],
    ids=["labels", "labels and scores, 5% unsure"],
)
def test_intervals_cover_the_planted_truth_of_the_world(planted, num, how, unsure):
    catalog, truth = planted
    draws = uniform(keyed_hash(np.arange(len(truth)), seed=5, stream="unsure"))
    truth = truth.with_columns(answer=pl.when(pl.Series(draws < unsure)).then(pl.lit("unsure")).otherwise("answer"))
    how = how | ({"scores": scores_of(truth)} if "score" in how["strata"] else {})

    def audit(num, seed):
        drawn = precision.sample(catalog, num=num, seed=seed, workers=1, **how)
        return precision.estimate(drawn, drawn.select("image", "label").join(truth, on=["image", "label"]))

    exact = audit(ALL, 0).select("group", "name", true="precision")
    found = pl.concat([audit(num, seed) for seed in range(1, 61)]).join(exact, on=["group", "name"])
    inside = pl.col("true").is_between(pl.col("low") - 1e-12, pl.col("high") + 1e-12)
    covered = dict(found.group_by("group").agg(inside.mean()).iter_rows())
    assert covered["all"] >= 0.88  # of 60, if 95% do: fewer twice in 100 times
    assert all(0.9 <= covered[group] <= 0.995 for group in ("frequency", "depth", "stratum"))
    whole = found.filter(pl.col("group") == "all")
    assert abs((whole["precision"] - whole["true"]).mean()) < 3 * whole["precision"].std() / 60**0.5
    assert (whole["high"] - whole["low"]).mean() < 0.25


@pytest.mark.parametrize("precise", [0.5, 0.99])
def test_small_samples_near_the_ends_cover_too(precise):
    """50 answers in three strata whose precision differs; Wald's interval covers 40% at 0.99."""
    rng = np.random.default_rng(0)
    sizes, nums = np.array([5000, 3000, 500]), np.array([24, 16, 10])
    wrong = np.array([0.6, 1, 5]) * (1 - precise) / (sizes * [0.6, 1, 5]).sum() * sizes.sum()
    bad = np.round(sizes * np.minimum(wrong, 0.95)).astype(int)
    true = 1 - bad.sum() / sizes.sum()
    audits = rng.hypergeometric(bad, sizes - bad, nums, (200, 3))
    inside = 0
    for no in audits:
        strata = [(f"s{i}", int(sizes[i]), int(nums[i] - no[i]), int(no[i]), 0, 0) for i in range(3)]
        row = only(precision.estimate(*made(strata)))
        inside += row["low"] <= true <= row["high"]
    assert 0.9 <= inside / 200 <= 0.99


# ---- power -----------------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 0.9), st.floats(0, 1), st.floats(0.5, 3), st.floats(0, 0.5))
def test_power_is_the_least_number_whose_interval_is_narrow_enough(width, guess, effect, unsure):
    num = precision.power(width=width, precision_guess=guess, design_effect=effect, unsure=unsure)["num"][0]

    def wide(num):
        low, high = precision.wilson(guess, num * (1 - unsure) / effect)
        return high - low

    assert wide(num) <= width
    assert num == 1 or wide(num - 1) > width


def test_power_asks_for_no_more_than_there_are_and_tells_every_stratum():
    drawn, _ = made([("a", 10**7, 3, 2, 0, 0), ("b", 50, 2, 0, 0, 0), ("c", 1, 1, 0, 0, 0)])
    found = precision.power(width=0.1, sample=drawn)
    assert found.schema == {"stratum": pl.String, "population": pl.Int64, "num": pl.Int64}
    assert found["stratum"].to_list() == ["all", "a", "b", "c"]
    assert found["population"].to_list() == [10_000_051, 10**7, 50, 1]
    assert found["num"].to_list()[:2] == [245, 245]
    assert 40 <= found["num"][2] <= 50
    assert found["num"][3] == 1


@pytest.mark.parametrize(("guess", "width"), [(0.5, 0.1), (0.9, 0.1), (0.99, 0.05)])
def test_audits_of_the_size_that_power_asks_for_are_as_narrow_as_wanted(guess, width):
    num = precision.power(width=width, precision_guess=guess)["num"][0]
    yes = np.random.default_rng(0).binomial(num, guess, 300)
    spans = [high - low for low, high in (precision.wilson(x / num, num) for x in yes)]
    assert 0.95 * width < np.mean(spans) < 1.02 * width


def test_power_with_the_design_effect_of_an_audit_gives_the_width_of_the_next():
    before = only(precision.estimate(*made([("a", 10**8, 90, 10, 0, 0), ("b", 10**7, 80, 20, 0, 0)])))
    after = only(precision.estimate(*made([("a", 10**8, 360, 40, 0, 0), ("b", 10**7, 320, 80, 0, 0)])))
    assert before["design_effect"] > 1.2
    needed = precision.power(
        width=after["high"] - after["low"], precision_guess=before["precision"], design_effect=before["design_effect"]
    )
    assert needed["num"][0] == pytest.approx(800, rel=0.03)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0}, r"`width` must be in \(0, 1\)\. Got 0"),
        ({"width": float("nan")}, r"`width` must be in"),
        ({"precision_guess": 1.2}, r"`precision_guess` must be in \[0, 1\]\. Got 1\.2"),
        ({"design_effect": 0}, r"`design_effect` must be a number above 0"),
        ({"unsure": 1}, r"`unsure` must be in \[0, 1\)"),
        ({"confidence": 1}, r"`confidence` must be in \(0, 1\)"),
    ],
)
def test_numbers_that_power_cannot_use_are_refused(changed, message):
    with pytest.raises(BadArgument, match=message):
        precision.power(**{"width": 0.1} | changed)
    with pytest.raises(BadArgument, match="`num` must be above 0"):
        precision.wilson(0.5, 0)
    with pytest.raises(BadInput, match="columns stratum and population"):
        precision.power(width=0.1, sample=pl.DataFrame({"a": [1]}))


# ---- the page --------------------------------------------------------------------------------------------------------

LABELS = {"a": ["cat"], "b": ["house cat"], "c": ["bus", "toy"], "d": ["dog"], "e": [], "f": ["dog", "bus"]}


@pytest.fixture
def photos(tmp_path):
    """Six pictures under labels of the toy hierarchy."""
    records = [
        Record(source=name, labels=tuple(labels), split="train", data=encode_jpeg(picture(i, width=700, height=500)))
        for i, (name, labels) in enumerate(LABELS.items())
    ]
    return ingest(
        [Listed(tuple(records))], out=tmp_path / "c", hierarchy=Hierarchy.load("toy"), made_with={"pack": True}, inputs={},
        labels=(), max_rejected=0, workers=1,
    )  # fmt: skip


def shown(path):
    return json.loads(judge._DATA.search(path.read_text())[1])


def test_a_page_asks_for_each_label_by_name_and_place_and_tells_nothing_else(photos, tmp_path):
    drawn = precision.sample(photos, num=7, seed=0)
    asked = precision.write_page(drawn, photos, out=tmp_path / "p.html")
    page = shown(asked.page.path)
    assert (asked.page.num_items, asked.num_unread) == (7, 0)
    assert [item["id"] for item in page["items"]] == [
        f"image {image} label {label}" for image, label in drawn.select("image", "label").iter_rows()
    ]
    by = {item["heading"]: item for item in page["items"]}
    assert by["Is there a cat in this image?"]["lines"] == ["animal › pet › cat", "for example: house cat"]
    for item in page["items"]:
        assert [(p["labels"], p["lines"], p["alt"]) for p in item["pictures"]] == [([], [], "the image in question")]
    assert all(word in page["guide"] for word in ("Yes:", "No:", "Unsure:"))
    few = precision.write_page(drawn[2:4], photos, out=tmp_path / "q.html", workers=1).page
    assert [item["id"] for item in shown(few.path)["items"]] == [item["id"] for item in page["items"][2:4]]


def test_an_image_that_cannot_be_read_is_asked_for_without_a_picture_and_counted(photos, tmp_path):
    (shard,) = (photos.path / "shards").iterdir()
    drawn = precision.sample(photos, num=7, seed=0)
    image = drawn.filter(pl.col("label") == "cat")["image"][0]
    row = photos.rows(np.array([image])).row(0, named=True)
    data = bytearray(shard.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    shard.write_bytes(data)
    asked = precision.write_page(drawn, photos, out=tmp_path / "p.html")
    page = shown(asked.page.path)
    assert asked.num_unread == 1
    assert "1 could not be read" in page["note"]
    (lost,) = [item["pictures"][0] for item in page["items"] if item["pictures"][0]["jpeg"] is None]
    assert "have changed since the catalog was made" in lost["alt"]


def test_names_aliases_and_several_parents_are_told():
    edges = [("a", "x"), ("b", "x"), ("r", "b"), *(("x", f"k{i}") for i in range(8))]
    tree = Hierarchy.from_edges(edges, names={"x": "orange <b>", "r": "root"})
    heading, lines = precision.page._told(tree, "x")
    assert heading == "Is there an orange <b> in this image?"
    assert lines == ["a › orange <b>", "root › b › orange <b>", "for example: k0, k1, k2, k3, k4, k5 and 2 more"]


def test_answers_are_read_for_labels_of_any_text_and_for_nothing_else(tmp_path):
    def saved(items):
        file = tmp_path / "a.json"
        text = {"format": judge.FORMAT, "page": "0" * 64, "answers": dict.fromkeys(items, "yes")}
        file.write_text(json.dumps(text))
        return file

    odd = ["image 7 label image 8 label x", "image 3 label <b>&'\u2028\"", "image 3 label  "]
    assert precision.read_answers(saved(odd)).rows() == [
        (3, " ", "yes"),
        (3, "<b>&'\u2028\"", "yes"),
        (7, "image 8 label x", "yes"),
    ]
    for item in ("image x label y", f"image {1 << 63} label y", "image_a 1 image_b 2", "image 1 label "):
        with pytest.raises(BadInput, match="is no image with a label"):
            precision.read_answers(saved([item]))


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed here")
def test_from_the_sample_over_a_browser_to_the_estimate(photos, tmp_path):
    drawn = precision.sample(photos, num=7, seed=0)
    path = precision.write_page(drawn, photos, out=tmp_path / "p.html").page.path
    right = {"cat": "y", "house cat": "n", "bus": "y", "toy": "u", "dog": "y"}
    with browser(tmp_path) as tab:
        tab.open(path.as_uri())
        asked = "document.querySelector('article.now h2').textContent"
        for label in drawn["label"]:
            assert tab.value(asked) == f"Is there a {label} in this image?"
            tab.press(right[label])
        tab.press("s")
        answers = precision.read_answers(tab.saved(), page=path)
        assert tab.problems == []
    row = only(precision.estimate(drawn, answers, hierarchy=photos.hierarchy))
    assert (row["num_yes"], row["num_no"], row["num_unsure"], row["num_unjudged"]) == (5, 1, 1, 0)
    assert (row["precision"], row["low"]) == (pytest.approx(5 / 6), pytest.approx(5 / 6))  # every pair was answered


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def noise(monkeypatch):
    """The subcommands, in a group of their own."""
    import click

    from jftdata import cli

    group = click.Group("noise", {"sample": verbs.sample, "precision": verbs.precision, "power": verbs.power})
    monkeypatch.setattr(cli._Lazy, "get_command", lambda self, ctx, name: group)
    return lambda *args: run(["noise", *map(str, args), "--quiet"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_terminal_samples_estimates_and_tells_power(noise, photos, tmp_path, capsys, ending):
    out, page = tmp_path / f"s.{ending}", tmp_path / "p.html"
    assert noise("sample", photos.path, "--num", 7, "--out", out, "--page", page, "--items", 4, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["num"], told["population"], told["num_unread"]) == (7, 7, 0)
    assert told["pages"] == [str(tmp_path / "p-1.html"), str(tmp_path / "p-2.html")]
    files = []
    for number in told["pages"]:
        data = shown(tmp_path / number)
        answers = {item["id"]: "no" if "bus" in item["id"] else "yes" for item in data["items"]}
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps({"format": judge.FORMAT, "page": data["fingerprint"], "answers": answers}))
    found = tmp_path / "estimate.csv"
    assert noise("precision", out, *files, "--catalog", photos.path, "--under", "animal", "--out", found) == 0
    assert capsys.readouterr().out.startswith("precision 71.4% (71.4% to 71.4%) from 5 yes and 2 no for 7 given labels")
    assert "subtree,animal,1.0," in found.read_text()
    assert noise("power", "--width", 0.1, "--sample", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num"] == 7
    assert noise("power", "--width", 0.1) == 0
    assert capsys.readouterr().out == "245 answers for an interval 0.1 wide around a precision of 0.8\n"


def test_a_terminal_names_what_is_wrong_with_files(noise, photos, tmp_path, capsys):
    (tmp_path / "bad.csv").write_text("image,label\n1,cat\n")
    (tmp_path / "nan.csv").write_text("image,label,wrong\n1,cat,x\n")
    cases = [
        (("sample", photos.path, "--out", tmp_path / "s.txt"), 2, "must end in .parquet or .csv"),
        (("sample", photos.path, "--out", tmp_path / "s.csv", "--items", 0), 2, "`--items` must be in"),
        (
            ("sample", photos.path, "--out", tmp_path / "s.csv", "--scores", tmp_path / "bad.csv"),
            3,
            "has not the columns image, label, wrong",
        ),
        (
            ("sample", photos.path, "--out", tmp_path / "s.csv", "--scores", tmp_path / "nan.csv"),
            3,
            "has not the columns",
        ),
        (("precision", tmp_path / "s.csv", tmp_path / "a.json"), 3, "does not exist. Give the sample"),
        (("precision", tmp_path / "bad.csv", tmp_path / "a.json"), 3, "has not the columns"),
        (("power", "--width", 2), 2, "`width` must be in"),
    ]
    for args, code, message in cases:
        assert noise(*args) == code, args
        assert message in capsys.readouterr().err
    assert issubclass(MissingInput, BadInput)
    assert not (tmp_path / "s.csv").exists()
