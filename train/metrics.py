"""How good detections are: COCO's average precision, PCK, pixel errors and their bias.

Everything is in px of the picture the labels were made on, (0, 0) = its top-left corner. Labels count the
categories from 1; keypoints are as many as the category with most has, v = 0 beyond an object's own.
"""

import contextlib
import copy
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synth.coco import Category
from synth.types import NOT_LABELLED, OCCLUDED, VISIBLE, Array, KeypointSchema
from train.datasets import Sample

PCK_THRESHOLDS = (0.05, 0.10)
MIN_MATCH_IOU = 0.3
BOOTSTRAP_ROUNDS = 1000
AP_ROUNDS = 300
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Truth:
    """Objects of one image. boxes: (N, 4) xyxy. labels, area, iscrowd: (N,). keypoints: (N, K, 3)."""

    boxes: Array
    labels: NDArray[np.int64]
    keypoints: Array
    area: Array
    iscrowd: NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """Detections in one image. boxes: (M, 4) xyxy. scores, labels: (M,). keypoints: (M, K, 2), (M, K)."""

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    keypoints: Array
    keypoint_scores: Array | None = None


Precision = tuple[float | None, float | None]


@dataclass(frozen=True)
class Errors:
    """One row per labelled keypoint of R in all, `image` telling which picture it is in.

    error_px: (R,) distance to the detected keypoint, inf where the object was not found. side_px: (R,) the
    box's longer side. v: (R,) 1 or 2. vector: (R, 2) error in the object's axes, px, nan where not found;
    in_picture: (R, 2) the same to the right and down.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    keypoint: NDArray[np.int64]
    v: NDArray[np.int64]
    error_px: Array
    side_px: Array
    vector: Array
    in_picture: Array


def truth_of(sample: Sample) -> Truth:
    return Truth(sample.boxes, sample.labels, sample.keypoints, sample.area, sample.iscrowd)


def box_iou(a: Array, b: Array) -> Array:
    """a: (N, 4), b: (M, 4) xyxy. Returns (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(shared / np.maximum(area_a[:, None] + area_b[None, :] - shared, 1e-12))


def oks(truth: Array, found: Array, area: float, sigmas: Sequence[float]) -> float:
    """Object keypoint similarity in [0, 1]: mean over labelled keypoints of exp(-d^2 / (8 area sigma^2)).

    truth: (K, 3) x, y, v. found: (K, 2). area: px^2. nan when nothing is labelled.
    """
    labelled = truth[:, 2] > NOT_LABELLED
    if not labelled.any():
        return float("nan")
    squared = ((truth[:, :2] - found) ** 2).sum(axis=1)
    terms = np.exp(-squared / (8 * max(area, 1e-9) * np.square(sigmas)))
    return float(terms[labelled].mean())


def match(truth: Truth, found: Found) -> list[int | None]:
    """For each labelled object the detection that found it, or None.

    Detections choose in order of falling score; each takes the free object of its label whose box it covers
    best, if the boxes' IoU is at least MIN_MATCH_IOU.
    """
    chosen: list[int | None] = [None] * len(truth.boxes)
    iou = box_iou(truth.boxes, found.boxes)
    for detection in np.argsort(-found.scores, kind="stable"):
        free = [
            i
            for i, taken in enumerate(chosen)
            if taken is None and not truth.iscrowd[i] and truth.labels[i] == found.labels[detection]
        ]
        best = max(free, key=lambda i: float(iou[i, detection]), default=None)
        if best is not None and iou[best, detection] >= MIN_MATCH_IOU:
            chosen[best] = int(detection)
    return chosen


def object_axes(keypoints: Array) -> Array:
    """(2, 2): rows are the object's x and y axis in the picture.

    x points from the first labelled keypoint to the last, y is x turned by 90 degrees (clockwise on screen).
    The picture's own axes when fewer than two are labelled or they coincide. keypoints: (K, 3).
    """
    labelled = keypoints[keypoints[:, 2] > NOT_LABELLED, :2]
    if len(labelled) >= 2:
        along = labelled[-1] - labelled[0]
        length = float(np.hypot(*along))
        if length > 0:
            x, y = along / length
            return np.array([[x, y], [-y, x]])
    return np.eye(2)


def keypoint_errors(truths: Sequence[Truth], founds: Sequence[Found]) -> Errors:
    """Matches every image and lists the error of each labelled keypoint; crowds do not count."""
    rows: list[tuple[int, int, int, int, float, float]] = []
    vectors: list[tuple[Array, Array]] = []
    for image, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        for i, detection in enumerate(match(truth, found)):
            if truth.iscrowd[i]:
                continue
            points = truth.keypoints[i]
            axes = object_axes(points)
            side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
            for k in np.flatnonzero(points[:, 2] > NOT_LABELLED):
                if detection is None:
                    error, distance = np.full(2, np.nan), float("inf")
                else:
                    error = found.keypoints[detection, k] - points[k, :2]
                    distance = float(np.hypot(*error))
                rows.append((image, int(truth.labels[i]), int(k), int(points[k, 2]), distance, side))
                vectors.append((axes @ error, error))
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    image_, label, keypoint, v = table[:, :4].T.astype(np.int64)
    vector, in_picture = np.array(vectors).reshape(-1, 2, 2).swapaxes(0, 1)
    return Errors(image_, label, keypoint, v, table[:, 4], table[:, 5], vector, in_picture)


def mean_precision(
    truths: Sequence[Truth], founds: Sequence[Found], schemas: Sequence[KeypointSchema], kind: str
) -> Precision:
    """(AP, AP50), the mean over categories, each with its own keypoints and sigmas."""
    return _mean(
        average_precision(truths, founds, schema.oks_sigmas, kind, label)
        for label, schema in enumerate(schemas, start=1)
    )


def _mean(each: Iterable[Precision]) -> Precision:
    known = [(ap, ap50) for ap, ap50 in each if ap is not None and ap50 is not None]
    if not known:
        return None, None
    ap, ap50 = np.mean(known, axis=0)
    return float(ap), float(ap50)


def average_precision(
    truths: Sequence[Truth], founds: Sequence[Found], sigmas: Sequence[float], kind: str, label: int = 1
) -> Precision:
    """(AP, AP50) of one label by pycocotools, None where no object is labelled. kind: 'bbox', 'keypoints'."""
    return _precision_on(_matched(truths, founds, sigmas, kind, label), range(len(truths)))


def _matched(
    truths: Sequence[Truth], founds: Sequence[Found], sigmas: Sequence[float], kind: str, label: int
) -> COCOeval:
    """What pycocotools matches in each image; `evalImgs` holds one entry an image."""
    k = len(sigmas)
    truth_rows: list[dict[str, Any]] = []
    found_rows: list[dict[str, Any]] = []
    for image, (truth, found) in enumerate(zip(truths, founds, strict=True), start=1):
        for i in np.flatnonzero(truth.labels == label):
            truth_rows.append(
                {
                    "id": len(truth_rows) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "bbox": _xywh(truth.boxes[i]),
                    "area": float(truth.area[i]),
                    "iscrowd": int(truth.iscrowd[i]),
                    "keypoints": truth.keypoints[i, :k].reshape(-1).tolist(),
                    "num_keypoints": int((truth.keypoints[i, :, 2] > NOT_LABELLED).sum()),
                }
            )
        for j in np.flatnonzero(found.labels == label):
            points = np.concatenate((found.keypoints[j, :k], np.ones((k, 1))), axis=1)
            row = {"image_id": image, "category_id": 1, "score": float(found.scores[j])}
            # pycocotools takes the extent of the keypoints for a box where both are given
            found_rows.append(
                row
                | (
                    {"bbox": _xywh(found.boxes[j])}
                    if kind == "bbox"
                    else {"keypoints": points.reshape(-1).tolist()}
                )
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco, results = COCO(), COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(truths) + 1)],
            "annotations": truth_rows,
            "categories": [{"id": 1}],
        }
        coco.createIndex()
        if found_rows:
            results = coco.loadRes(found_rows)
        else:
            results.dataset = coco.dataset | {"annotations": []}
            results.createIndex()
        evaluation = COCOeval(coco, results, kind)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, dtype=np.float64)
        evaluation.evaluate()
    return evaluation


