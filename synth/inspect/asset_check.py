"""Lint of object folders: size, keypoints, materials, meshes."""

from pathlib import Path

import numpy as np

from synth.asset import ObjectAsset, Part
from synth.errors import AssetError
from synth.geometry import circle
from synth.inspect.remark import KEYPOINT_TOLERANCE, Remark
from synth.inspect.symmetry import check_flips, check_rotations
from synth.objects.hulls import merged
from synth.objects.load import load_object, load_spec
from synth.objects.spec import ObjectSpec
from synth.scene.instances import middle
from synth.types import Array

SMALLEST_M, LARGEST_M = 0.0005, 100.0
DOUBTFUL_M = (0.005, 20.0)
HANDY_M = (0.02, 2.0)
UNITS = {0.001: "millimetres", 0.01: "centimetres", 0.0254: "inches", 1.0: "metres"}
FAR_FROM_SURFACE = 0.15
FAR_FROM_ORIGIN = 1e3
"""In sizes of the mesh: single precision leaves a ten thousandth of its size there."""
MANY_PARTS = 200


def check_object(name_or_path: str | Path) -> list[Remark]:
    """What is wrong, doubtful or worth knowing; a folder that cannot be loaded is one error."""
    try:
        folder, spec = load_spec(name_or_path)
        asset = load_object(name_or_path)
    except AssetError as error:
        return [Remark("error", "object.yaml", str(error))]
    remarks = check_size(asset, spec) + check_keypoints(asset)
    remarks += check_flips(asset) + check_rotations(asset)
    remarks += check_materials(asset, spec) + check_meshes(asset, spec)
    if not (folder / "SOURCE.md").is_file():
        remarks.append(
            Remark("warning", "SOURCE.md", "missing: say where the mesh comes from and its licence")
        )
    return remarks


def check_size(asset: ObjectAsset, spec: ObjectSpec) -> list[Remark]:
    x, y, z = np.ptp(merged(asset.meshes[0])[0], axis=0)
    size = f"{x:.4g} x {y:.4g} x {z:.4g} m"
    if not SMALLEST_M <= asset.diameter_m <= LARGEST_M:
        message = (
            f"the object measures {size}, expected {SMALLEST_M} to {LARGEST_M:g} m; {_try_unit(asset, spec)}"
        )
        return [Remark("error", "unit_m", message)]
    if not DOUBTFUL_M[0] <= asset.diameter_m <= DOUBTFUL_M[1]:
        return [Remark("warning", "unit_m", f"the object measures {size}; {_try_unit(asset, spec)}")]
    return [Remark("info", "unit_m", f"the object measures {size}")]


def _try_unit(asset: ObjectAsset, spec: ObjectSpec) -> str:
    """The UNITS that give the object a handy size."""
    sizes = {unit: asset.diameter_m / spec.unit_m * unit for unit in UNITS}
    fitting = [
        f"{unit:g} ({name}: {sizes[unit]:.3g} m across)"
        for unit, name in UNITS.items()
        if HANDY_M[0] <= sizes[unit] <= HANDY_M[1]
    ]
    return f"try unit_m: {' or '.join(fitting)}" if fitting else "is unit_m right?"


def check_keypoints(asset: ObjectAsset) -> list[Remark]:
    """Each keypoint inside the mesh or near its surface, no two at the same place."""
    remarks = []
    rings = {ring.keypoint: ring for ring in asset.rings}
    worst = asset.keypoint_depth_m.argmax(axis=0)
    for k, name in enumerate(asset.schema.names):
        distance = float(asset.keypoint_depth_m[worst[k], k])
        place, ring = asset.keypoints_m[k], rings.get(k)
        if ring:
            place = circle(place, ring.axis, ring.radius_m)[0]
        inside = winding_number(asset.meshes[worst[k]], place) > 0.5
        share = distance / asset.diameter_m
        where = f"{distance * 1000:.3g} mm {'inside' if inside else 'outside'} the surface"
        if share < 1e-4:
            where = "on the surface"
        if ring:
            where += f", on a circle of {ring.radius_m * 1000:.3g} mm"
        elif inside and share > KEYPOINT_TOLERANCE:
            where += "; if people click the round part they see, give it `at`, `axis` and `radius`"
        level = "info"
        if not inside and share > KEYPOINT_TOLERANCE:
            level = "error" if share > FAR_FROM_SURFACE else "warning"
            where += f" ({share:.0%} of the object's diameter); keypoints are in the mesh's own unit and axes"
        remarks.append(Remark(level, f"keypoints.{name}", where))
    gaps = np.linalg.norm(asset.keypoints_m[:, None] - asset.keypoints_m[None], axis=-1)
    for a, b in np.argwhere(np.triu(gaps < 1e-3 * asset.diameter_m, 1)):
        names = asset.schema.names
        remarks.append(Remark("warning", "keypoints", f"{names[a]} and {names[b]} lie at the same place"))
    return remarks


