import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from synth.config import SynthConfig
from synth.errors import ConfigError
from synth.geometry import (
    FAR_AWAY,
    from_opencv,
    intrinsics,
    inverse,
    look_at,
    project,
    rays,
    to_opencv,
    transform_points,
    undistorted,
)
from synth.labels import make_labels
from synth.objects.library import Library
from synth.render.lens import render_through_lens
from synth.render.protocol import Renderer
from synth.scene.sample import sample_scene
from synth.types import Camera, Distortion, SceneSpec

BARREL = Distortion("brown-conrady", (-0.25, 0.05, 0.002, -0.001, 0.0))
FISHEYE = Distortion("fisheye", (-0.03, 0.01, -0.004, 0.001))
LENSES = pytest.mark.parametrize("lens", [BARREL, FISHEYE], ids=["brown-conrady", "fisheye"])


def camera(lens: Distortion | None, focal: float = 400.0) -> Camera:
    pose = look_at(np.array([0.3, -2.0, 1.0]), np.zeros(3), 0.4)
    return Camera(640, 480, intrinsics(640, 480, focal), pose, lens)


@LENSES
def test_projection_agrees_with_opencv(lens: Distortion) -> None:
    cam = camera(lens)
    points = np.random.default_rng(0).normal(size=(30, 3)) * 0.3
    T = inverse(cam.T_world_from_camera)
    K = cam.K.copy()
    K[:2, 2] = to_opencv(K[:2, 2])
    turn, shift, given = cv2.Rodrigues(T[:3, :3])[0], T[:3, 3], np.array(lens.coefficients)
    if lens.model == "fisheye":
        theirs = cv2.fisheye.projectPoints(points[:, None], turn, shift, K, given)[0]
    else:
        theirs = cv2.projectPoints(points, turn, shift, K, given)[0]
    assert from_opencv(theirs.reshape(-1, 2)) == pytest.approx(project(cam, points)[0], abs=1e-6)


@LENSES
def test_rays_lead_back_through_their_pixels(lens: Distortion) -> None:
    cam = camera(lens)
    pixels = np.random.default_rng(1).uniform([0, 0], [640, 480], (50, 2))
    points = cam.T_world_from_camera[:3, 3] + 1.7 * rays(cam, pixels)
    assert project(cam, points)[0] == pytest.approx(pixels, abs=1e-4)


def test_points_beyond_what_the_lens_sees_do_not_fold_back_into_the_image() -> None:
    cam = camera(Distortion("brown-conrady", (-0.3, 0.0, 0.0, 0.0)))
    angles = np.radians(np.linspace(0, 85, 200))
    in_camera = np.column_stack([np.sin(angles), np.zeros(200), np.cos(angles)])
    x = project(cam, transform_points(cam.T_world_from_camera, in_camera))[0][:, 0]
    assert (np.diff(x) >= 0).all()
    assert x[-1] == pytest.approx(FAR_AWAY)
    assert math.tan(angles[x < FAR_AWAY / 2][-1]) == pytest.approx(1 / math.sqrt(0.9), abs=0.02)


def test_a_lens_that_folds_the_picture_itself_is_refused(
    box_scene: Callable[..., SceneSpec], renderer: Renderer
) -> None:
    cam = camera(Distortion("brown-conrady", (-0.5, 0.0, 0.0, 0.0)), focal=250.0)
    assert np.isnan(undistorted(cam, np.array([[0.0, 0.0]]))).all()
    with pytest.raises(ConfigError, match="folds the picture within 640x480"):
        render_through_lens(renderer, box_scene(camera=cam))


@LENSES
def test_mask_depth_and_keypoints_move_with_the_image(
    lens: Distortion, box_scene: Callable[..., SceneSpec], box_library: Library, renderer: Renderer
) -> None:
    straight = box_scene()
    eye = look_at(np.array([0.25, -0.5, 0.3]), np.array([0.12, 0.0, 0.05]))
    cam = Camera(320, 240, intrinsics(320, 240, 190.0), eye, lens)
    scene = replace(straight, camera=cam)
    result = render_through_lens(renderer, scene)
    assert result.rgb.shape == (240, 320, 3)
    labels = make_labels(scene, box_library, result)
    corners = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.05, 0.05) for z in (-0.04, 0.04)])
    uv, _ = project(cam, corners)
    hull = cv2.convexHull(to_opencv(uv).astype(np.float32))
    expected = cv2.fillConvexPoly(np.zeros((240, 320), np.uint8), np.round(hull * 16).astype(int), 1, shift=4)
    mask = result.instance_id == 1
    overlap = (mask & (expected > 0)).sum() / (mask | (expected > 0)).sum()
    assert overlap > 0.97
    assert labels.visible_fraction[0] == pytest.approx(1.0, abs=0.01)
    front_top = labels.keypoints[0][0]
    assert front_top[2] == 2
    assert np.linalg.norm(uv - front_top[:2], axis=1).min() < 1e-6
    x, y = front_top[:2].astype(int)
    distance = -(inverse(cam.T_world_from_camera) @ [-0.1, -0.05, 0.04, 1.0])[2]
    assert abs(result.depth_m[y - 1 : y + 2, x - 1 : x + 2] + distance).min() < 0.01


def test_images_of_a_config_with_distortion_bend_by_what_it_says(box_library: Library) -> None:
    config = SynthConfig.model_validate({"camera": {"distorted": 1.0, "distortion": [-0.1, -0.1]}})
    cam = sample_scene(config, box_library, 0, 0).camera
    corner = math.hypot(cam.width_px, cam.height_px) / 2 / cam.K[0, 0]
    in_camera = np.array([[cam.width_px / cam.K[0, 0] / 2, cam.height_px / cam.K[0, 0] / 2, 1.0]])
    uv, _ = project(cam, transform_points(cam.T_world_from_camera, in_camera))
    moved = np.linalg.norm(uv[0] - [cam.width_px / 2, cam.height_px / 2]) / cam.K[0, 0]
    assert moved == pytest.approx(0.9 * corner)
