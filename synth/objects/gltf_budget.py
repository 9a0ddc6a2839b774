"""What a glTF file may ask for beyond its own size: a kilobyte can promise any number of values, parts and
pixels."""

import base64
import binascii
import io
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

NUMBERS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
"""Of an accessor's element."""
MAX_NUMBERS = 1 << 28
MAX_ZEROS = 1 << 25
"""Numbers of accessors without a bufferView, which are zeros that the file does not hold."""
MAX_PARTS = 10_000
"""Primitives drawn: of every mesh as often as nodes show it."""
MAX_TEXTURE_PIXELS = 1 << 28
"""Of all textures, each as often as materials use it."""


def check_budget(header: Any) -> None:
    """Raises ValueError for a file's JSON that promises more numbers or parts than that."""
    promised = [(a, a["count"] * NUMBERS.get(a.get("type"), 16)) for a in header.get("accessors", [])]
    if sum(numbers for _, numbers in promised) > MAX_NUMBERS:
        raise ValueError(f"accessors of more than {MAX_NUMBERS} numbers")
    if sum(numbers for accessor, numbers in promised if "bufferView" not in accessor) > MAX_ZEROS:
        raise ValueError(f"accessors without a bufferView of more than {MAX_ZEROS} numbers")
    sizes = [len(mesh.get("primitives", [])) for mesh in header.get("meshes", [])]
    shown = Counter(node["mesh"] for node in header.get("nodes", []) if "mesh" in node)
    parts = sum(sizes[mesh] * times for mesh, times in shown.items())
    if max(parts, sum(sizes)) > MAX_PARTS:
        raise ValueError(f"{max(parts, sum(sizes))} parts, expected at most {MAX_PARTS}: join them")


def check_textures(header: Any, path: Path) -> None:
    """Raises ValueError for textures inside the file of more than MAX_TEXTURE_PIXELS; only their headers are
    read, those that are no pictures are passed over."""
    uses = Counter(_used(header.get("materials", [])))
    pixels = 0
    for texture, times in uses.items():
        image = header["images"][_source(header["textures"][texture])]
        width, height = _size(_content(image, header, path))
        pixels += width * height * times
    if pixels > MAX_TEXTURE_PIXELS:
        raise ValueError(f"textures of {pixels >> 20} Mpx, expected at most {MAX_TEXTURE_PIXELS >> 20}")


def _used(value: Any) -> list[int]:
    """The textures that materials name, at any depth."""
    if isinstance(value, list):
        return [texture for item in value for texture in _used(item)]
    if not isinstance(value, dict):
        return []
    own = [value["index"]] if isinstance(value.get("index"), int) else []
    return own + [texture for item in value.values() for texture in _used(item)]


def _source(texture: dict[str, Any]) -> int:
    """Of a texture, also one that only an extension such as EXT_texture_webp names."""
    sources = [texture, *texture.get("extensions", {}).values()]
    return int(next(source["source"] for source in sources if "source" in source))


def _content(image: dict[str, Any], header: Any, path: Path) -> bytes:
    if "bufferView" in image and path.suffix.lower() == ".glb":
        view = header["bufferViews"][image["bufferView"]]
        with path.open("rb") as file:
            (json_bytes,) = struct.unpack("<I", file.read(16)[12:])
            file.seek(20 + json_bytes + 8 + view.get("byteOffset", 0))
            return file.read(view["byteLength"])
    kind, _, text = str(image.get("uri", "")).partition(",")
    try:
        return base64.b64decode(text) if kind.startswith("data:") else b""
    except binascii.Error:
        return b""


def _size(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0
