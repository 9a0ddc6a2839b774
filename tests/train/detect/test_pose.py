import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from synth.asset import Symmetry
from synth.dataset.coco import read_coco
from synth.fetch.chessboards import chessboard_photos
from synth.geometry import (
    axis_angle,
    from_opencv,
    intrinsics,
    inverse,
    project,
    rigid,
    to_opencv,
    transform_points,
)
from synth.objects.load import load_object
from synth.types import Camera, Distortion
from train.detect.pose import (
    NoPose,
    Pose,
    add_error,
    add_s_error,
    axes_in_picture,
    heading_and_heel,
    nearest_symmetric,
    pose_weights,
    rigid_keypoints,
    rotation_angle,
    solve_pose,
)

LENS = Distortion("brown-conrady", (-0.2, 0.05, 0.001, -0.001))


def camera(lens: Distortion | None = None) -> Camera:
    return Camera(640, 480, intrinsics(640, 480, 700.0), np.eye(4), lens)


def placed(seed: int, distance: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    R = axis_angle((0.0, 1.0, 0.0), rng.uniform(-0.7, 0.7)) @ axis_angle(
        (1.0, 0.0, 0.0), rng.uniform(2.4, 3.8)
    )
    return rigid(R, np.array([0.1, -0.05, 1.0]) * distance)


def seen(points: np.ndarray, T: np.ndarray, cam: Camera) -> np.ndarray:
    return project(cam, transform_points(T, points))[0]


@pytest.mark.parametrize("lens", [None, LENS], ids=["pinhole", "distorted"])
@pytest.mark.parametrize("name", ["chessboard", "sailboat"])
def test_perfect_keypoints_give_the_pose_to_numerical_precision(name: str, lens: Distortion | None) -> None:
    asset = load_object(name)
    for seed in range(10):
        truth = placed(seed, 3 * asset.diameter_m)
        uv = seen(asset.keypoints_m, truth, camera(lens))
        pose = solve_pose(asset.keypoints_m, uv, rigid_keypoints(asset) * 1.0, camera(lens))
        assert isinstance(pose, Pose)
        assert pose.T_camera_from_object == pytest.approx(truth, abs=1e-6)
        assert pose.rms_px < 1e-5


def test_one_wrong_keypoint_is_left_out() -> None:
    points = load_object("chessboard").keypoints_m
    truth = placed(3, 1.0)
    uv = seen(points, truth, camera())
    uv[2] += [60.0, -45.0]
    pose = solve_pose(points, uv, np.ones(len(points)), camera())
    assert isinstance(pose, Pose)
    assert pose.inliers.tolist() == [True, True, False, True, True, True]
    assert pose.T_camera_from_object == pytest.approx(truth, abs=1e-5)


@pytest.mark.slow
def test_sure_keypoints_weigh_more() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.1, 0.1, (12, 3))
    truth = placed(1, 0.6)
    good, bad = [], []
    for _ in range(20):
        sloppy = np.arange(12) < 6
        uv = seen(points, truth, camera()) + rng.normal(size=(12, 2)) * np.where(sloppy, 2.0, 0.2)[:, None]
        for scores, errors in ((np.where(sloppy, 0.01, 1.0), good), (np.ones(12), bad)):
            pose = solve_pose(points, uv, scores, camera())
            assert isinstance(pose, Pose)
            errors.append(add_error(pose.T_camera_from_object, truth, points))
    assert np.mean(good) < 0.6 * np.mean(bad)


@pytest.mark.slow
def test_covariance_tells_the_scatter_of_poses() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.1, 0.1, (20, 3))
    truth = placed(2, 0.8)
    shifts, told = [], []
    for _ in range(150):
        uv = seen(points, truth, camera()) + rng.normal(size=(20, 2)) * 0.5
        pose = solve_pose(points, uv, np.ones(20), camera())
        assert isinstance(pose, Pose)
        shifts.append(pose.T_camera_from_object[:3, 3])
        told.append(np.sqrt(np.diag(pose.covariance)[3:]))
    assert np.mean(told, axis=0) == pytest.approx(np.std(shifts, axis=0), rel=0.25)


def test_too_few_or_collinear_keypoints_are_said_to_be_so() -> None:
    tube = load_object("glue_tube").keypoints_m
    few = solve_pose(tube, np.array([[10.0, 10.0], [50.0, 50.0]]), np.ones(2), camera())
    assert few == NoPose("too few keypoints", "2 of 2 to go by, expected 4")
    line = np.linspace(0, 0.1, 5)[:, None] * np.array([1.0, 0.5, 0.2])
    on_line = solve_pose(line, seen(line, placed(0, 1.0), camera()), np.ones(5), camera())
    assert isinstance(on_line, NoPose)
    assert "one line" in on_line.reason


def test_nonsense_keypoints_give_no_pose() -> None:
    points = np.random.default_rng(4).uniform(-0.1, 0.1, (8, 3))
    uv = np.random.default_rng(5).uniform(0, 480, (8, 2))
    pose = solve_pose(points, uv, np.ones(8), camera())
    assert isinstance(pose, NoPose) or pose.inliers.sum() < 8


def test_a_small_plane_has_a_second_pose() -> None:
    points = load_object("chessboard").keypoints_m
    truth = rigid(axis_angle((1.0, 0.0, 0.0), math.pi - 0.5), np.array([0.0, 0.0, 8.0]))
    pose = solve_pose(points, seen(points, truth, camera()), np.ones(6), camera())
    assert isinstance(pose, Pose)
    assert pose.T_camera_from_object == pytest.approx(truth, abs=1e-4)
    assert pose.other is not None
    assert rotation_angle(pose.other, truth) > 0.5
    assert pose.other_ratio > 1


