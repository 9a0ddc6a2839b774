"""Where two convex hulls come nearest."""

import numpy as np
from scipy.optimize import nnls

from synth.types import Array

SUM_WEIGHT = 1e3
"""Of the shares' sum against the distance, so that the shares add up to 1."""
TOUCHING = 1e-6
"""Hulls nearer than this share of their size meet."""


def gap(one: Array, other: Array) -> tuple[Array, Array, float] | None:
    """The point of the hull of `one` (N, 3) nearest to the hull of `other` (M, 3), the unit vector from there
    to it and the distance; None where they meet.

    The points' shares in the nearest pair are a least-squares problem whose unknowns are not negative.
    """
    n, middle = len(one), one.mean(0)
    size = max(float(np.ptp(hull, axis=0).max()) for hull in (one, other))
    system = np.empty((5, n + len(other)))
    system[:3, :n], system[:3, n:] = (one - middle).T, (middle - other).T
    system[3:] = 0.0
    system[3, :n] = system[4, n:] = SUM_WEIGHT * size
    shares, _ = nnls(system, np.array([0.0, 0.0, 0.0, SUM_WEIGHT * size, SUM_WEIGHT * size]))
    place = shares[:n] @ one / shares[:n].sum()
    way = shares[n:] @ other / shares[n:].sum() - place
    distance = float(np.linalg.norm(way))
    return None if distance < TOUCHING * size else (place, way / distance, distance)
