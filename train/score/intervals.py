"""Confidence intervals."""

import numpy as np

from synth.types import Array

BOOTSTRAP_ROUNDS = 1000
CONFIDENCE = 0.95


def interval(draws: Array) -> list[float] | None:
    """Where the middle CONFIDENCE of the draws lies; None if none is a number."""
    if not np.isfinite(draws).any():
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    return [float(v) for v in np.nanpercentile(draws, [tail, 100 - tail])]


def as_json(draws: Array) -> list[float | None]:
    """Rounded to 4 digits; what is no number, which JSON does not know, as None."""
    return [None if np.isnan(draw) else round(float(draw), 4) for draw in draws]
