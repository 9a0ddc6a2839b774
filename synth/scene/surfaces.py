"""Procedural surfaces, made from noise filtered in the frequency domain: they tile without a seam."""

import colorsys
from functools import lru_cache

import cv2
import numpy as np
from scipy.fft import irfft2, rfft2

from synth.types import Array, Rgb, Rng

SURFACES = ("wood", "stone", "fabric", "metal", "plain", "speckle", "print")
SURFACE_PX = 512


@lru_cache(maxsize=16)
def surface(kind: str, seed: int) -> Rgb:
    """(SURFACE_PX, SURFACE_PX, 3) uint8 sRGB of a procedural surface that tiles."""
    rng = np.random.default_rng([seed, SURFACES.index(kind)])
    if kind == "wood":
        return _wood(rng)
    if kind == "stone":
        grain = _noise(rng, 1.2) * rng.uniform(0.0, 0.4) + _noise(rng, rng.uniform(0.1, 0.6)) * 0.4
        return _two_tone(grain, _earth(rng), rng.uniform(0.2, 0.7))
    if kind == "fabric":
        return _fabric(rng)
    if kind == "metal":
        streaks = _noise(rng, 0.4, (1.0, rng.uniform(15, 60)))
        return _two_tone(streaks + _noise(rng, 1.6), _gray(rng, 0.25, 0.8), rng.uniform(0.03, 0.15))
    if kind == "plain":
        return _two_tone(_noise(rng, 1.5), _any_color(rng), rng.uniform(0.0, 0.12))
    if kind == "speckle":
        base = _two_tone(_noise(rng, 1.0), _earth(rng), 0.15).astype(np.float64)
        for _ in range(int(rng.integers(1, 4))):
            spots = _noise(rng, rng.uniform(-0.2, 0.6)) > rng.uniform(0.4, 1.2)
            base[spots] = 0.3 * base[spots] + 0.7 * 255 * _earth(rng)
        return _to_uint8(np.asarray(cv2.GaussianBlur(base / 255, (0, 0), 0.8), dtype=np.float64))
    return _print(rng)


def _noise(rng: np.random.Generator, slope: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Array:
    """(S, S) periodic noise, mean 0, deviation 1; amplitude falls with frequency to the power `slope`."""
    n = SURFACE_PX
    fy = (np.fft.fftfreq(n)[:, None] * n * stretch[0]).astype(np.float32)
    fx = (np.fft.rfftfreq(n)[None, :] * n * stretch[1]).astype(np.float32)
    squared = fy * fy + fx * fx
    squared[0, 0] = 1.0
    spectrum = rfft2(rng.standard_normal((n, n), dtype=np.float32)) * squared ** np.float32(-slope / 2)
    spectrum[0, 0] = 0.0
    field = irfft2(spectrum, s=(n, n))
    return np.asarray(field / field.std(), dtype=np.float64)


def _two_tone(field: Array, color: Array, amount: float) -> Rgb:
    """`color` (3,) made lighter and darker by `field`."""
    return _to_uint8(np.asarray(color * (1.0 + amount * field[:, :, None])))


def _wood(rng: np.random.Generator) -> Rgb:
    across = np.arange(SURFACE_PX)[:, None] / SURFACE_PX
    planks = int(rng.integers(1, 6))
    warp = _noise(rng, 1.6, (1.0, rng.uniform(4, 12)))
    rings = np.sin(2 * np.pi * (int(rng.integers(4, 16)) * across + rng.uniform(0.2, 0.8) * warp))
    fibre = _noise(rng, 0.5, (1.0, rng.uniform(20, 60)))
    hue, sat, val = rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.65), rng.uniform(0.25, 0.85)
    color = np.array(colorsys.hsv_to_rgb(hue, sat, val))
    shade = 1 + rng.uniform(0.03, 0.13) * rings + rng.uniform(0.03, 0.1) * fibre
    plank = (across * planks).astype(int)
    shade = shade * (1 + rng.normal(0, 0.06, planks)[plank])
    if planks > 1:
        seam = (across * planks) % 1 < 0.012
        shade = np.where(seam, 0.5 * shade, shade)
    tint = np.array([1.0, 1.06, 1.15])
    return _to_uint8(color * shade[:, :, None] ** tint)


def _fabric(rng: np.random.Generator) -> Rgb:
    y, x = np.mgrid[0:SURFACE_PX, 0:SURFACE_PX] / SURFACE_PX * 2 * np.pi
    threads = int(rng.integers(24, 90))
    weave = np.sin(threads * x) * np.cos(threads * y) + 0.5 * _noise(rng, 0.6)
    colors = np.array([_any_color(rng), _any_color(rng)])
    stripes = np.sin(int(rng.integers(1, 10)) * (x if rng.random() < 0.5 else y)) > rng.uniform(-0.5, 1.5)
    image = colors[stripes.astype(int)] * (1 + rng.uniform(0.05, 0.25) * weave[:, :, None])
    return _to_uint8(image)


def _print(rng: np.random.Generator) -> Rgb:
    """Paper with random shapes: posters, packaging, labels, screens."""
    canvas = np.full((SURFACE_PX, SURFACE_PX, 3), _any_color(rng) * 255, dtype=np.uint8)
    for _ in range(int(rng.integers(8, 60))):
        color = (_any_color(rng) * 255).tolist()
        x, y = (int(c) for c in rng.integers(0, SURFACE_PX, 2))
        w, h = (int(c) for c in np.exp(rng.uniform(1.5, 5.2, 2)))
        kind = rng.integers(4)
        if kind == 0:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), color, -1)
        elif kind == 1:
            cv2.ellipse(canvas, (x, y), (w, h), float(rng.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
        elif kind == 2:
            thickness = int(rng.integers(1, 12))
            cv2.line(canvas, (x, y), (x + w - h, y + h), color, thickness, cv2.LINE_AA)
        else:
            text = "".join(chr(c) for c in rng.integers(48, 91, 8))
            size, thickness = float(rng.uniform(0.4, 2.5)), int(rng.integers(1, 4))
            cv2.putText(canvas, text, (x - 60, y), cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness)
    return _to_uint8(canvas / 255 * (1 + 0.05 * _noise(rng, 1.0)[:, :, None]))


def _earth(rng: np.random.Generator) -> Array:
    hue, saturation = rng.uniform(0.0, 0.17), rng.uniform(0.0, 0.25)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, rng.uniform(0.15, 0.9)))


def _gray(rng: np.random.Generator, low: float, high: float) -> Array:
    return np.clip(rng.uniform(low, high) + rng.normal(0, 0.015, 3), 0, 1)


def _any_color(rng: np.random.Generator) -> Array:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1, 1.5), rng.uniform(0.08, 1.0)))


def _to_uint8(image: Array) -> Rgb:
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


SURFACE_SEEDS = 12
"""Procedural surfaces come from this many seeds a kind, so that a worker can keep them;
tints make more of them."""


def sample_tint(limits: tuple[float, float], rng: Rng) -> tuple[float, float, float]:
    """Linear RGB factors: a brightness, and colours that are the paler the smaller a random power is."""
    r, g, b = (float(x) for x in rng.uniform(*limits) * rng.uniform(*limits, 3) ** rng.uniform(0.0, 1.0))
    return r, g, b
