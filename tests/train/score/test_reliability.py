from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from synth.dataset.coco import Category
from synth.types import OCCLUDED, VISIBLE, Array
from train.data.samples import read_samples
from train.model.heatmaps import UNCALIBRATED, calibrated
from train.score.claims import Claims, confidence_claims, visibility_claims
from train.score.reliability import fit_calibration, fit_calibrations, reliability, uncalibrated
from train.types import Found, Sample, Truth, truth_of

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
    good, bad = (reliability(confidence_claims(truths, founds, [category])) for founds in (honest, boastful))
    assert good.error is not None
    assert bad.error is not None
    assert good.error < 0.05 < 0.3 < bad.error
    assert sum(good.count) == sum(2 * len(t.boxes) for t in truths)
    assert list(good.said) == sorted(good.said)


def test_reliability_of_nothing_is_unknown(samples: tuple[Sample, ...], category: Category) -> None:
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros((0, 2, 2)), np.zeros((0, 2)))
    assert reliability(confidence_claims([truth_of(samples[0])], [nothing], [category])).error is None


def claims(probability: Array, holds: Array) -> Claims:
    return Claims(probability, holds.astype(bool), np.ones(len(holds), dtype=np.int64))


def drawn(count: int, slope: float, offset: float) -> Claims:
    """Claims that hold as often as the logistic function of their probability says."""
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.02, 0.999, count)
    return claims(probability, rng.uniform(size=count) < expit(slope * logit(probability) + offset))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -1.0), (2.0, 3.0)])
def test_calibration_finds_how_often_a_confidence_is_right(slope: float, offset: float) -> None:
    assert fit_calibration(drawn(6000, slope, offset)) == pytest.approx((slope, offset), abs=0.2)


def test_calibration_of_nothing_changes_nothing_and_of_little_stays_near() -> None:
    assert fit_calibration(claims(np.zeros(0), np.zeros(0))) == UNCALIBRATED.confidence
    slope, offset = fit_calibration(claims(np.array([0.3, 0.9]), np.ones(2)))
    assert 0.5 < slope < 1.5
    assert 0 < offset < 2


def test_calibration_never_turns_the_order_of_confidences() -> None:
    before = drawn(500, 1.0, 0.0)
    assert fit_calibration(replace(before, holds=~before.holds))[0] > 0


def test_calibrated_claims_are_nearer_to_the_line_and_can_be_turned_back() -> None:
    before = drawn(4000, 0.5, -1.0)
    calibration = fit_calibration(before)
    said = calibrated(torch.tensor(before.probability)[None], torch.tensor([calibration]))[0].numpy()
    held = before.holds.mean()
    assert abs(said.mean() - held) < 0.01 < 0.1 < abs(before.probability.mean() - held)
    back = uncalibrated(replace(before, probability=said), np.array([calibration]))
    np.testing.assert_allclose(back.probability, before.probability, rtol=1e-6)


def half_hidden(sample: Sample, hidden: bool = True) -> tuple[Truth, Found]:
    """Every nose is visible and every tail hidden, or all is visible; each visibility is 0.6 and 0.4."""
    truth = truth_of(sample)
    keypoints = truth.keypoints.copy()
    keypoints[..., 2] = (VISIBLE, OCCLUDED if hidden else VISIBLE)
    said = np.tile([0.6, 0.4], (len(sample.boxes), 1))
    found = Found(
        sample.boxes,
        np.ones(len(said)),
        sample.labels,
        sample.keypoints[..., :2],
        np.ones((len(said), 2)),
        said,
    )
    return replace(truth, keypoints=keypoints), found


def test_visibility_is_calibrated_where_labels_tell_it(
    samples: tuple[Sample, ...], category: Category
) -> None:
    truths, founds = zip(*map(half_hidden, samples * 20), strict=True)
    (fitted,) = fit_calibrations(truths, founds, [category])
    said = calibrated(torch.tensor([[0.6, 0.4]]), torch.tensor([fitted.visibility]))[0]
    assert float(said[0]) > 0.9
    assert float(said[1]) < 0.1
    told = visibility_claims(truths, founds, [category])
    assert len(told.holds) == 2 * sum(len(truth.boxes) for truth in truths)


def test_labels_that_call_every_keypoint_visible_tell_nothing(
    samples: tuple[Sample, ...], category: Category
) -> None:
    truths, founds = zip(*(half_hidden(sample, hidden=False) for sample in samples), strict=True)
    assert len(visibility_claims(truths, founds, [category]).holds) == 0
    (fitted,) = fit_calibrations(truths, founds, [category])
    assert fitted.visibility == UNCALIBRATED.visibility
    assert fitted.confidence != UNCALIBRATED.confidence


def test_uncalibrated_confidences_stay_as_they_are() -> None:
    scores = torch.tensor([0.0, 0.2, 0.97, 1.0], dtype=torch.float64)
    same = calibrated(scores[None], torch.tensor([UNCALIBRATED.confidence]))[0]
    torch.testing.assert_close(same, scores, rtol=0, atol=1e-5)
