"""Image files on their way from one data set to another."""

import os
import shutil
from pathlib import Path

from synth.dataset.coco import ImageLabels
from synth.errors import DataError
from synth.system.pictures import SUFFIXES, header_size
from synth.system.shards import open_file


def place(source: Path, target: Path) -> tuple[int, int]:
    """The image `source`, or what it is a symbolic link to, also as `target`: linked where the disk allows
    it, else copied. Returns its size as header_size does. Raises DataError when it is absent or no image, or
    `target` is there already."""
    size = header_size(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError as error:  # a copy would go through the link into another image's file
        raise DataError(f"{target}: two images would have this name") from error
    except OSError:
        with open_file(source) as image, target.open("xb") as copy:
            shutil.copyfileobj(image, copy)
    return size


def place_sized(image: ImageLabels, source: Path, target: Path) -> tuple[int, int]:
    """`place` for a format that finds images by their stem and takes their sizes from them. Raises DataError
    also for an image that is not of its declared size, or whose suffix is none of SUFFIXES."""
    if source.suffix.lower() not in SUFFIXES:
        raise DataError(f"{source}: suffix {source.suffix!r}, expected {', '.join(SUFFIXES)}")
    width, height = place(source, target)
    declared = (image.width or width, image.height or height)
    if declared != (width, height):
        raise DataError(
            f"{source}: declared {declared[0]} x {declared[1]} px, upright it is {width} x {height} px"
        )
    return width, height


def flat_names(images: tuple[ImageLabels, ...]) -> list[str]:
    """A name without folders for each image's file: its own; with its folders, or numbered, where the stems
    of two would be alike."""
    names = [Path(image.file_name).name for image in images]
    if len({Path(name).stem for name in names}) < len(names):
        names = [image.file_name.replace("/", "_") for image in images]
    if len({Path(name).stem for name in names}) < len(names):
        names = [f"{n:06d}_{name}" for n, name in enumerate(names)]
    return names
