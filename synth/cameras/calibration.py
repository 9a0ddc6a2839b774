"""What is known of a real camera, and the camera that takes pictures with it."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synth.geometry import BROWN_CONRADY_COUNTS, FISHEYE_COUNT
from synth.types import Array, Camera, Distortion

Positive = Annotated[float, Field(gt=0)]
QUARTERS = {1: 0, 6: 1, 3: 2, 8: 3}
"""EXIF orientation -> quarter turns with the clock that set the picture upright; the others mirror it."""


class Calibration(BaseModel):
    """A camera's intrinsics. matrix: fx, fy, cx, cy in continuous px of an image of that size.

    coefficients: of the model, as OpenCV orders them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    width_px: int = Field(ge=16, le=65536)
    height_px: int = Field(ge=16, le=65536)
    matrix: tuple[Positive, Positive, float, float]
    model: Literal["brown-conrady", "fisheye"] = "brown-conrady"
    coefficients: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _as_the_model_has(self) -> Self:
        counts = (FISHEYE_COUNT,) if self.model == "fisheye" else BROWN_CONRADY_COUNTS
        if len(self.coefficients) not in (0, *counts):
            expected = " or ".join(map(str, counts))
            raise ValueError(f"coefficients: {len(self.coefficients)} values, expected {expected}")
        return self


def calibrated_camera(calibration: Calibration, longer_px: int, T_world_from_camera: Array) -> Camera:
    """The real camera at that pose, its image scaled to the longer side."""
    scale = longer_px / max(calibration.width_px, calibration.height_px)
    fx, fy, cx, cy = (scale * value for value in calibration.matrix)
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    lens = Distortion(calibration.model, calibration.coefficients) if calibration.coefficients else None
    size = round(scale * calibration.width_px), round(scale * calibration.height_px)
    return Camera(*size, K, T_world_from_camera, lens)


def turned(calibration: Calibration, quarters: int) -> Calibration:
    """The camera of the pictures turned by so many quarters with the clock, as viewers turn photos whose EXIF
    tag asks for it. Raises ValueError for a lens with a tilted sensor."""
    for _ in range(quarters):
        calibration = _turned_once(calibration)
    return calibration


def _turned_once(calibration: Calibration) -> Calibration:
    """A point x, y of the picture comes to height - y, x."""
    fx, fy, cx, cy = calibration.matrix
    c = list(calibration.coefficients)
    if calibration.model == "brown-conrady" and c:
        if any(c[12:]):
            raise ValueError("the sensor is tilted (τx, τy): such pictures cannot be turned")
        c[2], c[3] = c[3], -c[2]  # p1 along y, p2 along x
        if len(c) >= 12:  # s1, s2 along x, s3, s4 along y
            c[8:12] = [-c[10], -c[11], c[8], c[9]]
    return calibration.model_copy(
        update={
            "width_px": calibration.height_px,
            "height_px": calibration.width_px,
            "matrix": (fy, fx, calibration.height_px - cy, cx),
            "coefficients": tuple(c),
        }
    )
