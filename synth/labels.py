"""Labels from a rendered scene: exact by construction, visibility from the depth image."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synth.asset import ObjectAsset
from synth.geometry import project
from synth.objects.library import Library
from synth.scene.instances import camera_from_object, faces_camera, object_points
from synth.types import (
    NOT_LABELLED,
    OCCLUDED,
    VISIBLE,
    Array,
    Camera,
    Labels,
    ObjectInstance,
    RenderResult,
    SceneSpec,
)

DEPTH_TOLERANCE = 0.01
"""How far before a keypoint a surface may lie and not hide it, as a share of the object's diameter."""


def make_labels(scene: SceneSpec, library: Library, result: RenderResult) -> Labels:
    """One row per object with at least one visible pixel. Boxes hold the mask and all labelled keypoints."""
    rows = []
    for n, instance in enumerate(scene.objects):
        mask = result.instance_id == n + 1
        area = int(np.count_nonzero(mask))
        if area == 0:
            continue
        asset = library[instance.asset]
        keypoints = label_keypoints(scene.camera, asset, instance, result.depth_m, mask)
        rows.append(
            (
                asset.category_id,
                _box(mask, keypoints),
                keypoints,
                area / max(area, int(result.unoccluded_px[n])),
                area,
                encode_mask(mask),
                camera_from_object(scene.camera, instance),
            )
        )
    k = max((len(asset.schema) for asset in library.objects), default=0)
    ids, boxes, keypoints_, fractions, areas, masks, poses = zip(*rows, strict=True) if rows else [()] * 7
    return Labels(
        category_id=tuple(ids),
        boxes_xyxy=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        keypoints=np.array(keypoints_, dtype=np.float64).reshape(-1, k, 3),
        visible_fraction=np.array(fractions, dtype=np.float64),
        area_px=np.array(areas, dtype=np.float64),
        segmentation=tuple(masks),
        T_camera_from_object=np.array(poses, dtype=np.float64).reshape(-1, 4, 4),
    )


def label_keypoints(
    camera: Camera,
    asset: ObjectAsset,
    instance: ObjectInstance,
    depth_m: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> Array:
    """(K, 3) x, y, v. mask: (H, W), where the instance is seen.

    A keypoint whose faces are all turned away is hidden. Else it is visible where nothing lies nearer to the
    camera by more than DEPTH_TOLERANCE and its own depth below its object's surface: in one of the 3 x 3
    pixels around it if its own pixel shows the object, else in its own or one of those that show the object.
    """
    uv, depth = project(camera, object_points(asset, instance, camera))
    tolerance = DEPTH_TOLERANCE * asset.diameter_m + 1.5 * asset.keypoint_depth_m[instance.mesh]
    tolerance *= max(instance.scale)
    facing = faces_camera(asset, instance, camera)
    labelled = np.zeros((len(uv), 3))
    for k, ((x, y), z) in enumerate(zip(uv, depth, strict=True)):
        if z <= 0 or not (0 <= x < camera.width_px and 0 <= y < camera.height_px):
            labelled[k, 2] = NOT_LABELLED
            continue
        row, column = int(y), int(x)
        around = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        near, own = depth_m[around], mask[around] | mask[row, column]
        farthest = max(float(depth_m[row, column]), float(near.max(where=own, initial=0.0)))
        visible = facing[k] and farthest >= z - tolerance[k]
        labelled[k] = x, y, VISIBLE if visible else OCCLUDED
    return labelled


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """(H, W) bool -> COCO compressed run-length encoding."""
    rle = coco_mask.encode(cv2.transpose(mask.view(np.uint8)).T)
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _box(mask: NDArray[np.bool_], keypoints: Array) -> Array:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    corners = [[x, y], [x + width, y + height]]
    points = np.concatenate([corners, keypoints[keypoints[:, 2] > 0, :2]])
    return np.concatenate([points.min(0), points.max(0)])
