"""OKS and its NMS against pycocotools and a plain loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from jftdata.errors import BadArgument
from jftdata.transfer.oks import SIGMAS, oks, oks_nms, sigmas_of


def test_sigmas_are_coco_s() -> None:
    np.testing.assert_allclose(SIGMAS, Params("keypoints").kpt_oks_sigmas, rtol=0, atol=1e-15)
    assert sigmas_of(17) is SIGMAS
    with pytest.raises(BadArgument, match="there are 3 keypoints, and COCO has sigmas for 17 only"):
        sigmas_of(3)
    for wrong in ([0.1, 0.1], [0.1, 0.1, 0.0], [0.1, 0.1, np.nan]):
        with pytest.raises(BadArgument, match="`sigmas` must be 3 numbers above 0"):
            sigmas_of(3, wrong)


def similarity(a: Any, b: Any, area: float, sigmas: Any) -> float:
    """As the definition reads."""
    terms = [
        np.exp(-((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) / (2 * area * (2 * s) ** 2))
        for p, q, s in zip(a, b, sigmas, strict=True)
    ]
    return float(np.mean(terms))


@given(st.integers(0, 2**32), st.integers(0, 8), st.sampled_from([1, 3, 17]), st.sampled_from([0.3, 0.5, 0.9]))
def test_nms_keeps_what_a_plain_loop_keeps(seed: int, num: int, points: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    sigmas = np.linspace(0.05, 0.1, points)
    poses = rng.random((num, points, 3)) * 4 + rng.integers(0, 3, (num, 1, 1)) * 10
    score, area = rng.integers(0, 4, num) / 4, 50 + 100 * rng.random(num)
    kept: list[int] = []
    for i in sorted(range(num), key=lambda i: (-score[i], i)):
        if all(similarity(poses[i], poses[j], (area[i] + area[j]) / 2, sigmas) <= threshold for j in kept):
            kept.append(i)
    assert oks_nms(poses, score, area, threshold=threshold, sigmas=sigmas).tolist() == kept
    if num > 1:
        squared = ((poses[:1, :, :2] - poses[1:2, :, :2]) ** 2).sum(axis=2)
        assert oks(squared, area[:1], sigmas)[0] == pytest.approx(similarity(poses[0], poses[1], area[0], sigmas))


def test_what_cannot_be_is_refused() -> None:
    poses, one = np.zeros((2, 17, 2)), np.ones(2)
    with pytest.raises(BadArgument, match=r"keypoints must be \(n, K, 2 or 3\)"):
        oks_nms(poses, one[:1], one)
    for wrong in (poses + np.nan, poses):
        with pytest.raises(BadArgument, match="of 2 poses must be finite, areas at least 0"):
            oks_nms(wrong, one, one if np.isnan(wrong).any() else -one)
