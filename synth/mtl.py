"""Surface maps of OBJ materials, of which trimesh reads the colour only.

`norm`, `map_Pr`, `map_Pm`, `Pr` and `Pm` are those of the "PBR extension" of MTL that tinyobjloader and
Blender know; many exporters write a picture of directions as `map_Bump`.
"""

import io
import math
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.resolvers import Resolver
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

NORMAL_MAPS = ("norm", "map_bump", "bump")
Words = dict[str, list[str]]
"""What stands behind each keyword of a material."""


def with_surface_maps(scene: trimesh.Scene, files: Resolver) -> None:
    """Replaces the materials of the scene's meshes by what `physical` makes of them."""
    made: dict[int, Any] = {}
    for geometry in scene.geometry.values():
        visual = getattr(geometry, "visual", None)
        if isinstance(visual, TextureVisuals):
            old = visual.material
            if id(old) not in made:
                made[id(old)] = physical(old, files)
            visual.material = made[id(old)]


def physical(material: Any, files: Resolver) -> Any:
    """`material` as one of metallic-roughness, if it is an OBJ file's and names such maps or factors.

    Raises ValueError naming a factor that is no number; files that are absent are left out.
    """
    words: Words = material.kwargs if isinstance(material, SimpleMaterial) else {}
    pictures = (_image(words, key, files) for key in NORMAL_MAPS)
    bumps = next((image for image in pictures if image and _holds_directions(image)), None)
    roughness, metallic = (_image(words, key, files) for key in ("map_pr", "map_pm"))
    rough, metal = (_factor(words, key) for key in ("pr", "pm"))
    if not any(found is not None for found in (bumps, roughness, metallic, rough, metal)):
        return material
    pbr: PBRMaterial = material.to_pbr()
    pbr.normalTexture = bumps
    if roughness or metallic:
        pbr.metallicRoughnessTexture = _packed(roughness, metallic)
    if roughness or rough is not None:
        pbr.roughnessFactor = 1.0 if rough is None else rough
    if metallic or metal is not None:
        pbr.metallicFactor = 1.0 if metal is None else metal
    return pbr


def _image(words: Words, key: str, files: Resolver) -> Image.Image | None:
    """The picture that `key file` or `key -option value … file` names."""
    name = list(words.get(key, []))
    while len(name) > 1 and (name[0].startswith("-") or _is_value(name[0])):
        name.pop(0)
    try:
        return Image.open(io.BytesIO(files.get(" ".join(name)))).convert("RGB") if name else None
    except FileNotFoundError:
        return None


def _is_value(word: str) -> bool:
    """Whether this is an option's value, not a file's name."""
    return word in ("on", "off", *"rgbmlz") or word.replace(".", "").isdigit()


def _factor(words: Words, key: str) -> float | None:
    if key not in words:
        return None
    try:
        value = float(words[key][0])
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"material: {key.capitalize()} is {words[key][0]!r}, expected a number")
    return min(max(value, 0.0), 1.0)


def _holds_directions(image: Image.Image) -> bool:
    """Whether the picture holds directions, most of them away from the surface, and not heights."""
    red, green, blue = np.asarray(image.resize((16, 16)), np.float64).reshape(-1, 3).mean(0)
    return bool(blue > 1.2 * max(red, green))


def _packed(roughness: Image.Image | None, metallic: Image.Image | None) -> Image.Image:
    """Roughness in green and metallic in blue, as glTF 2.0 keeps them."""
    size = next(image.size for image in (roughness, metallic) if image)
    white = Image.new("L", size, 255)
    green, blue = (image.resize(size).convert("L") if image else white for image in (roughness, metallic))
    return Image.merge("RGB", (white, green, blue))
