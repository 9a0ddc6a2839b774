"""Mesh files from others, read with suspicion: known formats, bounded sizes, nothing outside their folder."""

import json
import logging
import math
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import trimesh
from PIL import Image
from trimesh.util import decode_text

from synth.errors import AssetError
from synth.objects.gltf_budget import check_budget, check_textures
from synth.objects.mtl import libraries, plain, with_surface_maps

logging.getLogger("trimesh").addHandler(logging.NullHandler())  # what matters is said by our errors
MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
PLACES = "KHR_texture_transform"
DRAWN_EXTENSIONS = (
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_mesh_quantization",
    "KHR_lights_punctual",
    PLACES,
)
"""Of glTF: those that are read, or that say nothing about the object."""
MAX_FILE_BYTES = 1 << 29
MAX_FACES = 5_000_000
"""Of all instances of all meshes of a file."""
MAX_VALUES = 1 << 28
"""Numbers that a glTF file may promise: a few bytes can ask for any amount of memory."""


class Folder(trimesh.resolvers.Resolver):
    """Hands the files beside a mesh to trimesh, which goes on without those it cannot have; so this keeps
    a list of them.

    read: what was found. absent: names of what was not. refused: why a name may not be followed.
    """

    def __init__(self, mesh: Path, root: Path) -> None:
        self.file_name = mesh.name
        self._mesh, self._root = mesh, root.resolve()
        self._folders = [mesh.parent]
        self._materials_next = mesh.suffix.lower() == ".obj"
        self.read: list[Path] = []
        self.absent: list[str] = []
        self.refused: list[str] = []

    def get(self, key: str) -> bytes:
        if self._materials_next:
            self._materials_next = False
            return self._materials()
        name = key.strip().replace("\\", "/")
        places = [folder / written for folder in self._folders for written in (name, unquote(name))]
        path = next((place for place in places if place.is_file()), places[1]).resolve()
        if not path.is_relative_to(self._root):
            self.refused.append(f"{key!r} leaves the object's folder")
        elif path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            self.refused.append(f"{key!r} is larger than {MAX_FILE_BYTES >> 20} MiB")
        elif path.is_file():
            self.read.append(path)
            return self._readable(path)
        else:
            self.absent.append(key)
        raise FileNotFoundError(f"{key!r} does not exist")

    def _materials(self) -> bytes:
        """All material files of an OBJ file as one text, of which trimesh would read the first only.

        Of materials with the same name the first holds: trimesh keeps the last. Names of textures are
        relative to the mesh or to the material file.
        """
        texts = []
        for name in libraries(decode_text(self._mesh.read_bytes())):
            with suppress(FileNotFoundError):
                texts.append(plain(decode_text(self.get(name))))
                self._folders.append(self.read[-1].parent)
        return "\n".join(reversed(texts)).encode()

    def _readable(self, path: Path) -> bytes:
        if path.suffix.lower() not in (".bin", ".mtl"):
            try:
                Image.open(path).close()
            except (OSError, Image.DecompressionBombError) as error:
                self.refused.append(f"{path.name!r} is not a readable image: {one_line(error)}")
        return path.read_bytes()

    def keys(self) -> list[str]:
        return []

    def write(self, name: str, data: Any) -> None:
        raise NotImplementedError

    def namespaced(self, namespace: str) -> "Folder":
        raise NotImplementedError


def read_scene(path: Path, root: Path) -> tuple[trimesh.Scene, Folder]:
    """The file as trimesh reads it, and what was read beside it within the folder `root`.

    Raises AssetError for anything that is no mesh file or not safe to read.
    """
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise AssetError(f"{path}: meshes are {', '.join(MESH_SUFFIXES)} files")
    folder = Folder(path, root)
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            raise ValueError("empty file" if size == 0 else f"larger than {MAX_FILE_BYTES >> 20} MiB")
        header = _gltf_header(path) if suffix in (".glb", ".gltf") else None
        if header is not None:
            _check_gltf(header)
            check_budget(header)
            check_textures(header, path)
        # processing would drop what is not finite unseen
        scene = trimesh.load_scene(path, resolver=folder, process=False)
        with_surface_maps(scene, folder)
        if header is not None:
            _move_textures(scene, _agreed_places(header))
    except (Exception, RecursionError) as error:
        reason = folder.refused[0] if folder.refused else one_line(error)
        raise AssetError(f"{path}: cannot be read as a mesh: {reason}") from error
    if folder.refused:
        raise AssetError(f"{path}: {folder.refused[0]}")
    return scene, folder


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}".rstrip(": ")


