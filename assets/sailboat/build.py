"""Draws mesh/*.glb: a small keelboat under sail. Run: python build.py [FOLDER]

Metres. x forward, y to port, z up; the waterline is z = 0, the origin amidships on the centreline.
The boom and the jib lie on the centreline; joints in object.yaml turn them out.
"""

import sys
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

Points = NDArray[np.float64]
Color = tuple[int, int, int]

BOW, STERN = 4.0, -4.0
SHEER_BOW, SHEER_STERN, SHEER_LOW = 1.15, 0.85, 0.75
MAST_X, DECK_AT_MAST, MAST_TOP = 0.7, 0.95, 11.0
BOOM_Z, BOOM_END = 1.75, -3.1
JIB_TACK, JIB_HEAD = (3.8, 1.2), (0.9, 9.6)
KEEL_TIP = (-0.35, -1.6)

# half beam, draught of the hull, camber of the sails (to port), overlap of the jib, fin or long keel, cabin
BOATS = {
    "port": (1.25, 0.45, 0.35, -0.2, "fin", True),
    "starboard": (1.25, 0.45, -0.35, -0.2, "fin", True),
    "racer_port": (1.05, 0.38, 0.5, -0.9, "fin", False),
    "racer_starboard": (1.05, 0.38, -0.5, -0.9, "fin", False),
    "cruiser_port": (1.45, 0.6, 0.25, 0.3, "long", True),
    "cruiser_starboard": (1.45, 0.6, -0.25, 0.3, "long", True),
}


def grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Triangles of a (rows, columns) grid of vertices."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    quads = np.column_stack([a, a + columns, a + columns + 1, a + 1])
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def loft(sections: Points) -> trimesh.Trimesh:
    """A closed solid from (S, P, 3) rings: the skin between them and a fan at either end."""
    count, points, _ = sections.shape
    closed = np.concatenate([sections, sections[:, :1]], axis=1)
    skin = grid_faces(count, points + 1)
    vertices = [closed.reshape(-1, 3)]
    faces = [skin]
    start = len(vertices[0])
    for ring, order in ((sections[0], 1), (sections[-1], -1)):
        around = np.arange(points)
        fan = np.column_stack([np.full(points, points), around, (around + 1) % points])
        vertices.append(np.vstack([ring, ring.mean(0)]))
        faces.append(fan[:, ::order] + start)
        start += points + 1
    mesh = trimesh.Trimesh(np.concatenate(vertices), np.concatenate(faces), process=False)
    mesh.update_faces(mesh.area_faces > 1e-12)
    mesh.remove_unreferenced_vertices()
    mesh.merge_vertices(digits_vertex=6)
    trimesh.repair.fix_normals(mesh)
    return mesh


def beam(x: Points, half_beam: float) -> Points:
    """Half width of the deck: a fine bow, a broad stern."""
    t = (x - STERN) / (BOW - STERN)
    return (
        half_beam
        * np.clip(1 - np.clip((t - 0.4) / 0.6, 0, 1) ** 2.2, 0, 1)
        * (0.78 + 0.22 * np.clip(t / 0.4, 0, 1))
    )


def sheer(x: Points) -> Points:
    """Height of the deck's edge."""
    t = (x - STERN) / (BOW - STERN)
    return SHEER_LOW + (SHEER_BOW - SHEER_LOW) * t**2 + (SHEER_STERN - SHEER_LOW) * (1 - t) ** 2


def hull(half_beam: float, draught: float) -> trimesh.Trimesh:
    """Rings of 25 points from the port sheer under the keel to the starboard sheer, closed by the deck."""
    x = STERN + (BOW - STERN) * np.sin(np.linspace(0, np.pi / 2, 29)) ** 1.2
    x[-1] = BOW
    angle = np.linspace(0, np.pi, 25)
    w, top = np.maximum(beam(x, half_beam), 0.015), sheer(x)
    t = (x - STERN) / (BOW - STERN)
    bottom = 0.12 - (draught + 0.12) * np.sin(np.pi * np.clip(0.12 + 0.92 * t, 0, 1)) ** 0.8
    bottom = np.minimum(bottom, top - 0.1)
    y = w[:, None] * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
    z = top[:, None] + (bottom - top)[:, None] * np.sin(angle) ** 0.9
    rake = (1.2 * np.clip((t - 0.75) / 0.25, 0, 1) ** 2)[:, None] * (z - top[:, None]) * 0.7
    return loft(np.stack([x[:, None] + rake, y, z], axis=-1))


