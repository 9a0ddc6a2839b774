"""Placed objects: where an instance's keypoints and outline lie in the world and in the image."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from synth.asset import Moving, ObjectAsset
from synth.geometry import axis_angle, inverse, project, rigid, transform_points
from synth.types import Array, Camera, ObjectInstance


def object_points(asset: ObjectAsset, instance: ObjectInstance, camera: Camera) -> Array:
    """The instance's keypoints (K, 3) in world, as the camera sees them: joints, shape scale, then pose."""
    points = seen_points(asset, eyes_on(asset, instance, camera))
    for joint in asset.joints:
        own = list(joint.keypoints)
        points[own] = transform_points(
            joint_transform(asset, joint.name, instance.joints[joint.name]), points[own]
        )
    return transform_points(instance.T_world_from_object, points * np.array(instance.scale))


def eyes_on(asset: ObjectAsset, instance: ObjectInstance, camera: Camera) -> Array:
    """(K, 3) where the camera stands for each keypoint; object frame, unscaled, joints at rest."""
    eye = transform_points(inverse(instance.T_world_from_object), camera.T_world_from_camera[:3, 3])
    eyes = np.tile(eye / np.array(instance.scale), (len(asset.schema), 1))
    for joint in reversed(asset.joints):
        own = list(joint.keypoints)
        back = inverse(joint_transform(asset, joint.name, instance.joints[joint.name]))
        eyes[own] = transform_points(back, eyes[own])
    return eyes


def faces_camera(asset: ObjectAsset, instance: ObjectInstance, camera: Camera) -> NDArray[np.bool_]:
    """(K,) False for keypoints all of whose faces are turned away."""
    normals, towards = asset.keypoint_normals[instance.mesh], eyes_on(asset, instance, camera)
    towards -= asset.keypoints_m
    facing = np.array(
        [not len(own) or bool((own @ eye > 0).any()) for own, eye in zip(normals, towards, strict=True)]
    )
    facing[[ring.keypoint for ring in asset.rings]] = True
    return facing


def seen_points(asset: ObjectAsset, eyes: Array) -> Array:
    """The asset's keypoints (K, 3), each seen from its row of `eyes` (K, 3); object frame, joints at rest.

    On its ring a keypoint is the point nearest to the eye, on the ring's axis it stays at the centre.
    """
    points = asset.keypoints_m.copy()
    for ring in asset.rings:
        axis, towards = np.array(ring.axis), eyes[ring.keypoint] - points[ring.keypoint]
        across = towards - (towards @ axis) * axis
        length = float(np.linalg.norm(across))
        if length > 1e-9:
            points[ring.keypoint] += ring.radius_m / length * across
    return points


def joint_transform(asset: ObjectAsset, name: str, value: float) -> Array:
    """(4, 4) motion of the joint's parts within the unscaled object frame."""
    joint = next(j for j in asset.joints if j.name == name)
    R, origin = axis_angle(joint.axis, value), np.array(joint.origin_m)
    return rigid(R, origin - R @ origin)


def projected_box(camera: Camera, points_world: Array) -> Array | None:
    """(4,) x0, y0, x1, y1 of the projected points, in pixels; None when one lies behind the camera."""
    uv, depth = project(camera, points_world)
    if depth.min() <= 1e-6:
        return None
    return np.concatenate([uv.min(0), uv.max(0)])


def hull_of(asset: ObjectAsset, mesh: int, joints: Mapping[str, float]) -> Array:
    """(H, 3) points with the convex hull of a shape variant whose joints are moved; unscaled object frame."""
    if not asset.joints:
        return asset.hulls[mesh]
    return np.concatenate(moved(asset, asset.moving_hulls[mesh], joints))


def moved(asset: ObjectAsset, bodies: Iterable[Moving], joints: Mapping[str, float]) -> list[Array]:
    """The bodies' points with the asset's joints moved; unscaled object frame."""
    found = []
    for names, points in bodies:
        for name in names:
            points = transform_points(joint_transform(asset, name, joints[name]), points)
        found.append(points)
    return found


def hull_world(asset: ObjectAsset, instance: ObjectInstance) -> Array:
    """(H, 3) points in world with the instance's convex hull."""
    corners = hull_of(asset, instance.mesh, instance.joints) * np.array(instance.scale)
    return transform_points(instance.T_world_from_object, corners)


def middle(points: Array) -> Array:
    """(3,) of the box of points (N, 3). Where an object is: its origin may lie anywhere."""
    return np.asarray((points.min(0) + points.max(0)) / 2)


def camera_from_object(camera: Camera, instance: ObjectInstance) -> Array:
    """T_camera_from_object (4, 4) of one instance."""
    return inverse(camera.T_world_from_camera) @ instance.T_world_from_object
