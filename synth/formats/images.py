"""Image files on their way from one data set to another."""

import os
import shutil
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from synth.coco import ImageLabels
from synth.errors import DataError
from synth.shards import is_file, open_file

SUFFIXES = (".jpg", ".jpeg", ".png")
EXIF_ORIENTATION = 0x0112


def place(source: Path, target: Path) -> None:
    """The image `source`, or what it is a symbolic link to, also as `target`: linked where the disk allows
    it, else copied. Raises DataError when it is absent or no image, or `target` is there already."""
    image_size(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError as error:  # a copy would go through the link into another image's file
        raise DataError(f"{target}: two images would have this name") from error
    except OSError:
        with open_file(source) as image, target.open("xb") as copy:
            shutil.copyfileobj(image, copy)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture from the header. Raises DataError when it is no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return upright_size(image)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not readable as an image: {error}") from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as viewers and labelling tools show it: turned by its EXIF orientation."""
    width, height = image.size
    turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def flat_names(images: tuple[ImageLabels, ...]) -> list[str]:
    """A name without folders for each image's file: its own; with its folders, or numbered, where the stems
    of two would be alike."""
    names = [Path(image.file_name).name for image in images]
    if len({Path(name).stem for name in names}) < len(names):
        names = [image.file_name.replace("/", "_") for image in images]
    if len({Path(name).stem for name in names}) < len(names):
        names = [f"{n:06d}_{name}" for n, name in enumerate(names)]
    return names


def find_image(labels: Path, name: str) -> Path | None:
    """The image that the annotation file `labels` calls `name`: beside it, in images/ there, or, for
    folder/annotations/x.json, in folder or its images/."""
    roots = [labels.parent, labels.parent / "images", labels.parent.parent, labels.parent.parent / "images"]
    usual = roots if labels.parent.name == "annotations" else roots[:2]
    return next((root / name for root in usual if is_file(root / name)), None)


def beside(label: Path, folder: Path) -> Path:
    """The image in `folder` that carries the label file's stem. Raises DataError when there is none."""
    for suffix in (*SUFFIXES, *(s.upper() for s in SUFFIXES)):
        if (folder / f"{label.stem}{suffix}").is_file():
            return folder / f"{label.stem}{suffix}"
    raise DataError(f"{label}: its image is absent, expected {folder / label.stem}{' or '.join(SUFFIXES)}")
