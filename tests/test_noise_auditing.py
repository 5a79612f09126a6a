from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from jftdata import noise
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.hierarchy import Hierarchy
from jftdata.noise.given import of
from jftdata.noise.probabilities import Probabilities
from jftdata.world import labels as world
from jftdata.world.dice import Dice
from tests.noise_cases import DIMENSIONS, build, given_of
from tests.strategies import unit_vectors

LABELS = ("bus", "cat", "dog")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Three labels of 40 images, in each of which two belong to another."""
    plan = [(label, label) for label in LABELS for _ in range(38)]
    plan += [(label, other) for label in LABELS for other in LABELS if other != label]
    return build(tmp_path_factory.mktemp("planted"), plan)


@pytest.mark.parametrize(
    "signals", [None, ["centroids"], ["neighbours"], ["probabilities"], ["centroids", "probabilities"]], ids=str
)
def test_planted_wrong_labels_come_out_on_top(planted, signals):
    catalog, embeddings, wrong = planted
    table = noise.audit(catalog, embeddings, signals=signals)
    assert table.schema == noise.AUDIT
    assert len(table) == 120
    assert set(table["image"][: len(wrong)]) == wrong
    assert table["wrong"].is_between(0, 1).all()


def test_the_other_label_named_is_the_true_one(planted):
    catalog, embeddings, wrong = planted
    table = noise.audit(catalog, embeddings).head(len(wrong))
    named = set(table.select("label", "other_label").iter_rows())
    assert named == {(a, b) for a in LABELS for b in LABELS if a != b}


def test_signals_that_are_not_used_are_null(planted):
    catalog, embeddings, _ = planted
    table = noise.audit(catalog, embeddings, signals=["neighbours"])
    assert table["agreement"].null_count() == 0
    for column in ("confidence", "distance", "bin", "near_label", "near_distance"):
        assert table[column].null_count() == len(table)


def test_bins_are_equal_shares_of_each_label_by_distance(planted):
    catalog, embeddings, _ = planted
    table = noise.audit(catalog, embeddings, signals=["centroids"])
    for part in table.partition_by("label"):
        sizes = np.bincount(part["bin"], minlength=6)
        assert len(sizes) == 6
        assert sizes.max() - sizes.min() <= 1
        assert part.sort("distance")["bin"].is_sorted()


def test_a_less_specific_label_is_not_called_wrong(tmp_path):
    plan = [("animal", "cat")] * 10 + [("cat", "cat")] * 10 + [("bus", "bus")] * 10 + [("cat", "bus")] * 2
    catalog, embeddings, _ = build(tmp_path, plan, hierarchy=Hierarchy.load("toy"))
    for signals in (["centroids"], ["neighbours"], None):
        table = noise.audit(catalog, embeddings, signals=signals)
        assert "animal" not in table.filter(pl.col("verdict") == "wrong")["label"]
        assert table["other_label"][:2].to_list() == ["bus", "bus"]
        assert table["label"][:2].to_list() == ["cat", "cat"]


def test_what_nothing_is_known_of_is_counted_as_not_scored(tmp_path):
    plan = [("cat", "cat")] * 6 + [("dog", "dog")] * 6 + [("bus", "bus")]
    catalog, embeddings, _ = build(tmp_path, plan)
    table = noise.audit(catalog, embeddings, signals=["probabilities"])
    assert table.filter(pl.col("verdict") == "not scored")["label"].to_list() == ["bus"]
    assert table.tail(1)["wrong"].to_list() == [None]
    alone = noise.audit(catalog, embeddings).filter(pl.col("label") == "bus")
    assert alone["verdict"].to_list() != ["not scored"]  # its neighbours speak of it
    with pytest.raises(BadInput, match="no label is given to 7 images"):
        noise.audit(catalog, embeddings, min_images=7)


def test_copies_do_not_vote_for_each_other(tmp_path):
    plan = [("cat", "cat")] * 8 + [("dog", "dog")] * 8
    catalog, embeddings, _ = build(tmp_path, plan)
    given = noise.read(catalog)
    image = int(given.images[0])
    twin = int(given.images[np.argsort(-embeddings.vectors @ embeddings.vectors[0])[1]])
    groups = pl.DataFrame({"group": [min(image, twin)] * 2, "image": sorted([image, twin])})
    asked = {"signals": ["neighbours"], "num_neighbours": 1}
    free = noise.audit(catalog, embeddings, **asked).filter(pl.col("image") == image)
    tied = noise.audit(catalog, embeddings, **asked, groups=groups).filter(pl.col("image") == image)
    assert free["agreement"].to_list() == [1.0]
    assert tied["verdict"].to_list() == ["not scored"]


@settings(max_examples=15)
@drawn(st.integers(0, 2**31), st.integers(2, 5))
def test_scores_do_not_depend_on_the_order_of_images_or_of_probabilities(seed, num_labels):
    rng = np.random.default_rng(seed)
    tree = Hierarchy.flat([f"l{i}" for i in range(num_labels)])
    n = 40
    images = rng.permutation(1000)[:n].astype(np.int64)
    index = rng.integers(0, num_labels, n).astype(np.int32)
    p = rng.dirichlet(np.ones(num_labels), n)
    x = unit_vectors(seed % 1000, n, 6)
    rows = [(int(i), tree.labels[j], float(p[a, j])) for a, i in enumerate(images) for j in range(num_labels)]

    def run(order):
        given = of(tree, images[order], np.ones(n, np.int64), index[order])
        frame = pl.DataFrame([rows[i] for i in rng.permutation(len(rows))], schema=noise.PROBABILITIES, orient="row")
        embeddings = Embeddings.of(x[order], images[order], embedder="e")
        found = Probabilities.of(frame, tree)
        return noise.audit(given, embeddings, signals=["neighbours", "probabilities"], probabilities=found)

    assert run(np.arange(n)).equals(run(rng.permutation(n)))


@settings(max_examples=15)
@drawn(st.integers(0, 2**31))
def test_renaming_labels_renames_what_is_found_and_changes_no_score(seed):
    rng = np.random.default_rng(seed)
    n, num = 60, 4
    p = rng.dirichlet(np.full(num, 0.5), n)
    index = rng.integers(0, num, n)
    names = [f"l{i}" for i in range(num)]
    turn = rng.permutation(num)

    def run(name_of):
        tree = Hierarchy.flat(names)
        given = of(
            tree, np.arange(n), np.ones(n, np.int64), np.array([tree.index(name_of[i]) for i in index], np.int32)
        )
        rows = [(i, name_of[j], p[i, j]) for i in range(n) for j in range(num)]
        found = Probabilities.of(pl.DataFrame(rows, schema=noise.PROBABILITIES, orient="row"), tree)
        return noise.audit(given, probabilities=found).sort("image")

    plain, renamed = run(names), run([names[i] for i in turn])
    to = dict(zip(names, [names[i] for i in turn], strict=True))
    assert np.allclose(plain["wrong"], renamed["wrong"], atol=1e-9)
    assert [to[x] for x in plain["label"]] == renamed["label"].to_list()
    assert [to[x] for x in plain["other_label"]] == renamed["other_label"].to_list()


def test_scores_do_not_depend_on_threads(planted):
    import torch

    catalog, embeddings, _ = planted
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(noise.audit(catalog, embeddings).sort("image"))
    finally:
        torch.set_num_threads(before)
    assert (
        found[0]
        .select("image", "label", "verdict", "other_label")
        .equals(found[1].select("image", "label", "verdict", "other_label"))
    )
    assert np.allclose(found[0]["wrong"], found[1]["wrong"], atol=1e-3)


def test_confusable_noise_is_found_better_than_by_the_model_alone():
    """Each label is given for the next one in a third of its images, and a model is unsure between the two."""
    rng = np.random.default_rng(0)
    n, num = 3000, 6
    true = rng.integers(0, num, n)
    wrong = rng.random(n) < 0.25
    index = np.where(wrong, (true + 1) % num, true)
    logits = rng.normal(0, 1, (n, num))
    logits[np.arange(n), true] += 3.5
    logits[np.arange(n), (true + 1) % num] += 2.0  # what it was taught to say
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tree = Hierarchy.flat([f"l{i}" for i in range(num)])
    rows = {"image": np.repeat(np.arange(n), num), "label": [tree.labels[j] for _ in range(n) for j in range(num)]}
    found = Probabilities.of(pl.DataFrame({**rows, "probability": p.ravel()}), tree)
    given = of(tree, np.arange(n), np.ones(n, np.int64), index.astype(np.int32))
    table = noise.audit(given, probabilities=found).sort("image")
    mine = average_precision_score(wrong, table["wrong"])
    assert mine > average_precision_score(wrong, -p[np.arange(n), index]) + 0.02
    pairs = noise.confusions(table, tree).head(num)
    assert {(a, b) for a, b in pairs.select("given", "shown").iter_rows()} == {
        (f"l{(j + 1) % num}", f"l{j}") for j in range(num)
    }


def test_confusable_pairs_of_the_world_are_recovered():
    """Labels that the world gives to 6,000 images of one or two objects, and vectors of what they show."""
    rng, tree = np.random.default_rng(0), world.hierarchy()
    leaves = list(world.label_frequencies())
    centres = dict(zip(leaves, unit_vectors(0, len(leaves), DIMENSIONS), strict=True))
    x, lists, planted = [], [], Counter()
    for image in range(6000):
        dice = Dice(image)
        true = [world.draw_leaf(dice) for _ in range(1 + image % 2)]
        given = world.give_labels(dice, true)
        lists.append([one.label for one in given])
        planted.update((one.label, true[0]) for one in given[:1] if one.error == "confusable")
        x.append(sum(w * centres[leaf] for w, leaf in zip((1, 0.4), true, strict=False)))
    noisy = np.array(x) + 0.1 * rng.normal(size=(len(x), DIMENSIONS))
    vectors = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    embeddings = Embeddings.of(vectors, np.arange(len(x)), embedder="made up")
    often = {pair for pair, num in planted.items() if num >= 10}
    assert len(often) >= 15
    table = noise.audit(given_of(tree, lists), embeddings, signals=["neighbours", "probabilities"])
    pairs = noise.confusions(table, tree).select("given", "shown").rows()
    alike = world.confusables()
    assert len(often & set(pairs[: 2 * len(often)])) >= 0.8 * len(often)
    assert sum(one in alike.get(other, ()) for one, other in pairs[:20]) >= 14


def test_rows_cut_short_find_as_much_as_whole_ones():
    """A tenth of the images are given the label after their own; rows keep the five most probable labels and the given one."""
    rng = np.random.default_rng(0)
    n, num = 4000, 40
    true = rng.integers(0, num, n)
    wrong = rng.random(n) < 0.1
    index = np.where(wrong, (true + 1) % num, true)
    logits = rng.normal(0, 1.2, (n, num))
    logits[np.arange(n), true] += 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tree = Hierarchy.flat([f"l{i:02d}" for i in range(num)])
    given = of(tree, np.arange(n), np.ones(n, np.int64), index.astype(np.int32))
    found = []
    for top_k in (5, num):
        keep = np.argsort(np.argsort(-p, axis=1), axis=1) < top_k
        keep[np.arange(n), index] = True
        start = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
        rows = Probabilities(tree, np.arange(n), start, np.nonzero(keep)[1].astype(np.int32), p[keep].astype("f"), True)
        table = noise.audit(given, probabilities=rows).sort("image")
        found.append(average_precision_score(wrong, table["wrong"]))
    assert found[0] == pytest.approx(found[1], abs=0.03)


def test_a_catalog_image_without_a_vector_is_an_error(planted):
    catalog, embeddings, _ = planted
    with pytest.raises(BadInput, match=f"image {embeddings.images[-1]} .* no vector"):
        noise.audit(catalog, embeddings.select(embeddings.images[:-1]))


def test_arguments_without_sense_are_refused(planted):
    catalog, embeddings, _ = planted
    for name in ("num_centroids", "num_neighbours", "min_images"):
        with pytest.raises(BadArgument, match=f"`{name}` must be at least 1. Got 0"):
            noise.audit(catalog, embeddings, **{name: 0})
    with pytest.raises(UnknownOption, match="Did you mean 'centroids'"):
        noise.audit(catalog, embeddings, signals=["centroid"])
    with pytest.raises(BadArgument, match="'neighbours' needs embeddings"):
        noise.audit(catalog, signals=["neighbours"])
    with pytest.raises(BadArgument, match="'probabilities' needs embeddings"):
        noise.audit(catalog)
    found = noise.cross_validated(noise.read(catalog), embeddings)
    with pytest.raises(BadArgument, match="leaves them out"):
        noise.audit(catalog, embeddings, signals=["centroids"], probabilities=found)
