import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh

from synth.config import SynthConfig
from synth.geometry import project
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.scene import placement
from synth.scene.background import open_photos
from synth.scene.instances import camera_from_object, hull_world, object_points, projected_box
from synth.scene.lights import kelvin_to_rgb
from synth.scene.polygons import convex_overlap, footprint
from synth.scene.sample import sample_scene
from synth.scene.scene_json import scene_from_json, scene_to_json
from synth.scene.streams import stream
from synth.system.pool import Pool

SCENES = 60


def test_same_seed_and_index_give_same_scene(small_config: SynthConfig, box_library: Library) -> None:
    a = scene_to_json(sample_scene(small_config, box_library, 3, 14))
    assert a == scene_to_json(sample_scene(small_config, box_library, 3, 14))
    assert a != scene_to_json(sample_scene(small_config, box_library, 3, 15))
    assert a != scene_to_json(sample_scene(small_config, box_library, 4, 14))


def test_scene_survives_json(small_config: SynthConfig, box_library: Library) -> None:
    scene = sample_scene(small_config, box_library, 0, 2)
    text = json.dumps(scene_to_json(scene))
    assert json.dumps(scene_to_json(scene_from_json(json.loads(text)))) == text


def test_scene_of_before_a_field_was_added_takes_its_default(
    small_config: SynthConfig, box_library: Library
) -> None:
    scene = sample_scene(small_config, box_library, 0, 2)
    raw = scene_to_json(scene)
    del raw["sensor"]["tone"]
    assert scene_from_json(raw).sensor == replace(scene.sensor, tone=0.0)
    del raw["sensor"]["contrast"]  # has no default
    with pytest.raises(KeyError, match="contrast"):
        scene_from_json(raw)


def test_one_samplers_settings_leave_the_others_alone(box_library: Library) -> None:
    plain = SynthConfig()
    bright = SynthConfig.model_validate({"light": {"ambient": [0.9, 0.9]}})
    a, b = (scene_to_json(sample_scene(c, box_library, 0, 5)) for c in (plain, bright))
    assert {k for k in a if a[k] != b[k]} == {"ambient", "lights"}
    strengths = np.array([[light["irradiance"] for light in scene["lights"]] for scene in (a, b)])
    assert np.allclose(strengths[0] / strengths[1], strengths[0, 0] / strengths[1, 0])


def test_streams_of_two_samplers_differ() -> None:
    assert stream(0, 0, "camera").random() != stream(0, 0, "lights").random()


def test_resting_objects_touch_the_plane_and_never_each_other(box_library: Library) -> None:
    config = SynthConfig.model_validate(
        {"objects": {"count": [3, 3], "negatives": 0.0, "touching": 1.0, "piled": 0.0}}
    )
    asset = box_library.objects[0]
    counts = []
    for index in range(SCENES):
        objects = sample_scene(config, box_library, 0, index).objects
        counts.append(len(objects))
        hulls = [hull_world(asset, o) for o in objects]
        assert all(abs(h[:, 2].min()) < 1e-9 for h in hulls)
        feet = [footprint(h) for h in hulls]
        assert not any(convex_overlap(a, b) for i, a in enumerate(feet) for b in feet[:i])
    assert np.mean(counts) > 1.5


def test_apparent_size_follows_the_objects_range(small_config: SynthConfig, box_library: Library) -> None:
    asset = box_library.objects[0]
    sizes = []
    for index in range(SCENES):
        scene = sample_scene(small_config, box_library, 1, index)
        for instance in scene.objects[:1]:
            uv, _ = project(scene.camera, hull_world(asset, instance))
            sizes.append(np.ptp(uv, axis=0).max() / scene.camera.width_px)
    low, high = asset.apparent_size
    assert np.quantile(sizes, 0.1) > 0.5 * low
    assert np.quantile(sizes, 0.9) < 1.5 * high
    assert np.ptp(sizes) > 0.5 * (high - low)


def made(folder: Path, mesh: trimesh.Trimesh | trimesh.Scene, more: str) -> Library:
    """A library of one object made for the test."""
    mesh.export(folder / "thing.glb")
    keypoints = "keypoints: {a: [0, 0, 0], b: [0.1, 0, 0]}\nflip_pairs: undefined\n"
    (folder / "object.yaml").write_text(f"name: thing\nmesh: thing.glb\nunit_m: 1\n{keypoints}{more}")
    return Library((load_object(str(folder)),))


