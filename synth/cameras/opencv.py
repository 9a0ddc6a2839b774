"""Files of OpenCV's tools and of ROS: calibrations in YAML, XML or JSON, camera_info messages."""

from collections.abc import Mapping
from typing import Any

from synth.cameras.calibration import Calibration
from synth.cameras.fields import (
    coefficients_of,
    find,
    image_size,
    lens,
    number,
    numbers,
    opencv_calibration,
    pinhole,
    whole,
)

MATRICES = ("camera_matrix", "K", "mtx", "intrinsic_matrix", "camera_intrinsics", "cam_K", "intrinsics")
SEVERAL = ("M1", "M2", "camera_matrix_1", "camera_matrix_2", "K_left", "K_right")


def finds(raw: Mapping[str, Any]) -> bool:
    return find(raw, (*MATRICES, *SEVERAL)) is not None


def read(raw: Mapping[str, Any]) -> Calibration:
    """Of pictures of the region of interest, as coarse as binning makes them. Raises ValueError naming the
    field."""
    several = find(raw, SEVERAL)
    if several:
        raise ValueError(f"{several[0]}: one of several cameras, expected camera_matrix of one")
    field, value = find(raw, MATRICES) or ("", None)
    values = numbers(field, value)
    if isinstance(value, list) and not isinstance(value[0], list) and field == "intrinsic_matrix":
        values = _rows(values)
    matrix = pinhole(field, values)
    coefficients = coefficients_of(raw)
    return _seen_part(raw, opencv_calibration(image_size(raw), matrix, lens(raw, coefficients), coefficients))


def _rows(values: list[float]) -> list[float]:
    """Open3D writes a matrix column by column."""
    by_columns = len(values) == 9 and (values[6] or values[7]) and not (values[2] or values[5])
    return [values[3 * column + row] for row in range(3) for column in range(3)] if by_columns else values


def _seen_part(raw: Mapping[str, Any], whole_sensor: Calibration) -> Calibration:
    """The camera of the pictures: `roi` cuts them out of the sensor's, binning_x and binning_y then join
    pixels (sensor_msgs/CameraInfo)."""
    x, y, width, height = _region(raw, whole_sensor)
    across, down = (_binning(raw, f"binning_{axis}") for axis in "xy")
    fx, fy, cx, cy = whole_sensor.matrix
    return Calibration.model_validate(
        {
            **whole_sensor.model_dump(),
            "width_px": width // across,
            "height_px": height // down,
            "matrix": (fx / across, fy / down, (cx - x) / across, (cy - y) / down),
        }
    )


def _region(raw: Mapping[str, Any], sensor: Calibration) -> tuple[int, int, int, int]:
    """x, y, width, height in px of the sensor."""
    found = find(raw, ["roi"])
    roi = found[1] if found else None
    if not isinstance(roi, dict) or not (roi.get("width") or roi.get("height")):
        return 0, 0, sensor.width_px, sensor.height_px
    if roi.get("do_rectify"):
        raise ValueError("roi.do_rectify: pictures are rectified: give their camera without distortion")
    x, y, width, height = (
        whole(f"roi.{k}", roi.get(k, 0)) for k in ("x_offset", "y_offset", "width", "height")
    )
    if min(x, y) < 0 or x + width > sensor.width_px or y + height > sensor.height_px:
        raise ValueError(f"roi: {roi}, expected a part of {sensor.width_px} x {sensor.height_px} px")
    return x, y, width, height


def _binning(raw: Mapping[str, Any], field: str) -> int:
    """0, as drivers write it, is 1."""
    found = find(raw, [field])
    value = number(*found) if found else 0
    if value < 0 or value != int(value):
        raise ValueError(f"{field}: {value:g}, expected a whole number of pixels")
    return int(value) or 1
