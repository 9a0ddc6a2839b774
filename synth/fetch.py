"""Pictures from outside, brought into the cache: chessboards with their truth, backgrounds, environments.

All come from Debian packages (`apt-get download` + `dpkg -x`, which need no root); the chessboards, for
other systems, also from OpenCV's repository. Every file is checked against synth.fetch_pins.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pooch
from PIL import Image

from synth import chessboard
from synth.assets import load_schema
from synth.coco import Annotation, Category, ImageLabels, category_to_json, read_json, write_coco
from synth.errors import DataError, EnvironmentProblem
from synth.fetch_pins import BACKGROUND_SHA256, CHESSBOARD_SHA256, ENVIRONMENT_SHA256
from synth.files import write_text
from synth.types import VISIBLE

CHESSBOARD_PACKAGE = "opencv-doc"
CHESSBOARD_URL = "https://raw.githubusercontent.com/opencv/opencv/4.6.0/samples/data/"
BACKGROUND_LONGER_SIDE_PX = 1280
CHESSBOARDS, BACKGROUNDS, ENVIRONMENTS = "chessboards-v1", "backgrounds-v1", "environments-v1"


def cache_folder() -> Path:
    """$MESHMARK_CACHE, else the user's cache folder for meshmark."""
    return Path(os.environ.get("MESHMARK_CACHE") or pooch.os_cache("meshmark")).expanduser()


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
    corners = None if gray is None else chessboard.find_corners(gray.astype(np.uint8))
    if gray is None or corners is None:
        raise DataError(f"{photo}: {'not a readable image' if gray is None else 'no chessboard found'}")
    height, width = gray.shape
    box = chessboard.plate_box(corners, width, height)
    points = chessboard.keypoints(corners, category.schema.names)
    annotation = Annotation(
        category_id=category.id,
        box_xyxy=box,
        keypoints=np.column_stack([points, np.full(len(points), float(VISIBLE))]),
        area=float((box[2] - box[0]) * (box[3] - box[1])),
    )
    return ImageLabels(image_id, f"images/{photo.name}", width, height, (annotation,))


def background_photos() -> Path | None:
    """A pool of real photographs to put behind rendered objects; downloaded on the first call.

    Returns a flat folder of JPEGs, or None, after a warning on stderr, when the packages cannot be had.
    """
    return _pool(
        BACKGROUNDS,
        _take_backgrounds,
        "no background photos ({}); surfaces will be procedural only. "
        "Pass BACKGROUNDS=folder (--backgrounds folder) to use photos of your own",
    )


def environment_maps() -> Path | None:
    """A pool of panoramas to light scenes with; downloaded on the first call.

    Returns a flat folder of EXR files, or None, after a warning on stderr, when the package cannot be had.
    """
    return _pool(
        ENVIRONMENTS,
        _take_environments,
        "no environment maps ({}); light from all sides will be even. "
        "Pass ENVIRONMENTS=folder (--environments folder) to use maps of your own",
    )


def _pool(name: str, take: Callable[[Path], None], warning: str) -> Path | None:
    folder = cache_folder() / name
    if not folder.is_dir():
        try:
            publish(folder, take)
        except EnvironmentProblem as error:
            _say(f"warning: {warning.format(error)}")
            return None
    return folder


def _take_chessboards(into: Path, final: Path) -> None:
    into.mkdir()
    _say(f"fetching {len(CHESSBOARD_SHA256)} chessboard photos: Debian package {CHESSBOARD_PACKAGE} (96 MB)")
    try:
        _chessboards_from_debian(into)
        return
    except EnvironmentProblem as problem:
        _say(f"{problem}; trying {CHESSBOARD_URL}")
        debian_problem = problem
    try:
        _chessboards_from_url(into)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong hash is a ValueError
        raise EnvironmentProblem(
            f"chessboard photos: {debian_problem}; {CHESSBOARD_URL}: {_one_line(error)}; to go on without a "
            f"network, copy left01.jpg … right14.jpg of OpenCV's samples/data into {final}"
        ) from error


def _check_chessboards(images: Path) -> None:
    for name, expected in CHESSBOARD_SHA256.items():
        if not (images / name).is_file() or _sha256(images / name) != expected:
            raise EnvironmentProblem(
                f"{images / name}: absent or altered; delete {images.parent} to fetch it again"
            )