def ignored(path: Path) -> list[str]:
    """What a glTF file asks for and is not drawn: see-through materials, extensions, texture places."""
    if path.suffix.lower() not in (".glb", ".gltf"):
        return []
    header = _gltf_header(path)
    used = [name for name in header.get("extensionsUsed", []) if name not in DRAWN_EXTENSIONS]
    found = [f"{name}: drawn without it" for name in used]
    places = _agreed_places(header)
    for n, material in enumerate(header.get("materials", [])):
        name = material.get("name", n)
        if any(_places(material)) and name not in places:
            found.append(
                f"{PLACES} of material {name}: drawn without it: its textures or its namesakes disagree"
            )
        if material.get("alphaMode", "OPAQUE") != "OPAQUE":
            found.append(f"alphaMode {material['alphaMode']} of material {name}: drawn opaque")
        if any(texture.get("texCoord", 0) for texture in _textures(material)):
            found.append(f"texCoord of material {name}: drawn with the mesh's first texture coordinates")
    return found


def _agreed_places(header: Any) -> dict[str, dict[str, Any]]:
    """KHR_texture_transform of each material by its name, where all its textures agree and no other material
    is called so."""
    materials = header.get("materials", [])
    names = Counter(material.get("name") for material in materials)
    places = {material["name"]: _places(material) for material in materials if "name" in material}
    return {
        name: found[0]
        for name, found in places.items()
        if any(found) and names[name] == 1 and all(place == found[0] for place in found)
    }


def _textures(material: Any) -> list[Any]:
    values = [*material.values(), *material.get("pbrMetallicRoughness", {}).values()]
    return [value for value in values if isinstance(value, dict) and "index" in value]


def _places(material: Any) -> list[Any]:
    return [texture.get("extensions", {}).get(PLACES, {}) for texture in _textures(material)]


def _move_textures(scene: trimesh.Scene, places: dict[str, dict[str, Any]]) -> None:
    """Texture coordinates as KHR_texture_transform places them: scaled, turned about the picture's top left
    corner against the clock, shifted to the right and down."""
    for geometry in scene.geometry.values():
        visual: Any = getattr(geometry, "visual", None)
        place = places.get(getattr(getattr(visual, "material", None), "name", None) or "")
        if place is None or visual.uv is None:
            continue
        x, y = np.array(place.get("scale", (1, 1)), float)
        right, down = np.array(place.get("offset", (0, 0)), float)
        turn = float(place.get("rotation", 0))
        u, v = visual.uv[:, 0] * x, (1 - visual.uv[:, 1]) * y
        u, v = u * math.cos(turn) + v * math.sin(turn) + right, v * math.cos(turn) - u * math.sin(turn) + down
        visual.uv = np.column_stack([u, 1 - v])


def _gltf_header(path: Path) -> Any:
    """The JSON part of a .gltf or .glb file."""
    with path.open("rb") as file:
        if path.suffix.lower() == ".gltf":
            return json.loads(file.read())
        head = file.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            raise ValueError("not a binary glTF file")
        return json.loads(file.read(struct.unpack("<I", head[12:16])[0]))


def _check_gltf(header: Any) -> None:
    """Refuses headers of what trimesh cannot read, that promise more than MAX_VALUES, or loop."""
    version = header["asset"]["version"]
    if not str(version).startswith("2"):
        raise ValueError(f"glTF {version}, expected 2.0")
    packed = [name for name in header.get("extensionsUsed", []) if name.endswith("_compression")]
    if packed:
        raise ValueError(f"{packed[0]}: export it without compression of the mesh")
    accessors = header.get("accessors", [])
    if any(not 0 <= a["count"] <= MAX_VALUES for a in accessors):
        raise ValueError(f"an accessor of more than {MAX_VALUES} values")
    if sum(a["count"] for a in accessors) > MAX_VALUES:
        raise ValueError(f"accessors of more than {MAX_VALUES} values")
    children = [child for node in header.get("nodes", []) for child in node.get("children", [])]
    if len(children) != len(set(children)):
        raise ValueError("a node has two parents")
