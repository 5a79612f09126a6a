import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.hierarchy import Hierarchy
from jftdata.noise import linear
from tests.noise_cases import given_of
from tests.strategies import unit_vectors


def case(num=150, seed=0, labels=("a", "b", "c")):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(labels), num)
    x = unit_vectors(1, len(labels), 8)[y] + 0.4 * rng.normal(size=(num, 8))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return y, Embeddings.of(x, np.arange(num), embedder="e")


def test_softmax_probabilities_are_those_of_scikit_learn_fitted_on_the_other_folds():
    y, embeddings = case()
    given = given_of(Hierarchy.flat("abc"), [["abc"[i]] for i in y])
    found = linear.cross_validated(given, embeddings, num_folds=3)
    dense = found.value.reshape(len(y), 3)
    fold = linear._folds(given, 3, None, 0)
    x = embeddings.vectors.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    for i in range(3):
        train = fold != i
        model = LogisticRegression(C=1 / (linear.PENALTY * train.sum()), tol=1e-8, max_iter=1000)
        assert np.allclose(model.fit(x[train], y[train]).predict_proba(x[~train]), dense[~train], atol=2e-3)


def test_logistic_probabilities_take_what_lies_below_a_given_label_as_unknown():
    y, embeddings = case()
    tree = Hierarchy.from_edges([("top", "a"), ("top", "b")], labels=["c"])
    given = given_of(tree, [[["a", "b", "c"][i]] if k % 3 else [["top", "top", "c"][i]] for k, i in enumerate(y)])
    found = linear.cross_validated(given, embeddings, kind="logistic", num_folds=3)
    assert not found.exclusive
    fold = linear._folds(given, 3, None, 0)
    x = embeddings.vectors.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    third = np.arange(len(y)) % 3 == 0
    known = {"a": ~third | (y == 2), "top": np.ones(len(y), bool)}
    positive = {"a": (y == 0) & ~third, "top": y < 2}
    for name in known:
        p = found.value[found.index == tree.index(name)]
        for i in range(3):
            train = (fold != i) & known[name]
            model = LogisticRegression(C=1 / (linear.PENALTY * (fold != i).sum()), tol=1e-8, max_iter=1000)
            expected = model.fit(x[train], positive[name][train]).predict_proba(x[fold == i])[:, 1]
            assert np.allclose(expected, p[fold == i], atol=5e-3)


def test_an_image_is_not_judged_by_itself_or_its_copies():
    import polars as pl

    y, _ = case()
    given = given_of(Hierarchy.flat("abc"), [["abc"[i]] for i in y])
    groups = pl.DataFrame({"group": [3, 3, 3], "image": [3, 8, 77]})
    fold = linear._folds(given, 5, groups, 0)
    assert fold[3] == fold[8] == fold[77]
    assert len(set(linear._folds(given, 5, None, 0).tolist())) == 5


def test_only_the_given_and_the_most_probable_labels_are_kept():
    y, embeddings = case(labels="abcdef")
    given = given_of(Hierarchy.flat("abcdef"), [["abcdef"[i]] for i in y])
    whole = linear.cross_validated(given, embeddings)
    few = linear.cross_validated(given, embeddings, top_k=2)
    dense = whole.value.reshape(len(y), 6)
    for row in range(len(y)):
        kept = few.index[few.start[row] : few.start[row + 1]].tolist()
        assert set(kept) == {*np.argsort(-dense[row])[:2].tolist(), int(y[row])}


def test_what_lies_below_a_given_label_is_kept_in_a_softmax():
    y, embeddings = case(labels="abcd")
    tree = Hierarchy.from_edges([("top", "a"), ("top", "b")], labels=["c", "d"])
    given = given_of(tree, [["top"] if i % 3 == 0 else ["abcd"[k]] for i, k in enumerate(y)])
    few = linear.cross_validated(given, embeddings, top_k=1)
    wanted = {tree.index(x) for x in ("top", "a", "b")}
    for row in range(0, len(y), 3):
        assert wanted <= set(few.index[few.start[row] : few.start[row + 1]].tolist())


def test_rare_labels_are_not_modelled_and_bad_arguments_are_refused():
    y, embeddings = case()
    given = given_of(Hierarchy.flat("abcz"), [["z"]] + [["abc"[i]] for i in y[1:]])
    assert given.tree.index("z") not in linear.cross_validated(given, embeddings).index
    with pytest.raises(BadInput, match="0 labels are given to 500 images"):
        linear.cross_validated(given, embeddings, min_images=500)
    with pytest.raises(BadArgument, match=r"`num_folds` must be at least 2. Got 1"):
        linear.cross_validated(given, embeddings, num_folds=1)
    with pytest.raises(UnknownOption, match="softmax"):
        linear.cross_validated(given, embeddings, kind="softmx")