@pytest.mark.parametrize(("low", "high"), [(0.15, 0.6), (0.4, 0.6)])
def test_a_ball_looks_as_large_as_it_should(tmp_path: Path, low: float, high: float) -> None:
    library = made(tmp_path, trimesh.creation.icosphere(2, 0.05), f"apparent_size: [{low}, {high}]\n")
    config = SynthConfig.model_validate({"objects": {"negatives": 0.0}, "camera": {"distorted": 0.0}})
    sizes = []
    for index in range(2 * SCENES):
        scene = sample_scene(config, library, 0, index)
        box = projected_box(scene.camera, hull_world(library.objects[0], scene.objects[0]))
        assert box is not None
        sizes.append((box[2:] - box[:2]).max() / scene.camera.width_px)
    assert np.quantile(sizes, [0.05, 0.5, 0.95]) == pytest.approx(
        [low * (high / low) ** share for share in (0.05, 0.5, 0.95)], rel=0.2
    )


def test_no_camera_stands_under_the_water(tmp_path: Path) -> None:
    placement = "placement: {mode: upright, plane_at: 0.6, elevation_deg: [2, 20]}\n"
    library = made(tmp_path, trimesh.creation.box((0.6, 0.6, 2.0)), placement)
    config = SynthConfig.model_validate({"objects": {"negatives": 0.0}})
    scenes = [sample_scene(config, library, 0, index) for index in range(SCENES)]
    assert all(scene.camera.T_world_from_camera[2, 3] > 0 for scene in scenes)
    assert sum(not scene.objects for scene in scenes) < 0.1 * SCENES


def test_few_tall_objects_are_cut_and_all_images_show_one(tmp_path: Path) -> None:
    pole = trimesh.creation.box((0.3, 0.3, 2.0))
    upright = "placement: {mode: upright, elevation_deg: [10, 40]}\napparent_size: [0.3, 0.9]\n"
    library = made(tmp_path, pole, upright)
    config = SynthConfig.model_validate({"objects": {"negatives": 0.0, "truncation": 0.1}})
    cut = []
    for index in range(2 * SCENES):
        scene = sample_scene(config, library, 0, index)
        assert scene.objects
        for instance in scene.objects:
            x0, y0, x1, y1 = projected_box(scene.camera, hull_world(library.objects[0], instance))
            cut.append(min(x0, y0) < 0 or x1 > scene.camera.width_px or y1 > scene.camera.height_px)
            assert max(x1 - x0, y1 - y0) > 0.8 * 0.3 * scene.camera.width_px
    assert np.mean(cut) < 0.15


def test_parts_on_joints_stay_above_the_ground(tmp_path: Path) -> None:
    body, lid = trimesh.creation.box((0.4, 0.4, 0.1)), trimesh.creation.box((0.4, 0.4, 0.02))
    lid.apply_translation((0.0, 0.0, 0.06))
    joint = "joints: {hinge: {parts: [lid], axis: [1, 0, 0], origin: [0, -0.2, 0.06], range_deg: [0, 200]}}\n"
    library = made(tmp_path, trimesh.Scene({"body": body, "lid": lid}), joint)
    config = SynthConfig.model_validate({"objects": {"piled": 0.0}})
    asset, angles = library.objects[0], []
    for index in range(SCENES):
        for instance in sample_scene(config, library, 0, index).objects:
            rest = hull_world(asset, replace(instance, joints={"hinge": 0.0}))
            assert abs(hull_world(asset, instance)[:, 2].min()) < 1e-9
            assert rest[:, 2].min() < 0.011 * asset.diameter_m
            angles.append(instance.joints["hinge"])
    assert np.ptp(angles) > 1.5


def test_a_scaled_object_stands_on_a_whole_face(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stone = trimesh.convex.convex_hull(rng.normal(size=(12, 3)) * 0.1)
    library = made(tmp_path, stone, "scale: {x: [0.6, 1.6], y: [0.6, 1.6], z: [0.6, 1.6]}\n")
    config = SynthConfig.model_validate({"objects": {"piled": 0.0}})
    for index in range(SCENES // 2):
        for instance in sample_scene(config, library, 0, index).objects:
            heights = np.sort(hull_world(library.objects[0], instance)[:, 2])
            assert heights[2] < 1e-6 < heights[-1]


def test_a_free_object_with_little_roll_stands_upright_in_the_image(box_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(box_folder, tmp_path / "upright")
    spec = (folder / "object.yaml").read_text()
    free = "{mode: free, facing_axis: [0, -1, 0], facing_max_deg: 50, roll_deg: [-10, 10], "
    free += "elevation_deg: [0, 30]}"
    (folder / "object.yaml").write_text(
        "\n".join(f"placement: {free}" if x.startswith("placement") else x for x in spec.splitlines())
    )
    library = Library((load_object(str(folder)),))
    config = SynthConfig.model_validate({"camera": {"roll_deg": [0, 0]}})
    for index in range(SCENES):
        scene = sample_scene(config, library, 0, index)
        for instance in scene.objects:
            T = camera_from_object(scene.camera, instance)
            assert T[1, 2] < -0.3
            assert T[2, 1] > 0.2


def test_most_keypoints_lie_in_the_image(small_config: SynthConfig, box_library: Library) -> None:
    inside = []
    for index in range(SCENES):
        scene = sample_scene(small_config, box_library, 2, index)
        for instance in scene.objects:
            uv, _ = project(scene.camera, object_points(box_library.objects[0], instance, scene.camera))
            inside += list(((uv >= 0) & (uv < [160, 120])).all(1))
    assert 0.9 < np.mean(inside) < 1.0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, SCENES)])
