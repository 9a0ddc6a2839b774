"""Is a keypoint as often right as its confidence says, and as often visible as its visibility says? And how
to make them say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from synth.dataset.coco import Category
from synth.types import Array
from train.model.heatmaps import EPSILON, Calibration
from train.score.claims import Claims, confidence_claims, visibility_claims
from train.types import Found, Truth

BINS = 10
MIN_SLOPE = 0.05


@dataclass(frozen=True)
class Reliability:
    """Claims in groups of rising probability, equally many in each.

    said, true: (B,) mean probability, and share that holds. count: (B,). error: mean over claims of
    |said - true| of their group, None without claims (the expected calibration error of Guo, Pleiss, Sun and
    Weinberger, ICML 2017, in equal-mass bins).
    """

    said: Array
    true: Array
    count: tuple[int, ...]
    error: float | None


def reliability(claims: Claims) -> Reliability:
    """How far what was said is the probability that it is so."""
    order = np.argsort(claims.probability, kind="stable")
    groups = [g for g in np.array_split(order, BINS) if len(g)]
    said = np.array([claims.probability[g].mean() for g in groups])
    true = np.array([claims.holds[g].mean() for g in groups])
    count = tuple(len(g) for g in groups)
    error = float(np.average(np.abs(said - true), weights=count)) if groups else None
    return Reliability(said, true, count, error)


def fit_calibrations(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> tuple[Calibration, ...]:
    """The calibration of each category, fitted on its own keypoints."""
    kinds = [kind(truths, founds, categories) for kind in (confidence_claims, visibility_claims)]
    return tuple(
        Calibration(*(fit_calibration(claims.of(label)) for claims in kinds))
        for label in range(1, len(categories) + 1)
    )


def fit_calibration(claims: Claims) -> tuple[float, float]:
    """Slope and offset with which calibrated probabilities explain best which uncalibrated claims hold
    (Platt, 1999).

    Their likelihood is maximized, with a normal prior of variance 1 about (1, 0): it keeps both finite where
    all claims hold, and gives (1, 0) where there are none. The slope stays positive, so that probabilities
    keep their order. Returns what model.heatmaps.calibrated takes.
    """
    x = logit(np.clip(claims.probability, EPSILON, 1 - EPSILON))

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, offset = parameters
        z = slope * x + offset
        away = parameters - np.array([1.0, 0.0])
        wrong_by = expit(z) - claims.holds
        value = np.logaddexp(0.0, z) - claims.holds * z
        return float(value.sum() + away @ away / 2), np.array([wrong_by @ x, wrong_by.sum()]) + away

    fit = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(MIN_SLOPE, None), (None, None)])
    return float(fit.x[0]), float(fit.x[1])


def uncalibrated(claims: Claims, calibration: Array) -> Claims:
    """The claims before calibration: the inverse of heatmaps.calibrated.

    calibration: (labels, 2) slope and offset.
    """
    slope, offset = calibration[claims.label - 1].T
    p = np.clip(claims.probability, EPSILON, 1 - EPSILON)
    return replace(claims, probability=expit((logit(p) - offset) / slope))
