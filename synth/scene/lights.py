"""Lamps, and the light that an environment or a photo behind suggests."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synth.config import SynthConfig
from synth.objects.library import Library
from synth.scene.environment import photo_key
from synth.types import Array, Background, Camera, Environment, Light, Rng

PHOTO_PULL = 4.0
"""How far a photo's bright side pulls the key light towards it: the place of photo_key, from -1 to 1 across
the image, counts this much beside the light's own unit vector."""
PHOTO_LUMINANCE = 0.2
"""Mean linear light of a photo of usual brightness, at which light keeps its strength."""


def sample_lights(config: SynthConfig, rng: Rng, more: Rng) -> tuple[Light, ...]:
    """A key light that casts shadows, and weaker fill lights from other sides.

    more: a second stream, for what was added later, so that the first draws what it always did: the key
    light's size, the number of fill lights, and those after the first.
    """
    c = config.light
    azimuth = rng.uniform(-math.pi, math.pi)
    key = direction(azimuth, math.radians(rng.uniform(*c.key_elevation_deg)))
    first = direction(
        azimuth + rng.uniform(*c.fill_turn_rad), math.radians(rng.uniform(*c.fill_elevation_deg))
    )
    irradiance, color = float(rng.uniform(*c.key_irradiance)), kelvin_to_rgb(rng.uniform(*c.temperature_k))
    fills = [Light("fill", first, float(rng.uniform(*c.fill)), kelvin_to_rgb(rng.uniform(*c.temperature_k)))]
    radius = math.radians(more.uniform(*c.key_radius_deg))
    count = int(more.integers(c.fills[0], c.fills[1] + 1))
    while len(fills) < count:
        side = direction(more.uniform(-math.pi, math.pi), math.radians(more.uniform(*c.fill_elevation_deg)))
        temperature = more.uniform(*c.temperature_k)
        fills.append(Light("fill", side, float(more.uniform(*c.fill)), kelvin_to_rgb(temperature)))
    return (Light("key", key, irradiance, color, radius), *fills[:count])


def sample_environment(
    config: SynthConfig, library: Library, background: Background, key: Light, rng: Rng
) -> Environment | None:
    """The background's photo, or a map of the pool with its bright side where the key light stands."""
    c = config.light
    by_photo, by_map, number = rng.random(3)
    if background.kind == "photo" and by_photo < c.from_photo:
        return Environment("", 0.0)
    if library.environments is None or by_map >= c.environment:
        return None
    maps = library.environments.names
    chosen = maps[int(number * len(maps))]
    return Environment(chosen, math.atan2(key.direction[1], key.direction[0]))


def lit_as(
    photo: NDArray[np.float32], config: SynthConfig, camera: Camera, lights: tuple[Light, ...], ambient: float
) -> tuple[tuple[Light, ...], float]:
    """Lights and ambient light so that things look as if they stood in the photo.

    photo: (h, w, 3) linear RGB of what the image shows of it. The key light stands where the photo is bright
    and has that colour; all light is the weaker the darker the photo is.
    """
    place, color, luminance = photo_key(photo)
    towards = np.array(lights[0].direction) + PHOTO_PULL * camera.T_world_from_camera[:3, :2] @ place
    low, high = (math.radians(angle) for angle in config.light.key_elevation_deg)
    elevation = min(max(math.atan2(towards[2], math.hypot(towards[0], towards[1])), low), high)
    r, g, b = (float(value) for value in color)
    level = float(np.clip(math.sqrt(luminance / PHOTO_LUMINANCE), *config.light.photo_level))
    key = replace(
        lights[0], direction=direction(math.atan2(towards[1], towards[0]), elevation), color=(r, g, b)
    )
    return tuple(
        replace(light, irradiance=level * light.irradiance) for light in (key, *lights[1:])
    ), level * ambient


def within_white(lights: tuple[Light, ...], ambient: float) -> tuple[tuple[Light, ...], float]:
    """Lights and ambient light, dimmed alike where all together would render a white surface brighter than
    white.

    Renderers cut light off at white, and no exposure after that brings back what is lost.
    """
    level = 1 / max(1.0, ambient + sum(light.irradiance for light in lights))
    return tuple(replace(light, irradiance=level * light.irradiance) for light in lights), level * ambient


def kelvin_to_rgb(kelvin: float) -> tuple[float, float, float]:
    """Linear RGB, maximum 1, of a black body relative to daylight at 6,500 K.

    Planck's law at 610, 550 and 465 nm.
    """

    def planck(t: float) -> Array:
        wavelength = np.array([610e-9, 550e-9, 465e-9])
        return np.asarray(1.0 / (wavelength**5 * np.expm1(1.4388e-2 / (wavelength * t))))

    rgb = planck(kelvin) / planck(6500.0)
    r, g, b = rgb / rgb.max()
    return float(r), float(g), float(b)


def direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """Unit vector in world. azimuth: from +X towards +Y, elevation: above the ground; radians."""
    flat = math.cos(elevation)
    return flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)
