"""Keypoints of placed objects: those of round parts lie on the side that the camera sees."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from synth.asset import ObjectAsset
from synth.geometry import axis_angle, inverse, project, rigid, transform_points
from synth.inspect.turntable import VIEWS, view
from synth.labels import make_labels
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.render.backends import open_renderer
from synth.scene.instances import joint_transform, object_points, seen_points
from synth.types import VISIBLE

CENTRE = np.array([0.01, 0.0, 0.0])
TURNS = np.linspace(0, 2 * math.pi, 3600)
CIRCLE = CENTRE + 0.005 * np.column_stack([0 * TURNS, np.cos(TURNS), np.sin(TURNS)])

YAML = """\
name: can
mesh: can.ply
unit_m: 0.001
keypoints:
  side: {at: [10, 0, 0], axis: [2, 0, 0], radius: 5}
  end: [30, 0, 0]
flip_pairs: undefined
joints:
  screw: {parts: [], keypoints: [side], axis: [0, 0, 1], origin: [-30, 0, 0], range_deg: [0, 90]}
"""


@pytest.fixture(scope="module")
def can(tmp_path_factory: pytest.TempPathFactory) -> ObjectAsset:
    """60 mm long and 10 mm across, along x."""
    folder: Path = tmp_path_factory.mktemp("can")
    mesh = trimesh.creation.cylinder(5, 60, sections=64)
    mesh.apply_transform(rigid(axis_angle((0.0, 1.0, 0.0), math.pi / 2), np.zeros(3)))
    mesh.export(folder / "can.ply")
    (folder / "object.yaml").write_text(YAML)
    return load_object(folder)


def test_a_ring_keypoint_is_the_point_of_its_circle_nearest_to_the_eye(can: ObjectAsset) -> None:
    for eye in np.random.default_rng(0).normal(size=(20, 3)):
        side, end = seen_points(can, np.tile(eye, (2, 1)))
        nearest = CIRCLE[np.linalg.norm(CIRCLE - eye, axis=1).argmin()]
        np.testing.assert_allclose(side, nearest, atol=2e-5)
        np.testing.assert_array_equal(end, [0.03, 0, 0])


def test_seen_along_its_axis_a_ring_keypoint_is_its_centre(can: ObjectAsset) -> None:
    np.testing.assert_array_equal(seen_points(can, np.full((2, 3), [5.0, 0, 0]))[0], CENTRE)


def test_pose_joint_and_scale_carry_the_ring_along(can: ObjectAsset) -> None:
    scene = view(can, 1)
    turned = replace(scene.objects[0], joints={"screw": 0.4}, scale=(2.0, 2.0, 2.0))
    circle = transform_points(joint_transform(can, "screw", 0.4), CIRCLE)
    circle = transform_points(turned.T_world_from_object, 2 * circle)
    eye = scene.camera.T_world_from_camera[:3, 3]
    nearest = circle[np.linalg.norm(circle - eye, axis=1).argmin()]
    np.testing.assert_allclose(object_points(can, turned, scene.camera)[0], nearest, atol=4e-5)


def test_joints_that_carry_one_another_move_the_ring_and_the_eye_alike(can: ObjectAsset) -> None:
    screw = can.joints[0]
    waist = replace(screw, name="waist", axis=(0.0, 1.0, 0.0), origin_m=(0.02, 0.0, 0.03))
    arm = replace(can, joints=(screw, waist))
    for angles in ({"screw": 0.4, "waist": 1.1}, {"screw": 1.5, "waist": -0.8}):
        scene = view(can, 1)
        bent = replace(scene.objects[0], joints=angles)
        circle = transform_points(joint_transform(arm, "screw", angles["screw"]), CIRCLE)
        circle = transform_points(joint_transform(arm, "waist", angles["waist"]), circle)
        circle = transform_points(bent.T_world_from_object, circle)
        eye = scene.camera.T_world_from_camera[:3, 3]
        nearest = circle[np.linalg.norm(circle - eye, axis=1).argmin()]
        np.testing.assert_allclose(object_points(arm, bent, scene.camera)[0], nearest, atol=4e-5)


@pytest.mark.gl
def test_ring_labels_lie_on_the_surface_that_is_rendered(can: ObjectAsset) -> None:
    library = Library((can,))
    renderer = open_renderer(library)
    try:
        for i in range(0, VIEWS, 2):  # joints at rest
            scene = view(can, i)
            result = renderer.render(scene)
            x, y, v = make_labels(scene, library, result).keypoints[0, 0]
            points = object_points(can, scene.objects[0], scene.camera)
            depth = transform_points(inverse(scene.camera.T_world_from_camera), points)[0, 2]
            assert v == VISIBLE
            assert (x, y) == pytest.approx(tuple(project(scene.camera, points)[0][0]))
            assert result.depth_m[int(y), int(x)] == pytest.approx(depth, abs=2e-4)
    finally:
        renderer.close()
