"""The log of a rendered data set: a row an image, from which its labels are derived."""

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
from synth.types import Labels, SceneSpec

MANIFEST, ANNOTATIONS = "manifest.json", "annotations.json"


def write_annotations(out: Path, library: Library, store: Store) -> None:
    """annotations.json from the log."""
    categories = [Category(a.category_id, a.name, a.schema) for a in library.objects]
    images = (labels_of_row(json.loads(row), store) for row in store.rows())
    write_coco(out / ANNOTATIONS, categories, images)


def read_log(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of a rendered data set's log: index, scene, annotations. Raises DataError at a torn one."""
    for number, row in enumerate(find_store(out).rows()):
        try:
            yield json.loads(row)
        except ValueError as error:
            raise DataError(
                f"{out}: its log breaks off at image {number}; render it again to its size to mend it"
            ) from error


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