def test_negatives_are_images_without_objects(box_library: Library, share: float, expected: int) -> None:
    config = SynthConfig.model_validate({"objects": {"negatives": share}})
    empty = [not sample_scene(config, box_library, 0, i).objects for i in range(SCENES)]
    assert abs(sum(empty) - expected) <= 3


def test_light_directions_are_above_the_horizon_within_the_range(box_library: Library) -> None:
    for index in range(SCENES):
        key, *fills = sample_scene(SynthConfig(), box_library, 0, index).lights
        assert math.sin(math.radians(25)) - 1e-9 <= key.direction[2] <= 1
        assert math.radians(0.3) <= key.radius <= math.radians(10)
        assert all(fill.direction[2] > 0 for fill in fills)
        assert np.linalg.norm(key.direction) == pytest.approx(1)


def test_number_of_lights_follows_the_config(box_library: Library) -> None:
    config = SynthConfig.model_validate({"light": {"fills": [1, 3]}})
    counts = {len(sample_scene(config, box_library, 0, index).lights) for index in range(SCENES)}
    assert counts == {2, 3, 4}


def test_no_light_is_brighter_than_white(box_library: Library) -> None:
    scenes = [sample_scene(SynthConfig(), box_library, 0, i) for i in range(60)]
    sums = [scene.ambient + sum(light.irradiance for light in scene.lights) for scene in scenes]
    assert max(sums) == pytest.approx(1.0)
    assert 0 < sum(s < 0.99 for s in sums) < 60


def test_warm_light_is_red_and_cold_light_blue() -> None:
    warm, cold = kelvin_to_rgb(2800), kelvin_to_rgb(9000)
    assert warm[0] == 1.0
    assert warm[2] < 0.5
    assert cold[2] == 1.0
    assert cold[0] < 0.9


@pytest.mark.parametrize(
    ("shift", "overlaps"), [((0.0, 0.0), True), ((0.9, 0.0), True), ((1.1, 0.0), False), ((0.8, 0.8), True)]
)
def test_convex_overlap_of_unit_squares(shift: tuple[float, float], overlaps: bool) -> None:
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert convex_overlap(square, square + shift) is overlaps


def test_convex_overlap_agrees_with_the_area_in_common() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        a, b = (footprint(rng.normal(size=(6, 3)) + rng.normal(scale=1.5, size=3)) for _ in range(2))
        area, _ = cv2.intersectConvexConvex(a.astype(np.float32), b.astype(np.float32))
        found.append(convex_overlap(a, b))
        assert found[-1] is bool(area > 0)
    assert 50 < sum(found) < 250


def test_what_is_placed_is_outlined_once_however_many_there_are(
    box_library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"footprint": 0, "sample_ground_rotation": 0}

    def counted(name: str) -> Callable[..., Any]:
        function = getattr(placement, name)

        def call(*args: Any) -> Any:
            calls[name] += 1
            return function(*args)

        return call

    for name in calls:
        monkeypatch.setattr(placement, name, counted(name))
    config = SynthConfig.model_validate(
        {"objects": {"count": [20, 20], "negatives": 0.0, "piled": 0.0}, "distractors": {"count": [0, 0]}}
    )
    placed = sum(len(sample_scene(config, box_library, 0, index).objects) for index in range(10))
    assert calls["sample_ground_rotation"] > 3 * placed  # most tries find no room
    assert calls["footprint"] == calls["sample_ground_rotation"]


# --- environment -----------------------------------------------------------------------------------------


