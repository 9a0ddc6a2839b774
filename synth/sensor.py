"""What lens and sensor do to a rendered picture: colour fringes, blur, exposure, noise, tone, JPEG."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.types import Rgb, Sensor

Linear = NDArray[np.float32]

GAMMA = 2.2
MAX_GAIN = 5.0
HIGHLIGHTS = 0.95
"""Automatic exposure keeps this share of the objects' pixels below white."""
METERED = np.s_[::3, ::3]
"""Pixels of the objects that it looks at: every third in each direction."""
FULL = 65535
"""Light that the sensor records as white, before encoding."""
NOISE_MARGIN_PX = 128
"""The noise field is this much larger than the picture: where it is cut out differs from image to image."""
NOISE_STEPS = 28
"""Steps of the noise field's 8-bit numbers to one standard deviation; 8 bits, so that the field stays in the
processor's cache."""
STRIP_PX = 32
"""Rows that are exposed, encoded and made noisy at a time, so that they stay in the processor's cache."""
_LINEAR = ((np.arange(256) / 255.0) ** GAMMA).astype(np.float32)
_ENCODED = ((np.arange(FULL + 1) / FULL) ** (1 / GAMMA)).astype(np.float32)
_S_CURVE = _ENCODED * _ENCODED * (3 - 2 * _ENCODED)


def through_sensor(
    rgb: Rgb, sensor: Sensor, rng: np.random.Generator, objects: NDArray[np.bool_] | None = None
) -> Rgb:
    """The picture as the sensor would record it, before JPEG: (H, W, 3) uint8 sRGB from a rendered one alike.

    objects: (H, W), pixels that show a target object: those move where the camera does not, and exposure
    spares their highlights. rng: where in a fixed field of noise the image's is cut out.
    Optics and noise act on linear light, where 1 is white. No step moves the centre of what is seen in green,
    so that labels stay true.

    - chromatic: red is larger and blue smaller by this share (lateral chromatic aberration);
    - vignetting: loss of light in the corners, growing with the square of the distance from the centre;
    - blur_sigma_px: of a Gaussian; defocus_px: radius of a disc;
    - motion_px: length of a straight smear along motion_angle, centred; of the objects alone where
      `objects_move`;
    - mean_light: automatic exposure brings the picture's mean there as far as MAX_GAIN and the objects'
      HIGHLIGHTS allow (None: left as rendered); white_balance: gains;
    - noise of variance noise_shot^2 * light + noise_read^2 (Poisson-Gaussian);
    - tone: share of an S curve in the encoding; contrast: about mid-grey, of the encoded picture.
    """
    light: Linear = cv2.LUT(rgb, _LINEAR)  # type: ignore[assignment]
    if sensor.chromatic:
        light = fringed(light, sensor.chromatic)
    if sensor.motion_px > 0:
        kernel = motion_kernel(sensor.motion_px, sensor.motion_angle)
        if not sensor.objects_move:
            light = _filtered(light, kernel)
        elif objects is not None:
            light = smeared(light, objects, kernel)
    if sensor.defocus_px > 0:
        light = _filtered(light, disc_kernel(sensor.defocus_px))
    if sensor.blur_sigma_px > 0.05:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), sensor.blur_sigma_px), dtype=np.float32)
    if sensor.vignetting:
        arriving = falloff(light.shape[0], light.shape[1], sensor.vignetting)
        light = np.asarray(cv2.multiply(light, cv2.merge([arriving] * 3)), dtype=np.float32)
    gain = 1.0 if sensor.mean_light is None else exposure(light, sensor.mean_light, objects)
    r, g, b = (FULL * gain * w for w in sensor.white_balance)
    gains, curve = np.array([r, g, b, 1.0]), tone_curve(sensor)
    noisy = sensor.noise_shot > 0 or sensor.noise_read > 0
    noise = _noise(rng, *rgb.shape[:2]) if noisy else None
    levels = noise_levels(sensor, curve) / np.float32(NOISE_STEPS)
    picture = np.empty_like(rgb)
    for top in range(0, len(rgb), STRIP_PX):
        rows = np.s_[top : top + STRIP_PX]
        recorded = cv2.LUT(cv2.multiply(light[rows], gains, dtype=cv2.CV_16U), curve)
        if noise is not None:
            deviation = cv2.multiply(cv2.LUT(recorded, levels), noise[rows], dtype=cv2.CV_32F)
            recorded = cv2.add(recorded, deviation, dtype=cv2.CV_8U)
        picture[rows] = recorded
    return picture


def exposure(light: Linear, mean_light: float, objects: NDArray[np.bool_] | None) -> float:
    """The gain of automatic exposure, see through_sensor."""
    mean = float(np.mean(cv2.mean(light)[:3]))
    gain = float(np.clip(mean_light / max(mean, 1e-6), 1 / MAX_GAIN, MAX_GAIN))
    if objects is None or not objects[METERED].any():
        return gain
    brightest = light[METERED][objects[METERED]].max(axis=1)
    return min(gain, 1 / max(float(np.quantile(brightest, HIGHLIGHTS)), 1e-6))


