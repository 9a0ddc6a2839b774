"""Picture files: found beside their labels, measured, turned upright, decoded. Arrays are (H, W, 3) uint8
sRGB.

Cameras store photos as the sensor lay and say in an EXIF tag how to turn them. Viewers and labelling tools
turn them, so labels are in pixels of the turned ("upright") picture.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from synth.errors import DataError
from synth.system.shards import is_file, open_file
from synth.system.untrusted import is_hidden
from synth.types import Rgb

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Of images, in small or capital letters. Where label files name images by their stem and two have the same,
the one whose suffix stands earlier here is taken."""
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


def header_size(path: Path) -> tuple[int, int]:
    """Width and height in px of the upright picture, from the file's header alone: a truncated file passes,
    see verified_size. Raises DataError when it is no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return upright_size(image)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not readable as an image: {error}") from error


def rgb_image(image: Image.Image) -> Image.Image:
    """The image with three channels of 8 bits. Of 16 bits of grey the upper 8 are kept: PIL's own conversion
    would cut values off at 255."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in px of the image turned by its EXIF orientation; pixels are not read."""
    width, height = image.size
    turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation. PIL's exif_transpose would also rewrite the tags, and fails
    on malformed ones."""
    how = UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    return image if how is None else image.transpose(how)


def find_image(labels: Path, name: str) -> Path | None:
    """The image that the annotation file `labels` calls `name`, written plainly or as in an address (%20)."""
    names = dict.fromkeys((name, unquote(name)))
    roots = image_roots(labels)
    return next((root / n for root in roots for n in names if is_file(root / n)), None)


LABEL_FOLDERS = ("annotations", "labels")
"""Names of folders of label files that lie in the data set's folder, beside its images."""


def levels_up(labels: Path) -> int:
    """Folders between an annotation file and its data set's folder."""
    return int(labels.absolute().parent.name in LABEL_FOLDERS)


def image_roots(labels: Path) -> list[Path]:
    """Where the images of an annotation file may lie: beside it, in images/ or data/ there, or in one of the
    folders that its name ends with, as of person_keypoints_val2017.json in val2017/ or images/val2017/; for
    folder/annotations/x.json also in folder."""
    folders = [labels.parent, labels.parent.parent][: levels_up(labels) + 1]
    words = labels.stem.split("_")
    subsets = ["_".join(words[i:]) for i in range(len(words))]
    usual = [folder / inner for folder in folders for inner in ("", "images", "data")]
    return usual + [root / subset for root in usual for subset in subsets if subset.strip(".")]


def refuse_broken_link(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: is a broken link, to {path.readlink()}")


def images_in(folder: Path) -> list[Path]:
    """The images in `folder`, sorted by name. Raises DataError for a broken link among them."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = sorted(file for file in files if file.suffix.lower() in SUFFIXES and not is_hidden(file))
    for file in found:
        refuse_broken_link(file)
    return found


def beside(labels: Sequence[Path], folder: Path) -> list[Path]:
    """For each label file the image in `folder` that carries its stem. Raises DataError when one has none."""
    best_last = sorted(images_in(folder), key=lambda file: -SUFFIXES.index(file.suffix.lower()))
    by_stem = {file.stem: file for file in best_last}
    for label in labels:
        if label.stem not in by_stem:
            expected = f"{folder / label.stem}{' or '.join(SUFFIXES)}"
            raise DataError(f"{label}: its image is absent, expected {expected}")
    return [by_stem[label.stem] for label in labels]


def load_rgb(path: Path) -> Rgb:
    """(h, w, 3) uint8 sRGB. Raises DataError when the file is no readable image."""
    try:
        with open_file(path) as file:
            bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        bgr = None
    if bgr is None:
        raise DataError(f"{path}: not a readable image")
    return np.ascontiguousarray(bgr[:, :, ::-1])


END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright. Raises DataError if the file is missing, truncated or no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return np.array(rgb_image(upright(image)))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not readable as an image: {error}") from error


def verified_size(path: Path) -> tuple[int, int]:
    """Width and height in px of the upright picture, of a file that is whole.

    A file that ends as JPEG and PNG demand is taken to be whole; any other is decoded. Raises DataError for
    one that is truncated or no image.
    """
    try:
        with open_file(path) as file, Image.open(file) as image:
            mark = END_MARKS.get(image.format or "", b"")
            size = upright_size(image)
            file.seek(-min(64, file.seek(0, io.SEEK_END)), io.SEEK_END)
            whole = mark in file.read()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not readable as an image: {error}") from error
    if not whole:
        read_image(path)
    return size
