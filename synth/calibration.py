"""A real camera's calibration file, as OpenCV's tools or ROS write it."""

import math
from pathlib import Path
from typing import Any, cast

import yaml

from synth.errors import ConfigError
from synth.geometry import BROWN_CONRADY_COUNTS, FISHEYE_COUNT, from_opencv

MAX_BYTES = 1 << 20
FISHEYE_NAMES = ("fisheye", "equidistant", "kannala_brandt4")


class _Loader(yaml.SafeLoader):
    """Safe YAML that knows OpenCV's matrices as plain mappings."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-",
    lambda loader, _, node: loader.construct_mapping(cast(yaml.MappingNode, node), deep=True),
)


def read_calibration(path: Path) -> dict[str, Any]:
    """Fields of synth.config.Calibration from a YAML file.

    Read are camera_matrix (3 x 3, OpenCV's pixels), distortion_coefficients, image_width, image_height and
    either `fisheye: 1` or distortion_model (plumb_bob, rational_polynomial, equidistant, fisheye).
    Raises ConfigError naming file and field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB, expected a calibration file")
        lines = path.read_text(encoding="utf-8").splitlines()
        raw = yaml.load("\n".join(line for line in lines if not line.startswith("%")), _Loader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such calibration file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a readable calibration file: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping with camera_matrix, image_width, image_height, …")
    matrix = _numbers(raw, "camera_matrix", path)
    if len(matrix) != 9 or matrix[0] <= 0 or matrix[4] <= 0:
        raise ConfigError(f"{path}: camera_matrix: expected 9 numbers, focal lengths above 0, got {matrix}")
    coefficients = _numbers(raw, "distortion_coefficients", path)
    fisheye = bool(raw.get("fisheye")) or str(raw.get("distortion_model", "")).lower() in FISHEYE_NAMES
    counts = (FISHEYE_COUNT,) if fisheye else BROWN_CONRADY_COUNTS
    if len(coefficients) not in (0, *counts):
        expected = " or ".join(map(str, counts))
        raise ConfigError(f"{path}: distortion_coefficients: {len(coefficients)} values, expected {expected}")
    centre = from_opencv(matrix[2]), from_opencv(matrix[5])
    return {
        "width_px": _whole(raw, "image_width", path),
        "height_px": _whole(raw, "image_height", path),
        "matrix": (matrix[0], matrix[4], *centre),
        "model": "fisheye" if fisheye else "brown-conrady",
        "coefficients": tuple(coefficients),
    }


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