def winding_number(parts: tuple[Part, ...], point: Array) -> float:
    """How often the faces wrap around `point` (3,): about 1 inside a closed mesh, 0 outside."""
    vertices, faces = merged(parts)
    a, b, c = np.moveaxis(vertices[faces] - point, 1, 0)
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c))
    along = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(np.arctan2(volume, along).sum() / (2 * np.pi))


def check_materials(asset: ObjectAsset, spec: ObjectSpec) -> list[Remark]:
    """Alternative textures need a part with texture coordinates; says which parts are textured."""
    parts = {part.name: part for parts in asset.meshes for part in parts}
    remarks = []
    for name, material in spec.materials.items():
        meant = [
            p for p in parts.values() if p.name == name or (name == "*" and p.name not in spec.materials)
        ]
        bare = sorted(p.name for p in meant if p.uv is None)
        if material.textures and bare:
            message = (
                f"textures are listed, but in the mesh {', '.join(bare)} has no texture with coordinates"
            )
            remarks.append(Remark("error" if name != "*" else "warning", f"materials.{name}", message))
    textured = sorted(p.name for p in parts.values() if p.texture is not None)
    plain = sorted(set(parts) - set(textured))
    text = f"textured: {', '.join(textured) or 'none'}; plain: {', '.join(plain) or 'none'}"
    return [*remarks, Remark("info", "materials", text)]


def check_meshes(asset: ObjectAsset, spec: ObjectSpec) -> list[Remark]:
    """Absent textures, counts of faces and parts, watertightness, repeated part names, poses of rest."""
    remarks = [
        Remark("warning", "mesh", f"{name!r} is named by the mesh, but does not exist: drawn without it")
        for name in asset.absent_files
    ]
    variants = zip(spec.mesh_files, asset.meshes, asset.stable_poses, asset.not_drawn, strict=True)
    for file, parts, poses, not_drawn in variants:
        remarks += [Remark("warning", file, what) for what in not_drawn]
        faces = sum(len(p.faces) for p in parts)
        open_parts = sorted(p.name for p in parts if not p.closed)
        sealed = (
            f"not watertight: {', '.join(open_parts)} (drawn from both sides)" if open_parts else "watertight"
        )
        rest = f"; rests in {len(poses)} poses" if spec.placement.mode == "resting" else ""
        remarks.append(Remark("info", file, f"{faces} faces, {sealed}{rest}"))
        if faces > 200_000:
            remarks.append(
                Remark("warning", file, f"{faces} faces make rendering slow; 5,000 to 50,000 are plenty")
            )
        if len(parts) > MANY_PARTS:
            message = f"{len(parts)} parts make rendering slow: join those of one material"
            remarks.append(Remark("warning", file, message))
        vertices, _ = merged(parts)
        away = float(np.linalg.norm(middle(vertices)) / np.ptp(vertices, axis=0).max())
        if away > FAR_FROM_ORIGIN:
            message = f"lies {away:.3g} times its size from its origin, too far to be drawn sharply"
            remarks.append(Remark("warning", file, message))
        names = [p.name for p in parts]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            remarks.append(Remark("warning", file, f"several parts are called {', '.join(twice)}"))
    return remarks