def test_poses_agree_with_opencv_on_calibration_photos() -> None:
    dataset = read_coco(chessboard_photos() / "annotations.json")
    points = load_object("chessboard").keypoints_m
    seen_points = [i.annotations[0].keypoints[:, :2] for i in dataset.images if i.annotations]
    given = [to_opencv(uv).astype(np.float32) for uv in seen_points]
    model = [points.astype(np.float32)] * len(given)
    _, K, lens, turns, shifts = cv2.calibrateCamera(model, given, (640, 480), None, None)
    cam = Camera(
        640,
        480,
        np.array([[K[0, 0], 0, from_opencv(K[0, 2])], [0, K[1, 1], from_opencv(K[1, 2])], [0, 0, 1]]),
        np.eye(4),
        Distortion("brown-conrady", tuple(float(c) for c in lens.ravel()[:5])),
    )
    angles, distances = [], []
    for uv, turn, shift in zip(seen_points, turns, shifts, strict=True):
        pose = solve_pose(points, uv, np.ones(6), cam)
        assert isinstance(pose, Pose)
        theirs = rigid(cv2.Rodrigues(turn)[0], shift.ravel())
        angles.append(math.degrees(rotation_angle(pose.T_camera_from_object, theirs)))
        distances.append(np.linalg.norm(pose.T_camera_from_object[:3, 3] - theirs[:3, 3]))
    assert len(angles) > 20
    assert max(angles) < 0.2
    assert max(distances) < 0.002


def test_symmetric_poses_count_as_one() -> None:
    truth = placed(6, 1.0)
    quarter = (Symmetry((0.0, 0.0, 1.0), (0.01, 0.0, 0.0), 4),)
    R = axis_angle((0.0, 0.0, 1.0), math.pi / 2)
    origin = np.array([0.01, 0.0, 0.0])
    turned = truth @ rigid(R, origin - R @ origin)
    assert rotation_angle(turned, truth) == pytest.approx(math.pi / 2)
    assert nearest_symmetric(turned, truth, quarter) == pytest.approx(truth, abs=1e-9)
    any_angle = (replace(quarter[0], order=0), Symmetry((1.0, 0.0, 0.0), (0.01, 0.0, 0.0), 2))
    R = axis_angle((1.0, 0.0, 0.0), math.pi) @ axis_angle((0.0, 0.0, 1.0), 0.3)
    for spun in (truth @ rigid(R, origin - R @ origin), truth @ rigid(R.T, origin - R.T @ origin)):
        assert nearest_symmetric(spun, truth, any_angle) == pytest.approx(truth, abs=1e-9)
    square = np.array([[x, y, 0.0] for x in (-0.09, 0.11) for y in (-0.1, 0.1)])
    assert add_error(turned, truth, square) > 0.1
    assert add_s_error(turned, truth, square) == pytest.approx(0.0, abs=1e-9)


def test_a_boat_that_heels_and_turns_says_so() -> None:
    up_camera = np.array([0.0, -1.0, 0.0])
    level = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    forward, up = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    T = rigid(level @ axis_angle((1.0, 0.0, 0.0), 0.3), np.array([0.0, 0.0, 10.0]))
    assert heading_and_heel(T, up_camera, forward, up) == pytest.approx([0.0, 0.3])
    right = rigid(axis_angle((0.0, 1.0, 0.0), 0.7) @ level, np.array([0.0, 0.0, 10.0]))
    assert heading_and_heel(right, up_camera, forward, up) == pytest.approx([0.7, 0.0], abs=1e-9)


def test_a_hidden_keypoint_turns_a_pose_less_than_a_visible_one() -> None:
    points, truth = load_object("chessboard").keypoints_m, placed(3, 0.6)
    sure, visible = np.full(len(points), 0.9), np.ones(len(points))
    off = seen(points, truth, camera())
    off[0] += 3.0
    angles = []
    for visibility in (1.0, 0.5, 0.0):
        visible[0] = visibility
        solved = solve_pose(points, off, pose_weights(sure, visible), camera())
        assert isinstance(solved, Pose)
        assert solved.inliers.all()
        angles.append(rotation_angle(solved.T_camera_from_object, truth))
    assert angles[0] > angles[1] > angles[2] > 0


def test_axes_start_at_the_origin_of_the_object() -> None:
    truth, cam = placed(1, 1.0), replace(camera(LENS), T_world_from_camera=inverse(placed(2, 3.0)))
    ends = axes_in_picture(truth, 0.1, cam)
    assert ends[0] == pytest.approx(seen(np.zeros((1, 3)), truth, camera(LENS))[0])
    assert ends[3] == pytest.approx(seen(np.array([[0.0, 0.0, 0.1]]), truth, camera(LENS))[0])


def test_keypoints_that_the_lens_cannot_see_give_no_pose() -> None:
    points = load_object("chessboard").keypoints_m
    corners = np.tile([[0.0, 0.0], [640.0, 480.0]], (len(points) // 2, 1))
    lens = Distortion("brown-conrady", (-0.9, 0.0, 0.0, 0.0))
    found = solve_pose(points, corners, np.ones(len(points)), camera(lens))
    assert isinstance(found, NoPose)
    assert "lens" in found.detail
