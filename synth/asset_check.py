"""Lint of object folders, the template of a new one, and the turntable picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from scipy.spatial import KDTree

from synth.asset_template import write_template
from synth.assets import ObjectSpec, load_object, load_spec
from synth.errors import AssetError
from synth.geometry import apply, axis_angle, circle
from synth.instance import middle
from synth.mesh_files import ignored
from synth.meshes import merged
from synth.turntable import write_turntable
from synth.types import Array, ObjectAsset, Part

__all__ = ["Finding", "check_object", "print_findings", "write_template", "write_turntable"]

SMALLEST_M, LARGEST_M = 0.0005, 100.0
DOUBTFUL_M = (0.005, 20.0)
HANDY_M = (0.02, 2.0)
UNITS = {0.001: "millimetres", 0.01: "centimetres", 0.0254: "inches", 1.0: "metres"}
SYMMETRY_TOLERANCE = 0.02
"""Two shapes are the same when 95 % of their points lie this close, as a share of the diameter."""
KEYPOINT_TOLERANCE = 0.03
FAR_FROM_SURFACE = 0.15
FAR_FROM_ORIGIN = 1e3
"""In sizes of the mesh: single precision leaves a ten thousandth of its size there."""
MANY_PARTS = 200
SAMPLES, QUERIES = 30_000, 2_000


@dataclass(frozen=True)
class Finding:
    """level: 'error' | 'warning' | 'info'. field: of object.yaml, or what was looked at."""

    level: str
    field: str
    message: str


def check_object(name_or_path: str | Path) -> list[Finding]:
    """What is wrong, doubtful or worth knowing; a folder that cannot be loaded is one error."""
    try:
        folder, spec = load_spec(name_or_path)
        asset = load_object(name_or_path)
    except AssetError as error:
        return [Finding("error", "object.yaml", str(error))]
    findings = check_size(asset, spec) + check_keypoints(asset)
    findings += check_flips(asset) + check_rotations(asset)
    findings += check_materials(asset, spec) + check_meshes(asset, spec, folder)
    if not (folder / "SOURCE.md").is_file():
        findings.append(
            Finding("warning", "SOURCE.md", "missing: say where the mesh comes from and its licence")
        )
    return findings


def print_findings(findings: list[Finding]) -> bool:
    """One line each, errors first. Returns whether there is an error."""
    console = Console(soft_wrap=True, highlight=False)
    styles = {"error": "bold red", "warning": "yellow", "info": "dim"}
    for level, style in styles.items():
        for finding in findings:
            if finding.level == level:
                text = f"{finding.field}: {finding.message}"
                console.print(f"[{style}]{level:8}[/] {escape(text)}")
    return any(finding.level == "error" for finding in findings)


def check_size(asset: ObjectAsset, spec: ObjectSpec) -> list[Finding]:
    x, y, z = np.ptp(merged(asset.meshes[0])[0], axis=0)
    size = f"{x:.4g} x {y:.4g} x {z:.4g} m"
    if not SMALLEST_M <= asset.diameter_m <= LARGEST_M:
        message = (
            f"the object measures {size}, expected {SMALLEST_M} to {LARGEST_M:g} m; {_try_unit(asset, spec)}"
        )
        return [Finding("error", "unit_m", message)]
    if not DOUBTFUL_M[0] <= asset.diameter_m <= DOUBTFUL_M[1]:
        return [Finding("warning", "unit_m", f"the object measures {size}; {_try_unit(asset, spec)}")]
    return [Finding("info", "unit_m", f"the object measures {size}")]


def _try_unit(asset: ObjectAsset, spec: ObjectSpec) -> str:
    """The UNITS that give the object a handy size."""
    sizes = {unit: asset.diameter_m / spec.unit_m * unit for unit in UNITS}
    fitting = [
        f"{unit:g} ({name}: {sizes[unit]:.3g} m across)"
        for unit, name in UNITS.items()
        if HANDY_M[0] <= sizes[unit] <= HANDY_M[1]
    ]
    return f"try unit_m: {' or '.join(fitting)}" if fitting else "is unit_m right?"


def check_keypoints(asset: ObjectAsset) -> list[Finding]:
    """Each keypoint inside the mesh or near its surface, no two at the same place."""
    findings = []
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
        findings.append(Finding(level, f"keypoints.{name}", where))
    gaps = np.linalg.norm(asset.keypoints_m[:, None] - asset.keypoints_m[None], axis=-1)
    for a, b in np.argwhere(np.triu(gaps < 1e-3 * asset.diameter_m, 1)):
        names = asset.schema.names
        findings.append(Finding("warning", "keypoints", f"{names[a]} and {names[b]} lie at the same place"))
    return findings


def winding_number(parts: tuple[Part, ...], point: Array) -> float:
    """How often the faces wrap around `point` (3,): about 1 inside a closed mesh, 0 outside."""
    vertices, faces = merged(parts)
    a, b, c = np.moveaxis(vertices[faces] - point, 1, 0)
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c))
    along = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(np.arctan2(volume, along).sum() / (2 * np.pi))


def surface_points(parts: tuple[Part, ...]) -> Array:
    """(SAMPLES, 3) points spread over the surface, the same on every call."""
    vertices, faces = merged(parts)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    points: Array = trimesh.sample.sample_surface(mesh, SAMPLES, seed=0)[0]
    return points


def check_flips(asset: ObjectAsset) -> list[Finding]:
    """flip_pairs against the mesh's mirror planes: mirrored, a keypoint must land on its partner."""
    names, pairs = asset.schema.names, asset.schema.flip_pairs
    plane, misfit = best_mirror(asset)
    text = f"the plane across {_axis_text(plane[0])}"
    symmetric = misfit < SYMMETRY_TOLERANCE
    if pairs is None:
        shape = f"the mesh is mirror-symmetric in {text}" if symmetric else "the mesh has no mirror symmetry"
        return [Finding("info", "flip_pairs", f"undefined, pictures are never mirrored; {shape}")]
    if not symmetric:
        message = (
            f"the mesh has no mirror symmetry (best: {text}, off by {misfit:.1%} of the diameter): if a "
            "mirrored picture shows no object of this kind, write flip_pairs: undefined"
        )
        return [Finding("warning", "flip_pairs", message)]
    gaps = mirror_gaps(asset, *plane)
    partner = partners(asset)
    off = gaps[np.arange(len(names)), partner] / asset.diameter_m
    wrong = [
        Finding(
            "error",
            f"flip_pairs.{names[k]}",
            f"mirrored in {text} it lands {off[k]:.0%} of the diameter from {names[partner[k]]}, "
            f"nearest to {names[int(gaps[k].argmin())]}",
        )
        for k in np.flatnonzero(off > KEYPOINT_TOLERANCE)
    ]
    agree = f"agree with the mesh's mirror symmetry in {text} (within {misfit:.1%} of the diameter)"
    return wrong or [Finding("info", "flip_pairs", agree)]


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