def tone_curve(sensor: Sensor) -> NDArray[np.uint8]:
    """(FULL + 1,) uint8 lookup table: the level 0 to 255 that light 0 to FULL is encoded as."""
    value = (1 - sensor.tone) * _ENCODED + sensor.tone * _S_CURVE
    scale = 255 * sensor.contrast
    return np.clip(value * scale + (128 - scale / 2), 0, 255).astype(np.uint8)


def noise_levels(sensor: Sensor, curve: NDArray[np.uint8]) -> Linear:
    """(256,) standard deviation of the noise at each encoded level, in levels.

    The noise is one of light; at a level it is half the difference between the levels of one deviation more
    light and one less, which follows the curve's slope, also near black and white.
    """
    light = np.searchsorted(curve, np.arange(256), side="left").clip(0, FULL) / FULL
    deviation = np.sqrt(sensor.noise_shot**2 * light + sensor.noise_read**2)
    up, down = (((light + s * deviation).clip(0, 1) * FULL).astype(np.int64) for s in (1, -1))
    spread = (light + deviation).clip(0, 1) - (light - deviation).clip(0, 1)
    whole = 2 * deviation / np.maximum(spread, 1e-9)
    return np.asarray((curve[up].astype(np.float64) - curve[down]) / 2 * whole, dtype=np.float32)


@lru_cache(maxsize=2)
def _noise_field(height_px: int, width_px: int) -> NDArray[np.int8]:
    size = height_px + NOISE_MARGIN_PX, width_px + NOISE_MARGIN_PX, 3
    field = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    return np.clip(np.rint(field * NOISE_STEPS), -127, 127).astype(np.int8)


def _noise(rng: np.random.Generator, height_px: int, width_px: int) -> NDArray[np.int8]:
    """(H, W, 3) int8 Gaussian noise with a standard deviation of NOISE_STEPS, cut from a fixed field at a
    random place."""
    y, x = rng.integers(0, NOISE_MARGIN_PX + 1, 2)
    return _noise_field(height_px, width_px)[y : y + height_px, x : x + width_px]


def fringed(light: Linear, share: float) -> Linear:
    """(H, W, 3): red enlarged and blue shrunk about the picture's centre by `share`."""
    h, w = light.shape[:2]
    r, g, b = cv2.split(light)
    out = []
    for channel, scale in ((r, 1 + share), (b, 1 - share)):
        T = np.array([[scale, 0, (1 - scale) * (w - 1) / 2], [0, scale, (1 - scale) * (h - 1) / 2]])
        out.append(cv2.warpAffine(channel, T, (w, h), borderMode=cv2.BORDER_REPLICATE))
    return np.asarray(cv2.merge([out[0], g, out[1]]), dtype=np.float32)


def smeared(light: Linear, moving: NDArray[np.bool_], kernel: Linear) -> Linear:
    """(H, W, 3) the light of the pixels `moving` (H, W) smeared by the kernel over what stands still.

    What stands still behind them is not known and taken from its surroundings, 31 px about.
    """
    front = moving.astype(np.float32)[:, :, None]
    seen = np.repeat(front, 3, axis=2)
    cover = _filtered(seen, kernel)
    still = light * (1 - seen)
    around = cv2.boxFilter(still, -1, (31, 31)) / np.maximum(cv2.boxFilter(1 - seen, -1, (31, 31)), 1e-3)
    behind = np.where(seen > 0, around, light)
    return np.asarray(_filtered(light * seen, kernel) + (1 - cover) * behind, dtype=np.float32)


@lru_cache(maxsize=4)
def _radius_squared(height_px: int, width_px: int) -> Linear:
    """(H, W) squared distance from the centre, 1 in the corners."""
    y, x = (np.arange(height_px) + 0.5) / height_px * 2 - 1, (np.arange(width_px) + 0.5) / width_px * 2 - 1
    y, x = y * height_px, x * width_px
    return ((y[:, None] ** 2 + x**2) / (height_px**2 + width_px**2)).astype(np.float32)


def falloff(height_px: int, width_px: int, loss: float) -> Linear:
    """(H, W) share of the light that arrives; 1 - loss in the corners."""
    return np.asarray(1 - np.float32(loss) * _radius_squared(height_px, width_px))


def disc_kernel(radius_px: float) -> Linear:
    """(n, n) normalised disc with a soft rim; n odd."""
    n = int(np.ceil(radius_px))
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    disc = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(disc / disc.sum(), dtype=np.float32)


def motion_kernel(length_px: float, angle: float) -> Linear:
    """(n, n) normalised kernel of a centred straight smear; n odd."""
    n = 2 * int(np.ceil(length_px / 2)) + 1
    steps = np.linspace(-length_px / 2, length_px / 2, 8 * n)
    x, y = steps * np.cos(angle) + n // 2, steps * np.sin(angle) + n // 2
    kernel = np.zeros((n + 2, n + 2))
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - np.abs(x - x0 - dx)) * (1 - np.abs(y - y0 - dy))
            np.add.at(kernel, (y0 + dy, x0 + dx), weight)
    kernel = kernel[:n, :n]
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def encode_jpeg(rgb: Rgb, quality: int) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("JPEG encoding failed")
    return bytes(data)


def _filtered(light: NDArray[np.floating[Any]], kernel: Linear) -> Linear:
    return np.asarray(cv2.filter2D(light, -1, kernel), dtype=np.float32)
