"""The frozen types that flow through Meshmark. Standard library and numpy only.

Those that cross rooms check themselves when they are built: ValueError names field, what came, and what was
expected.

Units are metres and radians. Frames: world is right-handed with +Z up; the camera looks along +Z with
x right and y down (OpenCV). ``T_a_from_b`` maps points of frame b into frame a. Pixels are continuous:
(0, 0) is the top-left corner of the image and the centre of pixel (i, j) lies at (i + 0.5, j + 0.5).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.checks import check_arrays, check_numbers, check_one_of
from synth.text import is_visible

Array = NDArray[np.float64]
Rgb = NDArray[np.uint8]
"""A picture, (H, W, 3) sRGB."""
Rng = np.random.Generator

NOT_LABELLED, OCCLUDED, VISIBLE = 0, 1, 2
"""Values of a keypoint's v: outside the image or unlabelled; in the image but hidden; visible."""


@dataclass(frozen=True)
class KeypointSchema:
    """What the K keypoints of one object type are called and how they relate.

    skeleton: pairs of keypoint indices to draw as lines.
    flip_pairs: index pairs that trade places in a mirrored picture; () when mirroring moves no name;
        None when a mirrored picture of the object is not a picture of the object (never flip).
    oks_sigmas: (K,) per-keypoint standard deviation of labels, as a share of sqrt(object area).
    """

    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...] | None
    oks_sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        k = len(self.names)
        if len(set(self.names)) != k:
            raise ValueError(f"names a keypoint twice: {list(self.names)!r:.200}")
        if not all(map(is_visible, self.names)):
            raise ValueError(f"names of keypoints hold a control character: {list(self.names)!a:.200}")
        for number in (index + 1 for pair in self.skeleton for index in pair):
            if not 1 <= number <= k:
                raise ValueError(f"skeleton joins keypoint {number}, counted from 1, of {k}")
        for number in (index + 1 for pair in self.flip_pairs or () for index in pair):
            if not 1 <= number <= k:
                raise ValueError(f"flip_pairs names keypoint {number}, counted from 1, of {k}")
        if len(self.oks_sigmas) != k:
            raise ValueError(f"oks_sigmas has {len(self.oks_sigmas)} values, expected {k} (one per keypoint)")
        if not all(0 < sigma < math.inf for sigma in self.oks_sigmas):
            raise ValueError(f"oks_sigmas: {list(self.oks_sigmas)}, expected finite numbers above 0")

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Distortion:
    """A lens as OpenCV models it. model: 'brown-conrady' (k1, k2, p1, p2[, k3[, k4, k5, k6]]) or 'fisheye'
    (k1, k2, k3, k4)."""

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        check_one_of(self, "model", ("brown-conrady", "fisheye"))
        check_numbers(self, coefficients=None)


@dataclass(frozen=True)
class Camera:
    """Pinhole camera. K: (3, 3) intrinsics in continuous pixels. T_world_from_camera: (4, 4).

    distortion: of its lens, None = none.
    """

    width_px: int
    height_px: int
    K: Array
    T_world_from_camera: Array
    distortion: Distortion | None = None

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            raise ValueError(f"Camera: {self.width_px} x {self.height_px} px, expected at least 1 x 1")
        check_arrays(self, "floating", finite=True, K=(3, 3), T_world_from_camera=(4, 4))


@dataclass(frozen=True)
class Look:
    """How one instance's material differs from its asset's.

    hue: turn added to the hue, [0, 1). saturation, value: factors. roughness, metallic: absolute.
    texture: index into the asset's textures, or None for the mesh's own.
    """

    hue: float = 0.0
    saturation: float = 1.0
    value: float = 1.0
    roughness: float = 0.6
    metallic: float = 0.0
    texture: int | None = None


@dataclass(frozen=True)
class ObjectInstance:
    """A target object in the scene.

    asset: name of its ObjectAsset. mesh: index of its shape variant. T_world_from_object: (4, 4), rigid.
    scale: factors along the object's axes, before the pose. joints: name -> angle, radians. looks: part
    name -> look.
    """

    asset: str
    mesh: int
    T_world_from_object: Array
    scale: tuple[float, float, float]
    joints: dict[str, float]
    looks: dict[str, Look]

    def __post_init__(self) -> None:
        check_arrays(self, "floating", finite=True, T_world_from_object=(4, 4))
        check_numbers(self, scale=3)


@dataclass(frozen=True)
class Distractor:
    """An unlabelled thing: shape 'box' | 'cylinder' | 'sphere' | 'capsule' | 'cone', or the name of a mesh in
    the library's pool; size_m (3,).

    surface: '' = a mesh's own textures and colours. tint: linear RGB factor of the surface's colours.
    """

    shape: str
    size_m: tuple[float, float, float]
    T_world_from_object: Array
    surface: str
    surface_seed: int
    roughness: float
    metallic: float
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        check_arrays(self, "floating", finite=True, T_world_from_object=(4, 4))
        check_numbers(self, size_m=3, roughness=0, metallic=0, tint=3)


