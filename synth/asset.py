"""ObjectAsset, one object type read from its folder, and what it is made of.

Metres and radians in the object's own frame, whose origin and axes are those of its mesh file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.checks import check_arrays
from synth.types import Array, KeypointSchema


@dataclass(frozen=True)
class Part:
    """One named piece of a mesh. vertices, normals: (V, 3), metres. faces: (F, 3) vertex indices.

    uv: (V, 2), (0, 0) = bottom-left of the texture, or None. texture: (h, w, 3) uint8 sRGB or None.
    base_color: linear RGB factor in [0, 1], multiplied with the texture. vertex_colors: (V, 3) uint8 sRGB.
    normal_texture: (h, w, 3) uint8 in tangent space, +Y up. surface_texture: (h, w, 3) uint8, G times
    roughness, B times metallic (glTF 2.0). closed: its back never shows, see
    synth.objects.hulls.closed_faces.
    """

    name: str
    vertices: Array
    faces: NDArray[np.int64]
    normals: Array
    uv: Array | None
    texture: NDArray[np.uint8] | None
    base_color: tuple[float, float, float]
    roughness: float
    metallic: float
    vertex_colors: NDArray[np.uint8] | None = None
    normal_texture: NDArray[np.uint8] | None = None
    surface_texture: NDArray[np.uint8] | None = None
    closed: bool = False

    def __post_init__(self) -> None:
        count = len(self.vertices)
        check_arrays(self, "floating", vertices=(None, 3), normals=(count, 3), uv=(count, 2))
        check_arrays(self, "integer", faces=(None, 3))
        picture = (None, None, 3)
        check_arrays(self, "uint8", texture=picture, normal_texture=picture, surface_texture=picture)
        check_arrays(self, "uint8", vertex_colors=(count, 3))


@dataclass(frozen=True)
class Joint:
    """Parts and keypoints that turn together about an axis through origin_m (object frame, metres).

    axis: unit vector. range: lowest and highest angle, radians; 0 = as in the mesh file.
    """

    name: str
    parts: tuple[str, ...]
    keypoints: tuple[int, ...]
    axis: tuple[float, float, float]
    origin_m: tuple[float, float, float]
    range: tuple[float, float]


@dataclass(frozen=True)
class Ring:
    """A keypoint on a round part, where one sees it: not a fixed point but the point nearest to the camera of
    the circle of radius_m about `axis` (object frame) through the keypoint's place in keypoints_m."""

    keypoint: int
    axis: tuple[float, float, float]
    radius_m: float


@dataclass(frozen=True)
class Placement:
    """How an object stands in the world.

    mode: 'resting' (in its stable poses on the plane), 'upright' (`up` points to the sky) or 'free'.
    plane_at_m: height along `up` at which the ground cuts an upright object; None = its lowest point.
    tilt_axis, tilt_range: rotation away from upright, radians. facing_axis, facing_max_angle: a free
    object shows the camera the side `facing_axis` points to, up to that angle (pi = any side).
    roll_range: of a free object about the line of sight, 0 = `up` points up in the world as far as
    it can. elevation: of the camera above the plane, seen from the object, radians.
    """

    mode: str
    up: tuple[float, float, float]
    plane_at_m: float | None
    tilt_axis: tuple[float, float, float]
    tilt_range: tuple[float, float]
    facing_axis: tuple[float, float, float]
    facing_max_angle: float
    roll_range: tuple[float, float]
    elevation: tuple[float, float]


@dataclass(frozen=True)
class MaterialRange:
    """How a part's material may vary; ranges are (low, high), see Look. textures: alternatives.

    roughness, metallic: None = as synth.scene.placement.surface_ranges says.
    """

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]
    roughness: tuple[float, float] | None
    metallic: tuple[float, float] | None
    textures: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Symmetry:
    """Turning by 2 pi / order about `axis` through `origin_m` maps the object onto itself; 0 = any angle."""

    axis: tuple[float, float, float]
    origin_m: tuple[float, float, float]
    order: int


Moving = tuple[tuple[str, ...], Array]
"""Names of joints, and the points (H, 3) that they move one after another."""


@dataclass(frozen=True)
class ObjectAsset:
    """One object type, ready to be placed.

    meshes: shape variants, each a tuple of parts. keypoints_m: (K, 3), object frame.
    keypoint_depth_m: (M, K) distance of each keypoint, where it is labelled, to the surface of each shape
    variant; on a ring the largest. keypoint_normals: per variant and keypoint, outward normals (N, 3) of the
    faces that meet there, N = 0 where it does not lie on a closed surface.
    hulls: per variant, (H, 3) corners of the convex hull, joints at rest; moving_hulls: of each group of
    parts, with the joints that move it, in their order, () without joints; pieces: alike, of bodies that fill
    about what the variant fills. stable_poses: per variant, (rotation (3, 3) onto the plane, probability).
    diameter_m: the bounding box's diagonal.
    materials: part name -> range, '*' = all others. scale_range: per axis. apparent_size: longest side
    of the object's box as a share of the image's longer side. hashes: file name -> sha256.
    absent_files: names of textures and material files that the meshes ask for and that are not there.
    not_drawn: per variant, what else its file asks for and is not drawn, in words.
    """

    name: str
    category_id: int
    meshes: tuple[tuple[Part, ...], ...]
    keypoints_m: Array
    keypoint_depth_m: Array
    keypoint_normals: tuple[tuple[Array, ...], ...]
    schema: KeypointSchema
    placement: Placement
    materials: dict[str, MaterialRange]
    joints: tuple[Joint, ...]
    scale_range: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    apparent_size: tuple[float, float]
    symmetries: tuple[Symmetry, ...]
    hulls: tuple[Array, ...]
    stable_poses: tuple[tuple[tuple[Array, float], ...], ...]
    diameter_m: float
    hashes: dict[str, str]
    rings: tuple[Ring, ...] = ()
    moving_hulls: tuple[tuple[Moving, ...], ...] = ()
    pieces: tuple[tuple[Moving, ...], ...] = ()
    absent_files: tuple[str, ...] = ()
    not_drawn: tuple[tuple[str, ...], ...] = ()
