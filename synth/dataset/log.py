"""The log of a rendered data set: a row an image, from which its labels are derived."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synth.dataset.coco import Annotation, Category, ImageLabels, write_coco
from synth.dataset.store import Store, find_store
from synth.errors import DataError
from synth.objects.library import Library
from synth.scene.scene_json import scene_from_json, scene_to_json
from synth.system.files import write_text
from synth.system.json_files import read_json
from synth.system.shards import open_file
from synth.types import Labels, SceneSpec

MANIFEST, ANNOTATIONS = "manifest.json", "annotations.json"
ANNOTATIONS_SUM = "annotations"
"""Of the manifest: the checksum of annotations.json, once that is written."""


def write_annotations(out: Path, library: Library, store: Store, count: int) -> None:
    """annotations.json from the log of `count` images, and its checksum in the manifest."""
    categories = [Category(a.category_id, a.name, a.schema) for a in library.objects]
    images = (labels_of_row(json.loads(row), store) for row in store.rows())
    write_coco(out / ANNOTATIONS, categories, images)
    manifest = read_json(out / MANIFEST)
    manifest[ANNOTATIONS_SUM] = {"images": count, **file_checksum(out / ANNOTATIONS)}
    write_text(out / MANIFEST, json.dumps(manifest, indent=1))


def has_annotations(out: Path, count: int) -> bool:
    """Whether annotations.json is there as write_annotations left it for so many images."""
    known = read_json(out / MANIFEST).get(ANNOTATIONS_SUM)
    return known is not None and known == {"images": count, **_checksum_or_none(out / ANNOTATIONS)}


def checksum(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def file_checksum(path: Path) -> dict[str, Any]:
    """As `checksum` of the file's content; synth.system.shards.open_file opens it."""
    with open_file(path) as file:
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        return {"bytes": file.seek(0, io.SEEK_END), "sha256": digest.hexdigest()}


def damages(out: Path) -> Iterator[str]:
    """What of a rendered data set is not on the disk as it was rendered, file by file; rows of earlier
    versions do not tell. Nothing for a folder that `meshmark render` did not make."""
    if not (out / MANIFEST).is_file():
        return
    try:
        store = find_store(out)
        for index, row in enumerate(read_log(out)):
            name = store.image_name(index)
            if row.get("index") != index:
                yield f"row {index} of the log is that of image {row.get('index')!r:.20}"
            elif row.get("image", None) not in (None, _checksum_or_none(out / name)):
                yield name
    except DataError as error:
        yield str(error)
    known = read_json(out / MANIFEST).get(ANNOTATIONS_SUM)
    if known is not None and not known.items() >= _checksum_or_none(out / ANNOTATIONS).items() > set():
        yield ANNOTATIONS


def _checksum_or_none(path: Path) -> dict[str, Any]:
    """Nothing for a file that cannot be read."""
    try:
        return file_checksum(path)
    except (OSError, DataError):
        return {}


def read_log(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of a rendered data set's log: index, scene, annotations. Raises DataError at a torn one."""
    for number, row in enumerate(find_store(out).rows()):
        try:
            parsed = json.loads(row)
            if not isinstance(parsed, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{out}: its log breaks off at image {number}; render it again to its size to mend it"
            ) from error
        yield parsed


def image_file(out: Path, index: int) -> Path:
    """Image `index` of a rendered data set; synth.system.shards.open_file opens it."""
    return out / find_store(out).image_name(index)


@dataclass(frozen=True)
class LoggedImage:
    """An image of a rendered data set. path: synth.system.shards.open_file opens it. annotations: as log_row
    writes them."""

    path: Path
    scene: SceneSpec
    annotations: list[dict[str, Any]]


def read_images(out: Path) -> Iterator[LoggedImage]:
    """The images of a rendered data set with their scenes, in order.

    Raises DataError as read_log does, and for a scene that lacks a field or holds a wrong one.
    """
    store = find_store(out)
    for number, row in enumerate(read_log(out)):
        try:
            path, scene = out / store.image_name(row["index"]), scene_from_json(row["scene"])
            image = LoggedImage(path, scene, row["annotations"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{out}: image {number}: not what `meshmark render` logs: {error!r}") from error
        yield image


def log_row(scene: SceneSpec, labels: Labels) -> dict[str, Any]:
    """One row of the log: the scene, and per labelled object its annotation and pose."""
    annotations = [
        {
            "category_id": labels.category_id[n],
            "box_xyxy": labels.boxes_xyxy[n].tolist(),
            "keypoints": labels.keypoints[n].tolist(),
            "area": float(labels.area_px[n]),
            "visible_fraction": float(labels.visible_fraction[n]),
            "segmentation": labels.segmentation[n],
            "T_camera_from_object": labels.T_camera_from_object[n].tolist(),
        }
        for n in range(len(labels.category_id))
    ]
    return {"index": scene.index, "scene": scene_to_json(scene), "annotations": annotations}


def labels_of_row(row: dict[str, Any], store: Store) -> ImageLabels:
    camera = row["scene"]["camera"]
    annotations = tuple(
        Annotation(
            category_id=a["category_id"],
            box_xyxy=np.array(a["box_xyxy"]),
            keypoints=np.array(a["keypoints"]),
            area=a["area"],
            segmentation=a["segmentation"],
            visible_fraction=a["visible_fraction"],
        )
        for a in row["annotations"]
    )
    index = row["index"]
    name = store.image_name(index)
    return ImageLabels(index + 1, name, camera["width_px"], camera["height_px"], annotations)
