"""Light from all sides: environment maps of a pool, and what a background's photo says about its light.

A file is a panorama: equirectangular, its top row is the direction +Z. Renderers get it as square octahedral
maps (Cigolle et al., "A Survey of Efficient Representations for Independent Unit Vectors", 2014), which a
shader reads without trigonometry: direction d lies at d.xy / (|d.x| + |d.y| + |d.z|) in a square from -1 to
1, the directions below the horizon folded into its corners. Radiance is linear RGB throughout.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
from numpy.typing import NDArray

from synth.errors import DataError
from synth.objects.library import Library
from synth.scene.background import crop_photo, load_photo
from synth.system.pool import Pool, open_pool
from synth.system.untrusted import open_untrusted
from synth.types import Array, Background, Camera, SceneSpec

SUFFIXES = (".exr", ".hdr")
MAX_FILE_BYTES = 256 << 20
MAX_WIDTH_PX = 8192
MAX_CHANNELS = 16
LEVELS_PX = (128, 64, 32, 16, 8)
"""Sizes of the octahedral maps for roughness 0, 0.25 … 1."""
SOURCE_PX = 16
"""Size of the map that the three roughest levels and the irradiance are computed from: both are smooth."""
CEILING = 12.0
"""Radiance above this multiple of the map's mean is cut off: the sun and lamps are the key light, which casts
shadows, and would otherwise light the scene twice."""
SMALL_PX = 32
"""Longer side of the photo from which that light is taken."""
PHOTO_CHROMA = 0.5
"""Share of a photo's colourfulness that is light and not the colour of what it shows."""
PHOTO_CEILING = 1.15
"""A camera cuts bright light off at white. A luminance L of a photo (0 to 1) is taken for light of
L / (PHOTO_CEILING - L): dark parts nearly as they are, white 1 / 0.15 = 6.7 times as bright."""
Radiance = NDArray[np.float32]


@dataclass(frozen=True)
class Surround:
    """Light from far away on all sides, its mean over all directions and channels 1, in a frame of its own
    (see surround_of).

    levels: octahedral maps of radiance (n, n, 3) float32, one for each n of LEVELS_PX: the light as it is,
    then blurred as surfaces of roughness 0.25, 0.5, 0.75 and 1 mirror it.
    irradiance: (3, 4, 4), a symmetric matrix M per channel: a surface with unit normal n receives
    (n, 1) M (n, 1), where 1 = as much as from white on all sides (Ramamoorthi and Hanrahan, "An Efficient
    Representation for Irradiance Environment Maps", 2001).
    mean: (3,) linear RGB, over all directions.
    """

    levels: tuple[Radiance, ...]
    irradiance: Array
    mean: Array


def open_environments(folder: Path) -> Pool:
    """The pool of the maps in the folder. Raises DataError when there is none."""
    return open_pool(folder, SUFFIXES, "environment maps")


