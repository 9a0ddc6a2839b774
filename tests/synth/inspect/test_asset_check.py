"""The lint of object folders, the template of a new one, the turntable."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from synth.errors import AssetError
from synth.inspect.asset_check import check_object, winding_number
from synth.inspect.remark import Remark, print_remarks
from synth.inspect.template import write_template
from synth.inspect.turntable import write_turntable
from synth.objects.load import load_object

YAML = """\
name: thing
mesh: thing.ply
unit_m: 0.001
keypoints:
  left: [-100, 0, 0]
  right: [100, 0, 0]
  top: [0, 0, 40]
flip_pairs: [[left, right]]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trimesh.creation.box(extents=(200, 100, 80)).export(tmp_path / "thing.ply")
    (tmp_path / "object.yaml").write_text(YAML)
    (tmp_path / "SOURCE.md").write_text("ours")
    return tmp_path


def edit(folder: Path, old: str, new: str) -> None:
    assert old in YAML
    (folder / "object.yaml").write_text(YAML.replace(old, new))


def of(remarks: list[Remark], field: str) -> Remark:
    return next(f for f in remarks if f.field == field)


def troubles(folder: Path) -> list[Remark]:
    return [f for f in check_object(folder) if f.level != "info"]


def lopsided() -> trimesh.Trimesh:
    """Three boxes that no mirror maps onto themselves."""
    boxes = [((200, 20, 20), (0, 0, 0)), ((20, 120, 20), (60, 50, 0)), ((20, 20, 90), (-70, 0, 40))]
    placed = [trimesh.creation.box(extents=e).apply_translation(t) for e, t in boxes]
    return trimesh.util.concatenate(placed)


@pytest.mark.parametrize("name", ["chessboard", "glue_tube", "sailboat"])
def test_shipped_objects_have_no_errors_and_no_warnings(name: str) -> None:
    assert [f for f in check_object(name) if f.level != "info"] == []


def test_sound_object_has_only_notes(folder: Path) -> None:
    assert troubles(folder) == []


def test_folder_that_cannot_be_loaded_is_one_error(folder: Path) -> None:
    (folder / "thing.ply").unlink()
    (finding,) = check_object(folder)
    assert finding.level == "error"
    assert "does not exist" in finding.message


def test_mesh_in_millimetres_declared_as_metres_is_noticed(folder: Path) -> None:
    (folder / "object.yaml").write_text(YAML.replace("0.001", "1.0"))
    assert of(troubles(folder), "unit_m").level == "error"


def test_object_of_thirty_metres_in_metres_is_doubted(folder: Path) -> None:
    trimesh.creation.box(extents=(20, 10, 8)).export(folder / "thing.ply")
    edit(folder, "unit_m: 0.001", "unit_m: 1.0")
    assert "0.001" in of(troubles(folder), "unit_m").message


def test_keypoint_far_from_the_surface_is_an_error_with_its_distance(folder: Path) -> None:
    edit(folder, "top: [0, 0, 40]", "top: [0, 0, 140]")
    finding = of(troubles(folder), "keypoints.top")
    assert finding.level == "error"
    assert finding.message.startswith("100 mm outside the surface")


def test_keypoint_deep_inside_is_a_note(folder: Path) -> None:
    edit(folder, "top: [0, 0, 40]", "top: [0, 0, 10]")
    finding = of(check_object(folder), "keypoints.top")
    assert finding.level == "info"
    assert finding.message.startswith("30 mm inside the surface; if people click")


def test_keypoint_on_a_round_part_says_how_far_it_moves(folder: Path) -> None:
    edit(folder, "top: [0, 0, 40]", "top: {at: [0, 0, 10], axis: [1, 0, 0], radius: 20}")
    finding = of(check_object(folder), "keypoints.top")
    assert (finding.level, finding.message) == (
        "info",
        "32.7 mm inside the surface, on a circle of 20 mm",
    )


def test_two_keypoints_at_one_place_are_noticed(folder: Path) -> None:
    edit(folder, "top: [0, 0, 40]", "top: [-100, 0, 0]")
    assert "left and top lie at the same place" in [f.message for f in troubles(folder)]


def test_keypoint_missing_from_flip_pairs_is_an_error(folder: Path) -> None:
    edit(folder, "  top: [0, 0, 40]", "  top: [0, 0, 40]\n  ear: [100, 50, 40]\n  other_ear: [-100, 50, 40]")
    wrong = {f.field for f in troubles(folder)}
    assert wrong == {"flip_pairs.ear", "flip_pairs.other_ear"}


