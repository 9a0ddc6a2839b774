"""Visibility from the depth image, pixel by pixel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from synth.config import SynthConfig
from synth.geometry import project
from synth.labels import label_keypoints, make_labels
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.render.backends import open_renderer
from synth.scene.instances import object_points
from synth.scene.sample import sample_scene
from synth.types import OCCLUDED, VISIBLE, SceneSpec

ALONE = {
    "objects": {"count": [1, 1], "negatives": 0.0, "truncation": 0.0},
    "distractors": {"count": [0, 0]},
    "camera": {"distorted": 0.0},
}
BEHIND, OWN, BEFORE = np.inf, 0.0, -0.3
"""What a pixel shows: nothing, the object at the keypoint's depth, a thing 0.3 m before it."""


@pytest.mark.parametrize(
    ("centre", "left", "v"),
    [
        (OWN, OWN, VISIBLE),
        (OWN, BEFORE, VISIBLE),
        (BEHIND, BEFORE, VISIBLE),  # on the outline, whose pixels may show what is behind
        (BEFORE, OWN, VISIBLE),  # another thing's edge within the keypoint's own pixel
        (BEFORE, BEHIND, OCCLUDED),  # beside that thing one sees past the object
        (BEFORE, BEFORE, OCCLUDED),
    ],
)
def test_a_keypoint_is_hidden_by_what_lies_before_its_pixel(
    box_library: Library, box_scene: Callable[..., SceneSpec], centre: float, left: float, v: int
) -> None:
    scene = box_scene()
    (asset,), (instance,) = box_library.objects, scene.objects
    uv, depth = project(scene.camera, object_points(asset, instance, scene.camera))
    (x, y), z = uv[0].astype(int), depth[0]
    shown = np.full((240, 320), z + BEFORE, np.float32)
    own = np.zeros((240, 320), bool)
    for column, what in ((x, centre), (x - 1, left)):
        shown[y, column] = z + what
        own[y, column] = what == OWN
    assert label_keypoints(scene.camera, asset, instance, shown, own)[0, 2] == v


@pytest.mark.gl
def test_a_keypoint_on_the_far_side_of_a_thin_plate_is_hidden(tmp_path: Path) -> None:
    trimesh.creation.box((0.5, 0.4, 0.002)).export(tmp_path / "plate.ply")
    (tmp_path / "object.yaml").write_text(
        "name: plate\nmesh: plate.ply\nunit_m: 1\nflip_pairs: undefined\n"
        "keypoints: {above: [0.1, 0, 0.001], below: [0.1, 0, -0.001], edge: [0.25, 0, -0.001]}\n"
    )
    library = Library((load_object(str(tmp_path)),))
    renderer = open_renderer(library)
    for index in range(12):
        scene = sample_scene(SynthConfig.model_validate(ALONE), library, 0, index)
        (points,) = make_labels(scene, library, renderer.render(scene)).keypoints
        up = scene.objects[0].T_world_from_object[2, 2] > 0
        expected = [VISIBLE, OCCLUDED] if up else [OCCLUDED, VISIBLE]
        inside = points[:2, 2] > 0
        assert points[:2, 2][inside].tolist() == np.array(expected)[inside].tolist()
    renderer.close()
