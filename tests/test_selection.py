"""Selection: codes, models and thresholds against scikit-learn and brute force; targets come true on planted truth."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from jftdata import sources
from jftdata.cli import run
from jftdata.errors import BadArgument, BadInput, JftDataError, OutputExists, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.selection import Candidates, Selection, Signals, choose, describe, fit, fusion, pooling, select
from jftdata.selection.candidates import MISSING, Coder
from jftdata.world import web_signals
from tests.strategies import dags

TREE = Hierarchy.load("world")
SIGNALS = Signals(rising=("score", "text", "clicks", "feedback"), categories=("source",))
TARGETS = (0.7, 0.8, 0.9, 0.95)


def answered(pairs):
    """Judgements of pairs by the planted truth."""
    answer = pl.when("correct").then(pl.lit("yes")).otherwise(pl.lit("no"))
    return pairs.select("image", pl.col("label").cast(pl.String), answer=answer)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pairs with planted truth, their candidates, and a model of 3,000 judged ones."""
    pairs = web_signals(60_000, seed=1, hierarchy=TREE)
    path = tmp_path_factory.mktemp("select") / "pairs.parquet"
    pairs.drop("correct").write_parquet(path, row_group_size=20_000)
    candidates = Candidates.open(path, signals=SIGNALS)
    judged = answered(pairs.sample(3_000, seed=1))
    model = fit(candidates, judged, hierarchy=TREE, seed=0)
    return SimpleNamespace(pairs=pairs, path=path, candidates=candidates, judged=judged, fusion=model)


def kept(selection, pairs):
    """Rows of the selection with the planted truth."""
    text = pl.col("label").cast(pl.String)
    rows = pl.read_parquet(selection.files).with_columns(text)
    return rows.join(pairs.select("image", text, "correct"), on=["image", "label"], how="left", validate="1:1")


# ---- what comes true -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_comes_true_and_keeps_more_than_the_best_single_signal(world, tmp_path, target):
    made = select(world.candidates, world.fusion, target=target, out=tmp_path / "s")
    rows = kept(made, world.pairs)
    assert abs(rows["correct"].mean() - target) < 0.02
    held = world.pairs["correct"].sum()
    recall = rows["correct"].sum() / held
    for name in SIGNALS.rising:
        by_value = world.pairs.group_by(name).agg(num=pl.len(), yes=pl.col("correct").sum()).drop_nulls()
        above = by_value.sort(name, descending=True).with_columns(pl.col("num", "yes").cast(pl.Int64).cum_sum())
        best = above.filter(pl.col("yes") >= target * pl.col("num"))["yes"].max() or 0
        assert recall > best / held, name


def test_each_label_is_held_to_the_target(world, tmp_path):
    made = select(world.candidates, world.fusion, target=0.9, per="label", out=tmp_path / "s")
    by_label = made.by_label.filter(pl.col("num_kept") > 0)
    assert by_label["expected_precision"].min() >= 0.9
    assert abs(kept(made, world.pairs)["correct"].mean() - 0.9) < 0.02
    one = select(world.candidates, world.fusion, target=0.9, out=tmp_path / "one")
    assert made.by_label["threshold"].n_unique() > 1 == one.by_label["threshold"].n_unique()


def test_what_is_expected_is_what_is_written(world, tmp_path):
    made = select(world.candidates, world.fusion, target=0.8, floor=30, out=tmp_path / "s")
    rows, facts = kept(made, world.pairs), made.sidecar.facts
    assert facts["num_kept"] == len(rows)
    assert facts["num_candidates"] == len(world.pairs)
    assert rows["confidence"].cast(pl.Float64).mean() == pytest.approx(facts["expected_precision"], abs=1e-6)
    whole = world.fusion.probability(world.pairs).sum()
    assert facts["expected_recall"] == pytest.approx(rows["confidence"].cast(pl.Float64).sum() / whole, abs=1e-6)
    assert facts["judged"]["low"] < facts["judged"]["precision"] < facts["judged"]["high"]
    assert made.calibration["num_judged"].sum() == 3_000
    assert "expected precision 80.0% for a target of 80.0%" in describe(made)


