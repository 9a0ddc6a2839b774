"""The object from all sides with its keypoints named: what `meshmark asset check` draws."""

import math
from pathlib import Path

import numpy as np

from synth.asset import MaterialRange, ObjectAsset, Part
from synth.geometry import intrinsics, look_at, rigid, rotation_between, unit
from synth.inspect.drawing import contact_sheet, draw_objects, write_image
from synth.labels import make_labels
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.render.backends import open_renderer
from synth.render.protocol import Renderer
from synth.scene.instances import hull_of
from synth.types import Array, Background, Camera, Light, Look, ObjectInstance, Rgb, SceneSpec, Sensor

VIEWS = 8
VIEW_PX = 480
JOINTS = "rest", "lowest", "rest", "highest"
"""Where joints stand from view to view."""
FOV = math.radians(30)
GREY = 1455
"""Seed of a plain surface without colour or pattern."""
ELEVATIONS = (math.radians(20), math.radians(50))


def write_turntable(name_or_path: str | Path, out: Path) -> None:
    """Renders the object's turntable picture into `out` (.png or .jpg)."""
    asset = load_object(name_or_path)
    renderer = open_renderer(Library((asset,)))
    try:
        picture = turntable(asset, renderer)
    finally:
        renderer.close()
    write_image(out, picture)


def turntable(asset: ObjectAsset, renderer: Renderer) -> Rgb:
    """(h, w, 3): VIEWS views around the object, shape variants in turn, keypoints named (hollow = hidden).

    renderer: opened on a library that holds `asset`.
    """
    library = Library((asset,))
    views, captions = [], []
    for i in range(VIEWS):
        scene = view(asset, i)
        result = renderer.render(scene)
        labels = make_labels(scene, library, result)
        views.append(draw_objects(result.rgb, asset.schema, labels.boxes_xyxy, labels.keypoints, names=True))
        azimuth, elevation = _angles(asset, i)
        captions.append(
            f"{math.degrees(azimuth):.0f} deg around, {math.degrees(elevation):.0f} up, "
            f"shape {i % len(asset.meshes) + 1} of {len(asset.meshes)}"
            + (f", joints at {JOINTS[i % len(JOINTS)]}" if asset.joints else "")
        )
    return contact_sheet(views, columns=4, tile_px=VIEW_PX, captions=captions)


def view(asset: ObjectAsset, i: int) -> SceneSpec:
    """The i-th scene: the object as placed in the world, alone, in even light, joints at one of JOINTS."""
    mesh, R = i % len(asset.meshes), view_rotation(asset, i % len(asset.meshes))
    joints = {
        j.name: {"lowest": j.range[0], "highest": j.range[1]}.get(
            JOINTS[i % len(JOINTS)], min(max(0.0, j.range[0]), j.range[1])
        )
        for j in asset.joints
    }
    corners = hull_of(asset, mesh, joints) @ R.T
    centre = (corners.min(0) + corners.max(0)) / 2
    radius = float(np.linalg.norm(corners - centre, axis=1).max())
    looks = {part.name: plain_look(part, asset.materials) for part in asset.meshes[mesh]}
    azimuth, elevation = _angles(asset, i)
    towards = np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    eye = towards * 1.12 * radius / math.sin(FOV / 2)
    focal = VIEW_PX / 2 / math.tan(FOV / 2)
    up = (0.0, 0.0, 1.0)
    x, y, z = (float(v) for v in towards)
    return SceneSpec(
        seed=0,
        index=i,
        camera=Camera(VIEW_PX, VIEW_PX, intrinsics(VIEW_PX, VIEW_PX, focal), look_at(eye, np.zeros(3))),
        objects=(ObjectInstance(asset.name, mesh, rigid(R, -centre), (1.0, 1.0, 1.0), joints, looks),),
        distractors=(),
        lights=(Light("key", (x, y, z), 0.6, (1.0, 1.0, 1.0)), Light("fill", up, 0.3, (1.0, 1.0, 1.0))),
        ambient=0.35,
        background=Background("plain", "", (0.0, 0.0, 1.0, 1.0), False, GREY, 1.0, 1.0, on_plane=False),
        sensor=Sensor(1.0, (1.0, 1.0, 1.0), 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 95),
    )


def view_rotation(asset: ObjectAsset, mesh: int) -> Array:
    """Rotation of the object for a camera that circles about z: as it rests, upright, or facing +x."""
    placement = asset.placement
    if placement.mode == "resting":
        return asset.stable_poses[mesh][0][0]
    if placement.mode == "upright":
        return rotation_between(np.array(placement.up), np.array([0.0, 0.0, 1.0]))
    facing = np.array(placement.facing_axis)
    above = next(v for v in (np.array(placement.up), np.eye(3)[1], np.eye(3)[0]) if abs(v @ facing) < 0.9)
    z = unit(above - (above @ facing) * facing)
    return np.array([facing, np.cross(z, facing), z])


def plain_look(part: Part, materials: dict[str, MaterialRange]) -> Look:
    """The part's own look, with the first of its alternative textures if it has some."""
    material = materials.get(part.name, materials.get("*"))
    textures = material.textures if material is not None else ()
    return Look(roughness=part.roughness, metallic=part.metallic, texture=0 if textures else None)


def _angles(asset: ObjectAsset, i: int) -> tuple[float, float]:
    """Azimuth and elevation of view i, radians: all around, or as far as a free object may turn away."""
    if asset.placement.mode == "free":
        reach = min(asset.placement.facing_max_angle, math.pi * (1 - 1 / VIEWS))
        return reach * (2 * i / (VIEWS - 1) - 1), ELEVATIONS[i % 2] / 2
    return 2 * math.pi * i / VIEWS, ELEVATIONS[i % 2]
