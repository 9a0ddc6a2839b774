"""What stands behind the objects: a photo of the pool or a procedural surface."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.config import SynthConfig
from synth.scene.streams import log_uniform
from synth.scene.surfaces import SURFACE_SEEDS, SURFACES
from synth.system.pictures import SUFFIXES, header_size, load_rgb
from synth.system.pool import Pool, open_pool
from synth.types import Background, Rgb, Rng

MAX_PHOTO_PX = 1280


def open_photos(folder: Path) -> Pool:
    """The pool of the photos in the folder. Raises DataError when there is none, and for a file that does not
    begin as an image."""
    pool = open_pool(folder, SUFFIXES, "background photos")
    for name in pool.names:
        header_size(pool.path(name))
    return pool


@lru_cache(maxsize=64)
def load_photo(path: Path) -> Rgb:
    """(h, w, 3) uint8 sRGB, at most MAX_PHOTO_PX a side."""
    rgb = load_rgb(path)
    scale = MAX_PHOTO_PX / max(rgb.shape[:2])
    if scale < 1:
        size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
        return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return rgb


def crop_photo(
    photo: NDArray[Any], crop: tuple[float, float, float, float], flip: bool, width_px: int, height_px: int
) -> NDArray[Any]:
    """(height_px, width_px, 3) of what the crop shows of a photo (h, w, 3) of any kind of numbers.

    crop: x0, y0, width, height as shares of the photo's size; of it as much as has the image's shape. flip:
    mirrored. Interpolated as long as that leaves no pixel of the photo out, else averaged over areas, which
    takes three times as long.
    """
    h, w = photo.shape[:2]
    x0, y0 = int(crop[0] * w), int(crop[1] * h)
    cw, ch = max(8, int(crop[2] * w)), max(8, int(crop[3] * h))
    scale = min(cw / width_px, ch / height_px)
    part = photo[y0 : y0 + max(4, int(height_px * scale)), x0 : x0 + max(4, int(width_px * scale))]
    shrink = cv2.INTER_AREA if scale > 2 else cv2.INTER_LINEAR
    picture = cv2.resize(part, (width_px, height_px), interpolation=shrink)
    return np.asarray(cv2.flip(picture, 1) if flip else picture)


def sample_background(
    config: SynthConfig, photos: Pool | None, diameter: float, on_plane: bool, rng: Rng
) -> Background:
    """A photo of the pool (if there is one) or a procedural surface."""
    is_photo = rng.random() < config.background.photo and photos is not None
    zoom = rng.uniform(*config.background.zoom)
    x0, y0 = rng.uniform(0.0, 1.0 - zoom, 2)
    return Background(
        kind="photo" if is_photo else SURFACES[rng.integers(len(SURFACES))],
        photo=photos.names[int(rng.integers(len(photos.names)))] if photos and is_photo else "",
        crop=(float(x0), float(y0), float(zoom), float(zoom)),
        flip=bool(rng.random() < config.background.flip),
        seed=int(rng.integers(SURFACE_SEEDS)),
        tile_m=float(diameter * log_uniform(rng, config.background.tile)),
        roughness=float(rng.uniform(*config.background.roughness)),
        on_plane=on_plane,
    )
