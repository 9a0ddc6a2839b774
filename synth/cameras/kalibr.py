"""Kalibr's camchain files: cam0, cam1, …"""

import re
from collections.abc import Mapping
from typing import Any

from synth.cameras.calibration import Calibration
from synth.cameras.fields import coefficients_of, image_size, lens, numbers, opencv_calibration, plain_name

_CAMERA = re.compile(r"cam\d+")


def finds(raw: Mapping[str, Any]) -> bool:
    return bool(_cameras(raw)) or ("intrinsics" in raw and "camera_model" in raw)


def read(raw: Mapping[str, Any]) -> Calibration:
    """Raises ValueError for several cameras, and models that are not pinhole with radtan or equidistant."""
    cameras = _cameras(raw)
    if len(cameras) > 1:
        raise ValueError(f"several cameras: {', '.join(cameras)}, expected one: keep the one that is meant")
    camera = next(iter(cameras.values()), raw)
    projection = str(camera.get("camera_model", "pinhole"))
    if plain_name(projection) != "pinhole":
        raise ValueError(f"camera_model: {projection!r} is not known here, expected pinhole")
    values = numbers("intrinsics", camera.get("intrinsics"))
    if len(values) != 4:
        raise ValueError(f"intrinsics: {values}, expected fu, fv, pu, pv")
    coefficients = coefficients_of(camera)
    fx, fy, cx, cy = values
    return opencv_calibration(image_size(camera), (fx, fy, cx, cy), lens(camera, coefficients), coefficients)


def _cameras(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(name): camera
        for name, camera in raw.items()
        if _CAMERA.fullmatch(str(name)) and isinstance(camera, dict) and "intrinsics" in camera
    }
