"""The contract every renderer keeps, on scenes with known answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from synth.config import RENDERERS
from synth.geometry import intrinsics, look_at, project
from synth.labels import make_labels
from synth.objects.library import Library
from synth.render.backends import open_renderer
from synth.render.protocol import Renderer
from synth.scene.environment import open_environments
from synth.scene.instances import hull_world
from synth.scene.sample import sample_scene
from synth.types import Background, Camera, Environment, Look, SceneSpec
from tests.synth.conftest import box_at, wall_at

Scenes = Callable[..., SceneSpec]


def labels_of(scene: SceneSpec, library: Library, renderer: Renderer):
    return make_labels(scene, library, renderer.render(scene))


def test_outputs_have_the_images_size_and_types(box_scene: Scenes, renderer: Renderer) -> None:
    result = renderer.render(box_scene())
    assert (result.rgb.shape, result.rgb.dtype) == ((240, 320, 3), np.uint8)
    assert (result.depth_m.shape, result.depth_m.dtype) == ((240, 320), np.float32)
    assert (result.instance_id.shape, result.instance_id.dtype) == ((240, 320), np.int32)


def test_equal_scenes_give_equal_bytes(
    box_library: Library, small_config: object, renderer: Renderer, box_scene: Scenes
) -> None:
    scene = sample_scene(small_config, box_library, 0, 3)  # type: ignore[arg-type]
    first = renderer.render(scene)
    renderer.render(box_scene())
    again = renderer.render(scene)
    assert (first.rgb == again.rgb).all()
    assert (first.depth_m == again.depth_m).all()
    assert (first.instance_id == again.instance_id).all()


def test_mask_is_the_projected_hull_of_a_convex_object(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    scene = box_scene()
    mask = renderer.render(scene).instance_id == 1
    uv, _ = project(scene.camera, hull_world(box_library.objects[0], scene.objects[0]))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    expected = [*uv.min(0), *uv.max(0)]
    assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == pytest.approx(expected, abs=1.0)


def test_depth_is_metres_along_the_viewing_axis(box_library: Library, renderer: Renderer) -> None:
    eye = np.array([0.0, 0.0, 1.0])
    camera = Camera(101, 101, intrinsics(101, 101, 120.0), look_at(eye, np.zeros(3)))
    background = Background("plain", "", (0.0, 0.0, 1.0, 1.0), False, 1, 1.0, 0.9, True)
    scene = SceneSpec(0, 0, camera, (box_at((0, 0, 0.04)),), (), (), 0.5, background, _quiet())
    depth = renderer.render(scene).depth_m
    assert depth[50, 50] == pytest.approx(1.0 - 0.08, rel=1e-3)
    assert depth[5, 5] == pytest.approx(1.0, rel=1e-3)


def test_nearer_object_hides_the_farther_one(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    scene = box_scene(objects=(box_at((0.0, 0.0, 0.0)), box_at((0.02, -0.25, 0.1))))
    result = renderer.render(scene)
    assert result.unoccluded_px[1] == (result.instance_id == 2).sum()
    labels = make_labels(scene, box_library, result)
    assert labels.visible_fraction[1] == 1.0
    assert 0.05 < labels.visible_fraction[0] < 0.8


def test_texture_and_hue_reach_the_picture(box_scene: Scenes, renderer: Renderer) -> None:
    scene = box_scene()
    plain = renderer.render(scene)
    other = replace(scene.objects[0], looks={"box": Look(value=0.4)})
    darker = renderer.render(replace(scene, objects=(other,)))
    mask = plain.instance_id == 1
    assert darker.rgb[mask].mean() < 0.8 * plain.rgb[mask].mean()
    assert np.abs(darker.rgb[~mask].astype(int) - plain.rgb[~mask]).mean() < 1


def test_an_object_on_the_ground_casts_a_shadow(box_scene: Scenes, renderer: Renderer) -> None:
    ground = Background("plain", "", (0.0, 0.0, 1.0, 1.0), False, 1, 1.0, 0.9, True)
    lights = (replace(box_scene().lights[0], direction=(0.8, 0.0, 0.6)),)
    standing = box_scene(background=ground, lights=lights, objects=(box_at((0.0, 0.0, 0.04)),))
    alone = replace(standing, objects=())
    with_object, without = renderer.render(standing), renderer.render(alone)
    free = with_object.instance_id == 0
    difference = without.rgb.astype(int).sum(2) - with_object.rgb.astype(int).sum(2)
    shadow = (difference > 60) & free
    assert shadow.sum() > 300
    columns = np.flatnonzero(shadow.any(0))
    box_columns = np.flatnonzero((with_object.instance_id == 1).any(0))
    assert columns.mean() < box_columns.mean() - 10


@pytest.mark.gl
def test_an_environment_colours_things_from_its_side(
    box_scene: Scenes, box_library: Library, tmp_path: Path
) -> None:
    """A blue sky above a red floor: the fast renderer's box is blue on top and red at its front."""
    rgb = np.zeros((32, 64, 3), np.float32)
    rgb[:16, :, 2], rgb[16:, :, 0] = 1.0, 1.0
    cv2.imwrite(str(tmp_path / "sky.hdr"), rgb[:, :, ::-1])
    scene = box_scene(lights=(), ambient=0.8, environment=Environment("sky.hdr", 0.0))
    renderer = open_renderer(replace(box_library, environments=open_environments(tmp_path)))
    result = renderer.render(scene)
    even = renderer.render(replace(scene, environment=None))
    renderer.close()
    uv, _ = project(scene.camera, np.array([[0.0, 0.0, 0.04], [0.0, -0.05, -0.01]]))
    top, front = (result.rgb[int(y), int(x)].astype(int) for x, y in uv)
    assert top[2] > top[0] + 30
    assert front[0] > front[2] - 10
    assert front[0] - front[2] > top[0] - top[2] + 40
    assert (result.instance_id == even.instance_id).all()
    assert (result.depth_m == even.depth_m).all()


