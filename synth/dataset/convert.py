"""From one format of labels to another, into a new folder that appears whole or not at all."""

import shutil
from pathlib import Path

from synth.dataset.coco import Category, ImageLabels, KeypointDataset, read_coco, write_coco
from synth.dataset.formats import bop, shapes, yolo_pose
from synth.dataset.placing import flat_names, place
from synth.errors import DataError

FORMATS = ("coco", "yolo-pose", "shapes", "bop")
ANNOTATIONS = "annotations.json"


def convert(source: Path, target: Path, to: str, category: Category | None, object_: str | None) -> int:
    """Returns the number of images. object_: needed from and to bop; category: its, for folders of one JSON
    a photo without a schema. Raises DataError when the source cannot be read or has no such category, or the
    target exists."""
    if target.exists():
        raise DataError(f"{target} exists already; choose another folder")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        if to == "bop":
            if object_ is None:
                raise DataError("bop needs the mesh: name the object with --object")
            bop.write(source, object_, part)
            count = sum(1 for _ in (part / "rgb").iterdir())
        else:
            dataset, root = read(source, category, object_)
            if category is not None:
                _require(category, dataset, source)
            write = {"coco": _write_coco, "yolo-pose": yolo_pose.write, "shapes": shapes.write}[to]
            write(dataset, root, part)
            count = len(dataset.images)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def read(
    source: Path, category: Category | None = None, object_: str | None = None
) -> tuple[KeypointDataset, Path]:
    """The labels at `source`, whichever format they are in, and the folder that file names start from."""
    if source.is_file():
        return read_coco(source), source.parent
    if (source / ANNOTATIONS).is_file():
        return read_coco(source / ANNOTATIONS), source
    if (source / yolo_pose.DATA).is_file():
        return yolo_pose.read(source), source
    if (source / bop.TRUTH).is_file():
        if object_ is None:
            raise DataError(f"{source}: poses become keypoints of an object: name it with --object")
        return bop.read_keypoints(source, object_), source
    if source.is_dir():
        return shapes.read(source, category), source
    raise DataError(f"{source}: no such file or folder")


def _require(category: Category, dataset: KeypointDataset, source: Path) -> None:
    if category.name not in {c.name for c in dataset.categories}:
        came = ", ".join(f"{c.name} (category id {c.id})" for c in dataset.categories)
        raise DataError(f"{source}: holds {came}, expected {category.name} (category id {category.id})")


def _write_coco(dataset: KeypointDataset, root: Path, target: Path) -> None:
    images = []
    for image, name in zip(dataset.images, flat_names(dataset.images), strict=True):
        place(root / image.file_name, target / "images" / name)
        images.append(ImageLabels(image.id, f"images/{name}", image.width, image.height, image.annotations))
    write_coco(target / ANNOTATIONS, dataset.categories, images)
