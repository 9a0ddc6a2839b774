"""COLMAP's cameras.txt: CAMERA_ID MODEL WIDTH HEIGHT PARAMS… Its pixels are continuous ones."""

import re

from synth.cameras.calibration import Calibration
from synth.cameras.fields import number

MODELS = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4",
    "SIMPLE_RADIAL_FISHEYE": "f cx cy k1",
    "RADIAL_FISHEYE": "f cx cy k1 k2",
}
"""Name -> parameters (colmap.github.io/cameras.html)."""
BROWN_CONRADY = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
FISHEYE = ("k1", "k2", "k3", "k4")
_LINE = re.compile(r"\d+\s+[A-Z][A-Z_]+\s+\d+\s+\d+\s")


def finds(text: str) -> bool:
    lines = _lines(text)
    return bool(lines) and _LINE.match(lines[0] + " ") is not None


def read(text: str) -> Calibration:
    """Raises ValueError for several cameras, unknown models and wrong numbers of parameters."""
    lines = _lines(text)
    if len(lines) > 1:
        raise ValueError(f"{len(lines)} cameras, expected one: keep the line of the one that is meant")
    _, model, width, height, *words = lines[0].split()
    if model not in MODELS:
        raise ValueError(f"{model}: not known here, expected {', '.join(MODELS)}")
    names = MODELS[model].split()
    if len(words) != len(names):
        raise ValueError(f"{model}: {len(words)} parameters, expected {len(names)}: {MODELS[model]}")
    p = {name: number(name, float(word)) for name, word in zip(names, words, strict=True)}
    fisheye = model.endswith("FISHEYE")
    coefficients = [p.get(name, 0.0) for name in (FISHEYE if fisheye else BROWN_CONRADY)]
    if not fisheye and not any(coefficients[4:]):
        coefficients = coefficients[:4]
    bends = any(name[0] in "kp" for name in names)
    return Calibration.model_validate(
        {
            "width_px": int(width),
            "height_px": int(height),
            "matrix": (p.get("fx", p.get("f")), p.get("fy", p.get("f")), p["cx"], p["cy"]),
            "model": "fisheye" if fisheye else "brown-conrady",
            "coefficients": tuple(coefficients) if bends else (),
        }
    )


def _lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
