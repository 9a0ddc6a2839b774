"""COCO keypoints: one JSON file, beside its images or in annotations/ beside their folder."""

from collections.abc import Sequence
from pathlib import Path

from synth.dataset.coco import Category, ImageLabels, read_coco, write_coco
from synth.dataset.labelled import LabelledImages
from synth.dataset.placing import flat_names, place
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.system.pictures import find_image

ANNOTATIONS = "annotations.json"
NAMES = (ANNOTATIONS, "person_keypoints_default.json")
"""Of a folder's COCO file: ours, and that of CVAT and of label-helper."""


def finds(path: Path) -> bool:
    """A file, or a folder that holds one of NAMES or, in it or its annotations/, a COCO file alone."""
    return path.is_file() or _file_in(path) is not None


def files(path: Path) -> list[Path]:
    return [_label_file(path)]


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """Raises DataError as read_coco does; images that are absent are found so when they are opened."""
    file = _label_file(path)
    data = read_coco(file)
    names = (image.file_name for image in data.images)
    return LabelledImages(data, tuple(find_image(file, name) or file.parent / name for name in names), file)


def write(labelled: LabelledImages, object_: str | None, target: Path) -> None:
    images = []
    data = labelled.data
    for image, path, name in zip(data.images, labelled.paths, flat_names(data.images), strict=True):
        place(path, target / "images" / name)
        images.append(ImageLabels(image.id, f"images/{name}", image.width, image.height, image.annotations))
    write_coco(target / ANNOTATIONS, data.categories, images)


def _label_file(path: Path) -> Path:
    return path if path.is_file() else _file_in(path) or path / ANNOTATIONS


def _file_in(folder: Path) -> Path | None:
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted((folder / "annotations" if (folder / "annotations").is_dir() else folder).glob("*.json"))
    if len(found) != 1:
        return None
    try:
        raw = read_json(found[0])
    except DataError:  # whoever reads it as one photo's says so
        return None
    return found[0] if isinstance(raw, dict) and "images" in raw else None
