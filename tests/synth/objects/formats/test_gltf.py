"""What glTF files ask for beside plain triangles is drawn as the specification says, told of or refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from synth.asset import Part
from synth.errors import AssetError
from synth.objects.formats.wrapping import repeating
from synth.objects.hulls import merged
from synth.objects.meshes import Mesh, load_mesh
from tests.synth.objects.formats.samples import Gltf, checkers

BOX = trimesh.creation.box((1.0, 2.0, 3.0))
PLACES, FACES = BOX.vertices.astype("f4"), BOX.faces.astype("u2").ravel()


def boxed(**more: object) -> Gltf:
    file = Gltf()
    file.mesh(POSITION=file.accessor(PLACES), indices=file.accessor(FACES), **more)
    return file


def loaded(file: Gltf, folder: Path) -> Mesh:
    return load_mesh(file.write(folder / "a.gltf"), 1.0)


def bounds(mesh: Mesh) -> np.ndarray:
    vertices = merged(mesh.parts)[0]
    return np.array([vertices.min(0), vertices.max(0)])


def sized(mesh: Mesh) -> list[float]:
    return np.ptp(bounds(mesh), axis=0).round(5).tolist()


def as_glb(path: Path) -> Path:
    """The .gltf file again, as .glb."""
    header = json.loads(path.read_text())
    import base64

    data = base64.b64decode(header["buffers"][0].pop("uri").partition("base64,")[2])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    data += bytes(-len(data) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    path.with_suffix(".glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path.with_suffix(".glb")


# --- accessors --------------------------------------------------------------------------------------------


def sparse(file: Gltf, number: int, rows: np.ndarray, values: np.ndarray) -> None:
    file.header["accessors"][number]["sparse"] = {
        "count": len(rows),
        "indices": {"bufferView": file.view(rows.astype("u2")), "componentType": 5123},
        "values": {"bufferView": file.view(values.astype("f4"))},
    }


@pytest.mark.parametrize("kind", [".gltf", ".glb"])
def test_sparse_places_are_moved(tmp_path: Path, kind: str) -> None:
    file = boxed()
    far = np.flatnonzero(PLACES[:, 0] > 0)
    sparse(file, 0, far, PLACES[far] * [5, 1, 1])
    path = file.write(tmp_path / "a.gltf")
    assert sized(load_mesh(as_glb(path) if kind == ".glb" else path, 1.0)) == [3, 2, 3]


def test_sparse_places_upon_nothing_start_at_zero(tmp_path: Path) -> None:
    file = boxed()
    sparse(file, 0, np.arange(8), PLACES)
    del file.header["accessors"][0]["bufferView"]
    assert sized(loaded(file, tmp_path)) == [1, 2, 3]


@pytest.mark.parametrize(("kind", "most"), [("u1", 255), ("u2", 65535)])
def test_places_and_texture_coordinates_in_whole_shares(tmp_path: Path, kind: str, most: int) -> None:
    file = Gltf()
    checkers(tmp_path / "c.png")
    square = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)])
    padded = np.zeros((4, 4), kind)
    padded[:, :3] = square * most
    place = file.accessor(padded, normalized=True)
    file.header["accessors"][place]["type"] = "VEC3"
    file.header["bufferViews"][0]["byteStride"] = 4 * padded.itemsize
    uv = file.accessor(np.ascontiguousarray(padded[:, :2]), normalized=True)
    indices = file.accessor(np.array([0, 1, 2, 0, 2, 3], "u2"))
    file.mesh(POSITION=place, TEXCOORD_0=uv, indices=indices, material=0)
    file.header |= textures()
    (part,) = loaded(file, tmp_path).parts
    assert part.uv is not None
    assert np.ptp(part.vertices, axis=0).tolist() == [1, 1, 0]
    np.testing.assert_allclose(part.uv, part.vertices[:, :2] * [1, -1] + [0, 1])


@pytest.mark.parametrize("indexed", [True, False])
def test_fans_and_strips_are_triangles(tmp_path: Path, indexed: bool) -> None:
    rim = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], "f4")
    for mode, order in ((6, [0, 1, 2, 3]), (5, [0, 1, 3, 2])):
        file = Gltf()
        if indexed:
            more = {"indices": file.accessor(np.array(order, "u2"))}
            file.mesh(POSITION=file.accessor(rim), mode=mode, **more)
        else:
            file.mesh(POSITION=file.accessor(rim[order]), mode=mode)
        (part,) = loaded(file, tmp_path).parts
        a, b, c = part.vertices[part.faces].transpose(1, 0, 2)
        assert np.cross(b - a, c - a)[:, 2].tolist() == [1, 1]


# --- skins, joints, morph targets -------------------------------------------------------------------------


def skinned(move: dict, inverse: np.ndarray | None = None, above: dict | None = None) -> Gltf:
    """A box bound to one joint that `move` places, its own node and that of its parent moved too."""
    file = Gltf()
    attributes = {
        "POSITION": file.accessor(PLACES),
        "JOINTS_0": file.accessor(np.zeros((8, 4), "u1")),
        "WEIGHTS_0": file.accessor(np.tile(np.array([1, 0, 0, 0], "f4"), (8, 1))),
    }
    file.mesh(**attributes, indices=file.accessor(FACES))
    skin = {"joints": [2]}
    if inverse is not None:
        skin["inverseBindMatrices"] = file.accessor(inverse.T.astype("f4")[None])
    file.header["skins"] = [skin]
    file.header["nodes"] = [
        {"children": [1], **(above or {"translation": [5, 0, 0], "scale": [3, 3, 3]})},
        {"mesh": 0, "skin": 0, "translation": [0, 5, 0]},
        move,
    ]
    file.header["scenes"] = [{"nodes": [0, 2]}]
    return file


def test_a_skinned_mesh_lies_where_its_joints_say_not_its_nodes(tmp_path: Path) -> None:
    mesh = loaded(skinned({}), tmp_path)
    np.testing.assert_allclose(bounds(mesh), [PLACES.min(0), PLACES.max(0)], atol=1e-6)


def test_joints_that_moved_since_binding_move_the_mesh(tmp_path: Path) -> None:
    inverse = np.eye(4)
    inverse[0, 3] = -2.0
    quarter = [0, 0, np.sqrt(0.5), np.sqrt(0.5)]
    mesh = loaded(
        skinned({"translation": [10, 0, 0], "rotation": quarter, "scale": [2, 2, 2]}, inverse), tmp_path
    )
    assert sized(mesh) == [4, 2, 6]
    np.testing.assert_allclose(bounds(mesh).mean(0), [10, -4, 0], atol=1e-5)


def test_a_skin_at_rest_leaves_vertices_bit_for_bit(tmp_path: Path) -> None:
    file = skinned({"translation": [0, 5, 0]}, None, {"translation": [0, 0, 0]})
    moved = loaded(file, tmp_path)
    plain = boxed()
    plain.header["nodes"] = [{"mesh": 0, "translation": [0, 5, 0]}]
    np.testing.assert_array_equal(moved.parts[0].vertices, loaded(plain, tmp_path).parts[0].vertices)


def test_weights_of_two_joints_bend_the_mesh(tmp_path: Path) -> None:
    file = skinned({})
    file.header["nodes"].append({"translation": [0, 0, 4]})
    file.header["scenes"][0]["nodes"].append(3)
    file.header["skins"][0]["joints"] = [2, 3]
    top = PLACES[:, 2] > 0
    joints = np.zeros((8, 4), "u1")
    joints[:, 1] = 1
    weights = np.where(top[:, None], [0, 1, 0, 0], [1, 0, 0, 0]).astype("f4")
    attributes = file.header["meshes"][0]["primitives"][0]["attributes"]
    attributes |= {"JOINTS_0": file.accessor(joints), "WEIGHTS_0": file.accessor(weights)}
    assert sized(loaded(file, tmp_path)) == [1, 2, 7]


@pytest.mark.parametrize("of", ["mesh", "node"])
def test_morph_weights_are_applied(tmp_path: Path, of: str) -> None:
    file = boxed()
    push = np.zeros((8, 3), "f4")
    push[PLACES[:, 1] > 0, 1] = 4
    file.header["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": file.accessor(push)}]
    assert sized(loaded(file, tmp_path)) == [1, 2, 3]
    file.header[f"{of}es" if of == "mesh" else "nodes"][0]["weights"] = [0.5]
    assert sized(loaded(file, tmp_path)) == [1, 4, 3]


def test_one_mesh_of_two_nodes_keeps_two_shapes(tmp_path: Path) -> None:
    file = boxed()
    push = np.zeros((8, 3), "f4")
    push[:, 0] = 10
    file.header["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": file.accessor(push)}]
    file.header["nodes"] = [{"mesh": 0}, {"mesh": 0, "weights": [1.0]}]
    file.header["scenes"][0]["nodes"] = [0, 1]
    assert sized(loaded(file, tmp_path)) == [11, 2, 3]


def test_joints_that_are_their_own_parents_are_refused(tmp_path: Path) -> None:
    file = skinned({"children": [3]})
    file.header["nodes"].append({"children": [2]})
    with pytest.raises(AssetError, match="their own parents"):
        loaded(file, tmp_path)


def test_what_hangs_below_a_camera_is_drawn(tmp_path: Path) -> None:
    file = boxed()
    file.header["cameras"] = [
        {"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1, "aspectRatio": 1}}
    ]
    file.header["nodes"] = [{"camera": 0, "children": [1], "scale": [2, 2, 2]}, {"mesh": 0}]
    assert sized(loaded(file, tmp_path)) == [2, 4, 6]


# --- materials --------------------------------------------------------------------------------------------


def textures(sampler: dict | None = None, **material: object) -> dict:
    """Header fields of one material with the picture c.png."""
    texture = {"source": 0} if sampler is None else {"source": 0, "sampler": 0}
    base = material or {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0}}
    found = {"images": [{"uri": "c.png"}], "textures": [texture], "materials": [base]}
    return found if sampler is None else found | {"samplers": [sampler]}


def square(folder: Path, reach: float, **header: object) -> Part:
    """A unit square whose texture coordinates run from 0 to `reach`, v downwards."""
    checkers(folder / "c.png")
    file = Gltf()
    corners = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], "f4")
    uv = (corners[:, :2] * [1, -1] + [0, 1]) * reach
    file.mesh(
        POSITION=file.accessor(corners),
        TEXCOORD_0=file.accessor(uv.astype("f4")),
        indices=file.accessor(np.array([0, 1, 2, 0, 2, 3], "u2")),
        material=0,
    )
    file.header |= header
    (part,) = loaded(file, folder).parts
    return part


def shown(part: Part, x: float, y: float) -> tuple[int, ...]:
    """The texture's colour at a place of the square, repeated, nearest pixel."""
    assert part.uv is not None
    assert part.texture is not None
    at = {tuple(v[:2]): uv for v, uv in zip(part.vertices.tolist(), part.uv, strict=True)}
    u, v = at[0, 0] + x * (at[1, 0] - at[0, 0]) + y * (at[0, 1] - at[0, 0])
    height, width = part.texture.shape[:2]
    return tuple(part.texture[int((1 - v) * height) % height, int(u * width) % width].tolist())


RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30)
CLAMP, MIRROR, REPEAT = 33071, 33648, 10497


@pytest.mark.parametrize(
    ("wrap", "far_right", "far_down"),
    [(REPEAT, GREEN, BLUE), (CLAMP, GREEN, BLUE), (MIRROR, RED, RED), (None, GREEN, BLUE)],
)
def test_samplers_repeat_mirror_or_clamp(
    tmp_path: Path, wrap: int | None, far_right: tuple, far_down: tuple
) -> None:
    sampler = None if wrap is None else {"wrapS": wrap, "wrapT": wrap}
    part = square(tmp_path, 2.0, **textures(sampler))
    assert shown(part, 0.1, 0.9) == RED
    assert shown(part, 0.95, 0.9) == far_right
    assert shown(part, 0.1, 0.05) == far_down
    middle = {REPEAT: RED, CLAMP: GREEN, MIRROR: GREEN, None: RED}[wrap]
    assert shown(part, 0.6, 0.9) == middle


def test_one_side_may_clamp_and_the_other_repeat(tmp_path: Path) -> None:
    part = square(tmp_path, 2.0, **textures({"wrapS": CLAMP}))
    assert shown(part, 0.6, 0.9) == GREEN
    assert shown(part, 0.1, 0.4) == RED


@pytest.mark.parametrize("wrap", [CLAMP, MIRROR])
def test_pictures_that_are_not_left_stay_as_they_are(tmp_path: Path, wrap: int) -> None:
    clamped, plain = (square(tmp_path, 1.0, **textures(s)) for s in ({"wrapS": wrap, "wrapT": wrap}, None))
    np.testing.assert_array_equal(clamped.uv, plain.uv)
    np.testing.assert_array_equal(clamped.texture, plain.texture)


