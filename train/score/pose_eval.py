"""How exact poses are: predicted keypoints on rendered images, whose true poses are known."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from synth.asset import ObjectAsset
from synth.dataset.coco import object_category
from synth.dataset.log import read_images
from synth.errors import DataError
from synth.objects.load import load_object
from synth.system.files import write_text
from synth.system.pictures import read_image
from synth.system.progress import track
from synth.types import Array
from train.detect.object_pose import object_pose
from train.detect.pose import (
    NoPose,
    add_error,
    add_s_error,
    nearest_symmetric,
    rotation_angle,
)
from train.detect.pose_files import without_pose
from train.detect.predict import Detector
from train.score.matching import box_iou

MIN_IOU = 0.5
MODEL_POINTS = 500
ADD_SHARE = 0.1


def model_points(asset: ObjectAsset) -> Array:
    """(P, 3) vertices of the first mesh, at most MODEL_POINTS."""
    vertices = np.concatenate([part.vertices for part in asset.meshes[0]])
    return vertices[:: -(-len(vertices) // MODEL_POINTS)]


def evaluate_poses(
    weights: Path, synth: Path, object_: str, out: Path, count: int, device: str
) -> dict[str, Any]:
    """Writes `out`/poses.json and returns what it holds: of the objects labelled in the first `count` images
    of a rendered data set, how many were found and posed, and the errors of those.

    Objects hidden by more than half are left out, and images in which one was rendered scaled. Raises
    DataError when nothing is left, and for a data set of another object.
    """
    asset = load_object(object_)
    cases = list(_cases(synth, count, asset))
    if not any(truths for _, _, truths in cases):
        raise DataError(
            f"{synth}: no object to judge in its first {len(cases)} images: all are scaled or hidden by more "
            "than half; poses need scale ranges of 1"
        )
    detector = Detector.load(weights, device)
    detector.narrow([object_category(object_)[0]], str(weights))
    points = model_points(asset)
    rows: list[dict[str, float]] = []
    objects = found = 0
    reasons: dict[str, int] = {}
    for image, camera, truths in track(cases, len(cases), "poses"):
        detections = detector(read_image(image))
        boxes = np.array([d.box_xyxy for d in detections]).reshape(-1, 4)
        for box, truth in truths:
            objects += 1
            overlap = box_iou(box[None], boxes)[0]
            if not len(overlap) or overlap.max() < MIN_IOU:
                continue
            found += 1
            best = detections[int(overlap.argmax())]
            solved = object_pose(asset, best, camera)
            if isinstance(solved, NoPose):
                reasons[solved.reason] = reasons.get(solved.reason, 0) + 1
                continue
            T = nearest_symmetric(solved.T_camera_from_object, truth, asset.symmetries)
            rows.append(
                {
                    "rotation_deg": float(np.degrees(rotation_angle(T, truth))),
                    "translation_m": float(np.linalg.norm(T[:3, 3] - truth[:3, 3])),
                    "translation_share": float(
                        np.linalg.norm(T[:3, 3] - truth[:3, 3]) / np.linalg.norm(truth[:3, 3])
                    ),
                    "add_share": add_error(T, truth, points) / asset.diameter_m,
                    "add_s_share": add_s_error(T, truth, points) / asset.diameter_m,
                    "rms_px": solved.rms_px,
                }
            )
    result: dict[str, Any] = {
        "object": asset.name,
        "weights": str(weights),
        "data": str(synth),
        "n_objects": objects,
        "n_found": found,
        "n_posed": len(rows),
        "no_pose": reasons,
        "add_within_a_tenth": sum(r["add_share"] <= ADD_SHARE for r in rows) / max(objects, 1),
        "median": {key: float(np.median([r[key] for r in rows])) for key in rows[0]} if rows else None,
        "p90": {key: float(np.percentile([r[key] for r in rows], 90)) for key in rows[0]} if rows else None,
    }
    write_text(out / "poses.json", json.dumps(result, indent=1))
    return result


def print_poses(result: dict[str, Any], console: Console) -> None:
    """The figures of poses.json."""
    counts = f"{result['n_objects']} objects, {result['n_found']} found, {result['n_posed']} posed"
    console.print(f"{counts}; ADD within a tenth of the size: {result['add_within_a_tenth']:.3f}")
    if result["no_pose"]:
        console.print(without_pose(result["no_pose"]))
    for which in ("median", "p90"):
        if result[which]:
            m = result[which]
            console.print(
                f"{which}: {m['rotation_deg']:.2f} deg, {1000 * m['translation_m']:.1f} mm "
                f"({100 * m['translation_share']:.2f} % of the distance), "
                f"ADD {100 * m['add_share']:.2f} %, ADD-S {100 * m['add_s_share']:.2f} % of the size"
            )


def _cases(
    synth: Path, count: int, asset: ObjectAsset
) -> Iterator[tuple[Path, Any, list[tuple[Array, Array]]]]:
    """Image, camera, and for each object to be judged its box (4,) and T_camera_from_object (4, 4)."""
    for image, _ in zip(read_images(synth), range(count), strict=False):
        objects = image.scene.objects
        other = {instance.asset for instance in objects} - {asset.name}
        if other:
            raise DataError(f"{synth}: image {image.scene.index}: shows {other.pop()}, expected {asset.name}")
        scaled = any(np.ptp([1.0, *o.scale]) > 1e-9 for o in objects)
        truths = [
            (np.array(a["box_xyxy"]), np.array(a["T_camera_from_object"]))
            for a in image.annotations
            if a["visible_fraction"] >= 0.5 and not scaled
        ]
        yield image.path, image.scene.camera, truths