def test_a_confidence_keeps_fewer_pairs_of_higher_precision(world, tmp_path):
    for per in ("all", "label"):
        plain, sure = (
            select(world.candidates, world.fusion, target=0.8, per=per, confidence=c, out=tmp_path / f"{per}{c}")
            for c in (None, 0.95)
        )
        assert sure.sidecar.facts["num_kept"] < plain.sidecar.facts["num_kept"]
        assert sure.sidecar.facts["expected_precision"] > plain.sidecar.facts["expected_precision"] + 0.005


@pytest.mark.parametrize("per", ["all", "label"])
def test_a_floor_keeps_the_most_probable_pairs_of_each_label_and_marks_them(world, tmp_path, per):
    floor = 12
    made = select(world.candidates, world.fusion, target=0.9, per=per, floor=floor, out=tmp_path / "s")
    by_label = made.by_label
    assert (by_label["num_kept"] >= np.minimum(by_label["num_candidates"].to_numpy(), floor)).all()
    rows = pl.read_parquet(made.files).with_columns(pl.col("label").cast(pl.String))
    assert rows["below_target"].sum() == made.sidecar.facts["num_below_target"] > 0
    p = world.pairs.select("image", pl.col("label").cast(pl.String), p=world.fusion.probability(world.pairs))
    marked = rows.filter("below_target")["label"].unique()
    for label in marked.sort()[:20]:
        best = p.filter(pl.col("label") == label).sort("p", descending=True)["p"][:floor]
        own = rows.filter(pl.col("label") == label)["confidence"].sort(descending=True)
        assert own.to_numpy() == pytest.approx(best.to_numpy(), abs=1e-6)
    if per == "all":
        assert made.sidecar.facts["expected_precision"] >= 0.9
    else:
        assert rows.filter(~pl.col("below_target"))["confidence"].mean() >= 0.9


def test_nothing_depends_on_row_order_row_groups_files_or_threads(world, tmp_path):
    mixed = world.pairs.drop("correct").sample(fraction=1.0, shuffle=True, seed=9)
    mixed[:35_000].write_parquet(tmp_path / "a.parquet", row_group_size=1_000)
    text = mixed[35_000:].with_columns(pl.col("label", "source").cast(pl.Categorical))
    text.write_parquet(tmp_path / "b.parquet", row_group_size=50_000, compression="snappy")
    other = Candidates.open(tmp_path / "*.parquet", signals=SIGNALS)
    again = fit(other, world.judged.sample(fraction=1.0, shuffle=True, seed=2), hierarchy=TREE, seed=0)
    found = []
    for candidates, model, workers in ((world.candidates, world.fusion, 1), (other, again, 3)):
        made = select(candidates, model, target=0.9, floor=8, workers=workers, out=tmp_path / f"s{workers}")
        rows = pl.read_parquet(made.files).with_columns(pl.col("label").cast(pl.String)).sort("image", "label")
        found.append((rows, made.by_label, made.sidecar.facts))
    assert found[0][0].equals(found[1][0])
    assert found[0][1].equals(found[1][1])
    assert found[0][2] == found[1][2]


def test_the_table_becomes_a_catalog(photos, tmp_path):
    names = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.jpg"))
    rng = np.random.default_rng(0)
    right = np.array([n.split("/")[0] == "cat" for n in names for _ in range(3)])
    pairs = pl.DataFrame({
        "image": [n for n in names for _ in range(3)], "label": ["bus", "cat", "dog"] * len(names),
        "score": rng.normal(size=len(right)),
    }).with_columns(correct=pl.col("image").str.split("/").list.first() == pl.col("label"))  # fmt: skip
    pairs = pairs.with_columns(score=pl.col("score") + 2.0 * pl.col("correct"))
    pairs.drop("correct").write_parquet(tmp_path / "pairs.parquet")
    candidates = Candidates.open(tmp_path / "pairs.parquet", signals=Signals(rising=("score",)))
    made = select(candidates, fit(candidates, answered(pairs), seed=0), target=0.7, floor=2, out=tmp_path / "s")
    catalog = sources.from_table(made.files, images=photos, out=tmp_path / "c", workers=1)
    given_labels = catalog.scan().select(pl.col("labels").list.len().sum()).collect().item()
    assert given_labels == made.sidecar.facts["num_kept"] > 6
    scores = catalog.scan().select(pl.col("scores").explode()).collect().to_series().sort()
    assert scores.equals(pl.read_parquet(made.files)["confidence"].sort(), check_names=False)