def deck(half_beam: float) -> trimesh.Trimesh:
    """A thin cambered slab upon the hull, just inside its edge."""
    x = np.linspace(STERN + 0.03, BOW - 0.12, 24)
    w, z = np.maximum(0.96 * beam(x, half_beam), 0.02), sheer(x)
    s = np.linspace(-1, 1, 9)
    upper = np.stack(
        [np.broadcast_to(x[:, None], (24, 9)), w[:, None] * s, z[:, None] + 0.05 * (1 - s**2) + 0.015], -1
    )
    lower = upper[:, ::-1] * [1, 1, 0] + [0, 0, 1] * (z[:, None, None] - 0.02)
    return loft(np.concatenate([upper, lower], axis=1))


def cabin(half_beam: float) -> trimesh.Trimesh:
    """A coach roof before the cockpit, lower and narrower towards the bow."""
    x = np.array([-0.9, -0.85, 0.2, 1.3, 2.0, 2.3])
    width = half_beam * np.array([0.62, 0.64, 0.62, 0.5, 0.36, 0.28])
    height = np.array([0.4, 0.42, 0.4, 0.32, 0.2, 0.05])
    angle = np.linspace(0, np.pi, 11)
    y = width[:, None] * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.4
    z = sheer(x)[:, None] + height[:, None] * np.sin(angle) ** 0.4
    return loft(np.stack([np.broadcast_to(x[:, None], y.shape), y, z], axis=-1))


def cockpit(half_beam: float) -> trimesh.Trimesh:
    """The cockpit's floor, drawn as a darker raised panel."""
    box = trimesh.creation.box(extents=[2.2, 1.1 * half_beam * 0.75, 0.05])
    box.apply_translation([-2.4, 0, float(sheer(np.array([-2.4]))[0]) + 0.065])
    return box


def windows(half_beam: float) -> trimesh.Trimesh:
    """Two dark panes on either side of the coach roof."""
    panes = []
    for side in (-1, 1):
        for x, length in ((-0.2, 0.7), (0.75, 0.6)):
            pane = trimesh.creation.box(extents=[length, 0.06, 0.13])
            width = half_beam * float(np.interp(x, [-0.85, 0.2, 1.3], [0.64, 0.62, 0.5]))
            pane.apply_translation([x, side * (width - 0.02), float(sheer(np.array([x]))[0]) + 0.22])
            panes.append(pane)
    return trimesh.util.concatenate(panes)


