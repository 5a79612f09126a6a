"""Ranking against brute force from the definition in float64, and against scikit-learn."""

import pickle
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from jftdata import ragged
from jftdata.errors import BadArgument, BadInput
from jftdata.ranking import LABELS, Ranking, RankingResult, merge

Case = tuple[NDArray[np.int64], NDArray[np.float32], list[list[int]]]
"""Image ids, scores (n, L), true labels of each image."""
VALUES = (-np.inf, -2.0, -0.0, 0.0, 0.5, 1.0, 3.0)
"""Few, so that there are many ties."""


@st.composite
def cases(draw: st.DrawFn, *, single: bool = False) -> Case:
    num, num_labels = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    images = draw(st.lists(st.integers(0, 2**62), min_size=num, max_size=num, unique=True))
    row = st.lists(st.sampled_from(VALUES), min_size=num_labels, max_size=num_labels)
    scores = np.array([draw(row) for _ in range(num)], np.float32)
    sizes = (1, 1) if single else (0, num_labels)
    true = st.lists(st.integers(0, num_labels - 1), min_size=sizes[0], max_size=sizes[1], unique=True).map(sorted)
    return np.array(images), scores, [draw(true) for _ in range(num)]


def ranked(case: Case, *, k: int, rows: Sequence[int] | None = None) -> Ranking:
    images, scores, true = case
    rows = range(len(images)) if rows is None else rows
    ranking = Ranking(scores.shape[1], k=k)
    start, index = ragged.of_lists([true[row] for row in rows])
    ranking.add(images[list(rows)], scores[list(rows)], start=start, index=index)
    return ranking


def precision_sum(held: list[bool]) -> float:
    """Over the true entries of a ranked list: the share of true ones up to there."""
    return sum(sum(held[: at + 1]) / (at + 1) for at in range(len(held)) if held[at])


def brute(case: Case, k: int, weights: NDArray[np.float64]) -> tuple[dict[str, float | None], list[float | None]]:
    """All scores, and the AP of each label, as the definition reads."""
    images, scores, true = case
    num, num_labels = scores.shape
    best = [sorted(range(num_labels), key=lambda j, i=i: (-scores[i, j], j))[:k] for i in range(num)]  # type: ignore[misc]
    pairs = sorted((-float(scores[i, j]), int(images[i]), j, i) for i in range(num) for j in best[i])
    ap: list[float | None] = []
    for label in range(num_labels):
        positives = sum(label in t for t in true)
        held = [label in true[i] for _, _, j, i in pairs if j == label]
        ap.append(precision_sum(held) / positives if positives else None)
    used = [(a, w) for a, w in zip(ap, weights, strict=True) if a is not None]
    of_images = [precision_sum([j in t for j in b]) / len(t) for b, t in zip(best, true, strict=True) if t]
    # pairs of equal score are in image order, those of an image in label order
    all_held = [j in true[i] for _, _, j, i in pairs]
    total_weight = sum(w for _, w in used)
    return {
        f"mAP@{k}": sum(a for a, _ in used) / len(used) if used else None,
        f"weighted mAP@{k}": sum(a * w for a, w in used) / total_weight if total_weight else None,
        f"micro AP@{k}": precision_sum(all_held) / sum(map(len, true)) if used else None,
        f"image mAP@{k}": sum(of_images) / len(of_images) if of_images else None,
    }, ap


def check_close(found: dict[str, float | None], expected: dict[str, float | None]) -> None:
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


@given(cases(), st.integers(1, 9), st.data())
def test_all_scores_equal_brute_force_from_the_definition(case: Case, k: int, data: st.DataObject) -> None:
    num_labels = case[1].shape[1]
    weights = np.array([data.draw(st.sampled_from([0.0, 0.5, 3.0])) for _ in range(num_labels)])
    result = ranked(case, k=k).result(weights=weights)
    expected, ap = brute(case, k, weights)
    check_close(result.scores, expected)
    assert result.labels["ap"].to_list() == [None if a is None else pytest.approx(a, abs=1e-12) for a in ap]
    assert result.labels["num_positives"].to_list() == [sum(j in t for t in case[2]) for j in range(num_labels)]
    assert result.labels["num_kept"].sum() == len(case[0]) * min(k, num_labels)
    assert dict(result.labels.schema) == LABELS
    assert (result.num_images, result.num_labels) == (len(case[0]), num_labels - ap.count(None))