def test_flip_pair_of_points_that_are_no_mirror_images_is_an_error(folder: Path) -> None:
    edit(folder, "flip_pairs: [[left, right]]", "flip_pairs: [[left, top]]")
    assert {f.level for f in troubles(folder)} == {"error"}


def test_no_flip_pairs_suits_keypoints_in_the_mirror_plane(folder: Path) -> None:
    edit(folder, "flip_pairs: [[left, right]]", "flip_pairs: []")
    assert troubles(folder) == []


def test_flip_pairs_on_a_mesh_without_mirror_symmetry_are_a_warning(folder: Path) -> None:
    lopsided().export(folder / "thing.ply")
    edit(folder, "top: [0, 0, 40]", "top: [0, 0, 10]")
    finding = of(troubles(folder), "flip_pairs")
    assert finding.level == "warning"
    assert "no mirror symmetry" in finding.message


def test_undefined_flips_are_no_trouble_on_any_mesh(folder: Path) -> None:
    lopsided().export(folder / "thing.ply")
    edit(folder, "flip_pairs: [[left, right]]", "flip_pairs: undefined")
    assert not [f for f in troubles(folder) if f.field.startswith("flip_pairs")]


def test_mirror_plane_is_found_when_it_is_oblique(folder: Path) -> None:
    T = trimesh.transformations.rotation_matrix(0.5, [0.3, 0.8, 0.2], [5, 6, 7])
    trimesh.creation.box(extents=(200, 100, 80)).apply_transform(T).export(folder / "thing.ply")
    points = trimesh.transform_points([[-100, 0, 0], [100, 0, 0], [0, 0, 40]], T).tolist()
    lines = [f"  {n}: {p}" for n, p in zip(("left", "right", "top"), points, strict=True)]
    (folder / "object.yaml").write_text(
        "name: thing\nmesh: thing.ply\nunit_m: 0.001\nflip_pairs: [[left, right]]\nkeypoints:\n"
        + "\n".join(lines)
    )
    assert troubles(folder) == []


@pytest.mark.parametrize(
    ("symmetry", "level"),
    [
        ("{axis: [0, 0, 1], order: 2}", "info"),
        ("{axis: [0, 0, 1], order: 4}", "error"),
        ("{axis: [0, 0, 1], order: 0}", "error"),
        ("{axis: [0, 0, 1], origin: [50, 0, 0], order: 2}", "error"),
    ],
)
def test_declared_rotation_is_checked_against_the_mesh(folder: Path, symmetry: str, level: str) -> None:
    edit(folder, "flip_pairs:", f"symmetries: [{symmetry}]\nflip_pairs:")
    assert of(check_object(folder), "symmetries.0").level == level


def test_keypoints_that_a_symmetry_exchanges_are_a_warning(folder: Path) -> None:
    edit(folder, "flip_pairs:", "symmetries: [{axis: [0, 0, 1], order: 2}]\nflip_pairs:")
    (finding,) = [f for f in troubles(folder) if f.field == "symmetries.0"]
    assert finding.level == "warning"
    assert "puts left in the place of right" in finding.message


def test_what_a_gltf_file_asks_for_in_vain_is_a_warning(folder: Path) -> None:
    mesh = trimesh.creation.box(extents=(200, 100, 80))
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((8, 2)), material=PBRMaterial(name="glass", alphaMode="BLEND")
    )
    mesh.export(folder / "thing.glb")
    edit(folder, "thing.ply", "thing.glb")
    assert "alphaMode BLEND of material glass: drawn opaque" in [f.message for f in troubles(folder)]


def test_round_object_may_turn_by_any_angle(folder: Path) -> None:
    trimesh.creation.cylinder(radius=50, height=80, sections=128).export(folder / "thing.ply")
    edit(folder, "flip_pairs:", "symmetries: [{axis: [0, 0, 1], order: 0}]\nflip_pairs:")
    assert of(check_object(folder), "symmetries.0").level == "info"


def test_textures_for_a_part_without_texture_coordinates_are_an_error(folder: Path) -> None:
    Image.new("RGB", (4, 4)).save(folder / "wood.png")
    edit(folder, "flip_pairs:", "materials: {thing: {textures: [wood.png]}}\nflip_pairs:")
    assert of(troubles(folder), "materials.thing").level == "error"


