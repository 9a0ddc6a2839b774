"""The objects of a picture while it is transformed, and pictures resized."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.types import Array, Rgb
from train.types import Sample

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A  # noqa: N812
import cv2

ELLIPSE_POINTS = 32


@dataclass(frozen=True)
class Objects:
    """N objects in a picture while it is transformed.

    keypoints: (N, K, 3) x, y px, v. extents: N arrays (P, 2) px, see extent_points.
    visible_fraction: (N,) of the object, before the picture's edge cuts it. labels: (N,) as in Sample.
    """

    keypoints: Array
    extents: tuple[Array, ...]
    visible_fraction: Array
    labels: NDArray[np.int64]


def resize(rgb: Rgb, width: int, height: int) -> Rgb:
    """rgb: (H, W, 3). Shrinking takes means over areas, so that fine print does not alias; enlarging is
    bilinear."""
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = width < rgb.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Rgb = A.Resize(height, width, interpolation=interpolation, p=1)(image=rgb)["image"]
    return resized


def objects_of(sample: Sample) -> Objects:
    """The sample's objects; crowds are left out."""
    keep = [i for i in range(len(sample.boxes)) if not sample.iscrowd[i]]
    extents = tuple(
        extent_points(sample.boxes[i], sample.segmentations[i], sample.width, sample.height) for i in keep
    )
    return Objects(sample.keypoints[keep], extents, sample.visible_fraction[keep], sample.labels[keep])


def extent_points(box: Array, segmentation: Any, width: int, height: int) -> Array:
    """(P, 2) px: points that tell how far an object reaches, whose bounds are its box also after a turn.

    Those of the mask's rim where there is a mask (run lengths or polygons), else of the ellipse inscribed in
    the box (4,) xyxy. width, height: of the picture in px.
    """
    if isinstance(segmentation, dict):
        points = _mask_extent(segmentation, width, height)
        if len(points):
            return points
    elif isinstance(segmentation, list) and any(segmentation):
        return np.concatenate([np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation])
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)
    unit = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return (box[:2] + box[2:]) / 2 + unit * (box[2:] - box[:2]) / 2


def _mask_extent(rle: dict[str, Any], width: int, height: int) -> Array:
    from pycocotools import mask as coco_mask

    if isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    rows = np.asarray(coco_mask.decode(rle), dtype=bool)
    ys = np.flatnonzero(rows.any(axis=1))
    first = rows[ys].argmax(axis=1)
    last = rows.shape[1] - rows[ys][:, ::-1].argmax(axis=1)
    corners = [(x, y + dy) for x, dy in ((first, 0), (first, 1), (last, 0), (last, 1)) for y in (ys,)]
    return np.concatenate([np.stack(c, axis=1) for c in corners]).astype(np.float64)


def scaled(objects: Objects, factor: tuple[float, float]) -> Objects:
    """Points of a picture resized by `factor` (x, y)."""
    keypoints = objects.keypoints.copy()
    keypoints[..., :2] *= factor
    return replace(objects, keypoints=keypoints, extents=tuple(o * factor for o in objects.extents))


def affine(objects: Objects, matrix: Array) -> Objects:
    """The objects where `matrix` (2, 3) brings them, from the picture's px to the new one's."""
    linear, shift = matrix[:, :2].T, matrix[:, 2]
    keypoints = objects.keypoints.copy()
    keypoints[..., :2] = keypoints[..., :2] @ linear + shift
    return replace(objects, keypoints=keypoints, extents=tuple(e @ linear + shift for e in objects.extents))