def check_rotations(asset: ObjectAsset) -> list[Finding]:
    """Declared rotational symmetries must turn the mesh onto itself."""
    if not asset.symmetries:
        return []
    points = surface_points(asset.meshes[0])
    tree = KDTree(points)
    findings = []
    for i, symmetry in enumerate(asset.symmetries):
        angle = 2 * np.pi / symmetry.order if symmetry.order else 1.0
        R, origin = axis_angle(symmetry.axis, angle), np.array(symmetry.origin_m)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = R, origin - R @ origin
        misfit = misfit_of(apply(T, points[:QUERIES]), tree) / asset.diameter_m
        how = f"a turn of {np.degrees(angle):.0f} degrees about {_axis_text(np.array(symmetry.axis))}"
        if misfit < SYMMETRY_TOLERANCE:
            findings.append(
                Finding("info", f"symmetries.{i}", f"{how} maps the mesh onto itself ({misfit:.1%})")
            )
            findings += _alike(asset, f"symmetries.{i}", how, T)
        else:
            message = f"{how} moves the mesh by {misfit:.0%} of the diameter (95 % of points), expected none"
            findings.append(Finding("error", f"symmetries.{i}", message))
    return findings


def _alike(asset: ObjectAsset, field: str, how: str, T: Array) -> list[Finding]:
    """Keypoints that the symmetry's turn T (4, 4) puts in one another's place."""
    turned, names = apply(T, asset.keypoints_m), asset.schema.names
    gaps = np.linalg.norm(turned[:, None] - asset.keypoints_m[None], axis=-1)
    pairs = [(a, b) for a, b in np.argwhere(gaps < KEYPOINT_TOLERANCE * asset.diameter_m) if a != b]
    if not pairs:
        return []
    a, b = (names[k] for k in pairs[0])
    return [
        Finding(
            "warning",
            field,
            f"{how} puts {a} in the place of {b}: if no print tells them apart, no picture does, and the "
            "detector learns to guess; name only keypoints that differ",
        )
    ]


