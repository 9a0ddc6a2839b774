"""Which turns and mirrors map an object onto itself, and whether its keypoints follow."""

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import KDTree

from synth.asset import ObjectAsset, Part
from synth.geometry import axis_angle, transform_points
from synth.inspect.remark import KEYPOINT_TOLERANCE, Remark
from synth.objects.hulls import merged
from synth.types import Array

SYMMETRY_TOLERANCE = 0.02
"""Two shapes are the same when 95 % of their points lie this close, as a share of the diameter."""
SAMPLES, QUERIES = 30_000, 2_000


def surface_points(parts: tuple[Part, ...]) -> Array:
    """(SAMPLES, 3) points spread over the surface, the same on every call."""
    vertices, faces = merged(parts)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    points: Array = trimesh.sample.sample_surface(mesh, SAMPLES, seed=0)[0]
    return points


def check_flips(asset: ObjectAsset) -> list[Remark]:
    """flip_pairs against the mesh's mirror planes: mirrored, a keypoint must land on its partner."""
    names, pairs = asset.schema.names, asset.schema.flip_pairs
    plane, misfit = best_mirror(asset)
    text = f"the plane across {axis_text(plane[0])}"
    symmetric = misfit < SYMMETRY_TOLERANCE
    if pairs is None:
        shape = f"the mesh is mirror-symmetric in {text}" if symmetric else "the mesh has no mirror symmetry"
        return [Remark("info", "flip_pairs", f"undefined, pictures are never mirrored; {shape}")]
    if not symmetric:
        message = (
            f"the mesh has no mirror symmetry (best: {text}, off by {misfit:.1%} of the diameter): if a "
            "mirrored picture shows no object of this kind, write flip_pairs: undefined"
        )
        return [Remark("warning", "flip_pairs", message)]
    gaps = mirror_gaps(asset, *plane)
    partner = partners(asset)
    off = gaps[np.arange(len(names)), partner] / asset.diameter_m
    wrong = [
        Remark(
            "error",
            f"flip_pairs.{names[k]}",
            f"mirrored in {text} it lands {off[k]:.0%} of the diameter from {names[partner[k]]}, "
            f"nearest to {names[int(gaps[k].argmin())]}",
        )
        for k in np.flatnonzero(off > KEYPOINT_TOLERANCE)
    ]
    agree = f"agree with the mesh's mirror symmetry in {text} (within {misfit:.1%} of the diameter)"
    return wrong or [Remark("info", "flip_pairs", agree)]


def partners(asset: ObjectAsset) -> NDArray[np.int64]:
    """(K,) index each keypoint takes in a mirrored picture."""
    partner = np.arange(len(asset.schema))
    for a, b in asset.schema.flip_pairs or ():
        partner[a], partner[b] = b, a
    return partner


def best_mirror(asset: ObjectAsset) -> tuple[tuple[Array, Array], float]:
    """The mirror plane (normal, point) that suits mesh and flip pairs best, and the mesh's misfit there.

    Misfit: 95th percentile of the distances between the mirrored first mesh and the nearest of all shape
    variants, as a share of the diameter. Among planes that suit the mesh the one that suits the pairs wins.
    """
    points = surface_points(asset.meshes[0])
    variants = [KDTree(surface_points(parts)) for parts in asset.meshes]
    partner = partners(asset)
    found = []
    for plane in candidate_planes(asset, points):
        mirrored = mirror(points[:QUERIES], *plane)
        misfit = min(misfit_of(mirrored, tree) for tree in variants) / asset.diameter_m
        off = mirror_gaps(asset, *plane)[np.arange(len(partner)), partner] / asset.diameter_m
        suits = misfit < SYMMETRY_TOLERANCE
        strays = int((off > KEYPOINT_TOLERANCE).sum()) if suits else 0
        found.append((not suits, strays, misfit, plane))
    _, _, misfit, plane = min(found, key=lambda f: f[:3])
    return plane, misfit


def candidate_planes(asset: ObjectAsset, points: Array) -> list[tuple[Array, Array]]:
    """Planes across the axes, the principal axes and the flip pairs, through the middle of the mesh."""
    corners = merged(asset.meshes[0])[0]
    middle = (corners.min(0) + corners.max(0)) / 2
    planes = [(axis, middle) for axis in np.eye(3)]
    centre = points.mean(0)
    _, principal = np.linalg.eigh(np.cov((points - centre).T))
    planes += [(axis, centre) for axis in principal.T]
    ends = [(asset.keypoints_m[a], asset.keypoints_m[b]) for a, b in asset.schema.flip_pairs or ()]
    lengths = [float(np.linalg.norm(a - b)) for a, b in ends]
    planes += [((a - b) / n, (a + b) / 2) for (a, b), n in zip(ends, lengths, strict=True) if n > 0]
    return planes


def mirror(points: Array, normal: Array, origin: Array) -> Array:
    return points - 2 * np.outer((points - origin) @ normal, normal)


def mirror_gaps(asset: ObjectAsset, normal: Array, origin: Array) -> Array:
    """(K, K) metres from each mirrored keypoint to every keypoint."""
    mirrored = mirror(asset.keypoints_m, normal, origin)
    gaps: Array = np.linalg.norm(mirrored[:, None] - asset.keypoints_m[None], axis=-1)
    return gaps


def misfit_of(points: Array, tree: KDTree) -> float:
    return float(np.percentile(tree.query(points)[0], 95))


def check_rotations(asset: ObjectAsset) -> list[Remark]:
    """Declared rotational symmetries must turn the mesh onto itself."""
    if not asset.symmetries:
        return []
    points = surface_points(asset.meshes[0])
    tree = KDTree(points)
    remarks = []
    for i, symmetry in enumerate(asset.symmetries):
        angle = 2 * np.pi / symmetry.order if symmetry.order else 1.0
        R, origin = axis_angle(symmetry.axis, angle), np.array(symmetry.origin_m)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = R, origin - R @ origin
        misfit = misfit_of(transform_points(T, points[:QUERIES]), tree) / asset.diameter_m
        how = f"a turn of {np.degrees(angle):.0f} degrees about {axis_text(np.array(symmetry.axis))}"
        if misfit < SYMMETRY_TOLERANCE:
            remarks.append(
                Remark("info", f"symmetries.{i}", f"{how} maps the mesh onto itself ({misfit:.1%})")
            )
            remarks += _alike(asset, f"symmetries.{i}", how, T)
        else:
            message = f"{how} moves the mesh by {misfit:.0%} of the diameter (95 % of points), expected none"
            remarks.append(Remark("error", f"symmetries.{i}", message))
    return remarks


def _alike(asset: ObjectAsset, field: str, how: str, T: Array) -> list[Remark]:
    """Keypoints that the symmetry's turn T (4, 4) puts in one another's place."""
    turned, names = transform_points(T, asset.keypoints_m), asset.schema.names
    gaps = np.linalg.norm(turned[:, None] - asset.keypoints_m[None], axis=-1)
    pairs = [(a, b) for a, b in np.argwhere(gaps < KEYPOINT_TOLERANCE * asset.diameter_m) if a != b]
    if not pairs:
        return []
    a, b = (names[k] for k in pairs[0])
    return [
        Remark(
            "warning",
            field,
            f"{how} puts {a} in the place of {b}: if no print tells them apart, no picture does, and the "
            "detector learns to guess; name only keypoints that differ",
        )
    ]


def axis_text(axis: Array) -> str:
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    for name, unit_axis in zip("xyz", np.eye(3), strict=True):
        if np.allclose(axis, unit_axis, atol=1e-3):
            return name
    return "({:.2f}, {:.2f}, {:.2f})".format(*axis)