@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 6))
def test_with_all_labels_kept_and_no_ties_the_ap_of_a_label_is_scikit_learns(
    seed: int, num: int, num_labels: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(num * num_labels).reshape(num, num_labels).astype(np.float32)
    true = rng.random((num, num_labels)) < 0.4
    true[0] = True
    result = ranked((np.arange(num), scores, [np.flatnonzero(t).tolist() for t in true]), k=num_labels).result()
    expected = [average_precision_score(true[:, j], scores[:, j]) for j in range(num_labels)]
    np.testing.assert_allclose(result.labels["ap"].to_numpy(), expected, rtol=0, atol=1e-12)
    assert result.scores[f"mAP@{num_labels}"] == pytest.approx(np.mean(expected), abs=1e-12)
    micro = average_precision_score(true.ravel(), scores.ravel())
    assert result.scores[f"micro AP@{num_labels}"] == pytest.approx(micro, abs=1e-12)


@given(cases(single=True))
def test_top_1_and_top_5_are_scikit_learns_where_nothing_ties(case: Case) -> None:
    images, scores, true = case
    scores = np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1).astype(np.float32)
    found = ranked((images, scores, true), k=100).result().scores
    num_labels = scores.shape[1]
    for k in (1, 5):
        if num_labels > max(k, 2):
            target = [t[0] for t in true]
            assert found[f"top-{k}"] == pytest.approx(
                top_k_accuracy_score(target, scores, k=k, labels=range(num_labels))
            )
        elif num_labels <= k:
            assert found[f"top-{k}"] == 1.0


def same(a: RankingResult, b: RankingResult) -> bool:
    return a.scores == b.scores and a.labels.equals(b.labels) and a.num_images == b.num_images


@given(cases(), st.integers(1, 9), st.randoms(use_true_random=False))
def test_order_batches_merging_and_sparse_scores_change_no_bit(case: Case, k: int, random: Any) -> None:
    images, scores, true = case
    num, num_labels = scores.shape
    whole = ranked(case, k=k)
    rows = list(range(num))
    random.shuffle(rows)
    cuts = sorted(random.randrange(num + 1) for _ in range(3))
    parts = [ranked(case, k=k, rows=rows[a:b]) for a, b in pairwise([0, *cuts, num])]
    random.shuffle(parts)
    dealt = merge([pickle.loads(pickle.dumps(part)) for part in parts])
    assert same(dealt.result(), whole.result())
    assert dealt.intervals(seed=1, num_resamples=3) == whole.intervals(seed=1, num_resamples=3)
    sparse = Ranking(num_labels, k=k)
    for row in rows:
        # what is below the k best may be missing, in any order, with gaps
        order = sorted(range(num_labels), key=lambda j: (-scores[row, j], j))[: k + random.randrange(3)]
        labels = [*order, -1, -1]
        random.shuffle(labels)
        values = [[scores[row, j] if j >= 0 else np.nan for j in labels]]
        sparse.add(images[[row]], np.array(values), **truth([true[row]]), labels=np.array([labels]))
    assert same(sparse.result(), whole.result())


def truth(lists: list[list[int]]) -> dict[str, NDArray[Any]]:
    start, index = ragged.of_lists(lists)
    return {"start": start, "index": index}


@pytest.mark.parametrize("make", [
    lambda rng, x: x,
    lambda rng, x: np.sort(x, axis=1),
    lambda rng, x: -np.sort(-x, axis=1),
    lambda rng, x: np.round(x),
    lambda rng, x: np.zeros_like(x) * rng.choice([1.0, -1.0], x.shape),
], ids=["random", "ascending", "descending", "ties", "flat"])  # fmt: skip
@pytest.mark.parametrize("k", [1, 7, 100])
def test_the_labels_kept_of_long_rows_are_those_of_a_full_sort(make: Callable[..., Any], k: int) -> None:
    rng = np.random.default_rng(0)
    num, num_labels = 5, 3000
    scores = make(rng, rng.normal(size=(num, num_labels)).astype(np.float32))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    ranking = Ranking(num_labels, k=k)
    ranking.add(np.arange(num), scores, **truth([sorted(b.tolist()) for b in best]))
    labels = ranking.result().labels
    assert (
        labels["num_kept"].to_list()
        == labels["num_hits"].to_list()
        == np.bincount(best.ravel(), minlength=num_labels).tolist()
    )


