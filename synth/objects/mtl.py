"""OBJ materials: what trimesh does not read of their text, and their surface maps beside the colour.

`norm`, `map_Pr`, `map_Pm`, `Pr` and `Pm` are those of the "PBR extension" of MTL that tinyobjloader and
Blender know; many exporters write a picture of directions as `map_Bump`.
"""

import io
import math
import re
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.resolvers import Resolver
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from synth.system.pictures import rgb_image

NORMAL_MAPS = ("norm", "map_bump", "bump")
OPTIONS = {
    "blendu": 1,
    "blendv": 1,
    "bm": 1,
    "boost": 1,
    "cc": 1,
    "clamp": 1,
    "colorspace": 1,
    "imfchan": 1,
    "mm": 2,
    "o": 3,
    "s": 3,
    "t": 3,
    "texres": 1,
    "type": 1,
}
"""Of a map: how many values may follow; all but the first are numbers, else the file's name begins."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_OPTIONS = "|".join(
    rf"-{name}[ \t]+\S+[ \t]+(?:{_NUMBER}[ \t]+){{0,{most - 1}}}" for name, most in OPTIONS.items()
)
_MAP = re.compile(
    rf"^([ \t]*(?:map_\w+|bump|disp|decal|norm|refl)[ \t]+)(?:{_OPTIONS})+", re.MULTILINE | re.IGNORECASE
)
_COMMENT = re.compile(r"[ \t]+#(?!\S).*")
_LIBRARIES = re.compile(r"^[ \t]*mtllib[ \t]+(.+)", re.MULTILINE)
_LIBRARY = re.compile(r"\S.*?\.mtl(?!\S)|\S.*", re.IGNORECASE)
Words = dict[str, list[str]]
"""What stands behind each keyword of a material."""


def libraries(obj: str) -> list[str]:
    """The material files that an OBJ file's text names: several lines, several a line, spaces in names."""
    lines = [_COMMENT.sub("", line) for line in _LIBRARIES.findall(obj)]
    return [name.strip() for line in lines for name in _LIBRARY.findall(line)]


def plain(mtl: str) -> str:
    """A material file's text without comments behind statements and without its maps' options."""
    return _MAP.sub(r"\1", _COMMENT.sub("", mtl))


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
    pbr.metallicFactor = metal if metal is not None else 1.0 if metallic else 0.0
    return pbr


def _image(words: Words, key: str, files: Resolver) -> Image.Image | None:
    name = " ".join(words.get(key, []))
    try:
        return rgb_image(Image.open(io.BytesIO(files.get(name)))) if name else None
    except FileNotFoundError:
        return None


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
