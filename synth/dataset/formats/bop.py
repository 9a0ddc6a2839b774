"""BOP's scene files for poses: scene_camera.json, scene_gt.json, scene_gt_info.json, models_info.json, rgb/.

Millimetres; cam_R_m2c and cam_t_m2c map model to camera (x right, y down, z forward), row by row. cam_K
counts pixels as OpenCV does, from the centre of the first one.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from synth.asset import ObjectAsset
from synth.dataset.coco import Annotation, Category, ImageLabels, KeypointDataset
from synth.dataset.labelled import LabelledImages
from synth.dataset.log import image_file, read_log
from synth.dataset.placing import place
from synth.errors import DataError
from synth.geometry import from_opencv, inverse, project, rigid, to_opencv
from synth.objects.load import load_object
from synth.scene.instances import projected_box, seen_points
from synth.system.json_files import read_json
from synth.system.pictures import beside, header_size
from synth.types import NOT_LABELLED, VISIBLE, Array, Camera

MM = 1000.0
CAMERA, TRUTH, INFO, MODELS = "scene_camera.json", "scene_gt.json", "scene_gt_info.json", "models_info.json"


@dataclass(frozen=True)
class PoseLabel:
    """One object of one image: K (3, 3) in continuous pixels, T_camera_from_object (4, 4) in metres."""

    image: int
    object_id: int
    K: Array
    T_camera_from_object: Array


def finds(path: Path) -> bool:
    return (path / TRUTH).is_file()


def files(path: Path) -> list[Path]:
    return [path / name for name in (CAMERA, TRUTH, INFO, MODELS) if (path / name).is_file()]


def write(labelled: LabelledImages, object_: str | None, target: Path) -> None:
    """Of a folder that `meshmark render` made, of `object_`; poses come from its log.

    bbox_obj is the silhouette's box were the object alone, also beyond the image; px_count_all and
    visib_fract count the silhouette's pixels in the image. models_info.json names the object beyond BOP's
    keys. Raises DataError for a folder without a log or of another object, and for lenses, scales and moved
    joints, which BOP cannot hold.
    """
    if object_ is None:
        raise DataError("bop needs the mesh: name the object with --object")
    asset, source = load_object(object_), labelled.folder
    cameras: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    infos: dict[str, Any] = {}
    for row in read_log(source):
        index, scene = row["index"], row["scene"]
        _check(row, asset, f"{source}: image {index}")
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
        infos[str(index)] = [_info(a, scene, asset) for a in row["annotations"]]
    vertices = MM * np.concatenate([part.vertices for part in asset.meshes[0]])
    low, size = vertices.min(0), np.ptp(vertices, axis=0)
    model: dict[str, Any] = {"name": asset.name, "diameter": MM * asset.diameter_m}
    for n, axis in enumerate("xyz"):
        model |= {f"min_{axis}": float(low[n]), f"size_{axis}": float(size[n])}
    for name, content in ((CAMERA, cameras), (TRUTH, truths), (INFO, infos)):
        (target / name).write_text(json.dumps(content))
    (target / MODELS).write_text(json.dumps({str(asset.category_id): model}, indent=1))


def read_poses(folder: Path) -> Iterator[PoseLabel]:
    """Poses of a BOP scene folder. Raises DataError naming file and image."""
    cameras = _by_number(folder / CAMERA)
    for image, rows in _by_number(folder / TRUTH).items():
        where = f"{folder / TRUTH}: image {image}"
        if image not in cameras:
            raise DataError(f"{where}: is not in {CAMERA}")
        K = _numbers(cameras[image], "cam_K", (3, 3), f"{folder / CAMERA}: image {image}")
        K[:2, 2] = from_opencv(K[:2, 2])
        if not isinstance(rows, list):
            raise DataError(f"{where}: {rows!r:.60}, expected a list of objects")
        for row in rows:
            R = _numbers(row, "cam_R_m2c", (3, 3), where)
            if np.abs(R @ R.T - np.eye(3)).max() > 1e-3:
                raise DataError(f"{where}: cam_R_m2c: {R.ravel().tolist()} is no rotation")
            t = _numbers(row, "cam_t_m2c", (3,), where) / MM
            yield PoseLabel(image, int(_numbers(row, "obj_id", (), where)), K, rigid(R, t))


def _by_number(path: Path) -> dict[int, Any]:
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path}: a {type(raw).__name__}, expected a mapping from numbers")
    for key in raw:
        if not re.fullmatch("[0-9]{1,9}", key):
            raise DataError(f"{path}: {key!r:.60}, expected a number")
    return {int(key): value for key, value in raw.items()}


def _numbers(row: Any, key: str, shape: tuple[int, ...], where: str) -> Array:
    """row[key] as an array of `shape`, or a DataError when it is none of finite numbers."""
    came = row.get(key) if isinstance(row, dict) else None
    try:
        numbers = np.array(came, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError):
        numbers = np.array(math.nan)
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: {key}: {came!r:.80}, expected finite numbers, {math.prod(shape)} of them")
    return numbers


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """Keypoints of the object in a BOP scene, whose obj_id is its category_id: its points through the poses.

    The object is `object_`, else the one in assets/ that has the name of the only category asked for.

    v = 2 in the image, also where something hides them (a scene tells no occluder), else 0. Boxes are those
    of rendered sets: around what is seen, bbox_visib of scene_gt_info.json (without it the mesh's hull), and
    around the labelled keypoints; bbox_obj, which reaches beyond occluders and the image, is not used. File
    names relative to the folder `path`. Raises DataError for a scene of other objects.
    """
    folder, name = path, object_ or (asked[0].name if len(asked) == 1 else None)
    if name is None:
        raise DataError(f"{folder}: poses become keypoints of an object: name it with --object")
    asset = load_object(name)
    category = Category(asset.category_id, asset.name, asset.schema)
    infos = _by_number(folder / INFO) if (folder / INFO).is_file() else None
    poses: dict[int, list[tuple[int, PoseLabel]]] = {n: [] for n in sorted(_by_number(folder / TRUTH))}
    for pose in read_poses(folder):
        poses[pose.image].append((len(poses[pose.image]), pose))
    _require_model(folder, {pose.object_id for labels in poses.values() for _, pose in labels}, asset)
    images = []
    pictures = beside([Path(f"{index:06d}") for index in poses], folder / "rgb")
    for (index, labels), picture in zip(poses.items(), pictures, strict=True):
        width, height = header_size(picture)
        annotations = []
        for row, pose in labels:
            if pose.object_id != asset.category_id:
                continue
            camera = Camera(width, height, pose.K, inverse(pose.T_camera_from_object))
            if infos is None:
                box, share = _hull_box(camera, asset, f"{folder / TRUTH}: image {index}"), 1.0
            else:
                box, share = _visible(infos, index, row, f"{folder / INFO}: image {index}")
            if (box[2:] > box[:2]).all():  # that of a wholly hidden object is -1, -1, -1, -1
                annotations.append(_annotation(camera, asset, box, share))
        name = picture.relative_to(folder).as_posix()
        images.append(ImageLabels(index + 1, name, width, height, tuple(annotations)))
    return LabelledImages(KeypointDataset((category,), tuple(images)), tuple(pictures), folder / TRUTH)


def _require_model(folder: Path, ids: set[int], asset: ObjectAsset) -> None:
    """Raises DataError when the scene's objects, if any, have other ids than `asset`, or models_info.json
    names that id otherwise."""
    if ids and asset.category_id not in ids:
        listed = ", ".join(map(str, sorted(ids)))
        raise DataError(f"{folder / TRUTH}: obj_id {listed}, expected {asset.category_id} for {asset.name}")
    models = _by_number(folder / MODELS) if (folder / MODELS).is_file() else {}
    model = models.get(asset.category_id)
    name = model.get("name", asset.name) if isinstance(model, dict) else asset.name
    if name != asset.name:
        raise DataError(f"{folder / MODELS}: object {asset.category_id}: {name!r}, expected {asset.name}")


def _visible(infos: dict[int, Any], image: int, row: int, where: str) -> tuple[Array, float]:
    """The box (4,) xyxy and the visible share of the row-th object."""
    try:
        info = infos[image][row]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"{where}: object {row} is absent, expected those of {TRUTH}") from error
    box = _numbers(info, "bbox_visib", (4,), where)
    share = float(_numbers(info, "visib_fract", (), where)) if "visib_fract" in info else 1.0
    return np.concatenate([box[:2], box[:2] + box[2:]]), share


def _hull_box(camera: Camera, asset: ObjectAsset, where: str) -> Array:
    """(4,) xyxy of the hull in the image."""
    box = projected_box(camera, asset.hulls[0])
    if box is None:
        raise DataError(f"{where}: an object reaches behind the camera; its box needs {INFO}")
    return box.clip(0, np.tile([camera.width_px, camera.height_px], 2))


def _annotation(camera: Camera, asset: ObjectAsset, box: Array, share: float) -> Annotation:
    """camera: its world is the object's frame. box: (4,) xyxy of what is seen."""
    eye = camera.T_world_from_camera[:3, 3]
    uv, depth = project(camera, seen_points(asset, np.tile(eye, (len(asset.schema), 1))))
    inside = (depth > 0) & (uv >= 0).all(axis=1) & (uv < [camera.width_px, camera.height_px]).all(axis=1)
    points = np.column_stack([uv, np.where(inside, VISIBLE, NOT_LABELLED)]) * inside[:, None]
    corners = np.concatenate([box.reshape(2, 2), uv[inside]])
    box = np.concatenate([corners.min(0), corners.max(0)])
    area = float(np.prod(box[2:] - box[:2]))
    return Annotation(asset.category_id, box, points, area, visible_fraction=share)


def _check(row: dict[str, Any], asset: ObjectAsset, where: str) -> None:
    for annotation in row["annotations"]:
        if annotation["category_id"] != asset.category_id:
            came, expected = annotation["category_id"], f"{asset.category_id} of {asset.name}"
            raise DataError(f"{where}: shows an object of category id {came}, expected {expected}")
    if row["scene"]["camera"]["distortion"] is not None:
        raise DataError(f"{where}: taken through a lens; render with camera.distorted: 0 for BOP")
    for instance in row["scene"]["objects"]:
        if instance["asset"] != asset.name:
            raise DataError(f"{where}: shows {instance['asset']}, expected {asset.name}")
        if instance["mesh"] >= len(asset.meshes):
            number, count = instance["mesh"] + 1, len(asset.meshes)
            raise DataError(f"{where}: shows mesh {number} of {asset.name}, which has only {count} now")
        if not all(math.isclose(s, 1.0) for s in instance["scale"]):
            raise DataError(f"{where}: an object is scaled, which BOP cannot hold; give scale ranges of 1")
        if any(instance["joints"].values()):
            raise DataError(f"{where}: an object's joints are moved, which BOP cannot hold; give ranges of 0")


def _info(annotation: dict[str, Any], scene: dict[str, Any], asset: ObjectAsset) -> dict[str, Any]:
    """annotation, scene: of the log."""
    visible = annotation["area"]
    raw, T = scene["camera"], np.array(annotation["T_camera_from_object"])
    T_world = np.array(raw["T_world_from_camera"]) @ T
    instance = min(scene["objects"], key=lambda o: np.abs(o["T_world_from_object"] - T_world).max())
    camera = Camera(raw["width_px"], raw["height_px"], np.array(raw["K"]), inverse(T))
    uv, _ = project(camera, asset.hulls[instance["mesh"]])
    low, high = uv.min(0).round(), uv.max(0).round()
    return {
        "bbox_obj": [*low.tolist(), *(high - low).tolist()],
        "bbox_visib": coco_mask.toBbox(annotation["segmentation"]).tolist(),
        "px_count_visib": int(visible),
        "px_count_all": round(visible / max(annotation["visible_fraction"], 1e-9)),
        "visib_fract": annotation["visible_fraction"],
    }
