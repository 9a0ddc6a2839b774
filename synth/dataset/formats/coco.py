"""COCO keypoints: a JSON file beside its images or in annotations/ beside their folder, or one for each part.

A folder that is divided into parts (train, val, …) holds the files in annotations/, as COCO itself, CVAT and
Datumaro write them, or one in each part's own folder, as Roboflow does; the parts are read as one data set.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from synth.dataset.coco import Category, ImageLabels, KeypointDataset, read_coco, write_coco
from synth.dataset.formats.json_kinds import A_PHOTO, COCO, OTHER_TOOLS, json_files, kind_of
from synth.dataset.labelled import LabelledImages, named_as
from synth.dataset.placing import flat_names, place
from synth.errors import DataError
from synth.system.pictures import find_image
from synth.system.untrusted import is_hidden

ANNOTATIONS = "annotations.json"
NAMES = (ANNOTATIONS, "person_keypoints_default.json")
"""Of a folder's COCO file: ours, and that of CVAT and of label-helper."""
KEYPOINTS = "person_keypoints_"
"""What names begin with of files beside which COCO's instances_ and captions_ of the same images lie."""


def finds(path: Path) -> bool:
    return bool(files(path))


def files(path: Path) -> list[Path]:
    """`path` itself unless it is another tool's, or the COCO files of the folder or of its parts."""
    if path.exists() and not path.is_dir():
        return [] if kind_of(path) in OTHER_TOOLS else [path]
    for name in NAMES:
        if (path / name).exists():
            return [path / name]
    found = _coco_files(json_files(path))
    if found or not path.is_dir():
        return found
    parts = sorted(part for part in path.iterdir() if part.is_dir() and not is_hidden(part))
    return [file for part in parts for file in _coco_files(sorted(part.glob("*.json")))]


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """Raises DataError as read_coco does; images that are absent are found so when they are opened.

    Of several files, file names are relative to the folder `path`, and ids of images and, where two differ in
    name, of categories are counted anew.
    """
    found = files(path)
    if len(found) == 1:
        data = read_coco(found[0], path)
        paths, source = _image_paths(found[0], data), found[0]
    else:
        parts = [read_coco(file, path) for file in found]
        paths = [p for file, part in zip(found, parts, strict=True) for p in _image_paths(file, part)]
        data, source = _merged(parts, paths, path), path
    return LabelledImages(named_as(data, asked, str(source)), tuple(paths), source)


def write(labelled: LabelledImages, object_: str | None, target: Path) -> None:
    images = []
    data = labelled.data
    for image, path, name in zip(data.images, labelled.paths, flat_names(data.images), strict=True):
        place(path, target / "images" / name)
        images.append(ImageLabels(image.id, f"images/{name}", image.width, image.height, image.annotations))
    write_coco(target / ANNOTATIONS, data.categories, images)


def _coco_files(found: list[Path]) -> list[Path]:
    """Those with keypoints where there are such, else all of the kind; none beside one JSON a photo."""
    found = [file for file in found if not is_hidden(file)]
    kept = [file for file in found if file.name.startswith(KEYPOINTS)] or found
    if not kept or kind_of(kept[0]) in (None, *A_PHOTO):
        return []
    return [file for file in kept if kind_of(file) == COCO]


def _image_paths(file: Path, data: KeypointDataset) -> list[Path]:
    names = (image.file_name for image in data.images)
    return [find_image(file, name) or file.parent / name for name in names]


def _merged(parts: list[KeypointDataset], paths: list[Path], folder: Path) -> KeypointDataset:
    categories: dict[str, Category] = {}
    images: list[ImageLabels] = []
    for part in parts:
        ids = {}
        for category in part.categories:
            known = categories.get(category.name)
            if known is None:
                taken = {c.id for c in categories.values()}
                new = category.id if category.id not in taken else max(taken) + 1
                known = categories[category.name] = replace(category, id=new)
            elif known.schema.names != category.schema.names:
                raise DataError(f"{folder}: its files give {category.name} other keypoints each")
            ids[category.id] = known.id
        for image in part.images:
            own = tuple(replace(a, category_id=ids[a.category_id]) for a in image.annotations)
            path = paths[len(images)]
            name = path.relative_to(folder) if path.is_relative_to(folder) else Path(image.file_name)
            images.append(replace(image, id=len(images) + 1, file_name=name.as_posix(), annotations=own))
    return KeypointDataset(tuple(categories.values()), tuple(images))
