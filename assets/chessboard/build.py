"""Draws mesh/*.glb: a chessboard printed on paper, glued on a plate. Run: python build.py [FOLDER]

Millimetres. Origin in the middle of the inner corners, x to the right along the top row, y up, z out of
the printed side. Squares are tiles of geometry that meet at the corners, so corners are exact.
"""

import sys
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

SQUARE = 25.0
COLUMNS, ROWS = 10, 7
PLATE_THICKNESS = 4.0
PAPER_THICKNESS = 0.3

Points = NDArray[np.float64]

# outer column's width, paper margin (left, right, bottom, top), plate margin around the paper, corner radius
BOARDS = {
    "clipboard": (12.5, (4.0, 1.0, 3.0, 7.0), (10.0, 19.0, 4.0, 5.0), 15.0),
    "full_squares": (25.0, (6.0, 6.0, 6.0, 6.0), (8.0, 8.0, 8.0, 8.0), 6.0),
    "wide_right": (14.0, (2.0, 2.0, 2.0, 5.0), (6.0, 28.0, 8.0, 3.0), 20.0),
    "sheet": (25.0, (15.0, 15.0, 12.0, 12.0), (1.0, 1.0, 1.0, 1.0), 2.0),
}


def grid_lines(outer_column: float) -> tuple[Points, Points]:
    """Borders of the columns from left to right and of the rows from top to bottom."""
    x = (np.arange(COLUMNS + 1) - COLUMNS / 2) * SQUARE
    y = (ROWS / 2 - np.arange(ROWS + 1)) * SQUARE
    x[0], x[-1] = x[1] - outer_column, x[-2] + outer_column
    return x, y


def tiles(quads: list[tuple[float, float, float, float]]) -> tuple[Points, NDArray[np.int64]]:
    """Quads x0, y0, x1, y1 in the plane z = 0, facing +z."""
    corners = [[(x0, y0, 0), (x1, y0, 0), (x1, y1, 0), (x0, y1, 0)] for x0, y0, x1, y1 in quads]
    faces = np.array([[0, 1, 2], [0, 2, 3]]) + 4 * np.arange(len(quads))[:, None, None]
    return np.array(corners, dtype=np.float64).reshape(-1, 3), faces.reshape(-1, 3)


def plate(x0: float, y0: float, x1: float, y1: float, radius: float) -> tuple[Points, NDArray[np.int64]]:
    """A closed slab with rounded corners below the paper."""
    turn = np.linspace(0, np.pi / 2, 7)
    centres = [(x1, y1, 0), (x0, y1, 1), (x0, y0, 2), (x1, y0, 3)]
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    rim = []
    for x, y, quarter in centres:
        centre = np.array([x, y]) - radius * np.sign(np.array([x, y]) - middle)
        angle = turn + quarter * np.pi / 2
        rim.append(centre + radius * np.column_stack([np.cos(angle), np.sin(angle)]))
    outline = np.concatenate(rim)
    n = len(outline)
    top = np.column_stack([outline, np.full(n, -PAPER_THICKNESS)])
    bottom = top - [0, 0, PLATE_THICKNESS]
    i, j = np.arange(n), (np.arange(n) + 1) % n
    fan = np.column_stack([np.zeros(n - 2, int), np.arange(1, n - 1), np.arange(2, n)])
    side = np.concatenate([np.column_stack([i, i + n, j]), np.column_stack([j, i + n, j + n])])
    return np.concatenate([top, bottom]), np.concatenate([fan, fan[:, ::-1] + n, side])


def part(geometry: tuple[Points, NDArray[np.int64]], color: tuple[int, int, int]) -> trimesh.Trimesh:
    """color: linear RGB. Faces do not share vertices: every edge is sharp."""
    mesh = trimesh.Trimesh(*geometry, process=False)
    mesh.unmerge_vertices()
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*color, 255], roughnessFactor=0.8, metallicFactor=0.0
    )
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    return mesh


def board(
    outer_column: float,
    paper_margin: tuple[float, float, float, float],
    plate_margin: tuple[float, float, float, float],
    radius: float,
) -> trimesh.Scene:
    x, y = grid_lines(outer_column)
    cells = [
        (c, r, (float(x[c]), float(y[r + 1]), float(x[c + 1]), float(y[r])))
        for r in range(ROWS)
        for c in range(COLUMNS)
    ]
    left, right, bottom, top = (float(v) for v in (x[0], x[-1], y[-1], y[0]))
    pl, pr, pb, pt = (
        left - paper_margin[0],
        right + paper_margin[1],
        bottom - paper_margin[2],
        top + paper_margin[3],
    )
    margin = [(pl, pb, pr, bottom), (pl, top, pr, pt), (pl, bottom, left, top), (right, bottom, pr, top)]
    scene = trimesh.Scene()
    ink = tiles([quad for c, r, quad in cells if (c + r) % 2 == 0])
    paper = tiles([quad for c, r, quad in cells if (c + r) % 2 == 1] + margin)
    m = plate_margin
    slab = plate(pl - m[0], pb - m[2], pr + m[1], pt + m[3], radius)
    for name, geometry, color in [
        ("ink", ink, (4, 4, 4)),
        ("paper", paper, (215, 215, 210)),
        ("plate", slab, (52, 44, 36)),
    ]:
        scene.add_geometry(part(geometry, color), geom_name=name, node_name=name)
    return scene


def main(folder: Path) -> None:
    (folder / "mesh").mkdir(parents=True, exist_ok=True)
    for name, shape in BOARDS.items():
        data = trimesh.exchange.gltf.export_glb(board(*shape), include_normals=True)
        (folder / "mesh" / f"{name}.glb").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
