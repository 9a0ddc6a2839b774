"""object.yaml, field by field; coordinates in mesh units, angles in degrees."""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from synth.asset import Ring
from synth.system.yaml_files import Range, between
from synth.types import Array, KeypointSchema

Vec3 = tuple[float, float, float]


def _with_length(v: Vec3) -> Vec3:
    if not any(v):
        raise ValueError("has length 0, expected a direction")
    return v


Axis = Annotated[Vec3, AfterValidator(_with_length)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class PlacementSpec(Strict):
    mode: Literal["resting", "upright", "free"] = "resting"
    up: Axis = (0.0, 0.0, 1.0)
    plane_at: float | None = None
    tilt_axis: Axis = (1.0, 0.0, 0.0)
    tilt_deg: Range = (0.0, 0.0)
    facing_axis: Axis = (0.0, 0.0, 1.0)
    facing_max_deg: Annotated[float, Field(gt=0, le=180)] = 180.0
    roll_deg: Range = (-180.0, 180.0)
    elevation_deg: Range = (20.0, 90.0)

    @model_validator(mode="after")
    def _camera_is_above_the_ground(self) -> "PlacementSpec":
        lowest, (low, high) = -90 if self.mode == "free" else 0, self.elevation_deg
        if not (lowest <= low and lowest < high <= 90):
            expected = f"{lowest} <= low, {lowest} < high <= 90 for objects that are {self.mode}"
            raise ValueError(f"elevation_deg: expected {expected}, got {[low, high]}")
        return self


class MaterialSpec(Strict):
    hue_deg: Annotated[Range, between(-360, 360)] = (-10.0, 10.0)
    saturation: Annotated[Range, between(0, 100)] = (0.8, 1.2)
    value: Annotated[Range, between(0, 100)] = (0.8, 1.2)
    roughness: Annotated[Range, between(0, 1)] | None = None
    metallic: Annotated[Range, between(0, 1)] | None = None
    textures: list[str] = []


class JointSpec(Strict):
    parts: list[str]
    keypoints: list[str] = []
    axis: Axis
    origin: Vec3 = (0.0, 0.0, 0.0)
    range_deg: Range


class ScaleSpec(Strict):
    x: Range = (1.0, 1.0)
    y: Range = (1.0, 1.0)
    z: Range = (1.0, 1.0)

    @model_validator(mode="after")
    def _positive(self) -> "ScaleSpec":
        for axis, (low, _) in (("x", self.x), ("y", self.y), ("z", self.z)):
            if low <= 0:
                raise ValueError(f"{axis}: expected factors above 0, got {low:g}")
        return self


class SymmetrySpec(Strict):
    axis: Axis
    origin: Vec3 = (0.0, 0.0, 0.0)
    order: int = Field(ge=0)


class RingSpec(Strict):
    """The point nearest to the camera of the circle of `radius` about `axis` through `at`."""

    at: Vec3
    axis: Axis
    radius: float = Field(gt=0)


class ObjectSpec(Strict):
    """object.yaml, field by field."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    category_id: int = Field(1, ge=1)
    mesh: str | Annotated[list[str], Field(min_length=1)]
    unit_m: float = Field(gt=0)
    keypoints: dict[str, Vec3 | RingSpec] = Field(min_length=1)
    skeleton: list[tuple[str, str]] = []
    flip_pairs: Literal["undefined"] | list[tuple[str, str]]
    oks_sigmas: float | dict[str, float] = 0.05
    symmetries: list[SymmetrySpec] = []
    placement: PlacementSpec = PlacementSpec()
    apparent_size: Range = (0.15, 0.6)
    scale: ScaleSpec = ScaleSpec()
    joints: dict[str, JointSpec] = {}
    materials: dict[str, MaterialSpec] = {}

    @model_validator(mode="after")
    def _names_exist(self) -> "ObjectSpec":
        named = [(f"skeleton {pair}", name) for pair in self.skeleton for name in pair]
        if self.flip_pairs != "undefined":
            paired = [name for pair in self.flip_pairs for name in pair]
            if len(set(paired)) < len(paired):
                raise ValueError(f"flip_pairs {self.flip_pairs}: a keypoint stands in more than one place")
            named += [("flip_pairs", name) for name in paired]
        named += [(f"joints {j}", name) for j, spec in self.joints.items() for name in spec.keypoints]
        if isinstance(self.oks_sigmas, dict):
            if len(self.oks_sigmas) != len(self.keypoints):
                raise ValueError(
                    f"oks_sigmas has {len(self.oks_sigmas)} values, expected {len(self.keypoints)} "
                    "(one per keypoint)"
                )
            named += [("oks_sigmas", name) for name in self.oks_sigmas]
        for where, name in named:
            if name not in self.keypoints:
                raise ValueError(f"{where}: {name!r} is not a keypoint; keypoints are {list(self.keypoints)}")
        sigmas = self.oks_sigmas.values() if isinstance(self.oks_sigmas, dict) else [self.oks_sigmas]
        if min(sigmas) <= 0:
            raise ValueError("oks_sigmas must be greater than 0")
        low, high = self.apparent_size
        if not 0 < low <= high <= 2:
            raise ValueError(f"apparent_size {low, high}: expected 0 < low <= high <= 2")
        return self

    @property
    def mesh_files(self) -> list[str]:
        return [self.mesh] if isinstance(self.mesh, str) else self.mesh

    def keypoint_schema(self) -> KeypointSchema:
        names = tuple(self.keypoints)
        sigmas = self.oks_sigmas
        return KeypointSchema(
            names=names,
            skeleton=tuple((names.index(a), names.index(b)) for a, b in self.skeleton),
            flip_pairs=None
            if self.flip_pairs == "undefined"
            else tuple((names.index(a), names.index(b)) for a, b in self.flip_pairs),
            oks_sigmas=tuple(sigmas[n] if isinstance(sigmas, dict) else sigmas for n in names),
        )

    def keypoints_m(self) -> Array:
        """(K, 3); of a ring its centre."""
        points = [p.at if isinstance(p, RingSpec) else p for p in self.keypoints.values()]
        return np.array(points, dtype=np.float64) * self.unit_m

    def rings(self) -> tuple[Ring, ...]:
        return tuple(
            Ring(k, unit_axis(p.axis), p.radius * self.unit_m)
            for k, p in enumerate(self.keypoints.values())
            if isinstance(p, RingSpec)
        )


def unit_axis(v: Vec3) -> Vec3:
    length = math.hypot(*v)
    return v[0] / length, v[1] / length, v[2] / length
