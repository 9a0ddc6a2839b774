"""Mesh files from others, read with suspicion: known formats, bounded sizes, nothing outside their folder."""

import json
import logging
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import trimesh
from PIL import Image
from trimesh.util import decode_text
from trimesh.visual import ColorVisuals

from synth.errors import AssetError
from synth.objects.formats import gltf, obj, ply, stl
from synth.objects.formats.gltf_geometry import settle
from synth.objects.formats.mtl import libraries, named_materials, plain, with_colors, with_surface_maps
from synth.objects.formats.off import read_off
from synth.objects.gltf_budget import check_budget, check_textures
from synth.system.untrusted import read_untrusted

logging.getLogger("trimesh").addHandler(logging.NullHandler())  # what matters is said by our errors
BINARY, SETTLED = "binary part of the file", "geometry that was settled"
"""Names of buffers that no file holds."""
_BLENDER = "open it in Blender and export it as glTF"
_CAD = "export it from the CAD program as OBJ or STL, or open it in FreeCAD and export it as glTF"
WAYS = {
    **dict.fromkeys(
        (".dae", ".fbx", ".usd", ".usda", ".usdc", ".usdz", ".blend", ".wrl", ".x3d", ".3ds"), _BLENDER
    ),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs", ".brep"), _CAD),
    ".3mf": "open it in the slicer it comes from and export it as STL",
}
MAX_FILE_BYTES = 1 << 29
MAX_FACES = 5_000_000
"""Of all instances of all meshes of a file."""


class Folder(trimesh.resolvers.Resolver):
    """Hands the files beside a mesh to trimesh, which goes on without those it cannot have; so this keeps
    a list of them.

    read: what was found. absent: names of what was not. refused: why a name may not be followed. not_drawn:
    what else the mesh asks for in vain. given: bytes by names that no file has. materials: of an OBJ file.
    """

    def __init__(self, mesh: Path, root: Path) -> None:
        self.file_name = mesh.name
        self._mesh, self._root = mesh, root.resolve()
        self._folders = [mesh.parent]
        self._materials_next = mesh.suffix.lower() == ".obj"
        self.read: list[Path] = []
        self.absent: list[str] = []
        self.refused: list[str] = []
        self.not_drawn: list[str] = []
        self.given: dict[str, bytes] = {}
        self.materials: set[str] = set()

    def get(self, key: str) -> bytes:
        if key in self.given:
            return self.given[key]
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
        text = "\n".join(reversed(texts))
        self.materials = set(named_materials(text))
        return text.encode()

    def _readable(self, path: Path) -> bytes:
        if path.suffix.lower() not in (".bin", ".mtl"):
            try:
                Image.open(path).close()
            except (OSError, Image.DecompressionBombError) as error:
                self.refused.append(f"{path.name!r} is not a readable image: {one_line(error)}")
        return read_untrusted(path, MAX_FILE_BYTES, AssetError)

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
        way = f"; {WAYS[suffix]}" if suffix in WAYS else ""
        raise AssetError(f"{path}: meshes are {', '.join(MESH_SUFFIXES)} files{way}")
    folder = Folder(path, root)
    try:
        data = read_untrusted(path, MAX_FILE_BYTES, AssetError)
        if not data:
            raise ValueError("empty file")
        scene = READERS[suffix](path, data, folder)
        folder.not_drawn += with_surface_maps(scene, folder)
    except AssetError:
        raise
    except (Exception, RecursionError) as error:
        reason = folder.refused[0] if folder.refused else one_line(error)
        raise AssetError(f"{path}: cannot be read as a mesh: {reason}") from error
    if folder.refused:
        raise AssetError(f"{path}: {folder.refused[0]}")
    return scene, folder


def _trimesh_scene(path: Path, data: bytes, folder: Folder, **options: Any) -> trimesh.Scene:
    """What trimesh reads of the data, whose kind and name are the path's. Processing would drop what is not
    finite unseen."""
    return trimesh.load_scene(BytesIO(data), file_type=str(path), resolver=folder, process=False, **options)


def _read_gltf(path: Path, data: bytes, folder: Folder) -> trimesh.Scene:
    header, binary = gltf.read_gltf(data)
    gltf.check(header)
    check_budget(header)
    check_textures(header, path)
    folder.not_drawn += gltf.not_drawn(header)
    if binary is not None and header.get("buffers") and "uri" not in header["buffers"][0]:
        header["buffers"][0]["uri"] = BINARY
        folder.given[BINARY] = binary
    new = settle(header, lambda number: _buffer(header["buffers"][number], folder))
    if new:
        header["buffers"].append({"uri": SETTLED, "byteLength": len(new)})
        folder.given[SETTLED] = new
    gltf.numbered(header)
    scene = _trimesh_scene(path.with_suffix(".gltf"), json.dumps(header).encode(), folder)
    gltf.finish(scene, header)
    return scene


def _buffer(buffer: Any, folder: Folder) -> bytes:
    uri = buffer["uri"]
    return b64decode(uri.partition("base64,")[2]) if "base64," in uri else folder.get(uri)


def _read_obj(path: Path, data: bytes, folder: Folder) -> trimesh.Scene:
    text = decode_text(data).removeprefix("\ufeff")
    folder.not_drawn += obj.not_drawn(text)
    plain = obj.plain(text)
    scene = _trimesh_scene(path, plain.encode(), folder)
    unknown = [name for name in obj.used_materials(text) if name not in folder.materials]
    if folder.materials:
        folder.not_drawn += [f"material {name}: in no material file, drawn grey" for name in unknown]
    if obj.has_colors(text):
        colors = _trimesh_scene(path, obj.colors_as_places(plain).encode(), folder, skip_materials=True)
        folder.not_drawn += with_colors(scene, [mesh.vertices for mesh in colors.geometry.values()])
    return scene


def _read_ply(path: Path, data: bytes, folder: Folder) -> trimesh.Scene:
    folder.not_drawn += ply.not_drawn(data)
    return _trimesh_scene(path, ply.plain(data), folder)


def _read_stl(path: Path, data: bytes, folder: Folder) -> trimesh.Scene:
    scene = _trimesh_scene(path, stl.plain(data), folder)
    colors = stl.face_colors(data)
    if colors is not None:
        (mesh,) = scene.geometry.values()
        mesh.visual = ColorVisuals(mesh, face_colors=colors)
    return scene


def _read_off(path: Path, data: bytes, folder: Folder) -> trimesh.Scene:
    mesh = read_off(decode_text(data).removeprefix("\ufeff"))
    scene = trimesh.Scene()
    scene.add_geometry(mesh, geom_name=path.name)
    return scene


READERS: dict[str, Callable[[Path, bytes, Folder], trimesh.Scene]] = {
    ".glb": _read_gltf,
    ".gltf": _read_gltf,
    ".obj": _read_obj,
    ".ply": _read_ply,
    ".stl": _read_stl,
    ".off": _read_off,
}
MESH_SUFFIXES = tuple(READERS)


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}".rstrip(": ")
