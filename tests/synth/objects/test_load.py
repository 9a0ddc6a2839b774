"""Object folders: the shipped ones, and every fault a user can make as one clear line."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from synth.asset import Ring
from synth.errors import AssetError
from synth.geometry import rotation_between
from synth.objects.load import ASSETS, find_object, load_object, load_schema

SHIPPED = ("chessboard", "glue_tube", "sailboat")

YAML = """\
name: thing
mesh: thing.ply
unit_m: 0.001
keypoints:
  a: [10, 0, 0]
  b: [-10, 0, 0]
flip_pairs: undefined
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trimesh.creation.box(extents=(20, 10, 8)).export(tmp_path / "thing.ply")
    (tmp_path / "object.yaml").write_text(YAML)
    return tmp_path


def edit(folder: Path, old: str, new: str) -> None:
    assert old in YAML
    (folder / "object.yaml").write_text(YAML.replace(old, new))


def fault(folder: Path) -> str:
    """The one-line error that loading the folder raises."""
    with pytest.raises(AssetError) as caught:
        load_object(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_units_become_metres(folder: Path) -> None:
    asset = load_object(folder)
    assert asset.keypoints_m == pytest.approx(np.array([[0.01, 0, 0], [-0.01, 0, 0]]))
    assert asset.diameter_m == pytest.approx(np.sqrt(20**2 + 10**2 + 8**2) / 1000)
    assert asset.keypoint_depth_m == pytest.approx(np.zeros((1, 2)), abs=1e-9)


def test_missing_mesh_is_named(folder: Path) -> None:
    (folder / "thing.ply").unlink()
    assert "mesh: 'thing.ply' does not exist" in fault(folder)


def test_keypoint_given_twice_is_named(folder: Path) -> None:
    edit(folder, "b: [-10", "a: [-10")
    assert "'a' is given twice" in fault(folder)


def test_vertices_that_are_not_finite_are_counted(folder: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 nan 0\nv 0 1 1\nf 1 2 3\nf 1 2 4\n"
    (folder / "thing.obj").write_text(text)
    edit(folder, "thing.ply", "thing.obj")
    assert "1 vertices are not finite" in fault(folder)


def test_mesh_of_zero_size_is_refused(folder: Path) -> None:
    (folder / "thing.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    edit(folder, "thing.ply", "thing.obj")
    assert re.search("zero size|no faces", fault(folder))


def test_mesh_without_faces_is_refused(folder: Path) -> None:
    (folder / "thing.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    edit(folder, "thing.ply", "thing.obj")
    assert "thing.obj" in fault(folder)


def test_file_that_is_no_mesh_is_refused(folder: Path) -> None:
    (folder / "thing.ply").write_bytes(b"\x00\x01 not a mesh")
    assert "thing.ply: cannot be read as a mesh" in fault(folder)


def test_missing_texture_is_named(folder: Path) -> None:
    edit(folder, "flip_pairs: undefined", "flip_pairs: undefined\nmaterials: {thing: {textures: [wood.png]}}")
    assert "materials thing: 'wood.png' does not exist" in fault(folder)


def test_texture_that_is_no_image_is_named(folder: Path) -> None:
    edit(folder, "flip_pairs: undefined", "flip_pairs: undefined\nmaterials: {thing: {textures: [wood.png]}}")
    (folder / "wood.png").write_bytes(b"no picture")
    assert "wood.png: not a readable image" in fault(folder)


@pytest.mark.parametrize("name", ["../outside.ply", "/etc/hostname", "deep/../../outside.ply"])
def test_path_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    edit(folder, "thing.ply", name)
    assert "leaves the object's folder" in fault(folder)


def test_link_that_leaves_the_folder_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "thing.ply"
    trimesh.creation.box().export(outside)
    (folder / "link.ply").symlink_to(outside)
    edit(folder, "thing.ply", "link.ply")
    assert "leaves the object's folder" in fault(folder)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("flip_pairs: undefined", "flip_pairs: undefined\ncolour: red", "colour: Extra inputs"),
        ("flip_pairs: undefined\n", "", "flip_pairs: Field required"),
        ("unit_m: 0.001", "unit_m: 0", "unit_m: Input should be greater than 0 (got 0)"),
        ("unit_m: 0.001", "unit_m: .nan", "unit_m"),
        ("b: [-10, 0, 0]", "b: [-10, 0]", "keypoints.b"),
        ("b: [-10, 0, 0]", "2: [-10, 0, 0]", "valid string (got 2); write it in quotes"),
        ("b: [-10, 0, 0]", "b: [-10, 0, .inf]", "keypoints.b"),
        ("flip_pairs: undefined", "flip_pairs: [[a, c]]", "'c' is not a keypoint; keypoints are ['a', 'b']"),
        ("flip_pairs: undefined", "flip_pairs: []\nskeleton: [[a, z]]", "'z' is not a keypoint"),
        ("flip_pairs: undefined", "flip_pairs: []\noks_sigmas: {a: 0.1}", "has 1 values, expected 2"),
        ("flip_pairs: undefined", "flip_pairs: []\noks_sigmas: -1", "oks_sigmas must be greater than 0"),
        ("flip_pairs: undefined", "flip_pairs: []\napparent_size: [0.6, 0.2]", "low <= high"),
        (
            "unit_m: 0.001",
            "unit_m: 0.001\nplacement: {elevation_deg: [90, 40]}",
            "placement.elevation_deg: expected low <= high, got [90.0, 40.0]",
        ),
        (
            "unit_m: 0.001",
            "unit_m: 0.001\nplacement: {elevation_deg: [-20, 10]}",
            "placement: elevation_deg: expected 0 <= low",
        ),
        (
            "unit_m: 0.001",
            "unit_m: 0.001\nplacement: {elevation_deg: [0, 0]}",
            "0 < high <= 90 for objects that are resting, got [0.0, 0.0]",
        ),
        (
            "unit_m: 0.001",
            "unit_m: 0.001\nplacement: {mode: free, elevation_deg: [-80, 120]}",
            "placement: elevation_deg: expected -90 <= low",
        ),
        ("flip_pairs: undefined", "flip_pairs: []\nmaterials: {lid: {}}", "the mesh has no part 'lid'"),
        ("name: thing", "name: a/b", "name: String should match pattern"),
        ("name: thing", "name: [", "not valid YAML"),
    ],
)
def test_wrong_field_is_named_with_what_was_expected(folder: Path, old: str, new: str, expected: str) -> None:
    edit(folder, old, new)
    message = fault(folder)
    assert message.startswith(str(folder / "object.yaml"))
    assert expected in message


def test_stable_poses_turn_a_side_down_the_shortest_way_in_the_order_of_sides() -> None:
    down = np.array([0.0, 0.0, -1.0])
    for poses in load_object("glue_tube").stable_poses:
        for R, _ in poses:
            np.testing.assert_allclose(R, rotation_between(R.T @ down, down), atol=1e-12)
        keys = [(-p, *np.round(R.T @ down, 6)) for R, p in poses]
        assert keys == sorted(keys)


def test_stable_poses_of_a_slab_are_its_two_large_sides(folder: Path) -> None:
    trimesh.creation.box(extents=(20, 10, 1)).export(folder / "thing.ply")
    poses = load_object(folder).stable_poses[0]
    flat = sum(p for R, p in poses if abs(R[2, 2]) > 0.999)
    assert flat > 0.9
    assert sum(p for _, p in poses) == pytest.approx(1)


def test_flat_mesh_rests_on_either_side(folder: Path) -> None:
    (folder / "thing.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 3\nf 2 4 3\n")
    edit(folder, "thing.ply", "thing.obj")
    assert sorted(R[2, 2] for R, _ in load_object(folder).stable_poses[0]) == [-1, 1]


def test_object_is_found_by_name_and_by_path(folder: Path) -> None:
    assert find_object("chessboard") == ASSETS / "chessboard"
    assert find_object(folder) == folder
    with pytest.raises(AssetError, match=r"nothing_there: no object\.yaml there.*known: .*chessboard"):
        find_object("nothing_there")


def test_schema_is_read_without_the_mesh(folder: Path) -> None:
    (folder / "thing.ply").unlink()
    name, category_id, schema, keypoints = load_schema(folder)
    assert (name, category_id, schema.names, keypoints.shape) == ("thing", 1, ("a", "b"), (2, 3))


def test_part_names_textures_and_normals_survive_glb(folder: Path) -> None:
    scene = trimesh.Scene()
    uv = np.array([[0, 0], [1, 0], [0, 1.0]])
    image = Image.new("RGB", (4, 4), (10, 200, 30))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    sheet = trimesh.Trimesh([[0, 0, 0], [5, 0, 0], [0, 5, 0]], [[0, 1, 2]], process=False)
    sheet.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    scene.add_geometry(sheet, geom_name="label", node_name="label")
    scene.add_geometry(trimesh.creation.box(extents=(20, 10, 8)), geom_name="body", node_name="body")
    (folder / "thing.glb").write_bytes(trimesh.exchange.gltf.export_glb(scene, include_normals=True))
    edit(folder, "thing.ply", "thing.glb")
    parts = {part.name: part for part in load_object(folder).meshes[0]}
    assert set(parts) == {"label", "body"}
    assert parts["label"].uv == pytest.approx(uv)
    assert parts["label"].texture is not None
    assert tuple(parts["label"].texture[0, 0]) == (10, 200, 30)
    assert parts["label"].normals == pytest.approx(np.tile([0, 0, 1.0], (3, 1)))
    assert len(parts["body"].vertices) == 8  # smooth as written, not split at its edges


@pytest.mark.parametrize("stretch", [(1, 1, 1), (1, 2, 5)])
def test_normals_of_the_file_are_kept_and_turn_with_their_node(
    folder: Path, stretch: tuple[int, ...]
) -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=10)
    ball.vertex_normals  # noqa: B018 - trimesh writes normals it has computed
    flat = trimesh.creation.box(extents=(5, 5, 5))
    flat.unmerge_vertices()
    turn = trimesh.transformations.rotation_matrix(1.0, [0, 1, 0], [3, 0, 0]) @ np.diag([*stretch, 1])
    scene = trimesh.Scene()
    scene.add_geometry(ball, geom_name="ball", node_name="ball", transform=turn)
    scene.add_geometry(flat, geom_name="flat", node_name="flat", transform=turn)
    (folder / "thing.glb").write_bytes(trimesh.exchange.gltf.export_glb(scene, include_normals=True))
    edit(folder, "thing.ply", "thing.glb")
    for part in load_object(folder).meshes[0]:
        a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
        across = np.cross(b - a, c - a)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        cosine = np.einsum("ij,ikj->ik", across, part.normals[part.faces])
        assert cosine.min() > (0.999 if part.name == "flat" else 0.95)
    flat_part = next(p for p in load_object(folder).meshes[0] if p.name == "flat")
    assert len(flat_part.vertices) == 36


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_object_loads_and_is_small(name: str) -> None:
    asset = load_object(name)
    assert asset.name == name
    assert len(asset.meshes) >= 4
    files = [f for f in (ASSETS / name).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert sum(f.stat().st_size for f in files) < 1.6e6
    assert {"object.yaml", "SOURCE.md", "build.py"} <= {f.name for f in files}


@pytest.mark.parametrize("name", SHIPPED)
def test_normals_of_shipped_objects_agree_with_their_faces(name: str) -> None:
    for parts in load_object(name).meshes:
        for part in parts:
            a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
            outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), part.normals[part.faces].mean(1))
            assert (outward > 0).mean() > 0.99
            assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_build_script_reproduces_the_committed_meshes(name: str, tmp_path: Path) -> None:
    script = ASSETS / name / "build.py"
    subprocess.run([sys.executable, "-B", str(script), str(tmp_path)], check=True)
    built = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.*"))
    kept = [p for p in (ASSETS / name).rglob("*.*") if p.suffix in (".glb", ".jpg", ".png")]
    assert built == sorted(p.relative_to(ASSETS / name) for p in kept)
    for path in built:
        if path.suffix == ".glb":
            same_geometry(tmp_path / path, ASSETS / name / path)
        else:
            ours, theirs = (np.asarray(Image.open(root / path)) for root in (tmp_path, ASSETS / name))
            assert np.abs(ours.astype(int) - theirs).mean() < 2


