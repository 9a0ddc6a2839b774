"""Where things lie in clip space and in the image: matrices and rectangles for renderers, no OpenGL.

Clip space is OpenGL's (x, y and z / w from -1 to 1), but with y down: the first row of a framebuffer, which
is OpenGL's bottom row, is then the image's top row, and pictures need no turning when they are read back.
A grid of cells (columns, rows) divides the image, so that only cells are drawn in which something shows.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.geometry import inverse, project, rigid, rotation_between
from synth.render.contents import BACKDROP_REACH, reach
from synth.types import Array, Camera, SceneSpec

FINE = 4
"""Whether a cell is touched is found by drawing boxes on a grid so many times finer."""
Rect = tuple[int, int, int, int]
"""x, y, width, height in pixels; the origin is the image's top-left corner."""


def clip_from_world(camera: Camera, near: float, far: float) -> Array:
    """(4, 4) from world to clip space for a pinhole camera. near, far: of what is drawn, metres along its
    z."""
    size = np.array([[2.0 / camera.width_px], [2.0 / camera.height_px]])
    clip = np.zeros((4, 4))
    clip[:2, :3] = size * camera.K[:2]
    clip[:2, 2] -= 1.0
    clip[2, 2:] = (far + near) / (far - near), -2 * far * near / (far - near)
    clip[3, 2] = 1.0
    return clip @ inverse(camera.T_world_from_camera)


def clip_from_world_for_light(towards: Array, centre: Array, radius: float) -> Array:
    """(4, 4) parallel projection from world to clip space along a light's rays, that shows a sphere.

    towards: (3,) unit vector to the light. centre: (3,), radius: metres. All three axes are scaled alike,
    which soft_shadow relies on.
    """
    R = rotation_between(np.array([0.0, 0.0, 1.0]), towards)
    return np.diag([1 / radius, 1 / radius, -1 / radius, 1.0]) @ inverse(rigid(R, centre))


def ray_from_pixel(camera: Camera) -> Array:
    """(3, 3) from continuous pixels (x, y, 1) to directions in world, as long as to depth 1 m."""
    return np.asarray(camera.T_world_from_camera[:3, :3] @ np.linalg.inv(camera.K))


def background_depth(scene: SceneSpec) -> NDArray[np.float32]:
    """(H, W) float32 metres along the camera's z: of the ground z = 0, and beyond BACKDROP_REACH, or without
    ground, of a wall all around at that distance from the eye.

    Both are found as 1 / depth, which over the image is a linear function for the ground and the root of a
    quadratic one for the wall: two matrix products instead of a ray a pixel.
    """
    camera = scene.camera
    rays = ray_from_pixel(camera)
    form = rays.T @ rays  # of the squared length of a pixel's ray
    x, y = np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5
    across = np.stack([x**2, x, np.ones_like(x)])
    slope, constant = 2 * (form[0, 1] * y + form[0, 2]), (form[1, 1] * y + 2 * form[1, 2]) * y + form[2, 2]
    down = np.column_stack([np.full_like(y, form[0, 0]), slope, constant])
    closeness = np.sqrt(down.astype(np.float32) @ across.astype(np.float32))
    closeness /= np.float32(BACKDROP_REACH * reach(scene))
    if scene.background.on_plane:
        fall = -rays[2] / camera.T_world_from_camera[2, 3]
        ground = (fall[1] * y + fall[2]).astype(np.float32)[:, None] + (fall[0] * x).astype(np.float32)
        np.maximum(closeness, ground, out=closeness)
    return np.asarray(np.reciprocal(closeness, out=closeness))


def bounds(camera: Camera, boxes_world: Array) -> Rect | None:
    """The pixels that B bodies may touch, each the hull of N points; None = none, the whole image when a
    point lies behind the camera. boxes_world: (B, N, 3) metres."""
    if len(boxes_world) == 0:
        return None
    uv, depth = project(camera, boxes_world.reshape(-1, 3))
    size = np.array([camera.width_px, camera.height_px])
    if depth.min() <= 1e-6:
        return 0, 0, camera.width_px, camera.height_px
    uv = uv.reshape(*boxes_world.shape[:2], 2)
    low = np.clip(np.floor(uv.min(1)) - 2, 0, size).astype(int)
    high = np.clip(np.ceil(uv.max(1)) + 2, 0, size).astype(int)
    seen = (low < high).all(1)
    if not seen.any():
        return None
    (x0, y0), (x1, y1) = low[seen].min(0).tolist(), high[seen].max(0).tolist()
    return x0, y0, x1 - x0, y1 - y0


