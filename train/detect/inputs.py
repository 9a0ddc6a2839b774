"""Pictures to predict on: image files, folders, globs, videos, cameras."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from synth.errors import DataError
from synth.system.pictures import SUFFIXES, UNREAD, is_picture, left_out
from synth.types import Rgb

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
FALLBACK_RATE = 25.0


@dataclass(frozen=True)
class Film:
    """A video file, by its path, or a camera, by its number."""

    name: str
    source: str | int


@dataclass(frozen=True)
class FilmSize:
    """frames: 0 where the number is not known. rate: pictures a second."""

    frames: int
    rate: float


def find_inputs(given: Sequence[str]) -> tuple[list[Path], list[Film]]:
    """Image files and films of what a user named; a number that names none is a camera.

    Folders give the images and videos in them, sorted. Raises DataError for what matches nothing.
    """
    photos: list[Path] = []
    films: list[Film] = []
    for text in given:
        if text.isdecimal() and not Path(text).exists():
            films.append(Film(f"camera{text}", int(text)))
            continue
        path = Path(text)
        chosen = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
        if not chosen:
            chosen = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        images = [p for p in chosen if p.is_file() and is_picture(p)]
        videos = [p for p in chosen if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
        if not images and not videos:
            unread = any(p.suffix.lower() in UNREAD for p in chosen)
            raise DataError(
                f"{text}: no image or video there, expected a file, a folder, a glob "
                f"({', '.join(SUFFIXES)}, {', '.join(VIDEO_SUFFIXES)}) "
                f"or a camera's number{'; convert what is there to JPEG' if unread else ''}"
            )
        photos += images
        films += [Film(p.stem, str(p)) for p in videos]
    return photos, films


def left_out_of(given: Sequence[str]) -> list[str]:
    """What find_inputs leaves out of the folders that a user named, a sentence for each folder and kind."""
    folders = [Path(text) for text in given if Path(text).is_dir()]
    return [f"{folder}: {what}" for folder in folders for what in left_out(folder)]


def read_frames(film: Film) -> Iterator[Rgb]:
    """(H, W, 3) RGB pictures of a film, in order."""
    capture = cv2.VideoCapture(film.source)
    try:
        while True:
            read, bgr = capture.read()
            if not read:
                return
            yield np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    finally:
        capture.release()


def film_size(film: Film) -> FilmSize:
    """Raises DataError when the film cannot be opened."""
    capture = cv2.VideoCapture(film.source)
    try:
        if not capture.isOpened():
            kind = "video" if isinstance(film.source, str) else "camera"
            raise DataError(f"{film.source}: cannot be opened as a {kind}")
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if isinstance(film.source, str) else 0
        return FilmSize(max(0, frames), capture.get(cv2.CAP_PROP_FPS) or FALLBACK_RATE)
    finally:
        capture.release()