def test_closed_mesh_is_noted(folder: Path) -> None:
    assert of(check_object(folder), "thing.ply").message == "12 faces, watertight; rests in 6 poses"


def test_open_mesh_is_noted(folder: Path) -> None:
    box = trimesh.creation.box(extents=(200, 100, 80))
    box.update_faces(np.arange(len(box.faces)) > 0)
    box.export(folder / "thing.ply")
    assert "11 faces, not watertight: thing" in of(check_object(folder), "thing.ply").message


def test_a_mesh_far_from_its_origin_is_a_warning(tmp_path: Path) -> None:
    box = trimesh.creation.box((0.2, 0.1, 0.08))
    for far in (False, True):
        box.export(tmp_path / "box.ply")
        write_template(tmp_path / f"{far}", tmp_path / "box.ply")
        found = [f.message for f in check_object(tmp_path / f"{far}") if "from its origin" in f.message]
        assert len(found) == far
        box.apply_translation((1e3, 0, 0))


def test_missing_source_note_is_a_warning(folder: Path) -> None:
    (folder / "SOURCE.md").unlink()
    assert of(troubles(folder), "SOURCE.md").level == "warning"


def test_winding_number_tells_inside_from_outside(folder: Path) -> None:
    parts = load_object(folder).meshes[0]
    assert winding_number(parts, np.array([0.09, 0.04, 0.03])) == pytest.approx(1)
    assert winding_number(parts, np.array([0.11, 0.04, 0.03])) == pytest.approx(0, abs=1e-9)


def test_remarks_print_one_line_each_errors_first(capsys: pytest.CaptureFixture[str]) -> None:
    remarks = [Remark("info", "a", "fine"), Remark("error", "b[c]", "bad")]
    assert print_remarks(remarks)
    assert [text.split() for text in capsys.readouterr().out.splitlines()] == [
        ["error", "b[c]:", "bad"],
        ["info", "a:", "fine"],
    ]
    assert not print_remarks([Remark("warning", "a", "doubtful")])


def textured_obj(folder: Path, image: str = "paint.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 40, 10)).save(folder / "paint.png")
    (folder / "box.mtl").write_text(f"newmtl paint\nKd 1 1 1\nmap_Kd {image}\n")
    corners = [(x, y, z) for x in (0, 23) for y in (0, 17) for z in (0, 8)]
    faces = [
        "1 2 4",
        "1 4 3",
        "5 7 8",
        "5 8 6",
        "1 5 6",
        "1 6 2",
        "3 4 8",
        "3 8 7",
        "1 3 7",
        "1 7 5",
        "2 6 8",
        "2 8 4",
    ]
    lines = [
        "mtllib box.mtl",
        "usemtl paint",
        *(f"v {x} {y} {z}" for x, y, z in corners),
        "vt 0 0",
        "vt 1 0",
        "vt 0 1",
    ]
    lines += [f"f {a}/1 {b}/2 {c}/3" for a, b, c in (f.split() for f in faces)]
    (folder / "box.obj").write_text("\n".join(lines))
    return folder / "box.obj"


def test_template_of_a_textured_obj_loads_with_its_texture(tmp_path: Path) -> None:
    mesh = textured_obj(tmp_path / "download")
    write_template(tmp_path / "my box", mesh)
    asset = load_object(tmp_path / "my box")
    assert {f.name for f in (tmp_path / "my box").iterdir()} == {
        "object.yaml", "SOURCE.md", "box.obj", "box.mtl", "paint.png",
    }  # fmt: skip
    assert asset.name == "my_box"
    assert asset.diameter_m == pytest.approx(np.sqrt(23**2 + 17**2 + 8**2) / 100)
    (part,) = asset.meshes[0]
    assert part.texture is not None
    assert len(asset.schema) == 6
    assert not [f for f in check_object(tmp_path / "my box") if f.level == "error"]


@pytest.mark.parametrize("suffix", ["glb", "ply", "stl", "gltf"])
def test_template_works_for_other_mesh_formats(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "download"
    source.mkdir()
    box = trimesh.creation.box(extents=(0.2, 0.1, 0.08))
    if suffix == "gltf":
        for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box)).items():
            (source / name).write_bytes(data)
        mesh = next(source.glob("*.gltf"))
    else:
        mesh = source / f"box.{suffix}"
        box.export(mesh)
    write_template(tmp_path / "box", mesh)
    assert load_object(tmp_path / "box").diameter_m == pytest.approx(np.linalg.norm((0.2, 0.1, 0.08)))