def check_materials(asset: ObjectAsset, spec: ObjectSpec) -> list[Finding]:
    """Alternative textures need a part with texture coordinates; says which parts are textured."""
    parts = {part.name: part for parts in asset.meshes for part in parts}
    findings = []
    for name, material in spec.materials.items():
        meant = [
            p for p in parts.values() if p.name == name or (name == "*" and p.name not in spec.materials)
        ]
        bare = sorted(p.name for p in meant if p.uv is None)
        if material.textures and bare:
            message = (
                f"textures are listed, but in the mesh {', '.join(bare)} has no texture with coordinates"
            )
            findings.append(Finding("error" if name != "*" else "warning", f"materials.{name}", message))
    textured = sorted(p.name for p in parts.values() if p.texture is not None)
    plain = sorted(set(parts) - set(textured))
    text = f"textured: {', '.join(textured) or 'none'}; plain: {', '.join(plain) or 'none'}"
    return [*findings, Finding("info", "materials", text)]


def check_meshes(asset: ObjectAsset, spec: ObjectSpec, folder: Path) -> list[Finding]:
    """Absent textures, counts of faces and parts, watertightness, repeated part names, poses of rest."""
    findings = [
        Finding("warning", "mesh", f"{name!r} is named by the mesh, but does not exist: drawn without it")
        for name in asset.absent_files
    ]
    for file, parts, poses in zip(spec.mesh_files, asset.meshes, asset.stable_poses, strict=True):
        findings += [Finding("warning", file, what) for what in ignored(folder / file)]
        faces = sum(len(p.faces) for p in parts)
        open_parts = sorted(p.name for p in parts if not p.closed)
        sealed = (
            f"not watertight: {', '.join(open_parts)} (drawn from both sides)" if open_parts else "watertight"
        )
        rest = f"; rests in {len(poses)} poses" if spec.placement.mode == "resting" else ""
        findings.append(Finding("info", file, f"{faces} faces, {sealed}{rest}"))
        if faces > 200_000:
            findings.append(
                Finding("warning", file, f"{faces} faces make rendering slow; 5,000 to 50,000 are plenty")
            )
        if len(parts) > MANY_PARTS:
            message = f"{len(parts)} parts make rendering slow: join those of one material"
            findings.append(Finding("warning", file, message))
        vertices, _ = merged(parts)
        away = float(np.linalg.norm(middle(vertices)) / np.ptp(vertices, axis=0).max())
        if away > FAR_FROM_ORIGIN:
            message = f"lies {away:.3g} times its size from its origin, too far to be drawn sharply"
            findings.append(Finding("warning", file, message))
        names = [p.name for p in parts]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            findings.append(Finding("warning", file, f"several parts are called {', '.join(twice)}"))
    return findings


def _axis_text(axis: Array) -> str:
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    for name, unit_axis in zip("xyz", np.eye(3), strict=True):
        if np.allclose(axis, unit_axis, atol=1e-3):
            return name
    return "({:.2f}, {:.2f}, {:.2f})".format(*axis)
