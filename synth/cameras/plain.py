"""Cameras of a few numbers with their names, in JSON or YAML: BOP's camera.json, RealSense's and Nerfstudio's
intrinsics, and those that people write themselves."""

from collections.abc import Mapping
from typing import Any

from synth.cameras.calibration import Calibration
from synth.cameras.fields import coefficients_of, find, image_size, lens, number, opencv_calibration
from synth.geometry import to_opencv

FOCAL = (("fx", "fy"), ("fl_x", "fl_y"), ("focal_x", "focal_y"))
CENTRE = (("cx", "cy"), ("ppx", "ppy"), ("c_x", "c_y"))
CONTINUOUS = ("fl_x",)
"""Nerfstudio's name; its pixels are COLMAP's, continuous."""
BROWN_CONRADY = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
FISHEYE = ("k1", "k2", "k3", "k4")


def finds(raw: Mapping[str, Any]) -> bool:
    return any(find(raw, [x]) and find(raw, [y]) for x, y in FOCAL)


def read(raw: Mapping[str, Any]) -> Calibration:
    """Raises ValueError naming the field."""
    focal = _pair(raw, FOCAL)
    centre = _pair(raw, CENTRE)
    skew = find(raw, ("skew", "s"))
    if skew and number(*skew):
        raise ValueError(f"{skew[0]}: {skew[1]}, expected 0: pixels are rectangles here")
    if find(raw, CONTINUOUS):
        centre = to_opencv(centre[0]), to_opencv(centre[1])
    coefficients = coefficients_of(raw)
    model = lens(raw, coefficients)
    if not coefficients:
        coefficients = _single(raw, FISHEYE if model == "fisheye" else BROWN_CONRADY)
    return opencv_calibration(image_size(raw), (*focal, *centre), model, coefficients)


def _pair(raw: Mapping[str, Any], names: tuple[tuple[str, str], ...]) -> tuple[float, float]:
    for one, other in names:
        x, y = find(raw, [one]), find(raw, [other])
        if x and y:
            return number(*x), number(*y)
    raise ValueError(f"{names[0][0]} and {names[0][1]} are absent")


def _single(raw: Mapping[str, Any], names: tuple[str, ...]) -> list[float]:
    """Coefficients under their own names; none where all are 0."""
    found = [find(raw, [name]) for name in names]
    values = [number(*one) if one else 0.0 for one in found]
    if not any(values):
        return []
    return values if len(names) == 4 or any(values[5:]) else values[:5]
