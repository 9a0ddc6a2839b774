"""Polygons of every format become triangles that fill them, and no more."""

from pathlib import Path

import numpy as np
import pytest

from synth.objects.formats.polygons import cuts, triangles
from synth.objects.hulls import merged
from synth.objects.meshes import load_mesh
from tests.synth.objects.formats.samples import U_AREA, U_SHAPE, obj_text, off_text, ply_bytes, prism

CASES = ("u.obj", "u.off", "ascii.ply", "binary_little_endian.ply", "binary_big_endian.ply")


def written(path: Path, vertices: np.ndarray, polygons: list[list[int]]) -> Path:
    if path.suffix == ".obj":
        path.write_text(obj_text(vertices, polygons))
    elif path.suffix == ".off":
        path.write_text(off_text(vertices, polygons))
    else:
        path.write_bytes(ply_bytes(vertices, polygons, path.stem))
    return path


def area_up(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Of the faces that look up, each counted wholly."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    z = np.cross(b - a, c - a)[:, 2] / 2
    return float(z[z > 0].sum())


@pytest.mark.parametrize("name", CASES)
def test_notches_stay_open(tmp_path: Path, name: str) -> None:
    (part,) = load_mesh(written(tmp_path / name, *prism(U_SHAPE)), 1.0).parts
    vertices, faces = merged((part,))
    assert area_up(vertices, faces) == pytest.approx(U_AREA)
    assert part.closed


@pytest.mark.parametrize("name", CASES)
def test_quads_pentagons_and_triangles_side_by_side(tmp_path: Path, name: str) -> None:
    house = [(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (2.0, 5.0), (0.0, 3.0)]
    vertices, polygons = prism(house)
    low, *others = polygons
    polygons = [low[:3], [low[0], low[2], low[3], low[4]], *others]
    (part,) = load_mesh(written(tmp_path / name, vertices, polygons), 1.0).parts
    assert area_up(part.vertices, part.faces) == pytest.approx(16.0)
    assert part.closed


def test_an_arrow_of_four_corners_is_cut_at_its_notch() -> None:
    arrow = np.array([(0.0, 0, 0), (2, -1, 0), (1, 0, 0), (2, 1, 0)])
    for turn in range(4):
        order = np.roll(np.arange(4), turn).tolist()
        faces, sources = triangles(arrow, [order])
        assert area_up(arrow, faces) == pytest.approx(1.0)
        assert sources.tolist() == [0, 0]


def test_convex_polygons_stay_fans_in_the_order_of_trimesh() -> None:
    corners = np.array([(np.cos(t), np.sin(t), 0.01 * t) for t in np.arange(6)])
    polygons = [[0, 1, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3]]
    assert cuts(corners, polygons) == {}
    faces, sources = triangles(corners, polygons)
    assert faces.tolist() == [[1, 2, 3], [0, 1, 2], [2, 3, 0], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert sources.tolist() == [2, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("bend", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("turn", [0.0, 1.0, 2.5])
def test_polygons_need_not_be_flat_or_lie_level(bend: float, turn: float) -> None:
    vertices = np.array([(x, y, bend * np.sin(x)) for x, y in U_SHAPE])
    faces, _ = triangles(vertices, [list(range(len(vertices)))])
    assert area_up(vertices, faces) == pytest.approx(U_AREA)
    c, s = np.cos(turn), np.sin(turn)
    turned = vertices @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) + 1000
    found, _ = triangles(turned, [list(range(len(vertices)))])
    assert len(found) == len(vertices) - 2
    np.testing.assert_allclose(
        np.linalg.norm(np.cross(*(turned[found[:, i]] - turned[found[:, 0]] for i in (1, 2))), axis=1).sum(),
        np.linalg.norm(
            np.cross(*(vertices[faces[:, i]] - vertices[faces[:, 0]] for i in (1, 2))), axis=1
        ).sum(),
        rtol=0.05,
    )


def test_a_ring_with_a_cut_to_its_hole_keeps_the_hole() -> None:
    ring = [(0, 0), (3, 0), (3, 3), (0, 3), (0, 0), (1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]
    vertices = np.array([(x, y, 0.0) for x, y in ring])
    faces, _ = triangles(vertices, [list(range(10))])
    assert area_up(vertices, faces) == pytest.approx(8.0)


def test_polygons_without_area_are_no_error() -> None:
    vertices = np.array([(0.0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)])
    assert cuts(vertices, [[0, 1, 2, 3], [0, 0, 0, 0, 0]]) == {}
