"""Meshes from the wild load, or are refused in one line that says why."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from synth.asset import Part
from synth.errors import AssetError
from synth.inspect.asset_check import check_object
from synth.objects import hulls, mesh_files
from synth.objects import meshes as meshes_module
from synth.objects.hulls import convex_corners, merged, stable_poses
from synth.objects.load import load_object
from synth.objects.meshes import load_mesh

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
TEXTURED = "mtllib m.mtl\n" + SQUARE + "usemtl paint\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"


def fault(path: Path, folder: Path | None = None) -> str:
    with pytest.raises(AssetError) as caught:
        load_mesh(path, 1.0, folder)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def box(path: Path) -> Path:
    trimesh.creation.box(extents=(3, 2, 1)).export(path)
    return path


def textured(folder: Path, image: str) -> Path:
    """A square in OBJ whose material shows the file `image`."""
    written(folder / "m.mtl", f"newmtl paint\nKd 1 1 1\nmap_Kd {image}\n")
    return written(folder / "square.obj", TEXTURED)


def gltf(folder: Path, edit: Callable[[dict], object], name: str = "box.gltf") -> Path:
    """A box whose header went through `edit`."""
    for file, content in trimesh.exchange.gltf.export_gltf(trimesh.creation.box().scene()).items():
        written(folder / file, content)
    header = json.loads((folder / "model.gltf").read_text())
    edit(header)
    return written(folder / name, json.dumps(header))


@pytest.mark.parametrize("suffix", [*mesh_files.MESH_SUFFIXES, ".STL"])
def test_every_format_gives_the_same_box(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"box{suffix}"
    if suffix == ".gltf":
        gltf(tmp_path, lambda header: None)
    else:
        path.write_bytes(box(tmp_path / f"box{suffix.lower()}").read_bytes())
    parts = load_mesh(path, 0.1).parts
    vertices, faces = merged(parts)
    size = [1, 1, 1] if suffix == ".gltf" else [3, 2, 1]
    assert np.ptp(vertices, axis=0) == pytest.approx(0.1 * np.array(size))
    assert len(faces) == 12
    outwards = np.einsum("ij,ij->i", parts[0].normals, parts[0].vertices)
    assert (outwards > 0).all()


def test_inside_out_box_is_turned(tmp_path: Path) -> None:
    mesh = trimesh.creation.box()
    mesh.invert()
    mesh.export(tmp_path / "box.ply")
    (part,) = load_mesh(tmp_path / "box.ply", 1.0).parts
    assert (np.einsum("ij,ij->i", part.normals, part.vertices) > 0).all()


def test_stray_vertices_and_degenerate_faces_leave_size_and_normals_alone(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nv 900 0 0\n"
    text += "f 1 2 3\nf 1 4 2\nf 1 3 4\nf 2 4 3\nf 1 1 2\nf 3 3 3\n"
    (part,) = load_mesh(written(tmp_path / "a.obj", text), 1.0).parts
    assert part.vertices.max() == 1.0
    assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("normal", ["0 0 0", "nan nan nan"])
def test_normals_of_no_length_are_replaced(tmp_path: Path, normal: str) -> None:
    text = SQUARE + f"vn {normal}\nf 1/1/1 2/2/1 3/3/1\nf 1/1/1 3/3/1 4/4/1\n"
    (part,) = load_mesh(written(tmp_path / "a.obj", text), 1.0).parts
    assert part.normals == pytest.approx(np.broadcast_to([0.0, 0.0, 1.0], part.normals.shape))


def test_finely_meshed_ball_has_few_corners_and_is_no_larger(tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=5).export(tmp_path / "ball.ply")
    parts = load_mesh(tmp_path / "ball.ply", 1.0).parts
    corners = convex_corners(parts)
    assert len(corners) <= hulls.MAX_CORNERS < len(parts[0].vertices)
    reach = (corners @ trimesh.creation.icosphere(subdivisions=3).vertices.T).max(0)
    assert 0.99 < reach.min() <= reach.max() <= 1 + 1e-6
    assert sum(p for _, p in stable_poses(parts)) == pytest.approx(1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flat_mesh_lies_on_either_side(tmp_path: Path, axis: int) -> None:
    corners = np.insert([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]], axis, 5.0, axis=1)
    trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False).export(tmp_path / "card.ply")
    parts = load_mesh(tmp_path / "card.ply", 1.0).parts
    poses = stable_poses(parts)
    assert [p for _, p in poses] == [0.5, 0.5]
    for R, _ in poses:
        assert np.ptp(parts[0].vertices @ R.T, axis=0)[2] == pytest.approx(0.0, abs=1e-9)


# --- textures ---------------------------------------------------------------------------------------------


def test_texture_beside_the_mesh_is_read_and_hashed(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "red.png")
    mesh = load_mesh(textured(tmp_path, "red.png"), 1.0)
    assert mesh.parts[0].texture is not None
    assert [f.name for f in mesh.files] == ["m.mtl", "red.png"]
    (tmp_path / "object.yaml").write_text(
        "name: a\nmesh: square.obj\nunit_m: 1\nkeypoints: {a: [0, 0, 0]}\nflip_pairs: undefined\n"
    )
    assert set(load_object(tmp_path).hashes) == {"object.yaml", "square.obj", "m.mtl", "red.png"}


def test_absent_texture_is_a_warning_of_the_check(tmp_path: Path) -> None:
    mesh = load_mesh(textured(tmp_path, "red.png"), 1.0)
    assert mesh.absent == ("red.png",)
    assert mesh.parts[0].texture is None
    (tmp_path / "object.yaml").write_text(
        "name: a\nmesh: square.obj\nunit_m: 1\nkeypoints: {a: [0, 0, 0]}\nflip_pairs: undefined\n"
    )
    warned = [f.message for f in check_object(tmp_path) if (f.level, f.field) == ("warning", "mesh")]
    assert warned == ["'red.png' is named by the mesh, but does not exist: drawn without it"]


@pytest.mark.parametrize("name", ["../red.png", "/etc/hostname", "..\\red.png", "%2e%2e/red.png", "link.png"])
def test_texture_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "red.png")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.png").symlink_to(tmp_path / "red.png")
    assert "leaves the object's folder" in fault(textured(inner, name))
    if name != "/etc/hostname":
        assert load_mesh(inner / "square.obj", 1.0, tmp_path).parts[0].texture is not None


def test_buffer_outside_the_folder_is_refused(tmp_path: Path) -> None:
    path = gltf(tmp_path / "inner", lambda header: header["buffers"][0].update(uri="../secret.bin"))
    written(tmp_path / "secret.bin", bytes(1000))
    assert "leaves the object's folder" in fault(path)


def test_texture_that_is_no_image_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "red.png", "no picture")
    assert "'red.png' is not a readable image" in fault(textured(tmp_path, "red.png"))


def test_truncated_texture_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "red.png")
    written(tmp_path / "red.png", (tmp_path / "red.png").read_bytes()[:4000])
    assert "truncated" in fault(textured(tmp_path, "red.png"))


def test_texture_with_a_broken_chunk_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "red.png")
    data = (tmp_path / "red.png").read_bytes()
    second = data.index(b"IDAT", data.index(b"IDAT") + 1)
    with pytest.raises(AssetError, match="not a readable image: broken PNG"):
        meshes_module.load_texture(
            written(tmp_path / "red.png", data[:second] + bytes(4) + data[second + 4 :])
        )


def test_texture_of_a_billion_pixels_is_refused_unread(tmp_path: Path) -> None:
    Image.new("1", (1, 1)).save(tmp_path / "red.png")
    data = bytearray((tmp_path / "red.png").read_bytes())
    data[16:24] = struct.pack(">II", 40_000, 30_000)
    head = data[12:29]
    data[29:33] = struct.pack(">I", zlib.crc32(head))
    written(tmp_path / "red.png", bytes(data))
    assert "decompression bomb" in fault(textured(tmp_path, "red.png"))


def test_large_texture_is_made_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 100)).save(tmp_path / "red.png")
    texture = load_mesh(textured(tmp_path, "red.png"), 1.0).parts[0].texture
    assert texture is not None
    assert texture.shape[1] == meshes_module.MAX_TEXTURE_PX


# --- refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", mesh_files.MESH_SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x01 nonsense \n" * 20])
def test_file_that_is_no_mesh_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    assert "cannot be read as a mesh" in fault(written(tmp_path / f"a{suffix}", content))


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".stl", ".off"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = box(tmp_path / f"box{suffix}")
    written(path, path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as a mesh" in fault(path)


@pytest.mark.parametrize(("named", "really"), [(".stl", ".obj"), (".glb", ".ply"), (".off", ".glb")])
def test_wrong_suffix_is_refused(tmp_path: Path, named: str, really: str) -> None:
    path = box(tmp_path / f"box{really}").rename(tmp_path / f"box{named}")
    assert "cannot be read as a mesh" in fault(path)


@pytest.mark.parametrize("name", ["a.zip", "a.3mf", "a.tar.gz", "a", "a.xyz"])
def test_other_formats_are_refused_unread(tmp_path: Path, name: str) -> None:
    assert "meshes are .glb, .gltf, .obj, .ply, .stl, .off files" in fault(written(tmp_path / name, "x"))


def test_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_files, "MAX_FILE_BYTES", 100)
    assert "larger than" in fault(box(tmp_path / "box.ply"))


def test_too_many_faces_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes_module, "MAX_FACES", 11)
    assert "more than 11 faces" in fault(box(tmp_path / "box.ply"))


@pytest.mark.parametrize("count", [10**12, -1])
def test_gltf_that_promises_too_much_is_refused(tmp_path: Path, count: int) -> None:
    path = gltf(tmp_path, lambda header: header["accessors"][0].update(count=count))
    assert "an accessor of more than" in fault(path)


def test_gltf_whose_nodes_loop_is_refused(tmp_path: Path) -> None:
    path = gltf(tmp_path, lambda h: h.update(nodes=[{"children": [1]}, {"children": [0, 1], "mesh": 0}]))
    assert "a node has two parents" in fault(path)


def test_compressed_gltf_says_what_to_do(tmp_path: Path) -> None:
    path = gltf(tmp_path, lambda h: h.update(extensionsUsed=["KHR_draco_mesh_compression"]))
    assert "KHR_draco_mesh_compression: export it without compression" in fault(path)


def square_of_textures(folder: Path, *places: dict) -> Path:
    """A square, in glTF's texture coordinates (0, 0) at its top left; a texture for each place."""
    Image.new("RGB", (2, 2)).save(folder / "p.png")
    material = trimesh.visual.material.PBRMaterial("paint", baseColorTexture=Image.open(folder / "p.png"))
    corners = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0.0]])
    visual = trimesh.visual.TextureVisuals(uv=corners[:, :2], material=material)
    square = trimesh.Trimesh(corners, [[0, 2, 1], [0, 3, 2]], visual=visual, process=False)
    for file, content in trimesh.exchange.gltf.export_gltf(square.scene()).items():
        written(folder / file, content)
    header = json.loads((folder / "model.gltf").read_text())
    textures = [{"index": 0, "extensions": {"KHR_texture_transform": place}} for place in places]
    header["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = textures[0]
    if len(textures) > 1:
        header["materials"][0]["normalTexture"] = textures[1]
    return written(
        folder / "square.gltf", json.dumps({**header, "extensionsUsed": ["KHR_texture_transform"]})
    )


@pytest.mark.parametrize(
    ("place", "top_left", "top_right", "bottom_left"),
    [
        ({}, (0, 0), (1, 0), (0, 1)),
        ({"offset": [0.25, 0.5]}, (0.25, 0.5), (1.25, 0.5), (0.25, 1.5)),
        ({"scale": [2, 3]}, (0, 0), (2, 0), (0, 3)),
        ({"rotation": np.pi / 2}, (0, 0), (0, -1), (1, 0)),
        ({"rotation": np.pi / 2, "scale": [2, 3], "offset": [1, 1]}, (1, 1), (1, -1), (4, 1)),
    ],
)
def test_textures_are_scaled_turned_and_shifted_as_gltf_says(
    tmp_path: Path, place: dict, top_left: tuple, top_right: tuple, bottom_left: tuple
) -> None:
    path = square_of_textures(tmp_path, place)
    mesh = load_mesh(path, 1.0)
    (part,) = mesh.parts
    assert part.uv is not None
    found = {(x, y): (u, 1 - v) for (x, y, _), (u, v) in zip(part.vertices, part.uv, strict=True)}
    corners = [found[0, 1], found[1, 1], found[0, 0]]
    np.testing.assert_allclose(corners, [top_left, top_right, bottom_left], atol=1e-9)
    assert mesh.not_drawn == ()


def test_textures_of_one_material_in_two_places_are_told_of(tmp_path: Path) -> None:
    path = square_of_textures(tmp_path, {"scale": [2, 2]}, {})
    mesh = load_mesh(path, 1.0)
    (part,) = mesh.parts
    assert part.uv is not None
    assert part.uv.max() == 1
    (found,) = mesh.not_drawn
    assert "KHR_texture_transform of material paint" in found


def test_a_texture_in_no_place_is_refused(tmp_path: Path) -> None:
    assert "cannot be read as a mesh" in fault(square_of_textures(tmp_path, {"scale": [2, 2, 2]}))


@pytest.mark.parametrize(
    ("vertices", "reason"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 inf 0\n", "1 vertices are not finite"),
        ("v 0 0 0\nv 1 1 1\nv 2 2 2\n", "all vertices lie on one line"),
        ("v 1 1 1\nv 1 1 1\nv 1 1 1\n", "zero size"),
        ("v 0 0 0\nv 1e200 0 0\nv 0 1e200 0\n", "it measures 1e+200 m"),
        ("v 0 0 0\nv 1e-200 0 0\nv 0 1e-200 0\n", "it measures 1e-200 m, expected 1e-12 to 1e+12"),
        ("v 0 0 0\nv 1 0 0\n", "index"),
    ],
)
def test_unusable_vertices_are_refused(tmp_path: Path, vertices: str, reason: str) -> None:
    assert reason in fault(written(tmp_path / "a.obj", vertices + "f 1 2 3\n"))


@pytest.mark.parametrize(("scale", "unit"), [(150.0, "0.001"), (200.0, "0.01"), (2.0, "1 ")])
def test_doubtful_size_is_a_warning_with_the_unit_to_try(tmp_path: Path, scale: float, unit: str) -> None:
    trimesh.creation.box(extents=(0.3 * scale, 0.1 * scale, 0.1 * scale)).export(tmp_path / "a.ply")
    given = 0.001 if scale < 10 else 1
    (tmp_path / "object.yaml").write_text(
        f"name: a\nmesh: a.ply\nunit_m: {given}\nkeypoints: {{a: [0, 0, 0]}}\nflip_pairs: undefined\n"
    )
    (finding,) = [f for f in check_object(tmp_path) if f.field == "unit_m"]
    assert finding.level == "warning"
    assert "try unit_m: " in finding.message
    assert unit in finding.message


def test_many_parts_load(tmp_path: Path) -> None:
    text, faces = "", ""
    for i in range(300):
        text += f"v {i} 0 0\nv {i} 1 0\nv {i} 0 1\n"
        faces += f"usemtl m{i}\nf {3 * i + 1} {3 * i + 2} {3 * i + 3}\n"
    parts = load_mesh(written(tmp_path / "a.obj", text + faces), 1.0).parts
    assert all(isinstance(part, Part) for part in parts)
    assert len(merged(parts)[1]) == 300