def same_geometry(a: Path, b: Path) -> None:
    ours, theirs = trimesh.load_scene(a).geometry, trimesh.load_scene(b).geometry
    assert list(ours) == list(theirs)
    for name in ours:
        assert ours[name].vertices == pytest.approx(theirs[name].vertices, abs=1e-4)
        assert (ours[name].faces == theirs[name].faces).all()


def test_top_left_square_of_the_chessboard_is_black_and_top_right_white() -> None:
    for parts in load_object("chessboard").meshes:
        ink = next(p for p in parts if p.name == "ink")
        middles = ink.vertices[ink.faces].mean(1).reshape(-1, 2, 3).mean(1)
        assert len(middles) == 35
        top = middles[middles[:, 1] > 0.0625]
        assert top[:, 0].min() < -0.1
        assert top[:, 0].max() < 0.1


def test_chessboard_keypoints_are_corners_of_ink_and_paper() -> None:
    asset = load_object("chessboard")
    for parts in asset.meshes:
        for part in parts:
            if part.name in ("ink", "paper"):
                gaps = np.linalg.norm(part.vertices[:, None] - asset.keypoints_m, axis=-1)
                assert gaps.min(0).max() < 1e-8


def test_glue_tube_rests_on_its_flat_sides() -> None:
    for poses in load_object("glue_tube").stable_poses:
        assert sum(p for R, p in poses if abs(R[2, 2]) > 0.9) > 0.85