def surround_of(scene: SceneSpec, library: Library) -> tuple[Surround, Array]:
    """The light around the scene, and the rotation (3, 3) from world into its frame.

    Without an environment it is white. Raises ValueError for a scene of another library's pools.
    """
    chosen, R_camera_from_world = scene.environment, scene.camera.T_world_from_camera[:3, :3].T
    if chosen is None:
        return white(), np.eye(3)
    if not chosen.map:
        if library.photos is None:
            raise ValueError("the scene is lit by a photo, but the library has no photos")
        photo = small_photo(library.photos, scene.background, scene.camera)
        return surround(photo_radiance(photo)), R_camera_from_world
    if library.environments is None:
        raise ValueError("the scene names an environment map, but the library has none")
    c, s = np.cos(chosen.turn), np.sin(chosen.turn)
    return map_surround(library.environments.path(chosen.map)), np.array(
        [[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]
    )


@lru_cache(maxsize=64)
def map_surround(path: Path) -> Surround:
    """The light of the panorama at `path`, turned about +Z so that its brightest side is +X: a scene turns it
    to where its key light stands. Raises DataError as read_panorama does, and for a black map."""
    panorama = read_panorama(path)
    height, width = panorama.shape[:2]
    lift = np.cos((np.arange(height) + 0.5) / height * np.pi - np.pi / 2)[:, None, None]
    if panorama.max() <= 0:
        raise DataError(f"{path}: the map is black")
    for _ in range(3):  # the mean itself falls when a sun is cut
        mean = (panorama.mean(2, keepdims=True) * lift).mean() / lift.mean()
        panorama = np.minimum(panorama, np.float32(CEILING * mean))
    x, y = np.cos(_azimuths(width)), np.sin(_azimuths(width))
    side = (panorama.mean(2) * lift[:, :, 0]).sum(0)
    turn = np.arctan2(side @ y, side @ x)
    d, _ = directions(LEVELS_PX[0])
    azimuth = np.arctan2(d[:, 1], d[:, 0]) + turn
    u = (0.5 - azimuth / (2 * np.pi)) % 1 * width - 0.5
    v = np.arccos(np.clip(d[:, 2], -1, 1)) / np.pi * height - 0.5
    return surround(_octahedral(panorama, *_texels(u, v), cv2.BORDER_WRAP))


def read_panorama(path: Path) -> Radiance:
    """(h, w, 3) float32 linear RGB, w = 2 h, shrunk to at most 4 * LEVELS_PX[0] px wide.

    What is not finite or below 0 becomes the nearest light that is. Raises DataError for a file that is too
    large, no readable .exr or .hdr, or not twice as wide as high.
    """
    try:
        with open_untrusted(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        rgb = _read_exr(path) if path.suffix.lower() == ".exr" else _read_hdr(path)
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a readable environment map: {' '.join(str(error).split())}") from error
    width = rgb.shape[1]
    if not np.isfinite(rgb).all() or rgb.min() < 0:
        rgb = np.maximum(np.nan_to_num(rgb, nan=0.0, posinf=65504.0, neginf=0.0), 0.0)
    size = min(width, 4 * LEVELS_PX[0])
    return np.asarray(cv2.resize(rgb, (size, size // 2), interpolation=cv2.INTER_AREA), np.float32)


def _read_exr(path: Path) -> Radiance:
    with OpenEXR.File(str(path), header_only=True) as file:
        low, high = file.header()["dataWindow"]
        if len(file.header()["channels"]) > MAX_CHANNELS:
            raise ValueError(f"more than {MAX_CHANNELS} channels")
    _check_size(*(int(end) - int(start) + 1 for start, end in zip(low, high, strict=True)))
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.channels()
        return np.stack([channels[name].pixels for name in "RGB"], axis=2).astype(np.float32)


def _read_hdr(path: Path) -> Radiance:
    with path.open("rb") as file:
        head = file.read(4096).split(b"\n\n", 1)
    size = head[1].split(b"\n", 1)[0].split() if len(head) == 2 else []
    if len(size) != 4:
        raise ValueError("no Radiance header")
    _check_size(int(size[3]), int(size[1]))
    bgr = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("no Radiance picture")
    return np.ascontiguousarray(bgr[:, :, ::-1], np.float32)


def _check_size(width: int, height: int) -> None:
    if not 0 < width <= MAX_WIDTH_PX:
        raise ValueError(f"{width} px wide, expected at most {MAX_WIDTH_PX}")
    if width != 2 * height:
        raise ValueError(f"{width}x{height} px, expected a panorama twice as wide as high")


def _azimuths(width: int) -> Array:
    """(width,) azimuths of a panorama's columns, radians, from pi down to -pi: it is seen from inside, where
    azimuths grow to the left."""
    return np.pi - (np.arange(width) + 0.5) / width * 2 * np.pi


def small_photo(photos: Pool, background: Background, camera: Camera) -> Radiance:
    """(h, w, 3) float32 linear RGB: the part of the background's photo that the image shows, shrunk to
    SMALL_PX on the longer side. Raises DataError when the photo cannot be read."""
    scale = SMALL_PX / max(camera.width_px, camera.height_px)
    size = max(1, round(scale * camera.width_px)), max(1, round(scale * camera.height_px))
    return crop_photo(_thumbnail(photos.path(background.photo)), background.crop, background.flip, *size)


@lru_cache(maxsize=4096)
def _thumbnail(path: Path) -> Radiance:
    rgb = load_photo(path)
    scale = 128 / max(rgb.shape[:2])
    size = max(8, round(rgb.shape[1] * scale)), max(8, round(rgb.shape[0] * scale))
    return (cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) / np.float32(255)) ** np.float32(2.2)


def photo_radiance(photo: Radiance) -> Radiance:
    """(n, n, 3) float32 octahedral map, n = LEVELS_PX[0], in the camera's frame: the light of a scene that
    looks alike before and behind the camera.

    photo: (h, w, 3) linear RGB, see small_photo; direction d takes its light from the place (d.x, d.y), each
    from -1 to 1 across the photo. Light beyond white is guessed (PHOTO_CEILING), colours are paler than in
    the photo (PHOTO_CHROMA).
    """
    luminance = photo.mean(2, keepdims=True)
    light = (PHOTO_CHROMA * photo + (1 - PHOTO_CHROMA) * luminance) / (PHOTO_CEILING - luminance)
    x, y = _photo_places(photo.shape[0], photo.shape[1])
    return _octahedral(light + np.float32(1e-3), x, y, cv2.BORDER_REPLICATE)


@lru_cache(maxsize=1)
def _photo_places(height: int, width: int) -> tuple[Radiance, Radiance]:
    d, _ = directions(LEVELS_PX[0])
    return _texels((d[:, 0] + 1) / 2 * width - 0.5, (d[:, 1] + 1) / 2 * height - 0.5)


def _texels(x: Array, y: Array) -> tuple[Radiance, Radiance]:
    """Places x, y (n * n,) in a picture, as (n, n) float32 arrays for cv2.remap; n = LEVELS_PX[0]."""
    shape = LEVELS_PX[0], LEVELS_PX[0]
    return x.astype(np.float32).reshape(shape), y.astype(np.float32).reshape(shape)


def _octahedral(picture: Radiance, x: Radiance, y: Radiance, border: int) -> Radiance:
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=border), np.float32)


def photo_key(photo: Radiance) -> tuple[Array, Array, float]:
    """Where a photo is brightest and how bright it is on the whole; photo: (h, w, 3) linear RGB.

    Returns the place (2,), x to the right and y down, 0 = middle, -1 and 1 = borders; the linear RGB there
    (3,), its largest channel 1, paler than in the photo; and the mean of all pixels and channels. The place
    is a mean weighted by the cube of the luminance, so that one bright window counts more than a light wall.
    """
    luminance = cv2.GaussianBlur(photo.mean(2), (0, 0), 1.5)
    weight = luminance**3 + 1e-9
    weight /= weight.sum()
    h, w = weight.shape
    x, y = (np.arange(w) + 0.5) / w * 2 - 1, (np.arange(h) + 0.5) / h * 2 - 1
    color = np.tensordot(weight, photo, 2)
    color = PHOTO_CHROMA * color / max(color.max(), 1e-6) + (1 - PHOTO_CHROMA)
    return np.array([(weight @ x).sum(), (y @ weight).sum()]), color / color.max(), float(photo.mean())


def surround(radiance: Radiance) -> Surround:
    """The light of an octahedral map of any brightness, (LEVELS_PX[0], LEVELS_PX[0], 3) float32."""
    softer = np.asarray(cv2.GaussianBlur(_shrunk(radiance, LEVELS_PX[1]), (3, 3), 0.8), np.float32)
    source = _shrunk(softer, SOURCE_PX)
    scale = np.float32(1 / _mean(source).mean())
    sharp, softer, source = scale * radiance, scale * softer, scale * source
    rough = [
        np.asarray(lobes @ source.reshape(-1, 3), np.float32).reshape(size, size, 3)
        for size, lobes in zip(LEVELS_PX[2:], _lobes(), strict=True)
    ]
    return Surround((sharp, softer, *rough), _irradiance(source), _mean(source))


def _irradiance(radiance: Radiance) -> Array:
    """(3, 4, 4), see Surround. radiance: (n, n, 3) octahedral map. The numbers are those of equations 3 and
    12 of Ramamoorthi and Hanrahan (2001): normalisations of nine spherical harmonics, and their weights."""
    d, weight = directions(radiance.shape[0])
    x, y, z = d.T
    basis = [
        np.full_like(x, 0.282095),
        *(0.488603 * axis for axis in (y, z, x)),
        *(1.092548 * pair for pair in (x * y, y * z)),
        0.315392 * (3 * z * z - 1),
        1.092548 * x * z,
        0.546274 * (x * x - y * y),
    ]
    mean, y, z, x, xy, yz, zz, xz, xx_yy = np.array(basis) * weight @ radiance.reshape(-1, 3)
    c1, c2, c3, c4, c5 = 0.429043, 0.511664, 0.743125, 0.886227, 0.247708
    rows = [
        [c1 * xx_yy, c1 * xy, c1 * xz, c2 * x],
        [c1 * xy, -c1 * xx_yy, c1 * yz, c2 * y],
        [c1 * xz, c1 * yz, c3 * zz, c2 * z],
        [c2 * x, c2 * y, c2 * z, c4 * mean - c5 * zz],
    ]
    return np.array(rows).transpose(2, 0, 1) / np.pi


@lru_cache(maxsize=8)
def directions(size: int) -> tuple[Array, Array]:
    """Of the texels of a square octahedral map with `size` px a side, row by row: unit vectors (size², 3),
    and the solid angles (size²,) in steradians."""
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    z = 1 - np.abs(x) - np.abs(y)
    below = np.maximum(-z, 0)
    d = np.column_stack([x - np.copysign(below, x), y - np.copysign(below, y), z])
    length = np.linalg.norm(d, axis=1)
    weight = length**-3.0
    return d / length[:, None], weight * (4 * np.pi / weight.sum())


@lru_cache(maxsize=1)
def _lobes() -> tuple[Radiance, ...]:
    """For each of the rough levels LEVELS_PX[2:] the weights (n², SOURCE_PX²) with which its texels sum up
    the source map: a cosine lobe (Phong) about each direction, with the exponent that makes it about as wide
    as the GGX lobe of that roughness, 2 / alpha² - 2 for half vectors, a quarter of it for directions."""
    d, weight = directions(SOURCE_PX)
    found = []
    for n, size in enumerate(LEVELS_PX[2:], start=2):
        alpha = (n / (len(LEVELS_PX) - 1)) ** 2
        exponent = max(1.0, (2 / alpha**2 - 2) / 4)
        lobes = np.maximum(directions(size)[0] @ d.T, 0.0) ** exponent * weight
        found.append((lobes / lobes.sum(1, keepdims=True)).astype(np.float32))
    return tuple(found)


def _shrunk(radiance: Radiance, size: int) -> Radiance:
    return np.asarray(cv2.resize(radiance, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def _mean(radiance: Radiance) -> Array:
    _, weight = directions(radiance.shape[0])
    return np.asarray(weight @ radiance.reshape(-1, 3) / weight.sum())


@lru_cache(maxsize=1)
def white() -> Surround:
    """The same light from all sides: that of scenes without an environment."""
    return surround(np.ones((LEVELS_PX[0], LEVELS_PX[0], 3), np.float32))