def test_a_tensor_of_bfloat16_counts_as_its_values() -> None:
    scores = torch.randn(6, 9, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    true = [[0, 3], [1], [], [8], [2, 4, 5], [7]]
    a, b = Ranking(9, k=4), Ranking(9, k=4)
    a.add(np.arange(6), scores, **truth(true))
    b.add(np.arange(6), scores.detach().float().numpy(), **truth(true))
    assert same(a.result(), b.result())


def test_head_medium_and_tail_are_cut_as_everywhere_by_training_counts() -> None:
    scores = np.eye(5, dtype=np.float32) + np.arange(5, dtype=np.float32)[::-1, None] * [0, 0, 0, 0, 1]
    ranking = ranked((np.arange(5), scores, [[0], [1], [2], [3], [4]]), k=5)
    counts = np.array([101, 100, 20, 19, 0])
    result = ranking.result(train_counts=counts)
    ap = result.labels["ap"].to_numpy()
    assert ap.tolist() == [1, 1, 1, 1, 0.2]
    assert [result.scores[f"{part} mAP@5"] for part in ("head", "medium", "tail")] == [1.0, 1.0, 0.6]
    assert result.scores["weighted mAP@5"] == pytest.approx((ap * counts).sum() / counts.sum())
    assert ranking.result(train_counts=np.full(5, 50)).scores["tail mAP@5"] is None
    assert "weighted mAP@5" not in ranking.result().scores


def test_top_1_is_taken_among_the_classes_and_only_where_each_image_has_one() -> None:
    true = [[0, 1], [0, 2]]  # label 0 lies above both
    scores = np.array([[9, 5, 1], [9, 5, 1]], np.float32)
    ranking = ranked((np.arange(2), scores, true), k=3)
    assert "top-1" not in ranking.result().scores
    found = ranking.result(classes=np.array([1, 2])).scores
    assert (found["top-1"], found["top-5"]) == (0.5, 1.0)
    assert ranked((np.arange(2), scores, true), k=2).result(classes=np.array([1, 2])).scores["top-5"] == 0.5


def test_an_interval_is_about_as_wide_as_scores_of_other_images_spread() -> None:
    num, num_labels, k = 400, 6, 4

    def drawn(seed: int) -> Ranking:
        rng = np.random.default_rng(seed)
        true = rng.random((num, num_labels)) < 0.25
        scores = (rng.normal(size=(num, num_labels)) + 1.5 * true).astype(np.float32)
        return ranked((rng.integers(0, 2**62, num), scores, [np.flatnonzero(t).tolist() for t in true]), k=k)

    results = [drawn(seed).result().scores for seed in range(60)]
    for name, (low, high) in drawn(60).intervals(seed=0).items():
        spread = np.std([result[name] for result in results], ddof=1)
        assert 0.7 < (high - low) / (2 * 1.96 * spread) < 1.4, name


def test_intervals_depend_on_the_seed_alone_and_hold_the_scores() -> None:
    case = (
        np.arange(30),
        np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32),
        [[i % 4] for i in range(30)],
    )
    ranking = ranked(case, k=3)
    found = ranking.intervals(seed=0, num_resamples=20)
    assert found == ranking.intervals(seed=0, num_resamples=20) != ranking.intervals(seed=1, num_resamples=20)
    scores = ranking.result().scores
    assert found.keys() == scores.keys()
    assert all(low < scores[name] < high for name, (low, high) in found.items())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_nan_is_refused_and_its_image_named(sign: int, sparse: bool) -> None:
    scores = np.ones((3, 500), np.float32)
    scores[1, 400] = np.copysign(np.float32(np.nan), sign)
    labels = np.tile(np.arange(500), (3, 1)) if sparse else None
    with pytest.raises(BadInput, match="a score of image 71 is NaN"):
        Ranking(500, k=2).add([70, 71, 72], scores, **truth([[], [], []]), labels=labels)


@pytest.mark.parametrize(("change", "message"), [
    ({"scores": np.zeros((2, 3))}, r"2 images came with scores of shape \(2, 3\), expected \(2, 4\)"),
    ({"start": np.array([0, 1])}, "`start` must rise from 0 to 3 in 3 entries"),
    ({"start": np.array([0, 4, 3])}, "`start` must rise"),
    ({"index": np.array([1, 0, 3])}, "true labels of image 5 must be ascending"),
    ({"index": np.array([1, 1, 3])}, "true labels of image 5 must be ascending"),
    ({"index": np.array([0, 1, 4])}, r"true labels of image 6 .* in 0\.\.3\. Got 4"),
    ({"labels": np.array([[0, 1, 1, 2], [0, 1, 2, 3]])}, "scored labels of image 5"),
    ({"labels": np.array([[0, 1, 2, 3], [0, 1, 2, 4]])}, "scored labels of image 6"),
    ({"labels": np.zeros((2, 3))}, "came with scores of shape"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"scores": np.zeros((2, 4)), "start": np.array([0, 2, 3]), "index": np.array([0, 1, 3]), **change}
    with pytest.raises(BadInput, match=message):
        Ranking(4).add([5, 6], **arguments)


def test_a_result_needs_images_each_once_and_numbers_that_fit() -> None:
    with pytest.raises(BadInput, match="no image was added"):
        Ranking(2).result()
    case = (np.array([8, 9]), np.zeros((2, 2), np.float32), [[0], [1]])
    with pytest.raises(BadInput, match="image 9 was added twice"):
        merge([ranked(case, k=2), ranked(case, k=2, rows=[1])]).result()
    with pytest.raises(BadInput, match=r"\[\(2, 2\), \(2, 3\)\]"):
        merge([ranked(case, k=2), ranked(case, k=3)])
    for wrong in (np.ones(3), np.array([1.0, -1.0]), np.array([1.0, np.nan])):
        with pytest.raises(BadArgument, match="`weights` must be 2 finite numbers"):
            ranked(case, k=2).result(weights=wrong)
    with pytest.raises(BadArgument, match=r"`classes` must be in 0\.\.1\. Got 0 to 2"):
        ranked(case, k=2).result(classes=np.array([0, 2]))
    with pytest.raises(BadArgument, match="`num_resamples` must be at least 2"):
        ranked(case, k=2).intervals(seed=0, num_resamples=1)
    with pytest.raises(BadArgument, match="`k` must be at least 1"):
        Ranking(2, k=0)