def test_glue_tube_has_the_measured_proportions() -> None:
    asset = load_object("glue_tube")
    head, tail = asset.keypoints_m[:, 0]
    length = tail - head
    for parts in asset.meshes:
        span = {p.name: np.ptp(p.vertices, axis=0) / length for p in parts}
        start = {p.name: (p.vertices[:, 0].min() - head) / length for p in parts}
        assert start["cap"] == pytest.approx(-0.12, abs=0.015)
        assert span["cap"][0] == pytest.approx(0.22, abs=0.02)
        assert start["body"] + span["body"][0] == pytest.approx(1.03, abs=0.02)
        assert 0.26 < span["body"][1] < 0.32


def test_boom_joint_carries_the_boom_end_only() -> None:
    asset = load_object("sailboat")
    sheet = next(j for j in asset.joints if j.name == "sheet")
    assert [asset.schema.names[k] for k in sheet.keypoints] == ["boom_end"]
    assert sheet.range == pytest.approx((-np.pi / 3, np.pi / 3))


def test_a_keypoint_on_a_round_part(folder: Path) -> None:
    edit(folder, "a: [10, 0, 0]", "a: {at: [10, 0, 0], axis: [0, 0, 3], radius: 2}")
    asset = load_object(folder)
    assert asset.keypoints_m == pytest.approx(np.array([[0.01, 0, 0], [-0.01, 0, 0]]))
    assert asset.rings == (Ring(0, (0.0, 0.0, 1.0), 0.002),)


