"""What lens and sensor do to a rendered picture: exposure, colour, blur, noise, JPEG."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.types import Sensor

Image = NDArray[np.uint8]

MAX_GAIN = 5.0
_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
_ENCODE_STEPS = 65535
_ENCODED = ((np.arange(_ENCODE_STEPS + 1) / _ENCODE_STEPS) ** (1 / 2.2)).astype(np.float32)


def apply(rgb: Image, sensor: Sensor, rng: np.random.Generator) -> Image:
    """rgb: (H, W, 3) uint8 sRGB. Returns the picture as the sensor would record it, before JPEG.

    Optics and noise act on linear light, where 1 is white: the picture is exposed so that its mean is
    mean_light, as far as MAX_GAIN allows (None: left as rendered); white_balance are gains;
    blur_sigma_px a Gaussian; motion_px the length of a straight smear along motion_angle, centred, so that
    keypoints stay where they are; noise variance is noise_shot^2 * signal + noise_read^2. contrast acts on
    the encoded picture about mid-grey.
    """
    light: NDArray[np.floating[Any]] = _LINEAR[rgb]
    if sensor.motion_px > 0:
        kernel = motion_kernel(sensor.motion_px, sensor.motion_angle)
        light = np.asarray(cv2.filter2D(light, -1, kernel), dtype=np.float32)
    if sensor.blur_sigma_px > 0.05:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), sensor.blur_sigma_px), dtype=np.float32)
    gain = 1.0
    if sensor.mean_light is not None:
        gain = float(np.clip(sensor.mean_light / max(float(light.mean()), 1e-6), 1 / MAX_GAIN, MAX_GAIN))
    light = light * (gain * np.array(sensor.white_balance, dtype=np.float32))
    if sensor.noise_shot > 0 or sensor.noise_read > 0:
        deviation = np.sqrt(sensor.noise_shot**2 * light + sensor.noise_read**2)
        light = light + deviation * rng.standard_normal(light.shape, dtype=np.float32)
    table = np.clip(((_ENCODED - 0.5) * sensor.contrast + 0.5) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(table[(np.clip(light, 0, 1) * _ENCODE_STEPS + 0.5).astype(np.uint16)])


def motion_kernel(length_px: float, angle: float) -> NDArray[np.float32]:
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


def encode_jpeg(rgb: Image, quality: int) -> bytes:
    ok, data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("JPEG encoding failed")
    return bytes(data)
