"""A real camera's calibration file, as OpenCV's tools or ROS write it."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synth.errors import ConfigError
from synth.geometry import BROWN_CONRADY_COUNTS, FISHEYE_COUNT, from_opencv
from synth.system.yaml_files import Loader, read_yaml, validation_text
from synth.types import Array, Camera, Distortion

FISHEYE_NAMES = ("fisheye", "equidistant", "kannala_brandt4")


Positive = Annotated[float, Field(gt=0)]


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


class _Loader(Loader):
    """Knows OpenCV's matrices as plain mappings."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-",
    lambda loader, _, node: loader.construct_mapping(cast(yaml.MappingNode, node), deep=True),
)


def read_calibration(path: Path) -> Calibration:
    """The camera in a YAML file.

    Read are camera_matrix (3 x 3, OpenCV's pixels), distortion_coefficients, image_width, image_height and
    either `fisheye: 1`, `fisheye_model: 1` or distortion_model (plumb_bob, rational_polynomial, equidistant,
    fisheye).
    Raises ConfigError naming file and field.
    """
    raw = read_yaml(path, ConfigError, _Loader)
    matrix = _numbers(raw, "camera_matrix", path)
    if len(matrix) != 9:
        raise ConfigError(f"{path}: camera_matrix: expected 9 numbers, got {matrix}")
    named = str(raw.get("distortion_model", "")).lower() in FISHEYE_NAMES
    fisheye = named or bool(raw.get("fisheye") or raw.get("fisheye_model"))
    try:
        return Calibration(
            width_px=_whole(raw, "image_width", path),
            height_px=_whole(raw, "image_height", path),
            matrix=(matrix[0], matrix[4], from_opencv(matrix[2]), from_opencv(matrix[5])),
            model="fisheye" if fisheye else "brown-conrady",
            coefficients=tuple(_numbers(raw, "distortion_coefficients", path)),
        )
    except ValidationError as error:
        raise ConfigError(f"{path}: {validation_text(error)}") from error


def _numbers(raw: dict[str, Any], field: str, path: Path) -> list[float]:
    value = raw.get(field)
    data = value.get("data") if isinstance(value, dict) else value
    if not isinstance(data, list):
        raise ConfigError(f"{path}: {field}: expected a matrix with `data`, got {value!r:.60}")
    flat = [x for row in data for x in (row if isinstance(row, list) else [row])]
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in flat):
        raise ConfigError(f"{path}: {field}: expected finite numbers, got {flat!r:.60}")
    return [float(x) for x in flat]


def _whole(raw: dict[str, Any], field: str, path: Path) -> int:
    value = raw.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{path}: {field}: expected a whole number of pixels, got {value!r}")
    return value


def calibrated_camera(calibration: Calibration, longer_px: int, T_world_from_camera: Array) -> Camera:
    """The real camera at that pose, its image scaled to the longer side."""
    scale = longer_px / max(calibration.width_px, calibration.height_px)
    fx, fy, cx, cy = (scale * value for value in calibration.matrix)
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    lens = Distortion(calibration.model, calibration.coefficients) if calibration.coefficients else None
    size = round(scale * calibration.width_px), round(scale * calibration.height_px)
    return Camera(*size, K, T_world_from_camera, lens)
