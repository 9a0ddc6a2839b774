"""Types that cross rooms check themselves when they are built."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synth.asset import Part
from synth.dataset.coco import Annotation
from synth.types import (
    Camera,
    Distortion,
    Environment,
    KeypointSchema,
    Labels,
    Light,
    ObjectInstance,
    RenderResult,
)

EYE = np.eye(4)
SCHEMA = KeypointSchema(("a", "b"), ((0, 1),), ((0, 1),), (0.05, 0.05))
CAMERA = Camera(4, 3, np.eye(3), EYE)
PART = Part(
    "lid",
    np.zeros((4, 3)),
    np.zeros((2, 3), np.int64),
    np.zeros((4, 3)),
    None,
    None,
    (1.0, 1.0, 1.0),
    0.5,
    0.0,
)
RESULT = RenderResult(
    np.zeros((3, 4, 3), np.uint8),
    np.zeros((3, 4), np.float32),
    np.zeros((3, 4), np.int32),
    np.zeros(1, np.int64),
)
LABELS = Labels((1,), np.zeros((1, 4)), np.zeros((1, 2, 3)), np.ones(1), np.ones(1), ({},), EYE[None])
ANNOTATION = Annotation(1, np.zeros(4), np.zeros((2, 3)), 1.0)
INSTANCE = ObjectInstance("box", 0, EYE, (1.0, 1.0, 1.0), {}, {})
LIGHT = Light("key", (0.0, 0.0, 1.0), 1.0, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("sound", "changes", "message"),
    [
        (SCHEMA, {"names": ("a", "a")}, r"names a keypoint twice: \['a', 'a'\]"),
        (SCHEMA, {"skeleton": ((0, 2),)}, "skeleton joins keypoint 3, counted from 1, of 2"),
        (SCHEMA, {"flip_pairs": ((-1, 0),)}, "flip_pairs names keypoint 0, counted from 1, of 2"),
        (SCHEMA, {"oks_sigmas": (0.05,)}, r"oks_sigmas has 1 values, expected 2 \(one per keypoint\)"),
        (SCHEMA, {"oks_sigmas": (0.05, 0.0)}, "expected finite numbers above 0"),
        (CAMERA, {"K": np.eye(4)}, r"Camera\.K: shape \(4, 4\), expected \(3, 3\)"),
        (CAMERA, {"K": np.eye(3, dtype=int)}, r"Camera\.K: int64 numbers, expected floating"),
        (CAMERA, {"K": [[1.0]]}, r"Camera\.K: list, expected an array"),
        (CAMERA, {"T_world_from_camera": np.full((4, 4), np.nan)}, "T_world_from_camera: .*finite"),
        (CAMERA, {"width_px": 0}, "0 x 3 px, expected at least 1 x 1"),
        (Distortion("fisheye", (0.1,) * 4), {"model": "wide"}, "'wide', expected 'brown-conrady' or"),
        (Distortion("fisheye", (0.1,) * 4), {"coefficients": (np.inf,)}, "expected finite numbers"),
        (PART, {"normals": np.zeros((3, 3))}, r"Part\.normals: shape \(3, 3\), expected \(4, 3\)"),
        (PART, {"uv": np.zeros((4, 3))}, r"Part\.uv: shape"),
        (PART, {"faces": np.zeros((2, 3))}, r"Part\.faces: float64 numbers, expected integer"),
        (PART, {"texture": np.zeros((8, 8, 4), np.uint8)}, r"expected \(any, any, 3\)"),
        (PART, {"vertex_colors": np.zeros((4, 3))}, r"Part\.vertex_colors: float64 numbers, expected uint8"),
        (RESULT, {"depth_m": np.zeros((3, 5), np.float32)}, r"depth_m: shape \(3, 5\), expected \(3, 4\)"),
        (RESULT, {"depth_m": np.zeros((3, 4))}, "depth_m: float64 numbers, expected float32"),
        (RESULT, {"instance_id": np.zeros((3, 4), np.int64)}, "instance_id: int64 numbers, expected int32"),
        (LABELS, {"category_id": (1, 2)}, r"Labels\.boxes_xyxy: shape \(1, 4\), expected \(2, 4\)"),
        (LABELS, {"keypoints": np.full((1, 2, 3), np.inf)}, r"Labels\.keypoints: .*expected finite numbers"),
        (LABELS, {"segmentation": ()}, "segmentation: 0 masks, expected 1"),
        (ANNOTATION, {"box_xyxy": np.zeros((1, 4))}, r"Annotation\.box_xyxy: shape \(1, 4\), expected \(4\)"),
        (ANNOTATION, {"keypoints": np.zeros(6)}, r"Annotation\.keypoints: shape"),
        (ANNOTATION, {"area": np.nan}, r"Annotation\.area: nan, expected a finite number"),
        (INSTANCE, {"T_world_from_object": np.eye(3)}, r"T_world_from_object: shape"),
        (
            INSTANCE,
            {"scale": (1.0, 1.0)},
            r"scale: \(1\.0, 1\.0\), expected 3 finite numbers",
        ),
        (LIGHT, {"kind": "sun"}, r"Light\.kind: 'sun', expected 'key' or 'fill'"),
        (LIGHT, {"direction": (0.0, np.nan, 1.0)}, r"Light\.direction: .*expected 3 finite numbers"),
        (Environment("", 0.0), {"turn": np.nan}, r"Environment\.turn: nan, expected a finite number"),
    ],
)
def test_a_wrong_field_is_named_with_what_came_and_what_was_expected(
    sound: Any, changes: dict[str, Any], message: str
) -> None:
    change: Callable[..., Any] = replace
    with pytest.raises(ValueError, match=message):
        change(sound, **changes)