@dataclass(frozen=True)
class Light:
    """A light. kind: 'key' (casts shadows) or 'fill'. direction: unit vector towards the light, world.

    irradiance: of a white surface facing the light, 1 = renders white. color: linear RGB, max 1.
    radius: of a key light as seen from the scene, radians; 0 = its shadows have sharp edges.
    """

    kind: str
    direction: tuple[float, float, float]
    irradiance: float
    color: tuple[float, float, float]
    radius: float = 0.0

    def __post_init__(self) -> None:
        check_one_of(self, "kind", ("key", "fill"))
        check_numbers(self, direction=3, irradiance=0, color=3, radius=0)


@dataclass(frozen=True)
class Environment:
    """Where the light from all sides comes from; SceneSpec.ambient is its mean.

    map: file name within the pool, '' = the background's photo, as if it surrounded the scene.
    turn: azimuth of the map's brightest side in world, radians.
    """

    map: str
    turn: float

    def __post_init__(self) -> None:
        check_numbers(self, turn=0)


@dataclass(frozen=True)
class Background:
    """What fills the image behind the objects.

    kind: 'photo' or a procedural surface ('wood', 'stone', ...). photo: file name within the pool.
    crop: (4,) x0, y0, width, height of the photo's part, as shares of its size. flip: mirrored.
    seed: of a procedural surface; tile_m: the size of its pattern. roughness: of the surface.
    tint: linear RGB factor of a surface's colours.
    on_plane: it is the ground z = 0, lit and in shadow; else a far wall that glows by itself.
    """

    kind: str
    photo: str
    crop: tuple[float, float, float, float]
    flip: bool
    seed: int
    tile_m: float
    roughness: float
    on_plane: bool
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Sensor:
    """What lens and sensor do to the rendered image; see synth.sensor.through_sensor for units."""

    mean_light: float | None
    white_balance: tuple[float, float, float]
    contrast: float
    blur_sigma_px: float
    motion_px: float
    motion_angle: float
    noise_shot: float
    noise_read: float
    jpeg_quality: int
    objects_move: bool = False
    defocus_px: float = 0.0
    chromatic: float = 0.0
    vignetting: float = 0.0
    tone: float = 0.0


@dataclass(frozen=True)
class SceneSpec:
    """Everything needed to render image `index` again.

    ambient: mean light from all sides, 1 = renders white. environment: how they differ, None = not.
    """

    seed: int
    index: int
    camera: Camera
    objects: tuple[ObjectInstance, ...]
    distractors: tuple[Distractor, ...]
    lights: tuple[Light, ...]
    ambient: float
    background: Background
    sensor: Sensor
    environment: Environment | None = None


@dataclass(frozen=True)
class RenderResult:
    """rgb: (H, W, 3) uint8 sRGB. depth_m: (H, W) float32 along the camera's z, inf = nothing.

    instance_id: (H, W) int32: 0 = background or distractor, n = the n-th object of the scene (from 1).
    unoccluded_px: (N,) int64: pixels each object would cover in this image if it were alone.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    instance_id: NDArray[np.int32]
    unoccluded_px: NDArray[np.int64]

    def __post_init__(self) -> None:
        height, width = np.shape(self.rgb)[:2]
        check_arrays(self, "uint8", rgb=(None, None, 3))
        check_arrays(self, "float32", depth_m=(height, width))
        check_arrays(self, "int32", instance_id=(height, width))
        check_arrays(self, "int64", unoccluded_px=(None,))


@dataclass(frozen=True)
class Labels:
    """N labelled instances. boxes_xyxy: (N, 4) px. keypoints: (N, K, 3) x, y, v.

    visible_fraction: (N,) share of the object's silhouette within the image that nothing hides.
    area_px: (N,) of the visible mask. segmentation: N masks, COCO run-length encoded.
    T_camera_from_object: (N, 4, 4). An object of which nothing is seen has no label.
    """

    category_id: tuple[int, ...]
    boxes_xyxy: Array
    keypoints: Array
    visible_fraction: Array
    area_px: Array
    segmentation: tuple[dict[str, Any], ...]
    T_camera_from_object: Array

    def __post_init__(self) -> None:
        n = len(self.category_id)
        check_arrays(self, "floating", finite=True, boxes_xyxy=(n, 4), keypoints=(n, None, 3))
        check_arrays(self, "floating", finite=True, visible_fraction=(n,), area_px=(n,))
        check_arrays(self, "floating", finite=True, T_camera_from_object=(n, 4, 4))
        if len(self.segmentation) != n:
            raise ValueError(f"Labels.segmentation: {len(self.segmentation)} masks, expected {n}")
