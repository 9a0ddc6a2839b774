"""OBJ files as they are written in the wild: indices, colours, faces of several forms."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from synth.errors import AssetError
from synth.objects.formats import obj
from synth.objects.hulls import merged
from synth.objects.meshes import Mesh, load_mesh
from tests.synth.objects.formats.samples import U_SHAPE, obj_text, prism

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def loaded(folder: Path, text: str) -> Mesh:
    (folder / "a.obj").write_text(text, newline="")
    return load_mesh(folder / "a.obj", 1.0)


def boxes(relative: bool, between: str = "") -> str:
    """Three boxes, each with its faces behind its vertices."""
    box = trimesh.creation.box()
    text = ""
    for n in range(3):
        text += "".join(f"v {x + 5 * n:g} {y:g} {z:g}\n" for x, y, z in box.vertices) + between
        shift = -8 if relative else 8 * n + 1
        text += "".join("f " + " ".join(str(i + shift) for i in face) + "\n" for face in box.faces)
    return text


@pytest.mark.parametrize("between", ["", "usemtl a\n", "o next\ns off\n"])
def test_negative_indices_count_back_from_their_line(tmp_path: Path, between: str) -> None:
    here, there = (merged(loaded(tmp_path, boxes(relative, between)).parts) for relative in (True, False))
    np.testing.assert_array_equal(here[0][here[1]], there[0][there[1]])
    assert np.ptp(here[0][:, 0]) == 11


def test_negative_indices_of_texture_and_normal(tmp_path: Path) -> None:
    text = SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\nf -4/-3/-1 -3/-2/-1 -2/-1/-1\nvt 9 9\nvn 1 0 0\n"
    plain = obj.plain(text)
    assert "f 1/1/1 2/2/1 3/3/1" in plain.split("\n")


@pytest.mark.parametrize("face", ["f -5 -4 -3", "f 0 1 2", "f 1 2 x 4", "f 1 2 3 9"])
def test_corners_that_are_none_are_refused_by_line(tmp_path: Path, face: str) -> None:
    with pytest.raises(AssetError, match=r"line 5|beyond the last of 4"):
        loaded(tmp_path, SQUARE + face + "\n")


def test_text_that_trimesh_reads_rightly_is_left_alone() -> None:
    box = trimesh.exchange.obj.export_obj(trimesh.creation.box(), include_normals=True)
    assert obj.plain(box) == box
    convex = obj_text(*prism([(0, 0), (2, 0), (2, 2), (1, 3), (0, 2)]))
    assert obj.plain(convex).split() == convex.split()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "﻿" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace(" ", "\t"),
        lambda text: "\n".join("  " + line for line in text.split("\n")),
        lambda text: "\n".join(f"{line} # {line}" if line else "" for line in text.split("\n")),
        lambda text: text.replace(" 3", " \\\n3"),
    ],
)
def test_byte_order_marks_line_ends_blanks_and_comments_change_nothing(tmp_path: Path, change) -> None:
    text = obj_text(*prism(U_SHAPE))
    (tmp_path / "a.obj").write_bytes(change(text).encode())
    changed = load_mesh(tmp_path / "a.obj", 1.0).parts
    plain = loaded(tmp_path, text).parts
    np.testing.assert_array_equal(merged(changed)[0], merged(plain)[0])
    np.testing.assert_array_equal(merged(changed)[1], merged(plain)[1])


def textured(folder: Path, faces: str) -> Mesh:
    Image.new("RGB", (4, 4), (200, 0, 0)).save(folder / "red.png")
    (folder / "m.mtl").write_text("newmtl paint\nKd 1 1 1\nmap_Kd red.png\n")
    rows = "mtllib m.mtl\n" + SQUARE + "v 0 0 1\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\nusemtl paint\n"
    return loaded(folder, rows + faces)


@pytest.mark.parametrize("other", ["f 1 3 4", "f 1//1 3//1 4//1", "f 1 3 4 5", "f 1/1 3 4"])
def test_faces_without_coordinates_beside_others_leave_the_texture(tmp_path: Path, other: str) -> None:
    mesh = textured(tmp_path, f"f 1/1 2/2 3/3\n{other}\n")
    (part,) = mesh.parts
    assert part.texture is not None
    assert part.uv is not None
    corner = part.vertices[part.faces[0]]
    np.testing.assert_allclose(part.uv[part.faces[0]], corner[:, :2])


def test_a_texture_that_no_face_has_a_place_for_is_told_of(tmp_path: Path) -> None:
    mesh = textured(tmp_path, "f 1 2 3\n")
    assert mesh.parts[0].texture is None
    assert any("it has no texture coordinates" in what for what in mesh.not_drawn)


def colored(folder: Path, rows: str, material: str = "Kd 0.75 0.75 0.75") -> Mesh:
    (folder / "m.mtl").write_text(f"newmtl grey\n{material}\n")
    Image.new("RGB", (4, 4), (200, 0, 0)).save(folder / "red.png")
    return loaded(folder, f"mtllib m.mtl\n{rows}vt 0 0\nusemtl grey\nf 1/1 2/1 3/1\nf 1/1 3/1 4/1\n")


RED_BLUE = "v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 1 1 0 0 0 1\nv 0 1 0 0 0 1\n"


@pytest.mark.parametrize(
    "rows", [RED_BLUE, RED_BLUE.replace("1 0 0\n", "255 0 0\n").replace("0 0 1\n", "0 0 255\n")]
)
def test_vertex_colours_take_the_place_of_a_materials(tmp_path: Path, rows: str) -> None:
    (part,) = colored(tmp_path, rows).parts
    assert part.vertex_colors is not None
    assert part.base_color == (1.0, 1.0, 1.0)
    at_top = part.vertices[:, 1] == 1
    assert (part.vertex_colors[at_top] == (0, 0, 255)).all()
    assert (part.vertex_colors[~at_top] == (255, 0, 0)).all()


def test_vertices_without_a_colour_among_others_are_white(tmp_path: Path) -> None:
    (part,) = colored(tmp_path, RED_BLUE.replace("v 0 1 0 0 0 1", "v 0 1 0")).parts
    assert part.vertex_colors is not None
    assert (part.vertex_colors[(part.vertices == (0, 1, 0)).all(1)] == 255).all()


def test_white_vertices_leave_the_material_its_colour(tmp_path: Path) -> None:
    (part,) = colored(
        tmp_path, "".join(f"v {x} {y} 0 1 1 1\n" for x, y in [(0, 0), (1, 0), (1, 1), (0, 1)])
    ).parts
    assert part.base_color == pytest.approx((0.75, 0.75, 0.75), abs=0.01)


def test_a_picture_is_not_painted_over_by_vertex_colours_and_that_is_told(tmp_path: Path) -> None:
    mesh = colored(tmp_path, RED_BLUE, "Kd 1 1 1\nmap_Kd red.png")
    assert mesh.parts[0].texture is not None
    assert mesh.parts[0].vertex_colors is None
    assert any("its vertices' colours" in what for what in mesh.not_drawn)


def test_texture_coordinates_without_a_material_change_no_colour(tmp_path: Path) -> None:
    (placed,) = loaded(tmp_path, SQUARE + "vt 0 0\nf 1/1 2/1 3/1\nf 1/1 3/1 4/1\n").parts
    (bare,) = loaded(tmp_path, SQUARE + "f 1 2 3\nf 1 3 4\n").parts
    assert placed.texture is not None
    shown = ((placed.texture / 255 + 0.055) / 1.055) ** 2.4 * placed.base_color
    np.testing.assert_allclose(shown[0, 0], bare.base_color, atol=0.005)
    (painted,) = loaded(tmp_path, RED_BLUE + "vt 0 0\nf 1/1 2/1 3/1\nf 1/1 3/1 4/1\n").parts
    assert painted.vertex_colors is not None
    assert painted.texture is None


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("usemtl gone\n", "material gone"),
        ("surf 0 1 0 1 1 2 3\n", "free-form"),
        ("#MRGB ff00\n", "polypaint"),
    ],
)
def test_what_is_not_drawn_is_told(tmp_path: Path, lines: str, word: str) -> None:
    (tmp_path / "m.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    mesh = loaded(tmp_path, "mtllib m.mtl\n" + SQUARE + "usemtl paint\nf 1 2 3\n" + lines + "f 1 3 4\n")
    assert any(word in what for what in mesh.not_drawn)