def test_environment_shares_follow_the_config(box_library: Library, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), 128, np.uint8))
    maps = Pool(tmp_path, ("room.exr", "sky.exr"))
    library = replace(box_library, photos=open_photos(tmp_path), environments=maps)
    config = SynthConfig.model_validate({"light": {"environment": 0.5, "from_photo": 1.0}})
    scenes = [sample_scene(config, library, 0, index) for index in range(SCENES)]
    of_photo = [s for s in scenes if s.background.kind == "photo"]
    others = [s for s in scenes if s.background.kind != "photo"]
    assert all(s.environment is not None and s.environment.map == "" for s in of_photo)
    assert {s.environment.map for s in others if s.environment} == {"sky.exr", "room.exr"}
    assert 0.25 < sum(s.environment is not None for s in others) / len(others) < 0.75


def test_a_maps_bright_side_stands_where_the_key_light_is(box_library: Library) -> None:
    library = replace(box_library, environments=Pool(Path(), ("sky.exr",)))
    for index in range(20):
        scene = sample_scene(SynthConfig(), library, 0, index)
        if scene.environment:
            x, y, _ = scene.lights[0].direction
            assert scene.environment.turn == pytest.approx(math.atan2(y, x))


def test_without_pools_the_light_is_even(box_library: Library) -> None:
    assert all(sample_scene(SynthConfig(), box_library, 0, index).environment is None for index in range(20))


def test_the_key_light_comes_from_a_photos_bright_side(box_library: Library, tmp_path: Path) -> None:
    photo = np.full((240, 320, 3), 20, np.uint8)
    photo[:, 240:] = [90, 200, 250]  # BGR: an orange window on the right
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    library = replace(box_library, photos=open_photos(tmp_path))
    config = SynthConfig.model_validate({"light": {"from_photo": 1.0}, "background": {"photo": 1.0}})
    to_the_right = []
    for index in range(30):
        scene = sample_scene(config, library, 0, index)
        _, _, width, _ = scene.background.crop
        if width < 0.9:
            continue
        key = scene.lights[0]
        side = np.array(key.direction) @ scene.camera.T_world_from_camera[:3, 0]
        to_the_right.append((side > 0) != scene.background.flip)
        assert key.color[0] == 1.0 > key.color[2]
    assert len(to_the_right) >= 3
    assert all(to_the_right)


def test_distractors_and_lights_follow_the_config(box_library: Library) -> None:
    config = SynthConfig.model_validate(
        {
            "objects": {"negatives": 0.0},
            "distractors": {
                **{"count": [4, 4], "size": [1.0, 1.0], "log_sides": [0.0, 0.0], "occluders": 1.0},
                **{"occluder_distance": [0.5, 0.5], "occluder_size": 0.4, "roughness": [0.2, 0.2]},
                **{"metallic": 1.0, "tint": [1.0, 1.0]},
            },
            "light": {"fills": [2, 2], "fill_elevation_deg": [30.0, 30.0]},
            "background": {"zoom": [0.5, 0.5], "flip": 1.0, "tint": [1.0, 1.0]},
        }
    )
    side = 0.5 * 0.4 * box_library.objects[0].diameter_m
    for index in range(20):
        scene = sample_scene(config, box_library, 1, index)
        for d in scene.distractors:
            assert d.size_m == pytest.approx((side,) * 3)
            assert (d.roughness, d.metallic, d.tint) == (0.2, 1.0, (1.0, 1.0, 1.0))
        for fill in scene.lights[1:]:
            assert fill.direction[2] == pytest.approx(0.5)
        background = scene.background
        assert background.crop[2:] == (0.5, 0.5)
        assert (background.flip, background.tint) == (True, (1.0, 1.0, 1.0))


def test_the_camera_is_inside_no_distractor(box_library: Library) -> None:
    config = SynthConfig.model_validate({"distractors": {"count": [4, 4], "size": [1.0, 8.0]}})
    for index in range(SCENES):
        scene = sample_scene(config, box_library, 4, index)
        eye = scene.camera.T_world_from_camera[:3, 3]
        for distractor in scene.distractors:
            half = np.linalg.norm(distractor.size_m) / 2
            assert np.linalg.norm(distractor.T_world_from_object[:3, 3] - eye) > half


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, 0.6, 0.8)])
def test_the_waterline_lies_at_its_height_along_up(
    box_library: Library, up: tuple[float, float, float]
) -> None:
    asset = box_library.objects[0]
    upright = replace(
        asset,
        placement=replace(asset.placement, mode="upright", up=up, plane_at_m=0.02),
        scale_range=((0.8, 0.8), (1.1, 1.1), (1.3, 1.3)),
    )
    config = SynthConfig.model_validate({"objects": {"count": [1, 1], "negatives": 0.0}})
    scene = sample_scene(config, Library((upright,)), 0, 0)
    (instance,) = scene.objects
    on_line = instance.T_world_from_object @ [*(0.02 * np.array(up) * instance.scale), 1.0]
    assert on_line[2] == pytest.approx(0.0, abs=1e-9)