def _precision_on(matched: COCOeval, images: Iterable[int]) -> Precision:
    """(AP, AP50) over these of its images, one taken as often as it is named; there are as many as before."""
    drawn = copy.copy(matched)
    drawn.evalImgs = [matched.evalImgs[image] for image in images]
    with contextlib.redirect_stdout(io.StringIO()):
        drawn.accumulate()
    precision = drawn.eval["precision"][:, :, 0, 0, -1]
    if (precision < 0).all():
        return None, None
    return float(precision.mean()), float(precision[0].mean())


def _xywh(box: Array) -> list[float]:
    x0, y0, x1, y1 = (float(c) for c in box)
    return [x0, y0, x1 - x0, y1 - y0]


def ap_draws(truths: Sequence[Truth], founds: Sequence[Found], schemas: Sequence[KeypointSchema]) -> Array:
    """Keypoint AP of as many images, drawn with repetition: the same ones for every detector."""
    rng = np.random.default_rng(0)
    matched = [
        _matched(truths, founds, schema.oks_sigmas, "keypoints", label)
        for label, schema in enumerate(schemas, start=1)
    ]
    draws = [
        _mean(_precision_on(each, chosen) for each in matched)[0]
        for chosen in rng.integers(len(truths), size=(AP_ROUNDS, len(truths)))
    ]
    return np.array(draws, dtype=np.float64)


