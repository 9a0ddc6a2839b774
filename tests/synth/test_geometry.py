import math

import cv2
import numpy as np
import pytest

from synth.geometry import (
    axis_angle,
    from_opencv,
    intrinsics,
    inverse,
    look_at,
    project,
    random_rotation,
    rays,
    rotation_between,
    to_opencv,
    transform_points,
)
from synth.types import Camera


def camera(eye: tuple[float, float, float] = (0.3, -2.0, 1.0), roll: float = 0.4) -> Camera:
    return Camera(640, 480, intrinsics(640, 480, 700.0), look_at(np.array(eye), np.zeros(3), roll))


def test_the_point_looked_at_projects_to_the_image_centre() -> None:
    uv, depth = project(camera(), np.zeros((1, 3)))
    assert uv[0] == pytest.approx([320.0, 240.0])
    assert depth[0] == pytest.approx(math.sqrt(0.09 + 4 + 1))


def test_world_up_is_image_up_without_roll() -> None:
    uv, _ = project(camera(roll=0.0), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]))
    assert uv[1, 1] < uv[0, 1]
    assert uv[1, 0] == pytest.approx(uv[0, 0])


def test_points_behind_the_camera_have_negative_depth() -> None:
    _, depth = project(camera(), np.array([[0.6, -4.0, 2.0]]))
    assert depth[0] < 0


def test_projection_agrees_with_opencv_up_to_its_half_pixel() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.3
    cam = camera()
    T = inverse(cam.T_world_from_camera)
    K = cam.K.copy()
    K[:2, 2] = to_opencv(K[:2, 2])
    theirs, _ = cv2.projectPoints(points, cv2.Rodrigues(T[:3, :3])[0], T[:3, 3], K, np.zeros(5))
    ours, _ = project(cam, points)
    assert from_opencv(theirs.reshape(-1, 2)) == pytest.approx(ours, abs=1e-6)


def test_rays_lead_back_through_their_pixels() -> None:
    cam = camera()
    pixels = np.random.default_rng(1).uniform([0, 0], [640, 480], (10, 2))
    points = cam.T_world_from_camera[:3, 3] + 1.7 * rays(cam, pixels)
    uv, depth = project(cam, points)
    assert uv == pytest.approx(pixels)
    assert depth == pytest.approx(1.7)


def test_inverse_undoes_a_transform() -> None:
    T = camera().T_world_from_camera
    points = np.random.default_rng(2).normal(size=(5, 3))
    assert transform_points(inverse(T), transform_points(T, points)) == pytest.approx(points)


@pytest.mark.parametrize("b", [(0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.6, 0.0, 0.8)])
def test_rotation_between_turns_a_onto_b(b: tuple[float, float, float]) -> None:
    R = rotation_between(np.array([0.0, 0.0, 1.0]), np.array(b))
    assert pytest.approx(b) == R @ [0.0, 0.0, 1.0]
    assert np.linalg.det(R) == pytest.approx(1.0)


def test_axis_angle_turns_counter_clockwise() -> None:
    assert axis_angle((0.0, 0.0, 1.0), math.pi / 2) @ [1.0, 0.0, 0.0] == pytest.approx([0.0, 1.0, 0.0])


def test_random_rotations_are_proper_and_have_no_preferred_direction() -> None:
    rng = np.random.default_rng(3)
    rotations = np.array([random_rotation(rng) for _ in range(2000)])
    assert np.linalg.det(rotations) == pytest.approx(1.0)
    assert np.abs(rotations.mean(0)).max() < 0.06