@pytest.mark.gl
@pytest.mark.parametrize("backend", RENDERERS)
def test_an_environments_mean_colour_reaches_the_picture(
    box_scene: Scenes, box_library: Library, tmp_path: Path, backend: str
) -> None:
    cv2.imwrite(str(tmp_path / "red.hdr"), np.tile(np.float32([0.2, 0.2, 1.0]), (32, 64, 1)))
    scene = box_scene(lights=(), ambient=0.5, environment=Environment("red.hdr", 1.0))
    renderer = open_renderer(replace(box_library, environments=open_environments(tmp_path)), backend)
    result = renderer.render(scene)
    renderer.close()
    red, _, blue = result.rgb[result.instance_id == 1].mean(0)
    assert red > 1.5 * blue


# --- labels ------------------------------------------------------------------------------------------


def test_keypoint_on_the_near_corner_is_visible_and_exact(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    scene = box_scene()
    labels = labels_of(scene, box_library, renderer)
    expected, _ = project(scene.camera, np.array([[-0.10, -0.05, 0.04]]))
    assert labels.keypoints[0, 0, :2] == pytest.approx(expected[0], abs=1e-9)
    assert labels.keypoints[0, 0, 2] == 2


def test_keypoint_hidden_by_its_own_object_is_occluded(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    assert labels_of(box_scene(), box_library, renderer).keypoints[0, 2, 2] == 1


def test_keypoint_inside_the_object_is_visible_from_its_own_depth(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    assert labels_of(box_scene(), box_library, renderer).keypoints[0, 3, 2] == 2


def test_keypoint_behind_wall_is_occluded(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    wall = wall_at((-0.09, -0.4, 0.2), (0.12, 0.01, 0.4))
    labels = labels_of(box_scene(distractors=(wall,)), box_library, renderer)
    assert labels.keypoints[0, :2, 2].tolist() == [1, 2]
    assert 0.3 < labels.visible_fraction[0] < 1


def test_keypoint_outside_the_image_is_unlabelled(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    labels = labels_of(box_scene(objects=(box_at((-0.26, 0.0, 0.0)),)), box_library, renderer)
    assert labels.keypoints[0, 0].tolist() == [0, 0, 0]
    assert labels.keypoints[0, 1, 2] == 2


def test_box_holds_mask_and_labelled_keypoints(
    small_config: object, box_library: Library, renderer: Renderer
) -> None:
    from pycocotools import mask as coco_mask

    seen = 0
    for index in range(12):
        scene = sample_scene(small_config, box_library, 5, index)  # type: ignore[arg-type]
        labels = labels_of(scene, box_library, renderer)
        for box, points, rle in zip(labels.boxes_xyxy, labels.keypoints, labels.segmentation, strict=True):
            rows, columns = np.nonzero(coco_mask.decode(rle))
            assert box[0] <= columns.min()
            assert box[2] >= columns.max() + 1
            assert box[1] <= rows.min()
            assert box[3] >= rows.max() + 1
            for x, y, v in points:
                assert v == 0 or (box[0] <= x <= box[2] and box[1] <= y <= box[3])
            seen += 1
    assert seen > 8


def test_fully_hidden_object_has_no_label(
    box_scene: Scenes, box_library: Library, renderer: Renderer
) -> None:
    wall = wall_at((0.0, -0.4, 0.2), (2.0, 0.01, 1.0))
    assert labels_of(box_scene(distractors=(wall,)), box_library, renderer).category_id == ()


def _quiet():
    from tests.synth.conftest import QUIET

    return QUIET
