"""How good detections are: COCO's average precision, PCK, pixel errors and the bias of right keypoints.

Everything is in px of the picture the labels were made on, (0, 0) = its top-left corner. Labels count the
categories from 1; keypoints are as many as the category with most has, v = 0 beyond an object's own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from synth.dataset.coco import Category
from synth.types import OCCLUDED, VISIBLE, Array
from train.score.claims import Claims, visibility_claims
from train.score.intervals import BOOTSTRAP_ROUNDS, interval
from train.score.matching import OWN_PLACE, Errors, keypoint_errors, match_detections
from train.score.precision import Precision, average_precision, mean_precision
from train.score.reliability import reliability
from train.types import VISIBLE_FROM, Found, Truth

PCK_THRESHOLDS = (0.05, 0.10)


def pck(errors: Errors, threshold: float, rows: NDArray[np.bool_] | None = None) -> float | None:
    """Percentage of correct keypoints, as a share in [0, 1]: those at most threshold * the box's longer side
    from their label. Keypoints of an object that was not found count as wrong.

    rows: (R,) mask of the errors to count, None for all. Returns None if there are none.
    Source: Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", PAMI 2013.
    """
    right = errors.error_px <= threshold * errors.side_px
    chosen = right if rows is None else right[rows]
    return float(chosen.mean()) if len(chosen) else None


def evaluate(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> dict[str, Any]:
    """All metrics of a set of images, ready for JSON; None where there is nothing to measure.

    truths, founds: an entry an image. categories: in the order of their labels.

    error_px and error_share (of the box's longer side) count found keypoints only: `not_found` says how many
    labelled keypoints that leaves out. A keypoint's bias is the median error of those that are right
    (OWN_PLACE): one on another's place does not say where its own is. `visibility`: see told_visibility. Of
    several categories, `by_object` tells them apart, average precision is the mean of theirs, and all else is
    of their objects together.
    """
    errors = keypoint_errors(truths, founds, categories)
    claims = visibility_claims(truths, founds, categories)
    schemas = [category.schema for category in categories]
    several = len(categories) > 1
    return {
        **_precision(
            mean_precision(truths, founds, schemas, "bbox"),
            mean_precision(truths, founds, schemas, "keypoints"),
        ),
        "pck": _pck_table(errors),
        "pck_by_visibility": {
            name: _pck_table(errors, errors.v == v)
            for name, v in (("visible", VISIBLE), ("occluded", OCCLUDED))
        },
        "visibility": told_visibility(claims),
        "error_px": _median_and_p90(errors.error_px[np.isfinite(errors.error_px)]),
        "error_share": _median_and_p90((errors.error_px / errors.side_px)[np.isfinite(errors.error_px)]),
        "confidence_95": bootstrap(errors, len(truths)),
        "n_images": len(truths),
        **_counts(truths, founds, categories, range(1, len(categories) + 1)),
        "n_keypoints": len(errors.error_px),
        "not_found": int((~np.isfinite(errors.error_px)).sum()),
        "oks_sigmas": {c.name: list(c.schema.oks_sigmas) for c in categories}
        if several
        else list(schemas[0].oks_sigmas),
        "per_keypoint": {
            f"{category.name} {name}" if several else name: _one_keypoint(errors, label, k)
            for label, category in enumerate(categories, start=1)
            for k, name in enumerate(category.schema.names)
        },
        "by_object": {
            category.name: _one_object(truths, founds, errors, label, categories)
            | {"visibility": told_visibility(claims.of(label))}
            for label, category in enumerate(categories, start=1)
            if several
        },
    }


def told_visibility(claims: Claims) -> dict[str, float | None]:
    """How well keypoints' visibility tells hidden ones from visible ones.

    auc: how likely a visible keypoint has a higher visibility than a hidden one, 0.5 for guesses (the area
    under the ROC curve; Hanley and McNeil, Radiology 1982). accuracy: share on the right side of 0.5.
    calibration_error: as in Reliability. None without keypoints of both kinds, see visibility_claims.
    """
    visible, hidden = int(claims.holds.sum()), int((~claims.holds).sum())
    counts = {"n_visible": visible, "n_hidden": hidden}
    if not visible or not hidden:
        return {**counts, "auc": None, "accuracy": None, "calibration_error": None}
    ranks = rankdata(claims.probability)[claims.holds].sum()
    return {
        **counts,
        "auc": float((ranks - visible * (visible + 1) / 2) / (visible * hidden)),
        "accuracy": float(((claims.probability >= VISIBLE_FROM) == claims.holds).mean()),
        "calibration_error": reliability(claims).error,
    }


def _precision(bbox: Precision, keypoints: Precision) -> dict[str, dict[str, float | None]]:
    return {
        kind: dict(zip(("ap", "ap50"), values, strict=True))
        for kind, values in (("bbox", bbox), ("keypoints", keypoints))
    }


def _counts(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category], labels: Sequence[int]
) -> dict[str, int]:
    counts = {"n_objects": 0, "n_found": 0}
    for truth, found in zip(truths, founds, strict=True):
        counted = np.flatnonzero(~truth.iscrowd & np.isin(truth.labels, labels))
        matched = match_detections(truth, found, categories)
        counts["n_objects"] += len(counted)
        counts["n_found"] += sum(matched[i] is not None for i in counted)
    return counts


def _one_object(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    errors: Errors,
    label: int,
    categories: Sequence[Category],
) -> dict[str, Any]:
    sigmas, rows = categories[label - 1].schema.oks_sigmas, errors.label == label
    return {
        **_precision(
            average_precision(truths, founds, sigmas, "bbox", label),
            average_precision(truths, founds, sigmas, "keypoints", label),
        ),
        **_counts(truths, founds, categories, [label]),
        "pck": _pck_table(errors, rows),
        "error_px": _median_and_p90(errors.error_px[rows & np.isfinite(errors.error_px)]),
    }


def _pck_table(errors: Errors, rows: NDArray[np.bool_] | None = None) -> dict[str, float | None]:
    return {f"{t:.2f}": pck(errors, t, rows) for t in PCK_THRESHOLDS}


def _median_and_p90(values: Array) -> dict[str, float | None]:
    if not len(values):
        return {"median": None, "p90": None}
    return {"median": float(np.median(values)), "p90": float(np.percentile(values, 90))}


def _one_keypoint(errors: Errors, label: int, k: int) -> dict[str, Any]:
    rows = (errors.label == label) & (errors.keypoint == k)
    found = rows & np.isfinite(errors.error_px)
    right = rows & (errors.error_px <= OWN_PLACE * errors.side_px)
    bias: dict[str, list[float] | None] = {"px": None, "share": None, "picture_share": None}
    if right.any():
        side = errors.side_px[right, None]
        bias = {
            "px": np.median(errors.vector[right], axis=0).tolist(),
            "share": np.median(errors.vector[right] / side, axis=0).tolist(),
            "picture_share": np.median(errors.in_picture[right] / side, axis=0).tolist(),
        }
    return {
        "n": int(rows.sum()),
        "not_found": int(rows.sum() - found.sum()),
        "pck": _pck_table(errors, rows),
        "error_px": _median_and_p90(errors.error_px[found]),
        "bias": bias,
    }


def bootstrap(errors: Errors, n_images: int, seed: int = 0) -> dict[str, Any]:
    """95 % intervals of PCK and median error, from resampling whole images; None if nothing was measured."""
    rows_of = [np.flatnonzero(errors.image == image) for image in range(n_images)]
    rng = np.random.default_rng(seed)
    names = [f"{t:.2f}" for t in PCK_THRESHOLDS]
    shares: list[list[float]] = []
    medians: list[float] = []
    for _ in range(BOOTSTRAP_ROUNDS if len(errors.image) else 0):
        rows = np.concatenate([rows_of[i] for i in rng.integers(n_images, size=n_images)])
        error, side = errors.error_px[rows], errors.side_px[rows]
        if len(rows):
            shares.append([float((error <= t * side).mean()) for t in PCK_THRESHOLDS])
        if np.isfinite(error).any():
            medians.append(float(np.median(error[np.isfinite(error)])))
    of_shares = [interval(column) for column in np.array(shares).reshape(-1, len(names)).T]
    return {"pck": dict(zip(names, of_shares, strict=True)), "error_px_median": interval(np.array(medians))}