def test_template_keypoints_lie_on_the_surface(tmp_path: Path) -> None:
    trimesh.creation.icosphere(radius=30).export(tmp_path / "ball.stl")
    write_template(tmp_path / "ball", tmp_path / "ball.stl")
    assert load_object(tmp_path / "ball").keypoint_depth_m.max() < 1e-6


def test_template_never_overwrites(tmp_path: Path) -> None:
    mesh = textured_obj(tmp_path / "download")
    (tmp_path / "mine").mkdir()
    with pytest.raises(AssetError, match="mine: exists already"):
        write_template(tmp_path / "mine", mesh)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("link.png", "names 'link.png', which is a link"),
        ("../secret.png", "'../secret.png' leaves the object's folder"),
        ("{}/paint.png", "paint.png' leaves the object's folder"),
    ],
)
def test_template_with_unusable_texture_names_the_mesh_and_leaves_nothing_behind(
    tmp_path: Path, image: str, reason: str
) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    mesh = textured_obj(tmp_path / "download", image.format(tmp_path / "download"))
    (mesh.parent / "link.png").symlink_to(mesh.parent / "paint.png")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(AssetError) as caught:
        write_template(tmp_path / "new", mesh)
    assert str(caught.value).startswith(f"{mesh}: ")
    assert reason in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("file", "absent"), [("paint.png", "paint.png"), ("box.mtl", "box.mtl")])
def test_template_says_what_the_mesh_lacks(tmp_path: Path, file: str, absent: str) -> None:
    mesh = textured_obj(tmp_path / "download")
    (mesh.parent / file).unlink()
    told = f"names {absent!r}, which does not exist: drawn without it"
    assert write_template(tmp_path / "new", mesh) == (told,)
    assert any(absent in f.message and f.level == "warning" for f in check_object(tmp_path / "new"))


def test_template_decodes_the_uris_of_a_gltf(tmp_path: Path) -> None:
    source = tmp_path / "download"
    source.mkdir()
    for name, data in trimesh.exchange.gltf.export_gltf(trimesh.creation.box().scene()).items():
        (source / name).write_bytes(data)
    header = json.loads((source / "model.gltf").read_text())
    (source / header["buffers"][0]["uri"]).rename(source / "my part.bin")
    header["buffers"][0]["uri"] = "my%20part.bin"
    Image.new("RGB", (4, 4)).save(source / "my paint.png")
    plain = "data:image/png;base64," + base64.b64encode((source / "my paint.png").read_bytes()).decode()
    header |= {"images": [{"uri": "my%20paint.png"}, {"uri": plain}], "materials": [{}]}
    (source / "model.gltf").write_text(json.dumps(header))
    write_template(tmp_path / "new", source / "model.gltf")
    assert {"my part.bin", "my paint.png"} <= {f.name for f in (tmp_path / "new").iterdir()}


def test_template_is_sound_whatever_the_parts_are_called(tmp_path: Path) -> None:
    scene = trimesh.Scene({"a\nb: [c\x07": trimesh.creation.box()})
    scene.export(tmp_path / "box.glb")
    write_template(tmp_path / "new", tmp_path / "box.glb")
    assert "The mesh's parts: a b: [c ." in (tmp_path / "new" / "object.yaml").read_text()


def test_template_of_a_broken_mesh_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "bad.ply").write_text("nothing")
    with pytest.raises(AssetError, match=f"^{tmp_path}/bad.ply: cannot be read as a mesh"):
        write_template(tmp_path / "new", tmp_path / "bad.ply")
    assert [f.name for f in tmp_path.iterdir()] == ["bad.ply"]


@pytest.mark.gl
def test_turntable_shows_the_object_in_eight_views(folder: Path) -> None:
    write_turntable(folder, folder / "turntable.png")
    with Image.open(folder / "turntable.png") as picture:
        assert picture.width == 4 * 480
        pixels = np.asarray(picture)
    for column in range(4):
        tile = pixels[100:380, column * 480 + 100 : column * 480 + 380]
        assert tile.std() > 5
    corner = pixels[:40, :40].astype(int)
    assert np.ptp(corner, axis=2).max() <= 3
    assert 120 < corner.min() <= corner.max() < 180
