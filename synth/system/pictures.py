"""Picture files: found beside their labels, measured, turned upright, decoded. Arrays are (H, W, 3) uint8
sRGB.

Cameras store photos as the sensor lay and say in an EXIF tag how to turn them. Viewers and labelling tools
turn them, so labels are in pixels of the turned ("upright") picture.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from synth.errors import DataError
from synth.system.shards import is_file, open_file
from synth.system.untrusted import is_hidden
from synth.types import Rgb

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".jfif", ".jpe", ".avif", ".jp2"),
)
"""Of images, in small or capital letters. Where label files name images by their stem and two have the same,
the one whose suffix stands earlier here is taken."""
UNREAD = (
    *(".heic", ".heif", ".hif", ".jxl", ".gif", ".psd"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw"),
)
"""Of pictures that are not read: no library of a free enough licence decodes HEIC, raw ones are no RGB."""
NAMES_TOLD = 3
EXIF_ORIENTATION = 0x0112
TWELVE_BITS = 1 << 12
OVER_WHITE = 1.5
"""Resampling makes values larger than white."""
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
    """The image with three channels of 8 bits. Deeper ones are scaled, see eight_bits: PIL's own conversion
    would cut grey off at 255, and leave 12 bits of colour in 16 black. Raises ValueError like eight_bits."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGB", "RGBA") and _is_deep(image):
        deep = _undivided(image)
        if deep is not None and deep.max() < TWELVE_BITS:
            return Image.fromarray(eight_bits(deep))
    return image if image.mode == "RGB" else image.convert("RGB")


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The values as 0 to 255: of whole numbers the upper 8 of 8, 12 or 16 bits, of others the share of 1,
    255, 4095 or 65535, whichever holds the largest value. Raises ValueError for larger ones."""
    if values.dtype.kind != "f":
        whole = np.clip(values, 0, 65535)
        bits = next(bits for bits in (8, 12, 16) if whole.max(initial=0) < 1 << bits)
        return np.asarray(whole >> (bits - 8)).astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0)
    largest = values.max(initial=0)
    white = next((white for white in (1, 255, 4095, 65535) if largest <= white * OVER_WHITE), None)
    if white is None:
        raise ValueError(f"values up to {largest:g}, expected 65535 at most")
    return np.asarray(np.clip(values / white, 0, 1) * 255 + 0.5).astype(np.uint8)


def _is_deep(image: Image.Image) -> bool:
    """Whether the file, its pixels not yet read, holds 16 bits a channel, of which PIL reads the upper 8."""
    return any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _undivided(image: Image.Image) -> NDArray[np.uint16] | None:
    """(H, W, 3) of the image's file as it was opened, not turned."""
    file = getattr(image, "fp", None)
    if file is None:
        return None
    at = file.tell()
    file.seek(0)
    found = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    file.seek(at)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        return None
    return np.asarray(found[:, :, 2::-1], np.uint16)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in px of the image turned by its EXIF orientation; pixels are not read."""
    width, height = image.size
    return (height, width) if orientation(image) in (5, 6, 7, 8) else (width, height)


def orientation(image: Image.Image) -> int:
    """EXIF's, 1 = upright already."""
    found = image.getexif().get(EXIF_ORIENTATION, 1)
    return found if found in UPRIGHT else 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """rgb_image of the image, turned by its EXIF orientation. PIL's exif_transpose would also rewrite the
    tags, and fails on malformed ones."""
    rgb = rgb_image(image)  # before its tags are read, for which PIL decodes a PNG
    how = UPRIGHT.get(orientation(image))
    return rgb if how is None else rgb.transpose(how)


def file_orientation(path: Path) -> int:
    """EXIF's, of a picture file, by which read_image turns it; 1 where the file says none, or is no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return orientation(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


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
    found = sorted(filter(is_picture, files))
    for file in found:
        refuse_broken_link(file)
    return found


def is_picture(file: Path) -> bool:
    """By its name."""
    return file.suffix.lower() in SUFFIXES and not is_hidden(file)


def unread_below(folder: Path) -> list[str]:
    """As left_out, of a folder that is looked through with all below it."""
    names = [path.name for path in sorted(folder.rglob("*")) if _is_unread(path)]
    return [f"{_counted(names, 'picture')} not read: convert to JPEG or PNG"] if names else []


def _is_unread(path: Path) -> bool:
    return path.suffix.lower() in UNREAD and not is_hidden(path)


def left_out(folder: Path) -> list[str]:
    """What of the folder's pictures images_in leaves out, a sentence for each kind: those that are not read,
    and folders that hold any."""
    unread, folders = [], []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and any(map(is_picture, path.iterdir())):
            folders.append(path.name)
        elif _is_unread(path):
            unread.append(path.name)
    found = [f"{_counted(unread, 'picture')} not read: convert to JPEG or PNG"] if unread else []
    return (
        [*found, f"{_counted(folders, 'folder')} of pictures not looked into: name them too"]
        if folders
        else found
    )


def _counted(names: list[str], what: str) -> str:
    more = ", …" if len(names) > NAMES_TOLD else ""
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({', '.join(names[:NAMES_TOLD])}{more})"


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
    """(h, w, 3) uint8 sRGB, upright. Raises DataError when the file is no readable image."""
    try:
        with open_file(path) as file:
            data = file.read()
        bgr = None if _opens_deep(data) else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise DataError(f"{path}: not a readable image") from error
    if bgr is None:
        return read_image(path)
    return np.ascontiguousarray(bgr[:, :, ::-1])


def _opens_deep(data: bytes) -> bool:
    """Whether it is a picture of more than 8 bits a channel, which OpenCV divides by 256."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.mode.startswith(("I", "F")) or _is_deep(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright. Raises DataError if the file is missing, truncated or no image."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            return np.array(upright_rgb(image))
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