def test_clamped_pictures_reach_only_so_far() -> None:
    uv = np.array([[-20.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="beyond a clamped texture"):
        repeating(uv, [np.zeros((2, 2, 3), np.uint8)], ("clamp", "repeat"))


@pytest.mark.parametrize(
    ("light", "texture", "color"),
    [
        ({"emissiveTexture": {"index": 0}, "emissiveFactor": [1, 1, 1]}, True, (1.0, 1.0, 1.0)),
        ({"emissiveFactor": [1, 0, 0]}, False, (1.0, 0.0, 0.0)),
    ],
)
def test_a_black_material_that_shines_has_the_colour_of_its_light(
    tmp_path: Path, light: dict, texture: bool, color: tuple
) -> None:
    part = square(tmp_path, 1.0, **textures(pbrMetallicRoughness={"baseColorFactor": [0, 0, 0, 1]}, **light))
    assert (part.texture is not None) == texture
    assert part.base_color == color
    assert part.metallic == 0


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (textures(emissiveFactor=[1, 1, 1]), "emissive light of material 0: drawn without it"),
        (textures(alphaMode="BLEND", name="glass"), "alphaMode BLEND of material glass"),
        ({"extensionsUsed": ["KHR_materials_clearcoat"]}, "KHR_materials_clearcoat: drawn without it"),
        ({"extensionsUsed": ["EXT_texture_webp"]}, None),
    ],
)
def test_what_is_not_drawn_is_told(tmp_path: Path, header: dict, what: str | None) -> None:
    checkers(tmp_path / "c.png")
    file = boxed(material=0) if "materials" in header else boxed()
    file.header |= header
    found = loaded(file, tmp_path).not_drawn
    assert [what in told for told in found] == [True] if what else found == ()