def foil(
    top: tuple[float, float, float], tip: tuple[float, float, float], thickness: float
) -> trimesh.Trimesh:
    """A fin between two chords (leading x, trailing x, z)."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rings = []
    for lead, trail, z in (top, tip):
        chord = lead - trail
        x = (lead + trail) / 2 + chord / 2 * np.cos(angle)
        rings.append(
            np.column_stack([x, thickness / 2 * np.sin(angle) * (0.6 + 0.4 * np.cos(angle)), np.full(24, z)])
        )
    return loft(np.array(rings))


def keel(kind: str) -> trimesh.Trimesh:
    x, z = KEEL_TIP
    if kind == "fin":
        return foil((0.75, -0.75, -0.25), (x + 0.4, x - 0.4, z), 0.16)
    return foil((1.7, -2.6, -0.2), (x + 0.9, x - 1.6, z), 0.2)


def rudder() -> trimesh.Trimesh:
    return foil((-3.35, -3.85, 0.3), (-3.6, -3.95, -1.0), 0.07)


def spar(start: Points, end: Points, radius: float) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius=radius, segment=[start, end], sections=10)


def sail(luff: Points, leech: Points, camber: float) -> trimesh.Trimesh:
    """A sheet 2 cm thick between the edges luff and leech (R, 3), bellied towards +y by `camber` metres."""
    s = np.linspace(0, 1, 11)
    rows = luff[:, None] * (1 - s)[:, None] + leech[:, None] * s[:, None]
    chord = np.linalg.norm(leech - luff, axis=1)
    belly = camber * (chord / chord.max())[:, None] * (s * (1 - s) ** 0.7 * 2.7)
    height = np.linspace(0, 1, len(luff))
    belly *= (1 - 0.25 * np.abs(2 * height - 1) ** 3)[:, None]
    rows[:, :, 1] += belly
    half = np.array([0, 0.01, 0])
    front, back = rows + half, rows[:, ::-1] - half
    return loft(np.concatenate([front, back], axis=1))


def main_sail(camber: float) -> trimesh.Trimesh:
    h = np.linspace(0, 1, 16)
    foot, head = BOOM_Z + 0.12, MAST_TOP - 0.25
    luff = np.column_stack([np.full(16, MAST_X - 0.1), np.zeros(16), foot + (head - foot) * h])
    roach = 0.45 * np.sin(np.pi * h) ** 0.8
    x = BOOM_END + 0.1 + (MAST_X - 0.3 - BOOM_END - 0.1) * h - roach
    leech = np.column_stack([x, np.zeros(16), luff[:, 2]])
    return sail(luff, leech, camber)


def jib(camber: float, clew_x: float) -> trimesh.Trimesh:
    h = np.linspace(0, 1, 14)
    tack, head = np.array([JIB_TACK[0], 0, JIB_TACK[1] + 0.15]), np.array([JIB_HEAD[0], 0, JIB_HEAD[1]])
    luff = tack + (head - tack) * h[:, None]
    clew = np.array([MAST_X + 0.45 + clew_x, 0, 1.75])
    leech = clew + (head - np.array([0.06, 0, 0.1]) - clew) * h[:, None]
    return sail(luff, leech, camber * 0.8)


def boat(
    half_beam: float, draught: float, camber: float, clew_x: float, keel_kind: str, has_cabin: bool
) -> trimesh.Scene:
    up = np.array([0, 0, 1.0])
    mast_foot = np.array([MAST_X, 0, DECK_AT_MAST - 0.3])
    mast_top = np.array([MAST_X, 0, MAST_TOP])
    side = np.array([MAST_X - 0.25, 0.9 * half_beam, sheer(np.array([MAST_X]))[0]])
    shroud_top = mast_top - 1.4 * up
    wires = [
        spar(np.array([JIB_TACK[0], 0, JIB_TACK[1] - 0.1]), np.array([MAST_X, 0, JIB_HEAD[1] + 0.35]), 0.012),
        spar(np.array([STERN + 0.1, 0, SHEER_STERN]), mast_top, 0.012),
        spar(side, shroud_top, 0.012),
        spar(side * [1, -1, 1], shroud_top, 0.012),
    ]
    parts: list[tuple[str, trimesh.Trimesh, Color, float]] = [
        ("hull", hull(half_beam, draught), (190, 190, 185), 0.3),
        ("deck", deck(half_beam), (150, 140, 120), 0.7),
        ("cockpit", cockpit(half_beam), (80, 50, 25), 0.7),
        ("keel", keel(keel_kind), (60, 20, 15), 0.6),
        ("rudder", rudder(), (160, 160, 160), 0.5),
        ("mast", spar(mast_foot, mast_top, 0.065), (110, 110, 112), 0.35),
        (
            "boom",
            spar(np.array([MAST_X, 0, BOOM_Z]), np.array([BOOM_END, 0, BOOM_Z]), 0.05),
            (110, 110, 112),
            0.35,
        ),
        ("main", main_sail(camber), (215, 212, 200), 0.8),
        ("jib", jib(camber, clew_x), (215, 212, 200), 0.8),
        ("rigging", trimesh.util.concatenate(wires), (70, 70, 70), 0.4),
    ]
    if has_cabin:
        parts += [
            ("cabin", cabin(half_beam), (200, 200, 195), 0.4),
            ("windows", windows(half_beam), (6, 7, 9), 0.2),
        ]
    scene = trimesh.Scene()
    for name, mesh, color, roughness in parts:
        scene.add_geometry(creased(mesh, color, roughness), geom_name=name, node_name=name)
    return scene


def creased(mesh: trimesh.Trimesh, color: Color, roughness: float) -> trimesh.Trimesh:
    """Smooth where faces meet at less than 35 degrees, sharp elsewhere. color: linear RGB."""
    shaded = trimesh.graph.smooth_shade(mesh, angle=np.radians(35))
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*color, 255], roughnessFactor=roughness, metallicFactor=0.0
    )
    shaded.visual = trimesh.visual.TextureVisuals(material=material)
    return shaded


def main(folder: Path) -> None:
    (folder / "mesh").mkdir(parents=True, exist_ok=True)
    for name, shape in BOATS.items():
        data = trimesh.exchange.gltf.export_glb(boat(*shape), include_normals=True)
        (folder / "mesh" / f"{name}.glb").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
