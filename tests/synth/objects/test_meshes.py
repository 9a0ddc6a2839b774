"""Which surfaces are closed: of those the renderer leaves out the backs."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals

from synth.objects.hulls import normals_at
from synth.objects.load import load_object
from synth.objects.meshes import closed_faces, load_mesh, load_texture
from synth.render.contents import unit_shape
from synth.scene.distractors import SHAPES


def torus() -> trimesh.Trimesh:
    return trimesh.creation.torus(3.0, 1.0, major_sections=24, minor_sections=12)


def whole(vertices: np.ndarray, faces: np.ndarray) -> bool:
    return bool(closed_faces(vertices, faces).all())


def unwelded(mesh: trimesh.Trimesh, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """As files with a normal for each corner hold it, places rounded."""
    corners = mesh.triangles.reshape(-1, 3)
    corners = corners + noise * np.random.default_rng(0).normal(size=corners.shape)
    return corners, np.arange(len(corners)).reshape(-1, 3)


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_closed_whether_corners_are_shared_or_not(noise: float) -> None:
    assert whole(torus().vertices, torus().faces)
    assert whole(*unwelded(torus(), noise))
    assert whole(torus().vertices + 1e4, torus().faces)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distractors_shapes_are_closed(shape: str) -> None:
    corners, _, _ = unit_shape(shape)
    assert whole(corners, np.arange(len(corners)).reshape(-1, 3))


def test_open_or_inside_out_is_not_closed() -> None:
    vertices, faces = torus().vertices, torus().faces
    assert not whole(vertices, faces[1:])
    assert not whole(vertices, faces[:, ::-1])
    assert not whole(vertices, np.concatenate([faces[:1, ::-1], faces[1:]]))
    assert not whole(np.zeros((3, 3)), np.array([[0, 1, 2]]))


def test_one_piece_inside_out_is_enough() -> None:
    ball, torus_ = trimesh.creation.icosphere(2, 1.0), torus()
    turned = trimesh.Trimesh(ball.vertices, ball.faces[:, ::-1], process=False)
    both = trimesh.util.concatenate([torus_, ball])
    assert whole(both.vertices, both.faces)
    mixed = trimesh.util.concatenate([torus_, turned])
    assert not whole(mixed.vertices, mixed.faces)


def test_the_tubes_body_cap_and_neck_are_closed() -> None:
    for parts in load_object("glue_tube").meshes:
        assert {part.name for part in parts if part.closed} == {"body", "cap", "neck"}


def test_an_stl_that_is_inside_out_is_turned(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.invert()
    box.export(tmp_path / "a.stl")
    (part,) = load_mesh(tmp_path / "a.stl", 1.0).parts
    assert (np.einsum("ij,ij->i", part.normals, part.vertices) > 0).all()


def test_faces_turn_to_the_side_of_the_files_normals(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(2)
    lines = [f"v {x} {y} {z}\nvn {x} {y} {z}" for x, y, z in ball.vertices]
    lines += ["f " + " ".join(f"{i + 1}//{i + 1}" for i in face[::-1]) for face in ball.faces]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    (part,) = load_mesh(tmp_path / "a.obj", 1.0).parts
    assert part.closed
    assert (np.einsum("ij,ij->i", part.normals, part.vertices) > 0.9).all()


@pytest.mark.parametrize(("suffix", "split"), [("ply", False), ("ply", True), ("obj", True), ("glb", True)])
def test_colours_keep_their_borders(tmp_path: Path, suffix: str, split: bool) -> None:
    box = trimesh.creation.box()
    colors = np.repeat(np.random.default_rng(0).integers(0, 256, (6, 4), np.uint8), 2, axis=0) | [
        0,
        0,
        0,
        255,
    ]
    if split:
        box.unmerge_vertices()
        box.visual = ColorVisuals(box, vertex_colors=np.repeat(colors, 3, axis=0))
    else:
        box.visual = ColorVisuals(box, face_colors=colors)
    box.export(tmp_path / f"a.{suffix}")
    (part,) = load_mesh(tmp_path / f"a.{suffix}", 1.0).parts
    assert part.vertex_colors is not None
    assert (np.ptp(part.vertex_colors[part.faces].astype(int), axis=1) == 0).all()
    assert part.closed


def test_a_closed_body_of_two_open_parts_has_normals(tmp_path: Path) -> None:
    card = trimesh.creation.box((0.0856, 0.054, 0.00076))
    front = card.face_normals[:, 2] > 0.5
    halves = {"front": card.submesh([front])[0], "rest": card.submesh([~front])[0]}
    trimesh.Scene(halves).export(tmp_path / "a.glb")
    parts = load_mesh(tmp_path / "a.glb", 1.0).parts
    assert not any(part.closed for part in parts)
    on_front, on_open = (normals_at(p, np.array([[0, 0, 0.00038]]), 1e-5)[0] for p in (parts, parts[:1]))
    assert (on_front[:, 2] > 0).all()
    assert len(on_front) > 0
    assert len(on_open) == 0


def test_a_texture_of_16_bits_keeps_its_values(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 16000, np.uint16)).save(tmp_path / "a.png")
    assert (load_texture(tmp_path / "a.png") == 62).all()


def test_textured_surfaces_without_normals_have_sharp_edges_and_no_seams(tmp_path: Path) -> None:
    count = 32
    lines, faces = ["mtllib tin.mtl", "usemtl paint"], []
    for i in range(count + 1):  # the last column of vertices lies on the first: there the texture is cut
        angle = 2 * np.pi * (i % count) / count
        for z in (0, 1):
            lines += [f"v {np.cos(angle):.6f} {np.sin(angle):.6f} {z}", f"vt {i / count:.6f} {z}"]
    lines += ["v 0 0 1", "vt 0.5 0.5"]
    for low in range(1, 2 * count, 2):
        faces += [(low, low + 2, low + 3), (low, low + 3, low + 1), (low + 1, low + 3, 2 * count + 3)]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in faces]
    (tmp_path / "tin.obj").write_text("\n".join(lines))
    (tmp_path / "tin.mtl").write_text("newmtl paint\nmap_Kd red.png\n")
    Image.new("RGB", (4, 4), (200, 0, 0)).save(tmp_path / "red.png")
    (part,) = load_mesh(tmp_path / "tin.obj", 1.0).parts
    assert part.texture is not None
    assert part.uv is not None
    at_lid = part.normals[:, 2] > 0.5
    np.testing.assert_allclose(part.normals[at_lid], [[0, 0, 1]] * at_lid.sum(), atol=1e-6)
    wall = part.vertices[~at_lid] * [1, 1, 0]
    np.testing.assert_allclose(part.normals[~at_lid], wall, atol=1e-5)
    np.testing.assert_allclose(np.cos(2 * np.pi * part.uv[~at_lid, 0]), wall[:, 0], atol=1e-4)
    assert len(part.faces) == 3 * count


def test_many_surfaces_of_many_vertices_keep_their_corners(tmp_path: Path) -> None:
    triangles = np.random.default_rng(0).random((40_000, 3, 3))
    soup = trimesh.Trimesh(triangles.reshape(-1, 3), np.arange(120_000).reshape(-1, 3), process=False)
    soup.export(tmp_path / "soup.stl")
    (part,) = load_mesh(tmp_path / "soup.stl", 1.0).parts
    np.testing.assert_allclose(part.vertices[part.faces], triangles, atol=1e-6)
    flat = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    across = (part.normals[part.faces] * flat[:, None]).sum(2) / np.linalg.norm(flat, axis=1)[:, None]
    assert (across > 0.999).all()