# ---- models ----------------------------------------------------------------------------------------------------------


def draw_codes(seed, num):
    """Codes of three numbers and a category, some missing, and answers in which the category turns a number's meaning."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 3))
    frame = pl.DataFrame({
        "a": x[:, 0], "b": np.round(x[:, 1]), "c": -x[:, 2], "source": rng.choice(["p", "q", "r", "s"], num, p=[0.4, 0.3, 0.29, 0.01])
    }).with_columns(pl.when(pl.Series(rng.random(num) > 0.2)).then("b").alias("b"))  # fmt: skip
    sign = np.where(frame["source"] == "p", 2.0, 0.1)
    yes = rng.random(num) < 1 / (1 + np.exp(-(sign * x[:, 0] + 0.8 * x[:, 1] + 0.5 * x[:, 2])))
    coder = Coder.fit(frame, signals=Signals(rising=("a", "b"), falling=("c",), categories=("source",)))
    return coder, coder.codes(frame.to_arrow()), yes, rng.uniform(0.5, 2, num)


@pytest.mark.parametrize("seed", range(3))
def test_compiled_trees_are_those_of_scikit_learn(seed):
    coder, codes, yes, weight = draw_codes(seed, 1_500)
    model = fusion.trees(coder, codes, yes, weight, seed=seed)
    score = fusion.compiled(model, coder)
    rng = np.random.default_rng(seed)
    limits = [len(s) + 1 for s in coder.steps] + [len(w) for w in coder.words]
    drawn = np.column_stack([rng.integers(0, limit, 4_000) for limit in limits]).astype(np.uint8)
    drawn[rng.random(drawn.shape) < 0.15] = MISSING
    for some in (codes, drawn):
        theirs = model.predict_proba(coder.numbers(some))[:, 1]
        assert np.abs(1 / (1 + np.exp(-score(some))) - theirs).max() < 1e-12


def test_the_model_with_the_lower_log_loss_is_kept(tmp_path):
    for turned, expected in ((True, "trees"), (False, "logistic")):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 4_000))
        logit = 4 * np.where((a > 0) & (b > 0), 1.0, -0.6) if turned else a + b
        pairs = pl.DataFrame({"image": np.arange(4_000), "label": ["x"] * 4_000, "a": a, "b": b,
                              "correct": rng.random(4_000) < 1 / (1 + np.exp(-logit))})  # fmt: skip
        pairs.write_parquet(tmp_path / "p.parquet")
        candidates = Candidates.open(tmp_path / "p.parquet", signals=Signals(rising=("a", "b")))
        facts = fit(candidates, answered(pairs), seed=0).facts
        assert facts["model"] == expected == min(facts["log_loss"], key=facts["log_loss"].get)


def test_a_signal_that_misleads_is_left_out_and_named(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2_000))
    pairs = pl.DataFrame({"image": np.arange(2_000), "label": ["x"] * 2_000, "a": a, "b": b,
                          "correct": rng.random(2_000) < 1 / (1 + np.exp(-(a - b)))})  # fmt: skip
    pairs.write_parquet(tmp_path / "p.parquet")
    for signals, expected in ((Signals(rising=("a", "b")), ["b"]), (Signals(rising=("a",), falling=("b",)), [])):
        facts = fit(Candidates.open(tmp_path / "p.parquet", signals=signals), answered(pairs), seed=0).facts
        assert facts["signals_without_effect"] == expected


@pytest.mark.parametrize("kind", fusion.KINDS)
def test_no_model_falls_with_a_signal(kind):
    coder, codes, yes, weight = draw_codes(7, 800)
    score = fusion._model(kind, coder, 0, codes, yes, weight)
    for signal, steps in enumerate(coder.steps):
        last = np.full(len(codes), -np.inf)
        for code in range(len(steps) + 1):
            moved = codes.copy()
            moved[:, signal] = code
            now = score(moved)
            assert (now >= last - 1e-12).all()
            last = now


@given(
    st.lists(st.one_of(st.none(), st.floats(-5, 5, width=32), st.integers(-2, 2)), min_size=1, max_size=60),
    st.lists(st.floats(-6, 6, width=32), max_size=30), st.booleans(),
)  # fmt: skip
def test_a_code_is_the_number_of_steps_below_the_value(judged, others, falls):
    signals = Signals(falling=("x",)) if falls else Signals(rising=("x",))
    column = pl.Series("x", judged, dtype=pl.Float64)
    coder = Coder.fit(column.to_frame(), signals=signals)
    values = pl.concat([column, pl.Series("x", others, dtype=pl.Float64)])
    found = coder.codes(values.to_frame().to_arrow())[:, 0]
    turn = -1 if falls else 1
    for value, code in zip(values, found, strict=True):
        assert code == (MISSING if value is None else sum(step < turn * value for step in coder.steps[0]))
    known = column.drop_nulls().unique()
    assert len(coder.steps[0]) == max(0, len(known) - 1)


def test_many_values_have_at_most_250_steps_and_rare_words_are_missing():
    frame = pl.DataFrame(
        {"x": np.random.default_rng(0).normal(size=5_000), "w": ["a"] * 4_000 + ["b"] * 996 + ["c"] * 4}
    )
    coder = Coder.fit(frame, signals=Signals(rising=("x",), categories=("w",)))
    codes = coder.codes(frame.to_arrow())
    assert np.bincount(codes[:, 0]).max() < 3 * 5_000 / 249
    assert codes[:, 0].max() <= 249
    assert np.bincount(codes[:, 1], minlength=256)[[0, 1, MISSING]].tolist() == [4_000, 996, 4]


def test_calibration_is_monotone_and_isotonic_agrees_with_scikit_learn(world):
    from sklearn.isotonic import IsotonicRegression

    judged = world.fusion.judged
    logit, yes, weight = (judged[name].to_numpy() for name in ("logit", "yes", "weight"))
    knots = fusion._isotonic(logit, yes, weight)
    z = np.linspace(-9, 9, 500)
    found = fusion._calibrated(knots, z)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(logit, yes, sample_weight=weight).predict(z)
    assert np.abs(found - theirs).max() < 1 / 3_000
    assert (np.diff(found) >= 0).all()
    assert ((found > 0) & (found < 1)).all()


# ---- pooling ---------------------------------------------------------------------------------------------------------


@given(dags(max_labels=10), st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.7]))
def test_pooled_offsets_and_their_deviations_are_those_of_the_dense_formula(graph, seed, spread):
    tree = Hierarchy.from_networkx(graph)
    rng = np.random.default_rng(seed)
    label = rng.choice(rng.choice(tree.num_labels, 4), 200)
    score, weight = rng.normal(size=200), rng.uniform(0.5, 1.5, 200)
    yes = rng.random(200) < 1 / (1 + np.exp(-(score + 0.8 * (label == label[0]))))
    own = np.zeros((tree.num_labels, tree.num_labels))
    for i in range(tree.num_labels):
        own[i, [i, *tree.ancestor_ids(i)]] = 1
    x = np.column_stack([score, np.ones(200), own[label]])
    prior = np.array([1e-3, 1e-3, *[spread**-2] * tree.num_labels])
    centre = np.array([1.0, *[0.0] * (tree.num_labels + 1)])

    def loss(theta):
        z = x @ theta
        slope = x.T @ (weight * (1 / (1 + np.exp(-z)) - yes)) + prior * (theta - centre)
        return (weight * (np.logaddexp(0, z) - yes * z)).sum() + (prior * (theta - centre) ** 2).sum() / 2, slope

    best = minimize(loss, centre, method="BFGS", jac=True, options={"gtol": 1e-9}).x
    p = 1 / (1 + np.exp(-(x @ best)))
    covariance = np.linalg.inv(x.T @ (x * (weight * p * (1 - p))[:, None]) + np.diag(prior))
    about = np.column_stack([np.zeros(tree.num_labels), np.ones(tree.num_labels), own])
    found = pooling.fit(score, yes, label, weight, tree=tree, spread=spread)
    assert [found.slope, found.level] == pytest.approx(best[:2], abs=1e-4)
    assert found.offset == pytest.approx(own @ best[2:], abs=1e-4)
    assert found.deviation**2 == pytest.approx(((about @ covariance) * about).sum(axis=1), rel=1e-4)


def test_a_label_never_judged_has_what_its_ancestors_have_and_is_less_sure():
    tree = Hierarchy.from_edges(
        [("r", "good"), ("r", "bad"), *((p, f"{p}{i}") for p in ("good", "bad") for i in range(4))]
    )
    judged = [tree.index(f"{p}{i}") for p in ("good", "bad") for i in range(3) for _ in range(60)]
    yes = np.array([(k % 60) < (50 if k < 180 else 10) for k in range(360)])
    found = pooling.fit(np.zeros(360), yes, np.array(judged), np.ones(360), tree=tree, spread=0.6)
    offset = {label: found.offset[tree.index(label)] for label in ("good", "good0", "good3", "bad0", "bad3")}
    assert offset["good3"] == offset["good"] > 0.3 > -0.3 > offset["bad3"]
    assert offset["good0"] > offset["good3"]
    deviation = found.deviation
    assert deviation[tree.index("good3")] > deviation[tree.index("good0")]
    none = pooling.fit(np.zeros(360), yes, np.array(judged), np.ones(360), tree=tree, spread=0.0)
    assert not none.offset.any()
    assert not none.deviation.any()


def test_labels_borrow_only_as_far_as_it_lowers_the_log_loss(world):
    losses = world.fusion.facts["log_loss_by_spread"]
    assert world.fusion.facts["spread"] > 0
    assert losses[f"{world.fusion.facts['spread']:g}"] == min(losses.values()) < losses["0"] - 0.005


# ---- thresholds ------------------------------------------------------------------------------------------------------


@st.composite
def sums(draw):
    """Pairs by label and step, with probabilities that rise with the step."""
    num, steps = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    counts = draw(st.lists(st.lists(st.integers(0, 9), min_size=steps, max_size=steps), min_size=num, max_size=num))
    p = np.sort(draw(st.lists(st.floats(0.01, 0.99), min_size=steps, max_size=steps)))
    return np.array(counts, np.int64), np.rint(p * choose._UNIT).astype(np.int64)


@given(sums(), st.floats(0.2, 0.95), st.integers(0, 12))
def test_thresholds_are_those_of_trying_every_step(drawn, target, floor):
    count, unit = drawn
    num, steps = count.shape
    above = count[:, ::-1].cumsum(axis=1)[:, ::-1]
    total = (count * unit)[:, ::-1].cumsum(axis=1)[:, ::-1]
    judged = pl.DataFrame({"logit": [0.0], "weight": [1.0], "probability": [0.5]})
    model = SimpleNamespace(judged=judged, pooled=SimpleNamespace(deviation=np.zeros(num)))

    def of_step(step):
        """Probabilities kept with this threshold, the floor's too."""
        out = []
        for label in range(num):
            own = np.repeat(unit, count[label])[::-1]
            out += own[: max(int(above[label, step]), min(floor, len(own)))].tolist()
        return out

    reaching = [s for s in range(steps) if above[:, s].any() and np.mean(of_step(s)) >= target * choose._UNIT]
    try:
        plan = choose._planned(above, total, model, target=target, per="all", floor=floor, confidence=None)
        assert plan.threshold.tolist() == [reaching[0]] * num
        kept_now = choose._at(above, plan.threshold) + plan.quota
        assert kept_now.sum() == len(of_step(reaching[0]))
    except BadInput:
        assert not reaching
    one = [
        [s for s in range(steps) if above[i, s] and total[i, s] >= target * choose._UNIT * above[i, s]]
        for i in range(num)
    ]
    try:
        plan = choose._planned(above, total, model, target=target, per="label", floor=floor, confidence=None)
        assert plan.threshold.tolist() == [s[0] if s else steps for s in one]
        assert (choose._at(above, plan.threshold) + plan.quota >= np.minimum(floor, above[:, 0])).all()
    except BadInput:
        assert not any(one)


