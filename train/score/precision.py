"""COCO's average precision, by pycocotools."""

import contextlib
import copy
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synth.types import NOT_LABELLED, Array, KeypointSchema
from train.types import Found, Truth

AP_ROUNDS = 300
Precision = tuple[float | None, float | None]


def mean_precision(
    truths: Sequence[Truth], founds: Sequence[Found], schemas: Sequence[KeypointSchema], kind: str
) -> Precision:
    """(AP, AP50) as COCO defines them, the mean over categories, each with its own keypoints and sigmas.

    kind: `bbox` (by the boxes' IoU) or `keypoints` (by OKS). None where no object is labelled.
    """
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
    """(AP_ROUNDS,) keypoint APs for a bootstrap interval: each of as many images as there are, drawn with
    repetition. Every detector is measured on the same draws, so that differences can be taken."""
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
