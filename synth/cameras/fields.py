"""Fields of cameras' files by whatever name they go, checked. All raise ValueError naming the field."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from synth.cameras.calibration import Calibration
from synth.geometry import from_opencv

WIDTHS = ("image_width", "width", "w", "img_width", "image_w")
HEIGHTS = ("image_height", "height", "h", "img_height", "image_h")
SIZES = ("image_size", "resolution", "img_size", "size")
LENS_NAMES = ("distortion_model", "camera_model", "model", "lens_model")
FISHEYE_FLAGS = ("fisheye", "fisheye_model")
COEFFICIENTS = (
    *("distortion_coefficients", "distortion_coeffs", "dist_coeffs", "dist_coefs"),
    *("distortion", "dist", "coeffs", "d"),
)
OTHER_LENSES = ("xi", "alpha", "beta", "omega", "fov_coefficient")
"""Parameters of omnidirectional and other projections."""
BROWN_CONRADY = {
    *("plumbbob", "radtan", "radialtangential", "brownconrady", "rationalpolynomial"),
    *("pinhole", "simplepinhole", "perspective", "opencv", "fullopencv"),
}
FISHEYE = {"fisheye", "equidistant", "equi", "kannalabrandt", "kannalabrandt4", "kb4", "opencvfisheye"}
STRAIGHT = {"none", "inversebrownconrady", "modifiedbrownconrady"}
"""Known without coefficients only: cameras name the latter two for pictures that are rectified already."""
MOST_SKEW_PX = 0.05


def plain_name(name: Any) -> str:
    """Without capitals and what is no letter or digit."""
    return "".join(c for c in str(name).lower() if c.isalnum())


def find(raw: Mapping[str, Any], names: Iterable[str]) -> tuple[str, Any] | None:
    """The first of the names that the mapping has, as it writes it, and its value."""
    own = {plain_name(key): key for key in reversed(list(raw))}
    key = next((own[plain_name(name)] for name in names if plain_name(name) in own), None)
    return None if key is None else (str(key), raw[key])


def numbers(field: str, value: Any) -> list[float]:
    """Of a list, of lists in a list, or of a matrix that keeps them in `data`."""
    data = value.get("data") if isinstance(value, dict) else value
    if not isinstance(data, list):
        raise ValueError(f"{field}: expected a list of numbers or a matrix with `data`, got {value!r:.60}")
    flat = [x for row in data for x in (row if isinstance(row, list) else [row])]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in flat):
        raise ValueError(f"{field}: expected finite numbers, got {flat!r:.60}")
    return [float(x) for x in flat]


def number(field: str, value: Any) -> float:
    return numbers(field, [value])[0]


def whole(field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{field}: expected a whole number of pixels, got {value!r}")
    return value


def image_size(raw: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in px."""
    width, height, both = find(raw, WIDTHS), find(raw, HEIGHTS), find(raw, SIZES)
    if width and height:
        return whole(*width), whole(*height)
    if both and isinstance(both[1], list) and len(both[1]) == 2:
        return whole(both[0], both[1][0]), whole(both[0], both[1][1])
    raise ValueError("the picture's size is absent, expected image_width and image_height in px")


def pinhole(field: str, values: list[float]) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of the rows of a 3 x 3 matrix."""
    if len(values) != 9:
        raise ValueError(f"{field}: expected 9 numbers, got {values}")
    fx, skew, cx, below, fy, cy, *last = values
    if abs(skew) > MOST_SKEW_PX or below:
        raise ValueError(f"{field}: skew {skew or below:g}, expected 0: pixels are rectangles here")
    if last != [0.0, 0.0, 1.0]:
        raise ValueError(f"{field}: last row {last}, expected 0, 0, 1")
    return fx, fy, cx, cy


def lens(raw: Mapping[str, Any], coefficients: list[float]) -> str:
    """The lens model that the file names, of those that Calibration knows."""
    for odd in OTHER_LENSES:
        found = find(raw, [odd])
        if found:
            raise ValueError(f"{found[0]}: parameter of a projection that is not known here{_KNOWN}")
    flag = find(raw, FISHEYE_FLAGS)
    if flag and flag[1]:
        return "fisheye"
    for key in LENS_NAMES:
        named = find(raw, [key])
        if named is None or named[1] in (None, ""):
            continue
        name = plain_name(str(named[1]).rpartition(".")[2])
        if name in FISHEYE:
            return "fisheye"
        if name in STRAIGHT and not any(coefficients):
            return "brown-conrady"
        if name not in BROWN_CONRADY:
            raise ValueError(f"{named[0]}: {named[1]!r} is not known here{_KNOWN}")
    return "brown-conrady"


_KNOWN = (
    ", expected plumb_bob, rational_polynomial, radtan or the like (Brown-Conrady), or equidistant, fisheye, "
    "kannala_brandt; undistort the pictures, then give their camera without distortion"
)


def coefficients_of(raw: Mapping[str, Any]) -> list[float]:
    """None where the file has no field for them."""
    found = find(raw, COEFFICIENTS)
    return [] if found is None or found[1] is None else numbers(*found)


def opencv_calibration(
    size: tuple[int, int], matrix: tuple[float, float, float, float], model: str, coefficients: list[float]
) -> Calibration:
    """matrix: with cx, cy as OpenCV counts pixels."""
    fx, fy, cx, cy = matrix
    return Calibration.model_validate(
        {
            "width_px": size[0],
            "height_px": size[1],
            "matrix": (fx, fy, from_opencv(cx), from_opencv(cy)),
            "model": model,
            "coefficients": tuple(coefficients),
        }
    )
