"""Image files on their way from one data set to another."""

import os
import shutil
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from synth.coco import ImageLabels
from synth.errors import DataError
from synth.shards import open_file

SUFFIXES = (".jpg", ".jpeg", ".png")


def place(source: Path, target: Path) -> None:
    """The image `source` also as `target`: linked where the disk allows it, else copied. Raises DataError
    when it is absent or no image."""
    image_size(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with open_file(source) as image, target.open("wb") as copy:
            shutil.copyfileobj(image, copy)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the header. Raises DataError when it is no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return image.size
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not readable as an image: {error}") from error


def flat_names(images: tuple[ImageLabels, ...]) -> list[str]:
    """A name without folders for each image's file: its own, or with its folders where two would be alike."""
    names = [Path(image.file_name).name for image in images]
    if len({Path(name).stem for name in names}) < len(names):
        names = [image.file_name.replace("/", "_") for image in images]
    return names


def beside(label: Path, folder: Path) -> Path:
    """The image in `folder` that carries the label file's stem. Raises DataError when there is none."""
    for suffix in (*SUFFIXES, *(s.upper() for s in SUFFIXES)):
        if (folder / f"{label.stem}{suffix}").is_file():
            return folder / f"{label.stem}{suffix}"
    raise DataError(f"{label}: its image is absent, expected {folder / label.stem}{' or '.join(SUFFIXES)}")
