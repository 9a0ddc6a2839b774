"""Visibility from the depth image, pixel by pixel."""

from collections.abc import Callable

import numpy as np
import pytest

from synth.geometry import project
from synth.instance import Library, object_points
from synth.labels import label_keypoints
from synth.types import OCCLUDED, VISIBLE, SceneSpec

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