def test_a_target_out_of_reach_says_what_can_be_reached(world, tmp_path):
    for more, sentence in (
        ({}, r"no threshold reaches the target of 0\.9999999: the best reaches 0\.99"),
        ({"per": "label"}, r"no label reaches the target of 0\.9999999: the best expected precision is 0\.99"),
        ({"floor": 100_000}, r"with this floor: the best reaches 0\.\d+\. Lower the target, the floor, or"),
    ):
        with pytest.raises(BadInput, match=sentence):
            select(world.candidates, world.fusion, target=0.9999999, out=tmp_path / "s", **more)
        assert not (tmp_path / "s").exists()


def test_a_selection_made_otherwise_is_not_overwritten(world, tmp_path):
    first = select(world.candidates, world.fusion, target=0.8, out=tmp_path / "s")
    assert select(world.candidates, world.fusion, target=0.8, out=tmp_path / "s").sidecar == first.sidecar
    assert Selection.open(tmp_path / "s").sidecar == first.sidecar
    with pytest.raises(OutputExists, match=r"target: there 0\.8, now 0\.7"):
        select(world.candidates, world.fusion, target=0.7, out=tmp_path / "s")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"target": 1.0}, r"`target` must be in \(0, 1\). Got 1.0"),
        ({"floor": -1}, "`floor` must be at least 0. Got -1"),
        ({"confidence": 0.5}, r"`confidence` must be in \(0.5, 1\). Got 0.5"),
        ({"per": "lable"}, "Did you mean 'label'?"),
    ],
)
def test_an_argument_out_of_range_is_named(world, tmp_path, more, sentence):
    with pytest.raises(BadArgument, match=sentence):
        select(world.candidates, world.fusion, **{"target": 0.8, "out": tmp_path / "s", **more})


