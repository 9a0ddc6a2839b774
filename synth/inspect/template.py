"""`meshmark asset new`: an object folder started from a mesh file."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import trimesh

from synth.asset import Part
from synth.errors import AssetError
from synth.objects.hulls import merged
from synth.objects.load import load_object
from synth.objects.meshes import load_mesh
from synth.system.files import write_text
from synth.types import Array

TEMPLATE = """\
# {name}: edit, then run `meshmark asset check` on this folder.
# Coordinates are in the mesh file's own unit and axes; angles in degrees; ranges are [low, high].
name: "{name}"
category_id: 1 # the label's number in the data set; 0 is the background

# One file, or a list of files with the same parts: shape variants to choose from.
mesh: {mesh}

# Metres per mesh unit: 1.0 = metres, 0.01 = centimetres, 0.001 = millimetres.
# A guess from the size: the mesh spans {span} units, that is {metres} m. Is that the real size?
unit_m: {unit}

# Name: [x, y, z]. These are the middles of the mesh's outermost points along each axis.
# Replace them by points that people would click alike on a photo, and name them after what they are.
# On a round part the point one sees: {{at: [x, y, z], axis: [x, y, z], radius: r}}, a circle about its axis.
keypoints:
{keypoints}

# Lines to draw between keypoints.
skeleton: []

# What a mirrored picture does to the names:
#   undefined        a mirrored picture shows no object of this kind (print, screws, a left shoe)
#   []               mirroring moves no name
#   [[left, right]]  these trade names
flip_pairs: undefined

# How far labels of a keypoint scatter, as a share of the square root of the object's area: one number for
# all, or one each (name: number). It sets the strictness of keypoint AP.
oks_sigmas: 0.05

# Turns that map the object onto itself, print included; order 0 = any angle.
# symmetries:
#   - {{axis: [0, 0, 1], origin: [0, 0, 0], order: 2}}

placement:
  # resting: lies on the ground in a stable pose; upright: `up` points to the sky; free: in the air
  mode: resting
  up: {up}
  # plane_at: 0.0             # upright: height along `up` at which the ground (water) cuts the object
  # tilt_axis: [1, 0, 0]      # upright: leans about this axis ...
  # tilt_deg: [-10, 10]       # ... by so much
  # facing_axis: [0, 0, 1]    # free: the side that faces the camera ...
  # facing_max_deg: 75        # ... within this angle
  elevation_deg: [20, 90] # of the camera above the ground (resting, upright)

# Longest side of the object's box as a share of the image's longer side. Measure it on your photos.
apparent_size: [0.15, 0.6]

# Shape changes along the axes, as factors.
scale: {{x: [1.0, 1.0], y: [1.0, 1.0], z: [1.0, 1.0]}}

# Parts that turn about an axis, with the keypoints they carry.
# joints:
#   lid: {{parts: [lid], keypoints: [handle], axis: [1, 0, 0], origin: [0, 0, 0], range_deg: [0, 90]}}

# How a part's look may vary; '*' = every part not listed. The mesh's parts: {parts}.
# saturation and value are factors; textures: alternative images in this folder. roughness and metallic are
# absolute, factors where the mesh has a texture of them; left open they are the mesh's own, roughness without
# a texture 0.3 to 0.8.
materials:
  "*":
    hue_deg: [-8, 8]
    saturation: [0.8, 1.2]
    value: [0.8, 1.2]
    # roughness: [0.3, 0.8]
    # metallic: [0.0, 0.0]
"""
SOURCE = """\
# {name}
Origin: where does `{mesh}` come from?
Licence: under which licence may it be used and passed on?
"""


def write_template(path: Path, mesh: Path) -> tuple[str, ...]:
    """Copies the mesh with the files read beside it into the new folder `path`, with a commented object.yaml.

    Returns what the mesh asks for and is not drawn: textures and material files that are not there, and more.
    Raises AssetError when `path` exists, or the mesh or such a file is unreadable or a link; nothing is left
    behind then.
    """
    if path.exists():
        raise AssetError(f"{path}: exists already; a template is written into a new folder only")
    if not mesh.is_file():
        raise AssetError(f"{mesh}: no such mesh file")
    loaded = load_mesh(mesh, 1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)).resolve()
    try:
        shutil.copyfile(mesh, staging / mesh.name)
        for file in loaded.files:
            copy = staging / file.relative_to(mesh.parent.resolve())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        write_text(staging / "object.yaml", fill_template(path.name, mesh, loaded.parts))
        write_text(staging / "SOURCE.md", SOURCE.format(name=path.name, mesh=mesh.name))
        links = set(load_object.__wrapped__(staging).absent_files) - set(loaded.absent)
        if links:
            raise AssetError(f"{mesh}: names {min(links)!r}, which is a link")
        staging.chmod(0o755)
        staging.rename(path)
    except AssetError as error:
        raise AssetError(str(error).replace(str(staging), str(mesh.parent))) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    absent = [
        f"names {name!r}, which does not exist: drawn without it" for name in dict.fromkeys(loaded.absent)
    ]
    return (*absent, *loaded.not_drawn)


def fill_template(name: str, mesh: Path, parts: tuple[Part, ...]) -> str:
    """The text of object.yaml for a mesh file and its parts, in the file's unit."""
    vertices, faces = merged(parts)
    span = np.ptp(vertices, axis=0)
    unit = guess_unit(mesh.suffix.lower(), float(span.max()))
    keypoints = {
        f"{axis}_{end}": extreme_point(vertices[faces], vertices, i, sign)
        for i, axis in enumerate("xyz")
        for end, sign in (("min", -1.0), ("max", 1.0))
    }
    part_names = ", ".join(sorted({part.name for part in parts}))
    lines = [f"  {key}: [{', '.join(f'{v:.6g}' for v in point)}]" for key, point in keypoints.items()]
    return TEMPLATE.format(
        name=re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64],
        mesh=json.dumps(mesh.name, ensure_ascii=False),
        span=" x ".join(f"{v:.4g}" for v in span),
        metres=" x ".join(f"{v * unit:.4g}" for v in span),
        unit=unit,
        keypoints="\n".join(lines),
        up="[0, 1, 0] # as glTF says" if mesh.suffix.lower() in (".glb", ".gltf") else "[0, 0, 1]",
        parts="".join(c if c.isprintable() else " " for c in part_names),
    )


def guess_unit(suffix: str, longest: float) -> float:
    """Metres per unit: glTF is in metres by definition; else handy things of 2 cm to 2 m are assumed."""
    if suffix in (".glb", ".gltf") and longest < 50:
        return 1.0
    return 1.0 if longest < 2 else 0.01 if longest < 60 else 0.001


def extreme_point(triangles: Array, vertices: Array, axis: int, sign: float) -> Array:
    """The surface point nearest to the middle of the vertices that lie farthest along sign * axis."""
    height = sign * vertices[:, axis]
    middle = vertices[height >= height.max() - 1e-6 * np.ptp(height)].mean(0)
    onto = trimesh.triangles.closest_point(triangles, np.broadcast_to(middle, (len(triangles), 3)))
    nearest: Array = onto[np.linalg.norm(onto - middle, axis=1).argmin()]
    return nearest
