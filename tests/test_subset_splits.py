"""Splits: disjoint, complete, near their shares, whole groups, and labels spread no worse than scikit-learn spreads them."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from jftdata import dedup, subset, world
from jftdata.catalog import label_rows
from jftdata.errors import BadArgument, BadInput, UnknownOption

NUM = 4000
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
SEEDS = st.integers(0, 2**31)
WAYS = st.sampled_from([None, "size", "label"])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Images of one to four labels, without pixels."""
    return world.jft300m(NUM, out=tmp_path_factory.mktemp("splits") / "c")


@pytest.fixture(scope="module")
def groups(catalog):
    """A third of the images in groups of two to nine, linked by pairs."""
    ids = catalog.images()
    rng = np.random.default_rng(0)
    left = rng.permutation(ids)[: NUM // 3].tolist()
    pairs = []
    while len(left) > 9:
        own, left = left[: (size := int(rng.integers(2, 10)))], left[size:]
        pairs += list(itertools.pairwise(own))
    return dedup.group_pairs(pl.DataFrame(pairs, schema=["image_a", "image_b"], orient="row"))


def labels_of(catalog):
    """(n, labels) bool of the labels that are given at all."""
    ((ids, start, index),) = label_rows(catalog)
    table = np.zeros((len(ids), int(index.max()) + 1), np.bool_)
    table[np.repeat(np.arange(len(ids)), np.diff(start)), index] = True
    return table[:, table.any(axis=0)]


def uneven(table, parts, shares):
    """Mean distance of the labels' counts in the parts to their shares, in images."""
    every = table.sum(axis=0)
    return float(
        np.mean([np.abs(table[rows].sum(axis=0) - share * every) for rows, share in zip(parts, shares, strict=True)])
    )


def test_parts_are_disjoint_complete_and_near_their_shares(catalog, groups):
    for own in (None, groups):
        for seed in range(4):
            parts = subset.split(catalog, shares=SHARES, seed=seed, groups=own)
            assert list(parts) == list(SHARES)
            assert np.array_equal(np.sort(np.concatenate([p.images for p in parts.values()])), catalog.images())
            for name, share in SHARES.items():
                sizes = np.ones(NUM) if own is None else groups.group_by("group").len()["len"].to_numpy()
                spread = np.sqrt(share * (1 - share) * (NUM + (0 if own is None else (sizes**2).sum())))
                assert abs(len(parts[name]) - share * NUM) < 4 * spread


@given(SEEDS, WAYS, st.booleans())
@settings(max_examples=12)
def test_no_group_straddles(catalog, groups, seed, stratify, folded):
    if folded:
        parts = {
            str(i): val
            for i, (_, val) in enumerate(subset.k_fold(catalog, k=3, seed=seed, groups=groups, stratify=stratify))
        }
    else:
        parts = subset.split(catalog, shares=SHARES, seed=seed, groups=groups, stratify=stratify)
    owner = {i: name for name, part in parts.items() for i in part.images.tolist()}
    assert len(owner) == NUM
    held = groups.with_columns(part=pl.col("image").replace_strict(owner, return_dtype=pl.String))
    assert held.group_by("group").agg(pl.col("part").n_unique())["part"].max() == 1
    pairs = groups.join(groups, on="group").filter(pl.col("image") < pl.col("image_right"))
    pairs = pairs.select(image_a="image", image_b="image_right")
    assert subset.straddling(parts, pairs)["num_pairs"].sum() == 0


def test_without_groups_many_pairs_straddle_and_are_counted(catalog, groups):
    parts = subset.split(catalog, shares=SHARES, seed=0)
    pairs = groups.join(groups, on="group").filter(pl.col("image") < pl.col("image_right"))
    pairs = pairs.select(image_a="image", image_b="image_right").sample(fraction=1, shuffle=True, seed=1)
    owner = {i: name for name, part in parts.items() for i in part.images.tolist()}
    expected = {("train", "val"): 0, ("train", "test"): 0, ("val", "test"): 0}
    for a, b in pairs.rows():
        for key in ((owner[a], owner[b]), (owner[b], owner[a])):
            if key in expected:
                expected[key] += 1
    found = subset.straddling(parts, pairs)
    assert found.rows() == [(*key, count) for key, count in expected.items()]
    assert found["num_pairs"].min() > 0
    two = {name: parts[name] for name in ("test", "val")}  # pairs of others do not count
    assert subset.straddling(two, pairs)["num_pairs"].to_list() == [expected["val", "test"]]


@given(SEEDS)
@settings(max_examples=8)
def test_each_image_is_decided_on_alone(catalog, groups, seed):
    some = subset.fraction(catalog, share=0.5, seed=seed)
    for own in (None, groups):
        small, large = (subset.split(s, shares=SHARES, seed=seed, groups=own) for s in (some, catalog))
        for name in SHARES:
            assert small[name].images.tolist() == (large[name] & some).images.tolist()
    again = subset.split(catalog, shares=dict(reversed(SHARES.items())), seed=seed)
    assert all(
        again[name].fingerprint == part.fingerprint
        for name, part in subset.split(catalog, shares=SHARES, seed=seed).items()
    )


@given(SEEDS, WAYS)
@settings(max_examples=8)
def test_recipes_make_the_parts_again(catalog, groups, seed, stratify):
    some = subset.sample(catalog, size=1000, seed=seed)
    for name, made in subset.split(some, shares=SHARES, seed=seed, groups=groups, stratify=stratify).items():
        alone = subset.part(some, part=name, shares=SHARES, seed=seed, groups=groups, stratify=stratify)
        assert subset.make(made.recipe, catalog).fingerprint == alone.fingerprint == made.fingerprint
        assert alone.recipe.key == made.recipe.key
    for train, val in subset.k_fold(some, k=4, seed=seed, groups=groups, stratify=stratify):
        assert (some - val).fingerprint == train.fingerprint == subset.make(train.recipe, catalog).fingerprint
        assert subset.make(val.recipe, catalog).fingerprint == val.fingerprint


def test_folds_cover_all_once_and_do_not_follow_a_split_of_the_same_seed(catalog):
    train = subset.split(catalog, shares=SHARES, seed=0)["train"]
    folds = [val for _, val in subset.k_fold(train, k=12, seed=0)]
    assert np.array_equal(np.sort(np.concatenate([val.images for val in folds])), train.images)
    assert all(abs(len(val) - len(train) / 12) < 4 * np.sqrt(len(train) / 12) for val in folds)


def test_sizes_are_exact_when_asked_for(catalog, groups):
    parts = subset.split(catalog, shares={"a": 0.501, "b": 0.25, "c": 0.249}, seed=3, stratify="size")
    assert [len(p) for p in parts.values()] == [2004, 1000, 996]
    assert not np.array_equal(parts["a"].images, catalog.images()[:2004])
    grouped = subset.split(catalog, shares=SHARES, seed=3, stratify="size", groups=groups)
    assert [len(p) for p in grouped.values()] == [3200, 400, 400]


@pytest.mark.filterwarnings("ignore:The least populated class")  # most labels are rare
@pytest.mark.parametrize("grouped", [False, True])
def test_labels_are_spread_better_than_by_chance_and_not_worse_than_by_scikit_learn(catalog, groups, grouped):
    ids, table = catalog.images(), labels_of(catalog)
    unit = np.array(ids)
    if grouped:
        unit[np.searchsorted(ids, groups["image"].to_numpy())] = groups["group"].to_numpy()

    def rows(folds):
        return [np.searchsorted(ids, val.images) for _, val in folds]

    own = groups if grouped else None
    chance = uneven(table, rows(subset.k_fold(catalog, k=5, seed=0, groups=own)), [0.2] * 5)
    ours = rows(subset.k_fold(catalog, k=5, seed=0, groups=own, stratify="label"))
    rarest = (
        table.shape[1] - 1 - (table / table.sum(axis=0))[:, ::-1].argmax(axis=1)
    )  # one label an image, which is all it takes
    theirs = [val for _, val in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(ids, rarest, unit)]
    assert uneven(table, ours, [0.2] * 5) < 0.9 * chance
    assert uneven(table, ours, [0.2] * 5) <= uneven(table, theirs, [0.2] * 5)
    assert max(abs(len(val) - NUM / 5) for val in ours) <= 10


def test_one_of_each_group_stays(photo_catalog):
    ids = photo_catalog.images()
    pairs = pl.DataFrame({"image_a": ids[[0, 1, 5]], "image_b": ids[[1, 2, 6]]})
    groups = dedup.group_pairs(pairs)
    made = subset.one_per_group(photo_catalog, groups=groups)
    gone = dedup.extra_copies(groups, photo_catalog).to_list()
    assert sorted(set(ids.tolist()) - set(made.images.tolist())) == gone
    assert len(gone) == 3
    assert subset.make(made.recipe, photo_catalog).fingerprint == made.fingerprint
    kept = made.images[np.isin(made.images, ids[[0, 1, 2]])][0]
    rest = subset.without(photo_catalog, images=[kept])  # the copy that would have stayed is not there: another does
    again = subset.one_per_group(rest, groups=groups)
    assert np.isin(ids[[0, 1, 2]], again.images).sum() == 1
    assert kept not in again


def test_why_an_image_is_in_a_part(catalog, groups):
    image = int(groups.filter(pl.col("image") != pl.col("group"))["image"][0])
    unit = groups.filter(pl.col("image") == image)["group"][0]
    parts = subset.split(catalog, shares=SHARES, seed=0, groups=groups)
    name = next(name for name, part in parts.items() if image in part)
    reason = subset.explain(parts["train"], image)[-1]
    assert (reason.took, reason.why) == (name == "train", f"it is in {name!r}, with the group of image {unit}")


def test_arguments_that_cannot_be(catalog, groups):
    with pytest.raises(BadArgument, match=r"add up to 1\. Got"):
        subset.split(catalog, shares={"a": 0.5, "b": 0.4}, seed=0)
    with pytest.raises(BadArgument, match="above 0"):
        subset.split(catalog, shares={"a": 1.0, "b": 0.0}, seed=0)
    with pytest.raises(BadArgument, match="`k` must be at least 2"):
        subset.k_fold(catalog, k=1, seed=0)
    with pytest.raises(BadArgument, match="at most 127 parts"):
        subset.k_fold(catalog, k=128, seed=0)
    with pytest.raises(UnknownOption, match="Did you mean 'label'"):
        subset.split(catalog, shares=SHARES, seed=0, stratify="labels")
    with pytest.raises(UnknownOption, match="Did you mean 'train'"):
        subset.part(catalog, part="trian", shares=SHARES, seed=0)
    with pytest.raises(BadInput, match="is in groups twice"):
        subset.split(catalog, shares=SHARES, seed=0, groups=pl.concat([groups, groups]))
    with pytest.raises(BadInput, match="need the columns group, image"):
        subset.split(catalog, shares=SHARES, seed=0, groups=groups.drop("group"))
    ids = catalog.images()
    with pytest.raises(BadInput, match="1 images are in two parts"):
        subset.straddling({"a": ids[:3], "b": ids[2:]}, groups.select(image_a="image", image_b="group"))
    with pytest.raises(BadInput, match="need the columns image_a"):
        subset.straddling({"a": ids[:3]}, groups)
