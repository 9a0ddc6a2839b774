"""glTF files: what they ask for, what of it is drawn, and where their textures lie."""

import json
import math
import struct
from typing import Any

import numpy as np
import trimesh
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

PLACES = "KHR_texture_transform"
WEBP = "EXT_texture_webp"
DRAWN_EXTENSIONS = (
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_mesh_quantization",
    "KHR_lights_punctual",
    PLACES,
    WEBP,
)
"""Those that are read, or that say nothing about the object."""
INSTANCES = "EXT_mesh_gpu_instancing"
MAX_VALUES = 1 << 28
"""Numbers that a file may promise: a few bytes can ask for any amount of memory."""
WRAPS = {33071: "clamp", 33648: "mirror"}
LINES = {0: "points", 1: "lines", 2: "lines", 3: "lines"}


def read_gltf(data: bytes) -> tuple[Any, bytes | None]:
    """The JSON header of a .gltf or .glb file, and the binary part of the latter. Raises ValueError."""
    if data[:4] != b"glTF":
        return json.loads(data.decode("utf-8-sig")), None
    if len(data) < 20:
        raise ValueError("it ends early")
    end = 20 + struct.unpack_from("<I", data, 12)[0]
    binary = None
    if len(data) >= end + 8:
        size, kind = struct.unpack_from("<I4s", data, end)
        binary = data[end + 8 : end + 8 + size] if kind == b"BIN\0" else None
    return json.loads(data[20:end]), binary


def check(header: Any) -> None:
    """Refuses headers of what cannot be read, that promise more than MAX_VALUES, or loop."""
    version = header["asset"]["version"]
    if not str(version).startswith("2"):
        raise ValueError(f"glTF {version}, expected 2.0")
    used = [*header.get("extensionsUsed", []), *header.get("extensionsRequired", [])]
    packed = [name for name in used if name.endswith("_compression")]
    if packed:
        raise ValueError(f"{packed[0]}: export it without compression of the mesh")
    required = [name for name in header.get("extensionsRequired", []) if name not in DRAWN_EXTENSIONS]
    if INSTANCES in used or required:
        name = INSTANCES if INSTANCES in used else required[0]
        raise ValueError(f"{name}: the file cannot be drawn rightly without it; export it without")
    accessors = header.get("accessors", [])
    if any(not 0 <= a["count"] <= MAX_VALUES for a in accessors):
        raise ValueError(f"an accessor of more than {MAX_VALUES} values")
    if sum(a["count"] for a in accessors) > MAX_VALUES:
        raise ValueError(f"accessors of more than {MAX_VALUES} values")
    children = [child for node in header.get("nodes", []) for child in node.get("children", [])]
    if len(children) != len(set(children)):
        raise ValueError("a node has two parents")


def not_drawn(header: Any) -> list[str]:
    """What the file asks for and is not drawn: see-through materials, extensions, texture places, lines."""
    used = [name for name in header.get("extensionsUsed", []) if name not in DRAWN_EXTENSIONS]
    found = [f"{name}: drawn without it" for name in used]
    for n, material in enumerate(header.get("materials", [])):
        name = material.get("name", n)
        for what, values in ((PLACES, _places(material)), ("sampler", _wraps(header, material))):
            if _agreed(values) is None:
                found.append(f"{what} of material {name}: drawn without it: its textures disagree")
        if material.get("alphaMode", "OPAQUE") != "OPAQUE":
            found.append(f"alphaMode {material['alphaMode']} of material {name}: drawn opaque")
        if any(texture.get("texCoord", 0) for texture in _textures(material)):
            found.append(f"texCoord of material {name}: drawn with the mesh's first texture coordinates")
        if any(material.get("emissiveFactor", ())):
            how = "drawn as its colour, which is black" if _is_black(material) else "drawn without it"
            found.append(f"emissive light of material {name}: {how}")
    for n, mesh in enumerate(header.get("meshes", [])):
        modes = {primitive.get("mode", 4) for primitive in mesh["primitives"]}
        found += [
            f"{LINES[mode]} of mesh {mesh.get('name', n)}: not drawn" for mode in sorted(modes & set(LINES))
        ]
    return found


def numbered(header: Any) -> None:
    """Names materials after their numbers, in place, so that `finish` knows them again."""
    for n, material in enumerate(header.get("materials", [])):
        material["name"] = str(n)


def finish(scene: trimesh.Scene, header: Any) -> None:
    """What trimesh leaves out of `numbered` materials, in place: texture coordinates as KHR_texture_transform
    puts them, the samplers' wrapping as metadata `wrap` of the mesh, black ones in their light's colour."""
    lit: set[int] = set()
    for geometry in scene.geometry.values():
        visual: Any = getattr(geometry, "visual", None)
        if not isinstance(visual, TextureVisuals) or not isinstance(visual.material, PBRMaterial):
            continue
        material = header["materials"][int(visual.material.name)]
        place, wrap = _agreed(_places(material)), _agreed(_wraps(header, material))
        if place and visual.uv is not None:
            _move(visual, place)
        if wrap:
            geometry.metadata["wrap"] = wrap
        if id(visual.material) not in lit:
            lit.add(id(visual.material))
            if _is_black(material):
                _light_up(visual.material)


def _light_up(material: PBRMaterial) -> None:
    """Gives a black material that shines the colour of its light: scans without shading are written so."""
    if material.emissiveFactor is None or not np.any(material.emissiveFactor):
        return
    material.baseColorTexture = material.emissiveTexture
    material.baseColorFactor = np.array([*material.emissiveFactor, 1.0])
    material.metallicFactor = 0.0


def _is_black(material: Any) -> bool:
    return not any(material.get("pbrMetallicRoughness", {}).get("baseColorFactor", (1,))[:3])


def _agreed(values: list[Any]) -> Any:
    """What all textures of a material ask for; None where they disagree; {} where there are none."""
    return {} if not values else values[0] if all(value == values[0] for value in values) else None


def _textures(material: Any) -> list[Any]:
    values = [*material.values(), *material.get("pbrMetallicRoughness", {}).values()]
    return [value for value in values if isinstance(value, dict) and "index" in value]


def _places(material: Any) -> list[Any]:
    return [texture.get("extensions", {}).get(PLACES, {}) for texture in _textures(material)]


def _wraps(header: Any, material: Any) -> list[Any]:
    """Of each texture, how it goes on along u and v; () where it repeats along both."""
    found = []
    for texture in _textures(material):
        sampler = header["textures"][texture["index"]].get("sampler")
        modes = {} if sampler is None else header["samplers"][sampler]
        wrap = tuple(WRAPS.get(modes.get(key, 0), "repeat") for key in ("wrapS", "wrapT"))
        found.append(() if wrap == ("repeat", "repeat") else wrap)
    return found


def _move(visual: Any, place: dict[str, Any]) -> None:
    """Texture coordinates as KHR_texture_transform places them: scaled, turned about the picture's top left
    corner against the clock, shifted to the right and down."""
    x, y = np.array(place.get("scale", (1, 1)), float)
    right, down = np.array(place.get("offset", (0, 0)), float)
    turn = float(place.get("rotation", 0))
    u, v = visual.uv[:, 0] * x, (1 - visual.uv[:, 1]) * y
    u, v = u * math.cos(turn) + v * math.sin(turn) + right, v * math.cos(turn) - u * math.sin(turn) + down
    visual.uv = np.column_stack([u, 1 - v])
