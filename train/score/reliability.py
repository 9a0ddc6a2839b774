"""Does a keypoint's confidence say how likely it is right? And how to make it say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from synth.dataset.coco import Category
from synth.types import NOT_LABELLED, Array
from train.model.heatmaps import EPSILON, Calibration
from train.score.matching import match_detections
from train.types import Found, Truth

BINS = 10
RIGHT_WITHIN = 0.05
MIN_SLOPE = 0.05


@dataclass(frozen=True)
class Reliability:
    """Keypoints of found objects in groups of rising confidence, equally many in each.

    confidence, correct: (B,) mean confidence, and share nearer than `threshold` of the box's longer side.
    count: (B,). error: mean over keypoints of |confidence - correct| of their group, None without keypoints
    (the expected calibration error of Guo, Pleiss, Sun and Weinberger, ICML 2017, in equal-mass bins).
    """

    confidence: Array
    correct: Array
    count: tuple[int, ...]
    threshold: float
    error: float | None


def scored_keypoints(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> tuple[Array, Array, Array]:
    """(R,) confidences of the labelled keypoints of found objects, 1 where right, else 0, and labels."""
    rows: list[tuple[float, float, int]] = []
    for truth, found in zip(truths, founds, strict=True):
        for i, detection in enumerate(match_detections(truth, found, categories)):
            if detection is None or found.keypoint_scores is None:
                continue
            side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
            for k in np.flatnonzero(truth.keypoints[i, :, 2] > NOT_LABELLED):
                away = float(np.hypot(*(truth.keypoints[i, k, :2] - found.keypoints[detection, k])))
                right = float(away <= RIGHT_WITHIN * side)
                rows.append((float(found.keypoint_scores[detection, k]), right, int(truth.labels[i])))
    scores, rights, labels = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return scores, rights, labels


def reliability(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> Reliability:
    """How far the confidences of the labelled keypoints of found objects are probabilities of being right."""
    scores, right, _ = scored_keypoints(truths, founds, categories)
    order = np.argsort(scores, kind="stable")
    groups = [g for g in np.array_split(order, BINS) if len(g)]
    confidence = np.array([scores[g].mean() for g in groups])
    correct = np.array([right[g].mean() for g in groups])
    count = tuple(len(g) for g in groups)
    error = float(np.average(np.abs(confidence - correct), weights=count)) if groups else None
    return Reliability(confidence, correct, count, RIGHT_WITHIN, error)


def fit_calibrations(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> tuple[Calibration, ...]:
    """The calibration of each category, fitted on its own keypoints."""
    scores, right, labels = scored_keypoints(truths, founds, categories)
    own = [labels == label for label in range(1, len(categories) + 1)]
    return tuple(fit_calibration(scores[rows], right[rows]) for rows in own)


def fit_calibration(scores: Array, right: Array) -> Calibration:
    """Slope and offset with which calibrated confidences explain best which keypoints are right (Platt,
    1999).

    scores: (R,) uncalibrated confidences in [0, 1]. right: (R,) 1 for right keypoints, else 0. The likelihood
    of `right` is maximized, with a normal prior of variance 1 about (1, 0): it keeps both finite where all
    keypoints are right, and gives (1, 0) where there are none. The slope stays positive, so that confidences
    keep their order. Returns what model.heatmaps.calibrated takes.
    """
    x = logit(np.clip(scores, EPSILON, 1 - EPSILON))

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, offset = parameters
        z = slope * x + offset
        away = parameters - np.array([1.0, 0.0])
        wrong_by = expit(z) - right
        value = np.logaddexp(0.0, z) - right * z
        return float(value.sum() + away @ away / 2), np.array([wrong_by @ x, wrong_by.sum()]) + away

    fit = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(MIN_SLOPE, None), (None, None)])
    return float(fit.x[0]), float(fit.x[1])


def uncalibrated(founds: Sequence[Found], calibration: Array) -> list[Found]:
    """The detections with the confidences they had before calibration: the inverse of heatmaps.calibrated.

    calibration: (labels, 2) slope and offset.
    """
    result = []
    for found in founds:
        assert found.keypoint_scores is not None
        slope, offset = calibration[found.labels - 1].T[:, :, None]
        p = np.clip(found.keypoint_scores, EPSILON, 1 - EPSILON)
        result.append(replace(found, keypoint_scores=expit((logit(p) - offset) / slope)))
    return result
