from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from synth.dataset.coco import Category
from train.data.samples import read_samples
from train.model.heatmaps import UNCALIBRATED, calibrated
from train.score.reliability import fit_calibration, reliability, uncalibrated
from train.types import Found, Sample, truth_of

Maker = Callable[..., Path]


@pytest.fixture
def samples(photo_folder: Maker, category: Category) -> tuple[Sample, ...]:
    return read_samples(photo_folder(n=8), category)


def test_reliable_confidence_lies_on_the_line_and_overconfidence_below(
    samples: tuple[Sample, ...], category: Category
) -> None:
    rng = np.random.default_rng(0)
    truths, honest, boastful = [], [], []
    for sample in samples * 60:
        n = len(sample.boxes)
        confidence = rng.uniform(0.05, 1, (n, 2))
        right = rng.uniform(size=(n, 2)) < confidence
        side = (sample.boxes[:, 2:] - sample.boxes[:, :2]).max(axis=1)
        points = sample.keypoints[..., :2] + np.where(right, 0, 0.2 * side[:, None])[..., None]
        truths.append(truth_of(sample))
        honest.append(Found(sample.boxes, np.ones(n), sample.labels, points, confidence))
        boastful.append(Found(sample.boxes, np.ones(n), sample.labels, points, np.ones((n, 2))))
    good, bad = (reliability(truths, f, [category]) for f in (honest, boastful))
    assert good.error is not None
    assert bad.error is not None
    assert good.error < 0.05 < 0.3 < bad.error
    assert sum(good.count) == sum(2 * len(t.boxes) for t in truths)
    assert list(good.confidence) == sorted(good.confidence)


def test_reliability_of_nothing_is_unknown(samples: tuple[Sample, ...], category: Category) -> None:
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros((0, 2, 2)), np.zeros((0, 2)))
    assert reliability([truth_of(samples[0])], [nothing], [category]).error is None


def drawn(count: int, slope: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and keypoints that are right as often as the logistic function of them says."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.999, count)
    return scores, (rng.uniform(size=count) < expit(slope * logit(scores) + offset)).astype(float)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -1.0), (2.0, 3.0)])
def test_calibration_finds_how_often_a_confidence_is_right(slope: float, offset: float) -> None:
    assert fit_calibration(*drawn(6000, slope, offset)) == pytest.approx((slope, offset), abs=0.2)


def test_calibration_of_nothing_changes_nothing_and_of_little_stays_near() -> None:
    assert fit_calibration(np.zeros(0), np.zeros(0)) == UNCALIBRATED
    slope, offset = fit_calibration(np.array([0.3, 0.9]), np.ones(2))
    assert 0.5 < slope < 1.5
    assert 0 < offset < 2


def test_calibration_never_turns_the_order_of_confidences() -> None:
    scores, right = drawn(500, 1.0, 0.0)
    assert fit_calibration(scores, 1 - right)[0] > 0


def test_calibrated_confidences_are_nearer_to_the_line_and_can_be_turned_back(
    samples: tuple[Sample, ...],
) -> None:
    scores, right = drawn(4000, 0.5, -1.0)
    calibration = fit_calibration(scores, right)
    after = calibrated(torch.tensor(scores)[None], torch.tensor([calibration]))[0].numpy()
    assert abs(after.mean() - right.mean()) < 0.01 < 0.1 < abs(scores.mean() - right.mean())
    n = len(samples[1].boxes)
    found = Found(
        samples[1].boxes, np.ones(n), samples[1].labels, np.zeros((n, 2, 2)), after[: 2 * n].reshape(n, 2)
    )
    (before,) = uncalibrated([found], np.array([calibration]))
    assert before.keypoint_scores is not None
    np.testing.assert_allclose(before.keypoint_scores.ravel(), scores[: 2 * n], rtol=1e-6)


def test_uncalibrated_confidences_stay_as_they_are() -> None:
    scores = torch.tensor([0.0, 0.2, 0.97, 1.0], dtype=torch.float64)
    same = calibrated(scores[None], torch.tensor([UNCALIBRATED]))[0]
    torch.testing.assert_close(same, scores, rtol=0, atol=1e-5)
