"""Real photos of a chessboard with their truth."""

import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pooch

from synth.dataset.coco import Annotation, Category, ImageLabels, category_to_json, write_coco
from synth.errors import DataError, EnvironmentProblem
from synth.fetch.corners import find_corners, keypoints, plate_box
from synth.fetch.debian import one_line, say, sha256_of, unpack_debian
from synth.fetch.pins import CHESSBOARD_SHA256
from synth.objects.load import load_schema
from synth.system.cache import CHESSBOARDS, cache_folder, publish
from synth.system.json_files import read_json
from synth.types import VISIBLE

CHESSBOARD_PACKAGE = "opencv-doc"
CHESSBOARD_URL = "https://raw.githubusercontent.com/opencv/opencv/4.6.0/samples/data/"


def chessboard_photos() -> Path:
    """26 grey 640×480 photos of a hand-held chessboard with labelled corners, as a data set.

    Returns the folder of `annotations.json` and `images/`; downloads them on the first call. The labels
    follow assets/chessboard's schema. Raises EnvironmentProblem when the photos cannot be had.
    """
    folder = cache_folder() / CHESSBOARDS
    if not folder.is_dir():
        publish(folder, lambda new: _take_chessboards(new / "images", folder / "images"))
    _check_chessboards(folder / "images")
    annotations = folder / "annotations.json"
    name, category_id, schema, _ = load_schema("chessboard")
    category = Category(category_id, name, schema)
    if not annotations.is_file() or read_json(annotations)["categories"] != [category_to_json(category)]:
        photos = [folder / "images" / photo for photo in CHESSBOARD_SHA256]
        write_coco(
            annotations, [category], [label_chessboard(p, i, category) for i, p in enumerate(photos, 1)]
        )
    return folder


def label_chessboard(photo: Path, image_id: int, category: Category) -> ImageLabels:
    """The one chessboard of the photo, its corners found by OpenCV, all visible.

    Raises DataError when the photo cannot be read or shows no whole board.
    """
    gray = cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE)
    corners = None if gray is None else find_corners(gray.astype(np.uint8))
    if gray is None or corners is None:
        raise DataError(f"{photo}: {'not a readable image' if gray is None else 'no chessboard found'}")
    height, width = gray.shape
    box = plate_box(corners, width, height)
    points = keypoints(corners, category.schema.names)
    annotation = Annotation(
        category_id=category.id,
        box_xyxy=box,
        keypoints=np.column_stack([points, np.full(len(points), float(VISIBLE))]),
        area=float((box[2] - box[0]) * (box[3] - box[1])),
    )
    return ImageLabels(image_id, f"images/{photo.name}", width, height, (annotation,))


def _take_chessboards(into: Path, final: Path) -> None:
    into.mkdir()
    say(f"fetching {len(CHESSBOARD_SHA256)} chessboard photos: Debian package {CHESSBOARD_PACKAGE} (96 MB)")
    try:
        _chessboards_from_debian(into)
        return
    except EnvironmentProblem as problem:
        say(f"{problem}; trying {CHESSBOARD_URL}")
        debian_problem = problem
    try:
        _chessboards_from_url(into)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong hash is a ValueError
        raise EnvironmentProblem(
            f"chessboard photos: {debian_problem}; {CHESSBOARD_URL}: {one_line(error)}; to go on without a "
            f"network, copy left01.jpg … right14.jpg of OpenCV's samples/data into {final}"
        ) from error


def _check_chessboards(images: Path) -> None:
    for name, expected in CHESSBOARD_SHA256.items():
        if not (images / name).is_file() or sha256_of(images / name) != expected:
            raise EnvironmentProblem(
                f"{images / name}: absent or altered; delete {images.parent} to fetch it again"
            )


def _chessboards_from_debian(into: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = unpack_debian(CHESSBOARD_PACKAGE, Path(scratch))
        found = {p.name: p for p in unpacked.rglob("*.jpg") if p.name in CHESSBOARD_SHA256}
        for name, expected in CHESSBOARD_SHA256.items():
            if name not in found or sha256_of(found[name]) != expected:
                raise EnvironmentProblem(f"Debian package {CHESSBOARD_PACKAGE}: {name} is absent or altered")
            shutil.copyfile(found[name], into / name)


def _chessboards_from_url(into: Path) -> None:
    for name, expected in CHESSBOARD_SHA256.items():
        pooch.retrieve(CHESSBOARD_URL + name, f"sha256:{expected}", fname=name, path=into, progressbar=False)
