"""Random streams, one for each image and sampler."""

import math
import zlib

import numpy as np

from synth.types import Rng


def stream(seed: int, index: int, sampler: str) -> Rng:
    """The random stream of one sampler for one image."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, zlib.crc32(sampler.encode())]))


def log_uniform(rng: Rng, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]))))
