"""Draws mesh/*.glb and print/*.jpg: a small glue tube lying flat. Run: python build.py [FOLDER]

Millimetres. x runs along the axis from the cap, about its middle (x = 0), to where the crimp is folded back
(x = 60); the crimp lies in the xy plane; z points out of the front print.
"""

import sys
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import trimesh
from artwork import PRINTS, draw_print
from numpy.typing import NDArray
from PIL import Image

LENGTH = 60.0
BODY = (0.125 * LENGTH, 1.03 * LENGTH)
CAP = (-0.12 * LENGTH, 0.105 * LENGTH)
FOLD = LENGTH
BODY_STEPS, BODY_SIDES = 36, 32
CAP_RIBS, CAP_SAMPLES = 16, 3

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Millimetres and shares. flatten: exponent of the body's way from round to flat (large = late).

    squeeze: share by which the whole body is pressed flat. bend: sideways and upward bow of the body.
    dents: how many; dent_mm: how deep. cap_taper: share by which the tip is narrower.
    """

    seed: int
    radius: float = 6.0
    flatten: float = 1.4
    squeeze: float = 0.1
    bend: tuple[float, float] = (0.0, 0.0)
    dents: int = 3
    dent_mm: float = 0.5
    cap_radius: float = 4.8
    cap_taper: float = 0.08


SHAPES = {
    "new": Shape(1, dents=3, dent_mm=0.4, squeeze=0.0),
    "slim_cap": Shape(2, cap_radius=4.4, cap_taper=0.12, flatten=1.8, bend=(0.3, 0.2)),
    "wide_cap": Shape(3, cap_radius=5.3, cap_taper=0.03, radius=5.8, squeeze=0.0, dents=4),
    "half_used": Shape(4, squeeze=0.25, dents=7, dent_mm=0.9, flatten=1.1, bend=(-0.5, 0.4)),
    "creased": Shape(5, dents=12, dent_mm=1.0, squeeze=0.1, bend=(0.6, -0.3)),
    "used_up": Shape(6, squeeze=0.45, dents=9, dent_mm=0.7, flatten=1.0, bend=(-0.2, 0.7), cap_radius=5.0),
}


def grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Triangles of a (rows, columns) grid of vertices."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    quads = np.column_stack([a, a + columns, a + columns + 1, a + 1])
    return np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]])


def half_width(perimeter: float, half_height: Points) -> Points:
    """Half axis a of the ellipses with one perimeter and half axes b: foil bends, it does not stretch."""
    low, high = np.zeros_like(half_height), np.full_like(half_height, perimeter / 4)
    for _ in range(50):
        a = (low + high) / 2
        h = ((a - half_height) / (a + half_height)) ** 2
        long = np.pi * (a + half_height) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))) > perimeter
        low, high = np.where(long, low, a), np.where(long, a, high)
    return (low + high) / 2


def body(shape: Shape) -> trimesh.Trimesh:
    """The foil: a circle behind the neck, flat at the crimp, dented, with a folded band at the end."""
    rng = np.random.default_rng(shape.seed)
    x = np.concatenate(
        [np.linspace(BODY[0], FOLD - 1.2, BODY_STEPS), FOLD + np.array([-0.6, -0.3, 0.0, 0.1, 1.0, 1.8])]
    )
    t = np.clip((x - BODY[0]) / (FOLD - 1.2 - BODY[0]), 0, 1)
    full = 1 - shape.squeeze * np.clip(2 * t, 0, 1)
    b = shape.radius * full * (1 - t**shape.flatten) + 0.2
    a = 0.94 * half_width(2 * np.pi * shape.radius, b) + 0.06 * b
    band = x >= FOLD
    b[band] += 0.45
    a[band] += 0.1
    theta = np.linspace(0, 2 * np.pi, BODY_SIDES + 1)
    y, z = a[:, None] * np.cos(theta), b[:, None] * np.sin(theta)
    loose = np.sin(np.pi * np.clip(1.02 * t, 0, 1)) ** 0.5
    for _ in range(shape.dents):
        at, angle = rng.uniform(BODY[0] + 5, FOLD - 4), rng.uniform(0, 2 * np.pi)
        long, wide, turn = rng.uniform(2, 9), rng.uniform(0.25, 0.8), rng.uniform(-0.25, 0.25)
        off = (theta - angle - turn * (x[:, None] - at) / 4 + np.pi) % (2 * np.pi) - np.pi
        depth = shape.dent_mm * rng.uniform(-0.5, 1.0)
        push = depth * np.exp(-(((x[:, None] - at) / long) ** 2) - (off / wide) ** 2) * loose[:, None]
        y, z = y - push * np.cos(theta), z - push * np.sin(theta)
    bow = np.sin(np.pi * t)
    y, z = y + shape.bend[0] * bow[:, None], z + shape.bend[1] * bow[:, None]
    vertices = np.stack([np.broadcast_to(x[:, None], y.shape), y, z], axis=-1).reshape(-1, 3)
    u = (x - BODY[0]) / (BODY[1] - BODY[0])
    v = 1 - theta / (2 * np.pi)
    uv = np.stack(np.broadcast_arrays(u[:, None], v), axis=-1).reshape(-1, 2)
    faces = grid_faces(len(x), len(theta))
    seamless = trimesh.Trimesh(vertices, faces, process=False)
    seamless.merge_vertices(merge_tex=True, merge_norm=True)
    _, nearest = trimesh.proximity.ProximityQuery(seamless).vertex(vertices)
    n, half = len(theta), len(theta) // 2
    lid = [[i, i + 1, 2 * half - i] for i in range(half)]
    lid += [[i + 1, 2 * half - i - 1, 2 * half - i] for i in range(half - 1)]
    rings, end = np.r_[len(vertices) - n : len(vertices), 0:n], len(vertices)
    lids = [np.array(lid) + end, np.array(lid)[:, ::-1] + end + n]
    mesh = trimesh.Trimesh(
        np.concatenate([vertices, vertices[rings]]), np.concatenate([faces, *lids]), process=False
    )
    uv = np.concatenate([uv, uv[rings]])
    mesh.vertex_normals = np.concatenate(
        [seamless.vertex_normals[nearest], np.repeat([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], n, axis=0)]
    )
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=uv, material=material((255, 255, 255), 0.3, plain_yellow())
    )
    return mesh


def ribs() -> Image.Image:
    """The cap's plastic: grooves are darker than ridges, some ridges catch the light."""
    rng = np.random.default_rng(0)
    rows = np.full((CAP_RIBS, 4), 30) + rng.integers(0, 14, (CAP_RIBS, 1)) * (rng.random((CAP_RIBS, 1)) < 0.4)
    rows[:, 1:3] = 14
    grey = np.repeat(rows.reshape(-1, 1), 4, axis=1).astype(np.uint8)
    return Image.fromarray(np.stack([grey, grey, grey + 2], axis=-1))