# ---- bad input -------------------------------------------------------------------------------------------------------


def small(tmp_path, **columns):
    pairs = pl.DataFrame({
        "image": np.arange(60), "label": ["cat", "dog", "bus"] * 20, "score": np.linspace(0, 1, 60),
        "source": ["web", None, "page"] * 20, **columns,
    })  # fmt: skip
    pairs.write_parquet(tmp_path / "p.parquet")
    return pairs.with_columns(correct=pl.int_range(60) % 4 > 1)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The pairs of `small` with the planted truth, and a model of them."""
    folder = tmp_path_factory.mktemp("small")
    pairs = small(folder)
    return pairs, fit(opened(folder), answered(pairs), seed=0)


def opened(tmp_path, signals=None):
    return Candidates.open(
        tmp_path / "p.parquet", signals=signals or Signals(rising=("score",), categories=("source",))
    )


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (
            lambda j: j.with_columns(pl.col("image") + 1000),
            BadInput,
            "60 of 60 judged pairs are not among the candidates",
        ),
        (
            lambda j: pl.concat([j, j[:1].with_columns(answer=pl.lit("yes"))]),
            BadInput,
            "two answers for image 0 with 'cat'",
        ),
        (
            lambda j: j.with_columns(answer=pl.lit("unsure")),
            BadInput,
            r"0 pairs answered 'yes' \(60 unsure\), at least 10",
        ),
        (lambda j: j.with_columns(answer=pl.lit("yes")), BadInput, "0 pairs answered 'no'"),
        (
            lambda j: j.with_columns(answer=pl.lit("maybe")),
            BadInput,
            "'maybe' for image 0 with 'cat', expected yes, no or",
        ),
        (lambda j: j.drop("answer"), BadInput, "have no column 'answer'"),
        (lambda j: j.with_columns(weight=0.0), BadInput, "the weight 0.0, expected a positive number"),
        (lambda j: j.with_columns(weight=float("nan")), BadInput, "the weight nan"),
        (lambda j: j.with_columns(weight=pl.lit("much")), BadInput, "is no number"),
        (lambda j: j.with_columns(label=pl.lit(None, pl.String)), BadInput, "empty cells"),
        (lambda j: j.with_columns(label=pl.lit("catt")), UnknownName, "Did you mean 'cat'"),
        (
            lambda j: j.with_columns(image=pl.format("i{}", "image")),
            BadInput,
            "judged images are String, candidates' Int64",
        ),
    ],
)
def test_judgements_that_cannot_be_used_are_named(tmp_path, change, error, sentence):
    judged = answered(small(tmp_path))
    with pytest.raises(error, match=sentence):
        fit(opened(tmp_path), change(judged), seed=0)


def test_unsure_and_repeated_answers_are_counted_and_a_label_may_have_one_image(tmp_path):
    pairs = small(tmp_path, label=["cat"] * 59 + ["once"])
    judged = answered(pairs)
    judged = pl.concat([judged, judged[:5]]).with_columns(
        answer=pl.when(pl.col("image") == 7).then(pl.lit("unsure")).otherwise("answer")
    )
    judged.write_csv(tmp_path / "j.csv")
    found = fit(opened(tmp_path), tmp_path / "j.csv", seed=0)
    assert (found.facts["num_judged"], found.facts["num_unsure"]) == (59, 1)
    made = select(opened(tmp_path), found, target=0.3, per="label", floor=1, out=tmp_path / "s")
    assert made.by_label.filter(pl.col("label") == "once")["num_kept"].item() == 1


def test_a_signal_may_be_whole_numbers_or_true_and_false(tmp_path):
    rows = pl.int_range(60, eager=True)
    pairs = small(tmp_path, score=rows % 4 > 1, rank=(3 - rows % 4).cast(pl.UInt8))
    candidates = opened(tmp_path, Signals(rising=("score",), falling=("rank",)))
    made = select(candidates, fit(candidates, answered(pairs), seed=0), target=0.7, out=tmp_path / "s")
    assert set(pl.read_parquet(made.files)["image"]) == set(pairs.filter("correct")["image"])


def test_equal_weights_say_nothing_and_heavy_ones_do(fitted, tmp_path):
    small(tmp_path)
    pairs, plain = fitted
    same = fit(opened(tmp_path), answered(pairs).with_columns(weight=7.5), seed=0)
    heavy = fit(
        opened(tmp_path), answered(pairs).with_columns(weight=pl.when(pl.col("answer") == "yes").then(5.0).otherwise(1.0)), seed=0
    )  # fmt: skip
    assert same.probability(pairs) == pytest.approx(plain.probability(pairs), abs=1e-9)
    assert heavy.probability(pairs).mean() > plain.probability(pairs).mean() + 0.1


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("also_null", [True, False])
def test_a_number_that_is_none_is_refused_wherever_it_is(fitted, tmp_path, odd, also_null):
    pairs, found = fitted
    values = [odd, None if also_null else 0.0, *pairs["score"][2:]]
    small(tmp_path, score=pl.Series(values, strict=False))
    with pytest.raises(BadInput, match=r"column 'score' holds a NaN or infinite number\. Leave it empty"):
        select(opened(tmp_path), found, target=0.3, out=tmp_path / "s")
    with pytest.raises(BadInput, match="column 'score' holds"):
        fit(opened(tmp_path), answered(pairs), seed=0)


def test_candidates_with_other_labels_or_none_are_refused(fitted, tmp_path):
    pairs, found = fitted
    for label, error, sentence in (
        ("dgo", UnknownName, "Did you mean 'dog'"),
        (None, BadInput, "1 candidate pairs have no label"),
    ):
        small(tmp_path, label=[label, *pairs["label"][1:]])
        with pytest.raises(error, match=sentence):
            select(opened(tmp_path), found, target=0.3, out=tmp_path / "s")
    small(tmp_path, image=pl.Series([None, *range(1, 60)]))
    with pytest.raises(BadInput, match="1 candidate pairs have no image"):
        select(opened(tmp_path), found, target=0.3, out=tmp_path / "s")
    twice = pl.concat([pairs, pairs[:1]]).drop("correct")
    twice.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(BadInput, match="image 0 with 'cat' is among the candidates twice"):
        fit(opened(tmp_path), answered(pairs), seed=0)


@pytest.mark.parametrize(
    ("signals", "error", "sentence"),
    [
        (Signals(), BadArgument, "needs a signal"),
        (Signals(rising=("score",), falling=("score",)), BadArgument, "'score' is named twice"),
        (Signals(rising=("scoer",)), UnknownName, "Did you mean 'score'"),
        (Signals(rising=("source",)), BadInput, "'source' of .* is String, expected numbers"),
        (Signals(categories=("score",)), BadInput, "'score' of .* is Float64, expected text"),
    ],
)
def test_columns_that_cannot_be_signals_are_named(tmp_path, signals, error, sentence):
    small(tmp_path)
    with pytest.raises(error, match=sentence):
        opened(tmp_path, signals)


def test_files_that_are_none_are_named(tmp_path):
    signals = Signals(rising=("score",))
    with pytest.raises(BadInput, match="no candidate pairs at"):
        Candidates.open(tmp_path / "nowhere.parquet", signals=signals)
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(BadInput, match="not readable Parquet"):
        Candidates.open(tmp_path / "x.parquet", signals=signals)
    pl.DataFrame({"image": [1], "label": ["a"], "score": [1]}).write_parquet(tmp_path / "x.parquet")
    small(tmp_path)
    with pytest.raises(BadInput, match=r"is Float64 in .* and Int64 in|is Int64 in .* and Float64 in"):
        Candidates.open(tmp_path / "*.parquet", signals=signals)
    small(tmp_path)[:0].write_parquet(tmp_path / "p.parquet")
    with pytest.raises(BadInput, match="holds no candidate pairs"):
        opened(tmp_path)
    with pytest.raises(JftDataError, match="Give the judged pairs"):
        fit(Candidates.open(tmp_path / "x.parquet", signals=signals), tmp_path / "none.csv", seed=0)


def test_the_verb_selects_and_tells(world, tmp_path, capsys):
    judged = tmp_path / "judged.parquet"
    world.judged[:600].write_parquet(judged)
    signals = [part for name in SIGNALS.rising for part in ("--rising", name)]
    arguments = ["select", str(world.path), "--judged", str(judged), *signals, "--category", "source", "--hierarchy", "world",
                 "--target", "0.8", "--floor", "5", "--out", str(tmp_path / "s"), "--quiet"]  # fmt: skip
    assert run([*arguments, "--dry-run"]) == 0
    assert not (tmp_path / "s").exists()
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["expected_precision"] == pytest.approx(0.8, abs=0.005)
    assert told["fusion"]["num_judged"] == 600
    assert run([*arguments, "--plot", str(tmp_path / "c.svg"), "--tail-plot", str(tmp_path / "t.svg")]) == 0
    assert "share judged to hold" in (tmp_path / "c.svg").read_text()
    assert "candidates" in (tmp_path / "t.svg").read_text()
    text = capsys.readouterr().out
    assert "labels with the lowest expected recall" in text
