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
from trimesh.visual.color import to_rgba
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from synth.system.pictures import rgb_image
from synth.types import Array

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
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)
_MAP = re.compile(r"([ \t]*(map_\w+|bump|disp|decal|norm|refl)[ \t]+)(.*)", re.IGNORECASE)
_OPTION = re.compile(r"-(\w+)[ \t]+(?=\S)", re.IGNORECASE)
_WORD = re.compile(r"(\S+)(?:[ \t]+|$)")
_COMMENT = re.compile(r"(?<![ \t])[ \t]+#(?!\S).*")
_NEW = re.compile(r"^[ \t]*newmtl[ \t](.+)", re.MULTILINE | re.IGNORECASE)
_LIBRARIES = re.compile(r"^[ \t]*mtllib[ \t](.+)", re.MULTILINE)
_LIBRARY = re.compile(r"\S.*?\.mtl(?!\S)|\S.*", re.IGNORECASE)
PLACED = "options_of_"
"""Before a map's keyword: that of the line which `plain` writes of the map's options."""
SEE_THROUGH = ("map_d", "map_tr")
RELIEF = ("disp", "decal", "refl")
DRAWN_MAPS = (*NORMAL_MAPS, "map_pr", "map_pm")
WHITE = np.array([255, 255, 255, 255], np.uint8)
PLAIN_GREY = (170, 170, 170)
"""sRGB of 0.4 in linear light: that of meshes without a material."""
Words = dict[str, list[str]]
"""What stands behind each keyword of a material."""


def libraries(obj: str) -> list[str]:
    """The material files that an OBJ file's text names: several lines, several a line, spaces in names."""
    lines = [_COMMENT.sub("", line) for line in _LIBRARIES.findall(obj)]
    return [name.strip() for line in lines for name in _LIBRARY.findall(line)]


def named_materials(mtl: str) -> list[str]:
    """Materials that a plain material file's text describes."""
    return [" ".join(name.split()) for name in _NEW.findall(mtl)]


def plain(mtl: str) -> str:
    """A material file's text without comments behind statements. The options of a map stand on a line of
    their own, and a colour of one number is grey."""
    lines = (_COMMENT.sub("", line) for line in mtl.removeprefix("\ufeff").splitlines())
    return "\n".join(plain_line for line in lines for plain_line in _plain_lines(line))


def _plain_lines(line: str) -> list[str]:
    words = line.split()
    if len(words) == 2 and words[0].lower() == "kd":
        return [f"Kd {words[1]} {words[1]} {words[1]}"]
    named = _MAP.match(line)
    if named is None:
        return [line]
    start, keyword, rest = named.groups()
    options: list[str] = []
    at = 0
    while (option := _OPTION.match(rest, at)) and option[1].lower() in OPTIONS:
        options.append(option[0].strip().lower())
        at = option.end()
        for count in range(OPTIONS[option[1].lower()]):
            word = _WORD.match(rest, at)
            if word is None or (count and not _NUMBER.fullmatch(word[1])):
                break
            options.append(word[1])
            at = word.end()
    told = [f"{PLACED}{keyword} {' '.join(options)}"] if options else []
    return [*told, start + rest[at:]]


def with_surface_maps(scene: trimesh.Scene, files: Resolver) -> list[str]:
    """Replaces the materials of the scene's meshes by what `physical` makes of them, and moves their texture
    coordinates as the options of the colour's map say. Returns what materials ask for in vain."""
    made: dict[int, Any] = {}
    found: dict[str, None] = {}
    for geometry in scene.geometry.values():
        visual = getattr(geometry, "visual", None)
        if not isinstance(visual, TextureVisuals):
            continue
        old = visual.material
        if id(old) not in made:
            if isinstance(old, SimpleMaterial):
                found |= dict.fromkeys(_not_drawn(old))
            made[id(old)] = physical(old, files)
        if isinstance(old, SimpleMaterial) and visual.uv is not None:
            _place(geometry, old)
        visual.material = made[id(old)]
    return list(found)


def with_colors(scene: trimesh.Scene, colors: list[Array]) -> list[str]:
    """Gives the scene's textured meshes the colours of their vertices, (V, 3) in [0, 1] for each mesh of the
    scene; trimesh drops them there. Returns what is not drawn.

    A material's own colour gives way: MeshLab writes a grey one beside theirs. A picture stays: it shows what
    the vertices' colours show too. White vertices say nothing.
    """
    found: dict[str, None] = {}
    for mesh, shares in zip(scene.geometry.values(), colors, strict=True):
        visual = mesh.visual
        eight = to_rgba(shares)
        if not isinstance(visual, TextureVisuals) or (eight == 255).all():
            continue
        if _is_given(visual.material.image):
            found[f"material {visual.material.name}: its vertices' colours: drawn with the picture alone"] = (
                None
            )
            continue
        visual.material = visual.material.copy()
        visual.material.image = None
        visual.material.diffuse = WHITE
        visual.vertex_attributes["color"] = eight
    return list(found)


