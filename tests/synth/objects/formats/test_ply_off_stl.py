"""PLY, OFF and STL files as scanners, CAD programs and slicers write them."""

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from synth.errors import AssetError
from synth.objects.meshes import load_mesh
from tests.synth.objects.formats.samples import U_SHAPE, checkers, off_text, ply_bytes, prism

ORANGE = (200, 100, 20)
CORNERS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]


def ply_square(names: str, kind: str, color: tuple, of: str = "vertex") -> str:
    """A square in text, its vertices or its two faces of one colour."""
    properties = "".join(f"property {kind} {name}\n" for name in names.split())
    values = " ".join(map(str, color))
    rows = [f"{x} {y} {z}" + (f" {values}" if of == "vertex" else "") for x, y, z in CORNERS]
    faces = [f"3 {face}" + (f" {values}" if of == "face" else "") for face in ("0 1 2", "0 2 3")]
    return (
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        + (properties if of == "vertex" else "")
        + "element face 2\nproperty list uchar int vertex_indices\n"
        + (properties if of == "face" else "")
        + "end_header\n"
        + "\n".join(rows + faces)
        + "\n"
    )


@pytest.mark.parametrize("of", ["vertex", "face"])
@pytest.mark.parametrize(
    ("names", "kind", "color"),
    [
        ("red green blue", "uchar", ORANGE),
        ("diffuse_red diffuse_green diffuse_blue", "uchar", ORANGE),
        ("r g b", "uchar", ORANGE),
        ("red green blue", "float", tuple(c / 255 for c in ORANGE)),
        ("red green blue", "float", ORANGE),
        ("red green blue", "int", ORANGE),
        ("diffuse_red diffuse_green diffuse_blue", "ushort", tuple(257 * c for c in ORANGE)),
    ],
)
def test_colours_of_ply_by_all_their_names(
    tmp_path: Path, names: str, kind: str, color: tuple, of: str
) -> None:
    (tmp_path / "a.ply").write_text(ply_square(names, kind, color, of))
    (part,) = load_mesh(tmp_path / "a.ply", 1.0).parts
    assert part.vertex_colors is not None
    assert (part.vertex_colors == ORANGE).all()


def test_texture_coordinates_without_a_texture_leave_colours(tmp_path: Path) -> None:
    text = ply_square("red green blue s t", "float", (0.2, 0.4, 0.6, 0.0, 0.0))
    (tmp_path / "a.ply").write_text(text)
    (part,) = load_mesh(tmp_path / "a.ply", 1.0).parts
    assert part.vertex_colors is not None
    assert (part.vertex_colors == (51, 102, 153)).all()


def ply_textured(
    folder: Path, faces: str, properties: str, extra: str = "", rows: list | None = None
) -> Path:
    checkers(folder / "checkers.png")
    vertices = rows or [f"{x} {y} {z}" for x, y, z in CORNERS]
    (folder / "a.ply").write_text(
        "ply\nformat ascii 1.0\ncomment TextureFile checkers.png\n"
        + extra
        + "element vertex 4\nproperty float x\n"
        "property float y\nproperty float z\n" + properties + f"element face {faces.count(chr(10))}\n"
        "property list uchar int vertex_indices\n"
        + ("" if properties else "property list uchar float texcoord\n")
        + "end_header\n"
        + "\n".join(vertices)
        + "\n"
        + faces
    )
    return folder / "a.ply"


@pytest.mark.parametrize(
    "faces",
    [
        "3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0 0 1 1 0 1\n",
        "4 0 1 2 3 8 0 0 1 0 1 1 0 1\n",
        "3 0 1 2 6 0 0 1 0 1 1\n4 0 2 3 0 8 0 0 1 1 0 1 0 0\n",
    ],
)
def test_a_scans_texture_is_as_bright_as_its_picture(tmp_path: Path, faces: str) -> None:
    mesh = load_mesh(ply_textured(tmp_path, faces, ""), 1.0)
    (part,) = mesh.parts
    assert part.base_color == (1.0, 1.0, 1.0)
    assert part.texture is not None
    assert part.uv is not None
    np.testing.assert_allclose(part.uv, part.vertices[:, :2])
    assert mesh.not_drawn == ()


