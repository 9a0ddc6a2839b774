"""What lens and sensor do to an image, drawn."""

import math
from dataclasses import replace

from synth.config import SynthConfig
from synth.types import Rng, Sensor


def sample_sensor(config: SynthConfig, rng: Rng) -> Sensor:
    c = config.sensor
    moving = rng.random() < c.motion
    r, g, b = rng.uniform(*c.white_balance, 3)
    return Sensor(
        mean_light=float(rng.uniform(*c.mean_light)),
        white_balance=(float(r), float(g), float(b)),
        contrast=float(rng.uniform(*c.contrast)),
        blur_sigma_px=float(rng.uniform(*c.blur_sigma_px)),
        motion_px=float(rng.uniform(*c.motion_px)) if moving else 0.0,
        motion_angle=float(rng.uniform(0.0, math.pi)),
        noise_shot=float(rng.uniform(*c.noise_shot)),
        noise_read=float(rng.uniform(*c.noise_read)),
        jpeg_quality=int(rng.integers(c.jpeg_quality[0], c.jpeg_quality[1] + 1)),
    )


def sample_optics(config: SynthConfig, sensor: Sensor, rng: Rng) -> Sensor:
    """`sensor` with what the lens adds."""
    c = config.sensor

    def in_share(share: float, limits: tuple[float, float]) -> float:
        chosen, value = rng.random() < share, float(rng.uniform(*limits))
        return value if chosen else 0.0

    return replace(
        sensor,
        tone=float(rng.uniform(*c.tone)),
        defocus_px=in_share(c.defocus, c.defocus_px),
        chromatic=in_share(c.fringes, c.chromatic),
        vignetting=in_share(c.vignetted, c.vignetting),
        objects_move=bool(rng.random() < c.objects_move),
    )