def _place(mesh: trimesh.Trimesh, material: SimpleMaterial) -> None:
    """Scales (-s) and shifts (-o) the mesh's texture coordinates; notes -clamp as its metadata `wrap`."""
    visual: Any = mesh.visual
    options = _options(material.kwargs, _first_map(material))
    scale, shift = (
        [*(_number(f"-{key}", word) for word in options.get(key, [])), default, default][:2]
        for key, default in (("s", 1.0), ("o", 0.0))
    )
    if (scale, shift) != ([1.0, 1.0], [0.0, 0.0]):
        visual.uv = visual.uv * scale + shift
    if options.get("clamp", [""])[0].lower() == "on":
        mesh.metadata["wrap"] = ("clamp", "clamp")


def _not_drawn(material: SimpleMaterial) -> list[str]:
    words: Words = material.kwargs
    first = _options(words, _first_map(material))
    found = []
    if any(key in words for key in SEE_THROUGH) or _share(words, "d", 1.0) < 1:
        found.append("see-through (d): drawn opaque")
    found += [f"{key}: drawn without it" for key in RELIEF if key in words]
    for keyword in [key.removeprefix(PLACED) for key in words if key.startswith(PLACED)]:
        options = _options(words, keyword)
        odd = [f"-{key}" for key in ("t", "imfchan") if key in options and keyword == "map_kd"]
        if "mm" in options and [_number("-mm", word) for word in options["mm"]] not in ([0.0, 1.0], [0.0]):
            odd.append("-mm")
        found += [f"{option} of {keyword}: drawn without it" for option in odd]
    for keyword in DRAWN_MAPS:
        placed = _options(words, keyword)
        if keyword in words and any(placed.get(key) != first.get(key) for key in ("s", "o", "clamp")):
            found.append(f"-s, -o, -clamp of {keyword}: drawn where the first map lies")
    if material.image is not None and _is_black(words, False):
        found.append("Kd 0 0 0 beside map_Kd: drawn with the picture alone, not black")
    if _glows(words):
        as_color = "drawn as its colour, which is black" if _is_black(words, False) else "drawn without it"
        found.append(f"Ke, a light of its own: {as_color}")
    return [f"material {material.name}: {what}" for what in found]


def _is_black(words: Words, left_out: bool) -> bool:
    """Whether the colour is; left_out: what to say of a material without one."""
    return not any(float(word) for word in words["kd"]) if "kd" in words else left_out


def _is_given(image: Image.Image | None) -> bool:
    """Whether a file holds it: trimesh makes one up for texture coordinates without a picture."""
    return image is not None and image.format is not None


def _glows(words: Words) -> bool:
    return "map_ke" in words or any(_number("Ke", word) > 0 for word in words.get("ke", []))


def _first_map(material: SimpleMaterial) -> str:
    """The keyword of the map by whose options the mesh's texture coordinates are placed."""
    if material.image is not None:
        return "map_kd"
    return next((keyword for keyword in DRAWN_MAPS if keyword in material.kwargs), "map_kd")


def _options(words: Words, keyword: str) -> dict[str, list[str]]:
    """Values of each option of the map, without -."""
    options: dict[str, list[str]] = {}
    for word in words.get(PLACED + keyword, []):
        if word[0] == "-" and word[1:].lower() in OPTIONS:
            values = options[word[1:].lower()] = []
        else:
            values.append(word)
    return options


def physical(material: Any, files: Resolver) -> Any:
    """`material` as one of metallic-roughness, if it is an OBJ file's and names such maps or factors.

    A picture is not darkened by a colour that the file leaves out, as Blender does, or that is black. Raises
    ValueError naming a factor that is no number; files that are absent are left out.
    """
    if not isinstance(material, SimpleMaterial):
        return material
    words: Words = material.kwargs
    if material.image is not None and not _is_given(material.image):
        material.image = Image.new("RGB", (1, 1), PLAIN_GREY)
    if material.image is not None and _is_black(words, True):
        material.diffuse = WHITE
    elif _is_black(words, False) and _glows(words):
        light = [_number("Ke", word) for word in words.get("ke", ["1", "1", "1"])]
        material.diffuse = to_rgba(np.array(light))
        material.image = _image(words, "map_ke", files)
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
    return min(max(_number(key.capitalize(), words[key][0]), 0.0), 1.0) if key in words else None


def _share(words: Words, key: str, default: float) -> float:
    """The last number behind `key`, before which options may stand: d -halo 0.5."""
    return _number(key, words[key][-1]) if key in words else default


def _number(what: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"material: {what} is {word!r}, expected a number")
    return value


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
