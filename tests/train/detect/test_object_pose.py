"""Detections of a known pose: what is seen, and what is not believed."""

import cv2
import numpy as np
import pytest

from synth.geometry import axis_angle, intrinsics, project, rigid, transform_points
from synth.objects.load import load_object
from synth.types import Array, Camera
from train.detect.object_pose import object_pose, reprojected_boxes
from train.detect.pose import NoPose, Pose, rigid_keypoints
from train.detect.pose_drawing import POSE_COLOR, draw_pose, silhouette
from train.runtime import Detection

ASSET = load_object("sailboat")
CAMERA = Camera(640, 480, intrinsics(640, 480, 700.0), np.eye(4))
TRUE = rigid(
    axis_angle((0.0, 1.0, 0.0), 0.4) @ axis_angle((1.0, 0.0, 0.0), 1.9),
    np.array([0.0, 0.0, 3 * ASSET.diameter_m]),
)
BOX = reprojected_boxes(ASSET, TRUE, CAMERA)[0]
SEEN = project(CAMERA, transform_points(TRUE, ASSET.keypoints_m))[0]


def detection(points: Array, box: Array = BOX) -> Detection:
    return Detection(box, 0.9, ASSET.name, points, np.full(len(points), 0.8), np.ones(len(points)))


def why(points: Array, box: Array = BOX) -> str:
    solved = object_pose(ASSET, detection(points, box), CAMERA)
    assert isinstance(solved, NoPose)
    return str(solved)


def test_a_pose_that_fills_its_box_is_believed() -> None:
    solved = object_pose(ASSET, detection(SEEN), CAMERA)
    assert isinstance(solved, Pose)
    assert solved.T_camera_from_object == pytest.approx(TRUE, abs=1e-5)
    half = np.array([BOX[0], BOX[1], BOX[2], (BOX[1] + BOX[3]) / 2])
    assert isinstance(object_pose(ASSET, detection(SEEN, half), CAMERA), Pose)


def test_keypoints_on_one_spot_give_no_pose() -> None:
    shrunk = SEEN.mean(axis=0) + 0.02 * (SEEN - SEEN.mean(axis=0))
    said = why(shrunk)
    assert said.startswith("keypoints coincide: they lie within")
    assert f"their box is {max(BOX[2:] - BOX[:2]):.0f} px" in said


def test_keypoints_at_too_few_places_give_no_pose() -> None:
    places = SEEN[[0, -1]]
    assert why(places[np.arange(len(SEEN)) % 2]).startswith("keypoints ")


def test_an_object_placed_beside_its_box_has_no_pose() -> None:
    side = BOX[2] - BOX[0]
    said = why(SEEN, BOX + np.array([side, 0, side, 0]))
    assert said.startswith("the object would not fill its box: so placed it fills [")


def test_an_object_placed_far_behind_its_box_has_no_pose() -> None:
    middle = (BOX[:2] + BOX[2:]) / 2
    huge = np.concatenate((middle - 3 * (middle - BOX[:2]), middle + 3 * (BOX[2:] - middle)))
    assert "overlap by less than" in why(SEEN, huge)


def test_a_pose_on_which_few_keypoints_agree_is_none() -> None:
    rng = np.random.default_rng(1)
    noise = rng.uniform(BOX[:2], BOX[2:], (20, len(SEEN), 2))
    reasons = [object_pose(ASSET, detection(points), CAMERA) for points in noise]
    assert sum(isinstance(solved, NoPose) for solved in reasons) >= 18


def test_reprojected_boxes_are_clipped_and_empty_behind_the_camera() -> None:
    boxes = reprojected_boxes(ASSET, TRUE, CAMERA)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= [640, 480]).all()
    behind = TRUE.copy()
    behind[2, 3] *= -1
    assert (reprojected_boxes(ASSET, behind, CAMERA) == 0).all()


def test_the_silhouette_fills_the_reprojected_box_and_no_more() -> None:
    mask = silhouette(ASSET.meshes[0], TRUE, CAMERA)
    rows, columns = np.nonzero(mask)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert seen == pytest.approx(BOX, abs=2)
    assert 0.05 < mask.mean() / (np.prod(BOX[2:] - BOX[:2]) / mask.size) < 1


def test_outline_and_keypoints_are_drawn_where_the_pose_puts_them() -> None:
    rgb = np.full((480, 640, 3), 90, np.uint8)
    drawn = draw_pose(rgb, ASSET, TRUE, CAMERA)
    assert (rgb == 90).all()
    changed = (drawn != rgb).any(axis=2)
    marked = (drawn == POSE_COLOR).all(axis=2)
    for x, y in np.round(SEEN[rigid_keypoints(ASSET)] - 0.5).astype(int):
        assert marked[y - 6 : y + 7, x - 6 : x + 7].any()
    edge = silhouette(ASSET.meshes[0], TRUE, CAMERA)
    edge -= cv2.erode(edge, np.ones((3, 3), np.uint8))
    assert changed[edge > 0].all()
    assert changed.mean() < 0.1