def test_lines_beside_faces_are_told_of(tmp_path: Path) -> None:
    file = boxed()
    file.header["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "mode": 1})
    assert loaded(file, tmp_path).not_drawn == ("lines of mesh 0: not drawn",)


@pytest.mark.parametrize(
    "header",
    [
        {"extensionsRequired": ["KHR_texture_basisu"]},
        {"extensionsUsed": ["EXT_mesh_gpu_instancing"]},
        {"extensionsRequired": ["VENDOR_new_thing"], "extensionsUsed": ["VENDOR_new_thing"]},
        {"extensionsRequired": ["KHR_draco_mesh_compression"]},
    ],
)
def test_extensions_without_which_it_would_be_wrong_are_refused_by_name(tmp_path: Path, header: dict) -> None:
    file = boxed()
    file.header |= header
    (name,) = next(iter(header.values()))
    with pytest.raises(AssetError, match=name):
        loaded(file, tmp_path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = boxed().write(tmp_path / "a.gltf")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert sized(load_mesh(path, 1.0)) == [1, 2, 3]


@pytest.mark.parametrize("edit", [{"byteLength": 8}, {"byteOffset": 10**6}])
def test_accessors_beyond_their_buffer_are_refused(tmp_path: Path, edit: dict) -> None:
    file = boxed()
    sparse(file, 0, np.arange(2), PLACES[:2])
    file.header["bufferViews"][0] |= edit
    with pytest.raises(AssetError, match="bufferView 0 is shorter"):
        loaded(file, tmp_path)
