"""The checks of single annotations, part of synth.dataset.validate."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import check_outline
from synth.dataset.faults import FaultLog, is_integer
from synth.dataset.plausible import NORMALISED_MAX, Placed, likely_areas, set_fault
from synth.errors import DataError
from synth.types import Array

_SLACK_PX = 1.0


@dataclass(frozen=True)
class Frame:
    """Size of an image in pixels."""

    width: float
    height: float


def check_annotations(
    rows: list[dict[str, Any]],
    frames: dict[Any, Frame | None],
    keypoint_counts: dict[Any, int],
    log: FaultLog,
) -> int:
    """How many of the objects can give a keypoint loss."""
    ids: set[Any] = set()
    used: set[Any] = set()
    placed: list[Placed] = []
    trainable = 0
    for row in rows:
        where = f"annotation {row.get('id')!r}"
        if not all(is_integer(row.get(key)) for key in ("id", "image_id", "category_id")):
            log.add("malformed", f"{where}: expected integers id, image_id, category_id")
            continue
        if row["id"] in ids:
            log.add("duplicate_id", where)
        ids.add(row["id"])
        used.add(row["image_id"])
        if row["image_id"] not in frames:
            log.add("unknown_image", f"{where}: image_id {row['image_id']}")
            continue
        if row["category_id"] not in keypoint_counts:
            log.add("unknown_category", f"{where}: category_id {row['category_id']}")
            continue
        where += f" of image {row['image_id']}"
        try:
            check_outline(row.get("segmentation"), where)
        except DataError as error:
            log.add("malformed", str(error))
        labelled = _check_numbers(row, keypoint_counts[row["category_id"]], where, log)
        if labelled is not None:
            frame = frames[row["image_id"]]
            placed.append(_placed(*labelled, frame, where))
            inside = _check_geometry(*labelled, frame, where, log)
            trainable += inside and not row.get("iscrowd")
    for image_id in frames.keys() - used:
        log.add("no_objects", f"image {image_id}")
    fault = set_fault(placed)
    if fault:
        log.add("boxes", fault)
    return trainable


def _placed(box: Array, keypoints: Array, frame: Frame | None, where: str) -> Placed:
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    size = (0.0, 0.0) if frame is None else (frame.width, frame.height)
    return Placed(corners, keypoints[keypoints[:, 2] > 0, :2], *size, where)


def _check_area(row: dict[str, Any], box: Array, where: str, log: FaultLog) -> None:
    """Of `area` and `visible_fraction`, which may be absent. box: x, y, w, h."""
    for key, most in (("area", math.inf), ("visible_fraction", 1.0)):
        value = row.get(key)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (number and 0 <= value <= most):
            log.add("not_a_number", f"{where}: {key} {value!r:.60}")
            return
    area = row.get("area")
    if area is not None and not likely_areas(np.array([area]), np.array([[0.0, 0.0, *box[2:]]]))[0]:
        log.add("area", f"{where}: {area:g} in a bbox of {box[2]:g} x {box[3]:g}")


def _check_numbers(row: dict[str, Any], k: int, where: str, log: FaultLog) -> tuple[Array, Array] | None:
    """bbox (4,) and keypoints (K, 3), or None when they are no such numbers."""
    box, values = _numbers(row.get("bbox")), _numbers(row.get("keypoints", [0] * 3 * k))
    if box is None or len(box) != 4 or values is None:
        log.add("malformed", f"{where}: expected 4 numbers in `bbox` and numbers in `keypoints`")
    elif len(values) != 3 * k:
        log.add("keypoint_count", f"{where}: {len(values)} values, expected {3 * k} (3 × {k} keypoints)")
    elif not np.isfinite(box).all() or not np.isfinite(values).all():
        log.add("not_finite", where)
    elif not np.isin(values[2::3], (0, 1, 2)).all():
        log.add("visibility", f"{where}: v = {sorted(set(values[2::3].tolist()) - {0.0, 1.0, 2.0})}")
    else:
        _check_area(row, box, where, log)
        return box, values.reshape(k, 3)
    return None


def _check_geometry(box: Array, keypoints: Array, frame: Frame | None, where: str, log: FaultLog) -> bool:
    """Whether a labelled keypoint lies inside the box. box: x, y, w, h; keypoints: (K, 3)."""
    points = keypoints[keypoints[:, 2] > 0, :2]
    if (box[2:] <= 0).any():
        log.add("empty_box", f"{where}: bbox {_listed(box)}")
        return False
    if frame is not None and _looks_normalised(box, points, frame):
        log.add("normalised", f"{where}: bbox {_listed(box)}")
        return False
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    if frame is not None:
        _check_within(box, corners, points, frame, where, log)
    if not len(points):
        log.add("unlabelled", where)
        return False
    inside = _inside(points, corners)
    if inside.all():
        return True
    if _inside(points[:, ::-1], corners).all() and inside.mean() <= 0.5:
        log.add("swapped", where)
        return False
    if not inside.any():
        log.add("no_loss", where)
        return False
    log.add("outside_box", f"{where}: {int((~inside).sum())} of {len(points)}")
    return True


def _check_within(box: Array, corners: Array, points: Array, frame: Frame, where: str, log: FaultLog) -> None:
    image = np.array([0, 0, frame.width, frame.height])
    if not _inside(corners.reshape(2, 2), image).all():
        is_xyxy = (box[2:] > box[:2]).all() and _inside(box.reshape(2, 2), image).all()
        log.add("xyxy" if is_xyxy else "box_outside", f"{where}: bbox {_listed(box)}")
    if not _inside(points, image).all():
        log.add("outside_image", where)


def _looks_normalised(box: Array, points: Array, frame: Frame) -> bool:
    if max(frame.width, frame.height) < 10 * NORMALISED_MAX:
        return False
    in_unit = [bool((np.abs(c) <= NORMALISED_MAX).all()) for c in (box, points) if c.size]
    return any(in_unit)


def _inside(points: Array, xyxy: Array) -> NDArray[np.bool_]:
    """(N,) bool; on the edge, give or take a pixel of rounding, is inside."""
    low, high = xyxy[:2] - _SLACK_PX, xyxy[2:] + _SLACK_PX
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))


def _numbers(values: Any) -> Array | None:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 1 else None


def _listed(values: Array) -> list[float]:
    return [round(v, 3) for v in values.tolist()]
