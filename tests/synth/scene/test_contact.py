"""Whether convex hulls meet, judged by linear programming, and where they come nearest."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from synth.geometry import random_rotation
from synth.scene.contact import gap

Array = np.ndarray


def share_a_point(one: Array, other: Array) -> bool:
    """Whether convex combinations of the points exist that are equal."""
    equal = np.vstack([np.hstack([one.T, -other.T]), np.repeat(np.eye(2), [len(one), len(other)], axis=1)])
    return bool(linprog(np.zeros(equal.shape[1]), A_eq=equal, b_eq=[0, 0, 0, 1, 1]).success)


def pairs(count: int, flat: bool = False) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        size = [1.0, 0.6, 0.0 if flat else 0.3]
        one, other = (
            rng.normal(size=(int(rng.integers(4, 60)), 3)) * size @ random_rotation(rng) for _ in range(2)
        )
        found.append((one, other + rng.normal(size=3) * 1.5))
    return found


@pytest.mark.parametrize("flat", [False, True])
def test_there_is_no_gap_where_hulls_share_a_point(flat: bool) -> None:
    truth = [share_a_point(*pair) for pair in pairs(200, flat)]
    assert [gap(*pair) is None for pair in pairs(200, flat)] == truth
    assert 30 < sum(truth) < 170


def test_boxes_that_overlap_by_a_hair_meet_and_others_do_not() -> None:
    box = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    for shift, touching in ((0.9999, True), (1.0001, False)):
        for axis in range(3):
            moved = box + shift * np.eye(3)[axis] + 0.1
            moved[:, axis] -= 0.1
            assert (gap(box, moved) is None) == (gap(moved, box) is None) == touching
    assert gap(box, box) is None


def test_gap_points_from_one_hull_to_the_other() -> None:
    seen = 0
    for one, other in pairs(24):
        contact = gap(one, other)
        if share_a_point(one, other):
            assert contact is None
        else:
            assert contact is not None
            seen += 1
            point, normal, apart = contact
            distance = nearest(one, other)
            assert apart == pytest.approx(distance, rel=1e-3, abs=1e-4)
            assert (other @ normal).min() - (one @ normal).max() == pytest.approx(
                distance, rel=1e-3, abs=1e-4
            )
            assert nearest(one, point[None]) < 0.01
            assert nearest(other, (point + distance * normal)[None]) < 0.01
    assert seen > 5


def nearest(one: Array, other: Array) -> float:
    """The distance of two hulls."""
    n, m = len(one), len(other)
    points = np.vstack([one, -other])
    of_one, of_other = np.repeat(np.eye(2), [n, m], axis=1)
    found = minimize(
        lambda w: (float(np.sum((w @ points) ** 2)), 2 * points @ (w @ points)),
        of_one / n + of_other / m,
        jac=True,
        bounds=[(0, 1)] * (n + m),
        constraints=[
            {"type": "eq", "fun": lambda w, own=own: w @ own - 1, "jac": lambda w, own=own: own}
            for own in (of_one, of_other)
        ],
        method="SLSQP",
    )
    return float(np.sqrt(found.fun))