def cell_rects(touched: NDArray[np.bool_], cells: tuple[int, int], size: tuple[int, int]) -> list[Rect]:
    """Rectangles in pixels that hold the touched cells, one for each group of cells that meet.

    touched: (rows * columns,), row by row. cells: (columns, rows). size: width and height of the image, px.
    """
    columns, rows = cells
    _, _, groups, _ = cv2.connectedComponentsWithStats(touched.reshape(rows, columns).astype(np.uint8))
    rects = []
    for x, y, w, h, _ in groups[1:].tolist():
        x0, y0 = x * size[0] // columns, y * size[1] // rows
        x1, y1 = -(-(x + w) * size[0] // columns), -(-(y + h) * size[1] // rows)
        rects.append((x0, y0, x1 - x0, y1 - y0))
    return rects


def touched_cells(camera: Camera, boxes_world: Array, cells: tuple[int, int]) -> NDArray[np.bool_]:
    """(rows * columns,) whether any of B bodies, each the hull of N points, may touch the cell; all cells
    when a point lies behind the camera. boxes_world: (B, N, 3) metres. cells: (columns, rows)."""
    columns, rows = cells
    uv, depth = project(camera, boxes_world.reshape(-1, 3))
    if depth.min(initial=np.inf) <= 1e-6:
        return np.ones(rows * columns, np.bool_)
    fine = np.zeros((rows * FINE, columns * FINE), np.uint8)
    scale = np.array([columns * FINE / camera.width_px, rows * FINE / camera.height_px])
    corners = np.clip(np.floor(uv * scale), -(2**15), 2**15).astype(np.int32)
    for box in corners.reshape(*boxes_world.shape[:2], 2):
        cv2.fillConvexPoly(fine, cv2.convexHull(box), 1)
    fine = np.asarray(cv2.dilate(fine, np.ones((3, 3), np.uint8)), np.uint8)
    return np.asarray(fine.reshape(rows, FINE, columns, FINE).max((1, 3)).ravel() > 0)


def ground_grid(camera: Camera, far: float, cells: tuple[int, int]) -> Array:
    """(rows + 1, columns + 1, 3) the points of the ground z = 0 that the cells' corners show, metres, world;
    for corners that show none, or one farther from the eye than `far` metres, the point so far along the
    ray."""
    columns, rows = cells
    across, down = np.linspace(0, camera.width_px, columns + 1), np.linspace(0, camera.height_px, rows + 1)
    x, y = np.meshgrid(across, down)
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
    rays = pixels @ ray_from_pixel(camera).T
    eye = camera.T_world_from_camera[:3, 3]
    lengths = np.minimum(far / np.linalg.norm(rays, axis=-1), -eye[2] / np.minimum(rays[..., 2], -1e-9))
    return np.asarray(eye + rays * lengths[..., None])


def cells_showing(places: Array, map_from_world: Array, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(rows * columns,) whether the cell may show any of the marked texels of a map of the ground.

    places: what ground_grid gives. map_from_world: (2, 4) from world to places in the map, 0 to 1. mask: (n,
    n) the marked texels. Counts the marks in each cell's bounding box through an integral image.
    """
    n = len(mask)
    at = (places @ map_from_world[:, :3].T + map_from_world[:, 3]) * n
    corners = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, :-1], at[1:, 1:]])
    low = np.clip(np.floor(corners.min(0)) - 1, 0, n).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, n).astype(int)
    (x0, y0), (x1, y1) = low.T, high.T
    count = cv2.integral(mask.view(np.uint8))
    return np.asarray(count[y1, x1] - count[y0, x1] - count[y1, x0] + count[y0, x0] > 0).T.ravel()


def grid(columns: int, rows: int) -> NDArray[np.uint32]:
    """(rows * columns, 6) uint32: the corners of each cell's two triangles, as indices of the grid's points,
    which are counted row by row."""
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    a, b, c, d = corner, corner + 1, corner + columns + 2, corner + columns + 1
    return np.column_stack([a, d, c, a, c, b]).astype(np.uint32)