def interval(draws: Array) -> list[float] | None:
    """Where the middle CONFIDENCE of the draws lies; None if none is a number."""
    if not np.isfinite(draws).any():
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    return [float(v) for v in np.nanpercentile(draws, [tail, 100 - tail])]


def as_json(draws: Array) -> list[float | None]:
    """Rounded to 4 digits; what is no number, which JSON does not know, as None."""
    return [None if np.isnan(draw) else round(float(draw), 4) for draw in draws]


def pck(errors: Errors, threshold: float, rows: NDArray[np.bool_] | None = None) -> float | None:
    """Share of labelled keypoints nearer than threshold * box's longer side; not found counts as wrong."""
    right = errors.error_px <= threshold * errors.side_px
    chosen = right if rows is None else right[rows]
    return float(chosen.mean()) if len(chosen) else None


def evaluate(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> dict[str, Any]:
    """All metrics of a set of images, ready for JSON; None where there is nothing to measure.

    error_px and error_share (of the box's longer side) count found keypoints only: `not_found` says how many
    labelled keypoints that leaves out. Of several categories, `by_object` tells them apart, average precision
    is the mean of theirs, and all else is of their objects together.
    """
    errors = keypoint_errors(truths, founds)
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
        "error_px": _spread(errors.error_px[np.isfinite(errors.error_px)]),
        "error_share": _spread((errors.error_px / errors.side_px)[np.isfinite(errors.error_px)]),
        "confidence_95": bootstrap(errors, len(truths)),
        "n_images": len(truths),
        **_counts(truths, founds, range(1, len(categories) + 1)),
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
            category.name: _one_object(truths, founds, errors, label, category)
            for label, category in enumerate(categories, start=1)
            if several
        },
    }


def _precision(bbox: Precision, keypoints: Precision) -> dict[str, dict[str, float | None]]:
    return {
        kind: dict(zip(("ap", "ap50"), values, strict=True))
        for kind, values in (("bbox", bbox), ("keypoints", keypoints))
    }


def _counts(truths: Sequence[Truth], founds: Sequence[Found], labels: Sequence[int]) -> dict[str, int]:
    counts = {"n_objects": 0, "n_found": 0}
    for truth, found in zip(truths, founds, strict=True):
        counted = np.flatnonzero(~truth.iscrowd & np.isin(truth.labels, labels))
        matched = match(truth, found)
        counts["n_objects"] += len(counted)
        counts["n_found"] += sum(matched[i] is not None for i in counted)
    return counts


def _one_object(
    truths: Sequence[Truth], founds: Sequence[Found], errors: Errors, label: int, category: Category
) -> dict[str, Any]:
    sigmas, rows = category.schema.oks_sigmas, errors.label == label
    return {
        **_precision(
            average_precision(truths, founds, sigmas, "bbox", label),
            average_precision(truths, founds, sigmas, "keypoints", label),
        ),
        **_counts(truths, founds, [label]),
        "pck": _pck_table(errors, rows),
        "error_px": _spread(errors.error_px[rows & np.isfinite(errors.error_px)]),
    }


def _pck_table(errors: Errors, rows: NDArray[np.bool_] | None = None) -> dict[str, float | None]:
    return {f"{t:.2f}": pck(errors, t, rows) for t in PCK_THRESHOLDS}


def _spread(values: Array) -> dict[str, float | None]:
    if not len(values):
        return {"median": None, "p90": None}
    return {"median": float(np.median(values)), "p90": float(np.percentile(values, 90))}


def _one_keypoint(errors: Errors, label: int, k: int) -> dict[str, Any]:
    rows = (errors.label == label) & (errors.keypoint == k)
    found = rows & np.isfinite(errors.error_px)
    bias: dict[str, list[float] | None] = {"px": None, "share": None, "picture_share": None}
    if found.any():
        side = errors.side_px[found, None]
        bias = {
            "px": errors.vector[found].mean(axis=0).tolist(),
            "share": (errors.vector[found] / side).mean(axis=0).tolist(),
            "picture_share": (errors.in_picture[found] / side).mean(axis=0).tolist(),
        }
    return {
        "n": int(rows.sum()),
        "not_found": int(rows.sum() - found.sum()),
        "pck": _pck_table(errors, rows),
        "error_px": _spread(errors.error_px[found]),
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
