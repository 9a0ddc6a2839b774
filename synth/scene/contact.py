"""Where two convex hulls come nearest."""

import numpy as np
from scipy.optimize import nnls

from synth.types import Array

SUM_WEIGHT = 1e3
"""Weight of the condition that each hull's shares add up to 1, against that of the distance."""
TOUCHING = 1e-6
"""Hulls nearer than this share of the larger one's size touch: no direction between them is known."""


def gap(one: Array, other: Array) -> tuple[Array, Array, float] | None:
    """Where the convex hulls of points (N, 3) and (M, 3) come nearest; None where they touch or overlap.

    Returns the nearest point (3,) of the hull of `one`, the unit vector (3,) from there to the other hull,
    and the distance, in the points' unit. A point of a hull is a sum of its corners with shares that are not
    negative and add up to 1; the shares that bring two such points nearest are found by non-negative least
    squares (Lawson and Hanson, "Solving Least Squares Problems", 1974).
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