def test_textures_that_cannot_be_drawn_are_told_of_or_refused(tmp_path: Path) -> None:
    plain, colors = "3 0 1 2\n3 0 2 3\n", "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    rows = [f"{x} {y} {z} 9 9 9" for x, y, z in CORNERS]
    mesh = load_mesh(ply_textured(tmp_path, plain, colors, rows=rows), 1.0)
    assert any("the faces have no texture coordinates" in what for what in mesh.not_drawn)
    colored = [f"{x} {y} {z} 9 9 9 {x} {y}" for x, y, z in CORNERS]
    mesh = load_mesh(
        ply_textured(tmp_path, plain, colors + "property float s\nproperty float t\n", rows=colored), 1.0
    )
    assert mesh.parts[0].texture is not None
    assert any("colours of vertices" in what for what in mesh.not_drawn)
    Image.new("RGB", (2, 2)).save(tmp_path / "other.png")
    path = ply_textured(tmp_path, plain, colors, "comment TextureFile other.png\n", rows)
    with pytest.raises(AssetError, match="2 textures: export it as OBJ"):
        load_mesh(path, 1.0)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_that_ends_early_is_refused(tmp_path: Path, form: str) -> None:
    data = ply_bytes(*prism(U_SHAPE), form)
    for cut in (3, len(data) // 2, len(data) - 400):
        (tmp_path / "a.ply").write_bytes(data[:-cut])
        with pytest.raises(AssetError, match="cannot be read as a mesh"):
            load_mesh(tmp_path / "a.ply", 1.0)


def test_triangle_strips_of_ply_are_refused_by_name(tmp_path: Path) -> None:
    data = ply_bytes(*prism(U_SHAPE)).replace(b"element face", b"element tristrips")
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(AssetError, match="tristrips"):
        load_mesh(tmp_path / "a.ply", 1.0)


# --- OFF --------------------------------------------------------------------------------------------------


def off_square(header: str, row: str, face: str) -> str:
    rows = "".join(f"{x} {y} {z} {row}\n" for x, y, z in CORNERS)
    return f"{header} # as of now\n4 2 0\n{rows}# faces\n3 0 1 2 {face}\n3 0 2 3 {face}\n"


@pytest.mark.parametrize(
    ("header", "row", "face", "color"),
    [
        ("OFF", "", "", None),
        ("OFF", "", "200 100 20", ORANGE),
        ("OFF", "", "0.784 0.392 0.078 1.0", ORANGE),
        ("OFF", "", "7", None),
        ("COFF", "200 100 20 255", "", ORANGE),
        ("CNOFF", "0 0 1 200 100 20 255", "", ORANGE),
        ("STCOFF", "0.784 0.392 0.078 1.0 0 0", "", ORANGE),
        ("NOFF", "0 0 1", "", None),
    ],
)
def test_colours_of_off(tmp_path: Path, header: str, row: str, face: str, color: tuple | None) -> None:
    (tmp_path / "a.off").write_text(off_square(header, row, face))
    (part,) = load_mesh(tmp_path / "a.off", 1.0).parts
    assert (part.vertex_colors is None) == (color is None)
    assert color is None or (part.vertex_colors == color).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("OFF BINARY\n4 1 0\n", "BINARY"),
        ("OFF\n4 1000000000000000 0\n", "ends early: 0 lines"),
        ("4OFF\n4 1 0\n", "another dimension"),
        ("OOPS\n4 1 0\n", "not an OFF file"),
        (off_text(*prism(U_SHAPE))[:-40], "cannot be read as a mesh"),
        (off_square("OFF", "", "").replace("0 2 3", "0 2 4"), "none of its 4 vertices"),
    ],
)
def test_off_that_cannot_be_read_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.off").write_text(text)
    with pytest.raises(AssetError, match=reason):
        load_mesh(tmp_path / "a.off", 1.0)


# --- STL --------------------------------------------------------------------------------------------------


def stl_box(header: bytes = b"", attributes: list[int] | None = None, behind: bytes = b"") -> bytes:
    mesh = trimesh.creation.box()
    data = header.ljust(80, b"\0") + struct.pack("<I", 12)
    for corners, bits in zip(mesh.triangles, attributes or [0] * 12, strict=True):
        data += struct.pack("<12f", 0, 0, 0, *corners.ravel()) + struct.pack("<H", bits)
    return data + behind


RED_VISCAM, BLUE_VISCAM, VALID = 31 << 10, 31, 1 << 15


@pytest.mark.parametrize(
    ("header", "attributes", "expected"),
    [
        (b"", [0] * 12, None),
        (b"", [RED_VISCAM] * 12, None),
        (b"VisCAM", [VALID | RED_VISCAM] * 6 + [VALID | BLUE_VISCAM] * 6, {(255, 0, 0), (0, 0, 255)}),
        (b"", [VALID | RED_VISCAM] * 6 + [0] * 6, {(255, 0, 0), (255, 255, 255)}),
        (b"Magics COLOR=\x0a\x14\x1e\xff", [31] * 6 + [VALID] * 6, {(255, 0, 0), (10, 20, 30)}),
        (b"COLOR=\x0a\x14\x1e\xff", [0] * 12, {(10, 20, 30)}),
    ],
)
def test_colours_of_stl(tmp_path: Path, header: bytes, attributes: list[int], expected: set | None) -> None:
    (tmp_path / "a.stl").write_bytes(stl_box(header, attributes))
    (part,) = load_mesh(tmp_path / "a.stl", 1.0).parts
    found = part.vertex_colors
    assert (found is None) == (expected is None)
    assert found is None or {tuple(row) for row in found.tolist()} == expected
    assert part.closed


@pytest.mark.parametrize("header", [b"", b"solid of a binary kind"])
def test_bytes_behind_the_last_face_of_stl_are_left_out(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.stl").write_bytes(stl_box(header, behind=b"\0" * 7))
    (part,) = load_mesh(tmp_path / "a.stl", 1.0).parts
    assert len(part.faces) == 12


def test_decimal_commas_of_stl(tmp_path: Path) -> None:
    text = trimesh.exchange.stl.export_stl_ascii(trimesh.creation.box((0.5, 1.5, 2.25)))
    (tmp_path / "a.stl").write_text(text.replace(".", ","))
    (part,) = load_mesh(tmp_path / "a.stl", 1.0).parts
    assert np.ptp(part.vertices, axis=0) == pytest.approx((0.5, 1.5, 2.25))