def turned(profile: list[tuple[float, float]], sides: int = 32) -> trimesh.Trimesh:
    """A surface of revolution about x from (x, radius) points; sharp between the rings, smooth around."""
    theta = np.linspace(0, 2 * np.pi, sides + 1)
    rings = []
    for start, end in pairwise(profile):
        for x, r in (start, end):
            rings.append(np.column_stack([np.full_like(theta, x), r * np.cos(theta), r * np.sin(theta)]))
    n = len(theta)
    faces = np.concatenate([grid_faces(2, n) + 2 * n * i for i in range(len(profile) - 1)])
    return trimesh.Trimesh(np.concatenate(rings), faces, process=False)


def cap(shape: Shape) -> trimesh.Trimesh:
    """A ribbed, slightly conical screw cap with a smooth edge, a rim and a recess at its tip."""
    n = CAP_RIBS * CAP_SAMPLES
    theta = np.linspace(0, 2 * np.pi, n + 1)
    wave = np.array([0.0, -0.12, 0.0])[np.arange(n + 1) % CAP_SAMPLES]
    tip, end = CAP
    narrow = 1 - shape.cap_taper
    rings = [
        (tip + 1.2, 0.0, 0.0),
        (tip + 1.2, 0.6 * narrow, 0.0),
        (tip, 0.65 * narrow, 0.0),
        (tip, 0.9 * narrow, 0.0),
        (tip + 0.6, narrow, 1.0),
        (end - 0.9, 1.0, 1.0),
        (end - 0.8, 1.03, 0.0),
        (end, 1.03, 0.0),
        (end, 0.0, 0.0),
    ]
    radius = np.array([shape.cap_radius * r * (1 + ribs * wave) for _, r, ribs in rings])
    x = np.array([[at] for at, _, _ in rings]) * np.ones_like(theta)
    vertices = np.stack([x, radius * np.cos(theta), radius * np.sin(theta)], axis=-1).reshape(-1, 3)
    uv = np.stack(np.broadcast_arrays((x - tip) / (end - tip), theta / (2 * np.pi)), axis=-1).reshape(-1, 2)
    mesh = trimesh.Trimesh(vertices, grid_faces(len(rings), n + 1), process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material((255, 255, 255), 0.35, ribs()))
    mesh.update_faces(mesh.area_faces > 1e-9)
    mesh.unmerge_vertices()
    return mesh