def _chessboards_from_debian(into: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = _unpack_debian(CHESSBOARD_PACKAGE, Path(scratch))
        found = {p.name: p for p in unpacked.rglob("*.jpg") if p.name in CHESSBOARD_SHA256}
        for name, expected in CHESSBOARD_SHA256.items():
            if name not in found or _sha256(found[name]) != expected:
                raise EnvironmentProblem(f"Debian package {CHESSBOARD_PACKAGE}: {name} is absent or altered")
            shutil.copyfile(found[name], into / name)


def _chessboards_from_url(into: Path) -> None:
    for name, expected in CHESSBOARD_SHA256.items():
        pooch.retrieve(CHESSBOARD_URL + name, f"sha256:{expected}", fname=name, path=into, progressbar=False)


def _take_backgrounds(into: Path) -> None:
    def save(source: Path) -> str:
        target = into / f"{source.stem}.jpg"
        _save_small_jpeg(source, target)
        return target.name

    _take_packages(into, BACKGROUND_SHA256, "background photos, scaled down", save)


def _take_environments(into: Path) -> None:
    def save(source: Path) -> str:
        shutil.copyfile(source, into / source.name)
        return source.name

    _take_packages(into, ENVIRONMENT_SHA256, "environment maps", save)


def _take_packages(
    into: Path, packages: dict[str, dict[str, str]], what: str, save: Callable[[Path], str]
) -> None:
    """save: brings a file of a package into the folder and returns its name there."""
    lines = [f"From Debian packages: {what}; see each package's copyright file.", ""]
    for package, files in packages.items():
        _say(f"fetching {len(files)} {what}: Debian package {package}")
        with tempfile.TemporaryDirectory() as scratch:
            unpacked = _unpack_debian(package, Path(scratch))
            for name, expected in files.items():
                if not (unpacked / name).is_file() or _sha256(unpacked / name) != expected:
                    _say(f"warning: Debian package {package}: {name} is absent or altered; left out")
                    continue
                lines.append(f"- {save(unpacked / name)}: {package}, {name}")
            shutil.copyfile(unpacked / "usr/share/doc" / package / "copyright", into / f"{package}.copyright")
    if len(lines) == 2:
        raise EnvironmentProblem(f"Debian's packages hold none of the expected {what}")
    write_text(into / "SOURCE.md", "\n".join(lines) + "\n")


def _save_small_jpeg(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.thumbnail((BACKGROUND_LONGER_SIDE_PX, BACKGROUND_LONGER_SIDE_PX), Image.Resampling.LANCZOS)
        image.convert("RGB").save(target, "JPEG", quality=90)


def _unpack_debian(package: str, scratch: Path) -> Path:
    """Downloads a Debian package by its name and unpacks it below `scratch`, installing nothing."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise EnvironmentProblem(f"Debian package {package}: this system has no apt-get")
    download = scratch / "download"
    download.mkdir()
    apt = ["apt-get", "-qq", "-oAPT::Sandbox::User=root"]  # apt's own user cannot write into our folder
    problem = _run([*apt, "download", package], download)
    if problem:  # package lists absent or out of date: fetch a private copy, the system's stay as they are
        private = [f"-oDir::State::lists={scratch / 'lists'}", f"-oDir::Cache={scratch / 'cache'}"]
        (scratch / "lists/partial").mkdir(parents=True)
        (scratch / "cache/archives/partial").mkdir(parents=True)
        _run([*apt, *private, "update"], download)
        problem = _run([*apt, *private, "download", package], download)
    archives = sorted(download.glob("*.deb"))
    if problem or not archives:
        raise EnvironmentProblem(f"Debian package {package}: apt-get download failed: {problem}")
    unpacked = scratch / "unpacked"
    problem = _run(["dpkg", "-x", str(archives[0]), str(unpacked)], scratch)
    if problem:
        raise EnvironmentProblem(f"Debian package {package}: dpkg -x failed: {problem}")
    return unpacked


def _run(command: list[str], folder: Path) -> str:
    """'' when the command succeeds, else the last line it wrote."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fills a temporary neighbour and renames it onto `folder`: the folder is whole or not there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise EnvironmentProblem(f"{folder.parent}: cannot write the cache: {error.strerror}") from error
    try:
        fill(new)
        new.chmod(0o755)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
