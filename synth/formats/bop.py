"""BOP's scene files for poses: scene_camera.json, scene_gt.json, scene_gt_info.json, models_info.json, rgb/.

Millimetres; cam_R_m2c and cam_t_m2c map model to camera (x right, y down, z forward), row by row. cam_K
counts pixels as OpenCV does, from the centre of the first one.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from synth.assets import load_object
from synth.coco import Annotation, Category, ImageLabels, KeypointDataset, read_json
from synth.errors import DataError
from synth.formats.images import beside, image_size, place
from synth.generate import image_file, read_log
from synth.geometry import from_opencv, inverse, project, rigid, to_opencv
from synth.instance import seen_points
from synth.types import NOT_LABELLED, VISIBLE, Array, Camera, ObjectAsset

MM = 1000.0
CAMERA, TRUTH, INFO, MODELS = "scene_camera.json", "scene_gt.json", "scene_gt_info.json", "models_info.json"


@dataclass(frozen=True)
class PoseLabel:
    """One object of one image: K (3, 3) in continuous pixels, T_camera_from_object (4, 4) in metres."""

    image: int
    object_id: int
    K: Array
    T_camera_from_object: Array


def write(source: Path, object_: str, target: Path) -> None:
    """`source`: a folder that `meshmark render` made, of `object_`; poses come from its log.

    Raises DataError for a folder without it, and for lenses, scales and moved joints, which BOP cannot hold.
    """
    asset = load_object(object_)
    cameras: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    infos: dict[str, Any] = {}
    for row in read_log(source):
        index, scene = row["index"], row["scene"]
        _check(row, f"{source}: image {index}")
        place(image_file(source, index), target / "rgb" / f"{index:06d}.jpg")
        K = np.array(scene["camera"]["K"])
        K[:2, 2] = to_opencv(K[:2, 2])
        cameras[str(index)] = {"cam_K": K.ravel().tolist(), "depth_scale": 1.0}
        truths[str(index)] = [
            {
                "cam_R_m2c": T[:3, :3].ravel().tolist(),
                "cam_t_m2c": (MM * T[:3, 3]).tolist(),
                "obj_id": a["category_id"],
            }
            for a in row["annotations"]
            for T in [np.array(a["T_camera_from_object"])]
        ]
        infos[str(index)] = [_info(a) for a in row["annotations"]]
    vertices = MM * np.concatenate([part.vertices for part in asset.meshes[0]])
    low, size = vertices.min(0), np.ptp(vertices, axis=0)
    model: dict[str, float] = {"diameter": MM * asset.diameter_m}
    for n, axis in enumerate("xyz"):
        model |= {f"min_{axis}": float(low[n]), f"size_{axis}": float(size[n])}
    for name, content in ((CAMERA, cameras), (TRUTH, truths), (INFO, infos)):
        (target / name).write_text(json.dumps(content))
    (target / MODELS).write_text(json.dumps({str(asset.category_id): model}, indent=1))


def read(folder: Path) -> Iterator[PoseLabel]:
    """Poses of a BOP scene folder. Raises DataError naming file and image."""
    cameras, truths = read_json(folder / CAMERA), read_json(folder / TRUTH)
    for image, rows in truths.items():
        where = f"{folder / TRUTH}: image {image}"
        try:
            K = np.array(cameras[image]["cam_K"], dtype=np.float64).reshape(3, 3)
            K[:2, 2] = from_opencv(K[:2, 2])
            for row in rows:
                R = np.array(row["cam_R_m2c"], dtype=np.float64).reshape(3, 3)
                t = np.array(row["cam_t_m2c"], dtype=np.float64).reshape(3) / MM
                if not (np.isfinite(t).all() and np.abs(R @ R.T - np.eye(3)).max() < 1e-3):
                    raise DataError(f"{where}: cam_R_m2c is no rotation or cam_t_m2c is not finite")
                yield PoseLabel(int(image), int(row["obj_id"]), K, rigid(R, t))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: malformed: {error!r}") from error


def read_keypoints(folder: Path, object_: str) -> KeypointDataset:
    """Keypoints of the object in a BOP scene, whose obj_id is its category_id: its points through the poses.

    v = 2 in the image, also where something hides them (a scene tells no occluder), else 0. Boxes are
    bbox_visib of scene_gt_info.json, or the mesh's hull without it. File names relative to `folder`.
    """
    asset = load_object(object_)
    category = Category(asset.category_id, asset.name, asset.schema)
    infos = read_json(folder / INFO) if (folder / INFO).is_file() else None
    poses: dict[int, list[tuple[int, PoseLabel]]] = {int(n): [] for n in read_json(folder / TRUTH)}
    for pose in read(folder):
        poses[pose.image].append((len(poses[pose.image]), pose))
    images = []
    for index, labels in sorted(poses.items()):
        picture = beside(Path(f"{index:06d}"), folder / "rgb")
        width, height = image_size(picture)
        annotations = []
        for row, pose in labels:
            if pose.object_id != asset.category_id:
                continue
            camera = Camera(width, height, pose.K, inverse(pose.T_camera_from_object))
            info = _visible(infos, index, row, f"{folder / INFO}: image {index}")
            if info is not None and (info[0][2:] <= info[0][:2]).any():
                continue  # wholly hidden: BOP's box is then -1, -1, -1, -1
            annotations.append(_keypoints(camera, asset, info))
        name = picture.relative_to(folder).as_posix()
        images.append(ImageLabels(index + 1, name, width, height, tuple(annotations)))
    return KeypointDataset((category,), tuple(images))


def _visible(infos: Any, image: int, row: int, where: str) -> tuple[Array, float] | None:
    """The box (4,) xyxy and the visible share of the row-th object, None without scene_gt_info.json."""
    if infos is None:
        return None
    try:
        info = infos[str(image)][row]
        x, y, w, h = (float(c) for c in info["bbox_visib"])
        return np.array([x, y, x + w, y + h]), float(info.get("visib_fract", 1.0))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{where}: malformed: {error!r}") from error


def _keypoints(camera: Camera, asset: ObjectAsset, info: tuple[Array, float] | None) -> Annotation:
    """camera: its world is the object's frame."""
    eye = camera.T_world_from_camera[:3, 3]
    uv, depth = project(camera, seen_points(asset, np.tile(eye, (len(asset.schema), 1))))
    inside = (depth > 0) & (uv >= 0).all(axis=1) & (uv < [camera.width_px, camera.height_px]).all(axis=1)
    points = np.column_stack([uv, np.where(inside, VISIBLE, NOT_LABELLED)]) * inside[:, None]
    if info is None:
        hull, _ = project(camera, asset.hulls[0])
        limits = np.array([camera.width_px, camera.height_px], dtype=np.float64)
        info = np.concatenate([hull.min(0).clip(0, limits), hull.max(0).clip(0, limits)]), 1.0
    box, share = info
    area = float(np.prod(box[2:] - box[:2]))
    return Annotation(asset.category_id, box, points, area, visible_fraction=share)


def _check(row: dict[str, Any], where: str) -> None:
    if row["scene"]["camera"]["distortion"] is not None:
        raise DataError(f"{where}: taken through a lens; render with camera.distorted: 0 for BOP")
    for instance in row["scene"]["objects"]:
        if not all(math.isclose(s, 1.0) for s in instance["scale"]):
            raise DataError(f"{where}: an object is scaled, which BOP cannot hold; give scale ranges of 1")
        if any(instance["joints"].values()):
            raise DataError(f"{where}: an object's joints are moved, which BOP cannot hold; give ranges of 0")


def _info(annotation: dict[str, Any]) -> dict[str, Any]:
    visible = annotation["area"]
    return {
        "bbox_visib": coco_mask.toBbox(annotation["segmentation"]).tolist(),
        "px_count_visib": int(visible),
        "px_count_all": round(visible / max(annotation["visible_fraction"], 1e-9)),
        "visib_fract": annotation["visible_fraction"],
    }
