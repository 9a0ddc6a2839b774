"""Image files on their way from one data set to another."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from synth.coco import ImageLabels
from synth.errors import DataError
from synth.shards import is_file, open_file

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Of images that label files find by their stem, in small or capital letters; of two with one stem that is
taken whose suffix comes first."""
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def place(source: Path, target: Path) -> tuple[int, int]:
    """The image `source`, or what it is a symbolic link to, also as `target`: linked where the disk allows
    it, else copied. Returns its size as image_size does. Raises DataError when it is absent or no image, or
    `target` is there already."""
    size = image_size(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError as error:  # a copy would go through the link into another image's file
        raise DataError(f"{target}: two images would have this name") from error
    except OSError:
        with open_file(source) as image, target.open("xb") as copy:
            shutil.copyfileobj(image, copy)
    return size


def place_sized(image: ImageLabels, root: Path, target: Path) -> tuple[int, int]:
    """`place` for a format that finds images by their stem and takes their sizes from them. Raises DataError
    also for an image that is not of its declared size, or whose suffix is none of SUFFIXES."""
    source = root / image.file_name
    if source.suffix.lower() not in SUFFIXES:
        raise DataError(f"{source}: suffix {source.suffix!r}, expected {', '.join(SUFFIXES)}")
    width, height = place(source, target)
    declared = (image.width or width, image.height or height)
    if declared != (width, height):
        raise DataError(
            f"{source}: declared {declared[0]} x {declared[1]} px, upright it is {width} x {height} px"
        )
    return width, height


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture from the header. Raises DataError when it is no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return upright_size(image)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not readable as an image: {error}") from error


def rgb_image(image: Image.Image) -> Image.Image:
    """With three channels of 8 bits; of 16 bits of grey, which PIL would cut off at 255, the upper 8."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as viewers and labelling tools show it: turned by its EXIF orientation."""
    width, height = image.size
    turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def upright(image: Image.Image) -> Image.Image:
    """The pixels so turned. PIL's own would also write the tags anew, and fail on odd ones."""
    how = UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    return image if how is None else image.transpose(how)


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


def refuse_broken_link(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: is a broken link, to {path.readlink()}")


def pictures(folder: Path) -> list[Path]:
    """The images in `folder`, sorted by name. Raises DataError for a broken link among them."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
    for file in found:
        refuse_broken_link(file)
    return found


def beside(labels: Sequence[Path], folder: Path) -> list[Path]:
    """For each label file the image in `folder` that carries its stem. Raises DataError when one has none."""
    best_last = sorted(pictures(folder), key=lambda file: -SUFFIXES.index(file.suffix.lower()))
    by_stem = {file.stem: file for file in best_last}
    for label in labels:
        if label.stem not in by_stem:
            expected = f"{folder / label.stem}{' or '.join(SUFFIXES)}"
            raise DataError(f"{label}: its image is absent, expected {expected}")
    return [by_stem[label.stem] for label in labels]