@pytest.mark.parametrize(
    ("ring", "said"),
    [
        ("{at: [10, 0, 0], axis: [0, 0, 3], radius: 0}", "radius"),
        ("{at: [10, 0, 0], axis: [0, 0, 0], radius: 2}", "length 0"),
        ("{at: [10, 0, 0], radius: 2}", "axis"),
    ],
)
def test_faults_of_a_keypoint_on_a_round_part(folder: Path, ring: str, said: str) -> None:
    edit(folder, "a: [10, 0, 0]", f"a: {ring}")
    message = fault(folder)
    assert "object.yaml" in message
    assert "keypoints.a" in message
    assert said in message


def test_a_symmetrys_axis_may_have_any_length(box_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(box_folder, tmp_path / "box")
    with (tmp_path / "box" / "object.yaml").open("a") as spec:
        spec.write("symmetries: [{axis: [0, 0, 2], order: 2}]\n")
    (symmetry,) = load_object(str(tmp_path / "box")).symmetries
    assert symmetry.axis == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("flip_pairs: [[inner, left_front_top], [inner, right_front_top]]", "more than one place"),
        ("flip_pairs: undefined\nscale: {x: [0, 1]}", "x: expected factors above 0, got 0"),
    ],
)
def test_mirrors_and_scales_that_cannot_be_are_refused(
    box_folder: Path, tmp_path: Path, line: str, message: str
) -> None:
    shutil.copytree(box_folder, tmp_path / "box")
    spec = tmp_path / "box" / "object.yaml"
    spec.write_text(spec.read_text().replace("flip_pairs: undefined", line))
    with pytest.raises(AssetError, match=message):
        load_object(str(tmp_path / "box"))