def neck(shape: Shape) -> trimesh.Trimesh:
    """The pale thread and shoulder between cap and body."""
    start, end = CAP[1], BODY[0]
    shoulder = 0.98 * shape.radius
    mesh = turned(
        [
            (start - 1, 0.0),
            (start - 1, 0.75 * shape.radius),
            (end - 0.5, 0.75 * shape.radius),
            (end - 0.35, shoulder),
            (end + 0.3, shoulder),
            (end + 0.3, 0.0),
        ]
    )
    mesh.update_faces(mesh.area_faces > 1e-9)
    mesh.visual = trimesh.visual.TextureVisuals(material=material((120, 118, 110), 0.4))
    return mesh


def mark(shape: Shape) -> trimesh.Trimesh:
    """A small red spot on the cap's collar."""
    r, x = 1.03 * shape.cap_radius + 0.05, CAP[1] - 0.6
    angle = np.linspace(1.35, 1.75, 4)
    ring = [[[x + dx, r * np.cos(a), r * np.sin(a)] for a in angle] for dx in (-0.5, 0.5)]
    mesh = trimesh.Trimesh(np.array(ring).reshape(-1, 3), grid_faces(2, 4), process=False)
    mesh.visual = trimesh.visual.TextureVisuals(material=material((150, 8, 8), 0.5))
    return mesh


def material(
    color: tuple[int, int, int], roughness: float, texture: Image.Image | None = None
) -> trimesh.visual.material.PBRMaterial:
    return trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*color, 255],
        baseColorTexture=texture,
        roughnessFactor=roughness,
        metallicFactor=0.0,
    )


def plain_yellow() -> Image.Image:
    """Stands in for the print, which object.yaml chooses from print/."""
    return Image.new("RGB", (8, 8), (236, 206, 16))


def tube(shape: Shape, marked: bool) -> trimesh.Scene:
    scene = trimesh.Scene()
    parts = {"body": body(shape), "cap": cap(shape), "neck": neck(shape)}
    if marked:
        parts["mark"] = mark(shape)
    for name, mesh in parts.items():
        scene.add_geometry(mesh, geom_name=name, node_name=name)
    return scene


def main(folder: Path) -> None:
    for sub in ("mesh", "print"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for i, (name, shape) in enumerate(SHAPES.items()):
        data = trimesh.exchange.gltf.export_glb(tube(shape, marked=i % 2 == 1), include_normals=True)
        (folder / "mesh" / f"{name}.glb").write_bytes(data)
    for i, style in enumerate(PRINTS):
        buffer = BytesIO()
        draw_print(style).save(buffer, "JPEG", quality=45)
        (folder / "print" / f"{i}.jpg").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
