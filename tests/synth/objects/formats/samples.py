"""Small mesh files of every kind."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

U_SHAPE = [(0, 0), (30, 0), (60, 0), (60, 60), (40, 60), (40, 20), (20, 20), (20, 60), (0, 60)]
"""A U whose middle edge has a corner between its ends: (V, 2)."""
U_AREA = 60 * 60 - 20 * 40


def prism(outline: list[tuple[float, float]], height: float = 30.0) -> tuple[np.ndarray, list[list[int]]]:
    """Vertices and polygons of a prism over an outline against the clock: two caps and the walls."""
    n = len(outline)
    vertices = np.array([(x, y, z) for z in (0.0, height) for x, y in outline])
    walls = [[i, (i + 1) % n, n + (i + 1) % n, n + i] for i in range(n)]
    return vertices, [list(range(n))[::-1], list(range(n, 2 * n)), *walls]


def obj_text(vertices: np.ndarray, polygons: list[list[int]]) -> str:
    lines = [f"v {x:g} {y:g} {z:g}" for x, y, z in vertices]
    return "\n".join(lines + ["f " + " ".join(str(i + 1) for i in p) for p in polygons]) + "\n"


def off_text(vertices: np.ndarray, polygons: list[list[int]], header: str = "OFF") -> str:
    lines = [header, f"{len(vertices)} {len(polygons)} 0", *(f"{x:g} {y:g} {z:g}" for x, y, z in vertices)]
    return "\n".join(lines + [f"{len(p)} {' '.join(map(str, p))}" for p in polygons]) + "\n"


def ply_bytes(vertices: np.ndarray, polygons: list[list[int]], form: str = "ascii") -> bytes:
    head = (
        f"ply\nformat {form} 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(polygons)}\nproperty list uchar int vertex_indices\n"
        "end_header\n"
    )
    if form == "ascii":
        rows = [f"{x:g} {y:g} {z:g}" for x, y, z in vertices]
        return (
            head + "\n".join(rows + [f"{len(p)} {' '.join(map(str, p))}" for p in polygons]) + "\n"
        ).encode()
    order = ">" if "big" in form else "<"
    faces = b"".join(bytes([len(p)]) + np.array(p, f"{order}i4").tobytes() for p in polygons)
    return head.encode() + vertices.astype(f"{order}f4").tobytes() + faces


def checkers(path: Path) -> Path:
    """A picture of four colours: red, green above blue, yellow."""
    colors = np.array([[(220, 30, 30), (30, 200, 30)], [(30, 30, 220), (220, 220, 30)]], np.uint8)
    Image.fromarray(colors.repeat(8, 0).repeat(8, 1)).save(path)
    return path


class Gltf:
    """A glTF file in the making: accessors in one buffer, and whatever `header` says."""

    def __init__(self) -> None:
        self.header: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [],
            "accessors": [],
            "bufferViews": [],
        }
        self._data = bytearray()

    def view(self, values: np.ndarray) -> int:
        self._data.extend(bytes(-len(self._data) % 4))
        data = np.ascontiguousarray(values).tobytes()
        self.header["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data)}
        )
        self._data.extend(data)
        return len(self.header["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, **more: Any) -> int:
        """Of an array (N,), (N, n) or (N, 4, 4)."""
        kinds = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
        shape = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}[values.shape[1:]]
        row = {"bufferView": self.view(values), "componentType": kinds[values.dtype.str[1:]]}
        self.header["accessors"].append({**row, "count": len(values), "type": shape, **more})
        return len(self.header["accessors"]) - 1

    def mesh(self, **primitive: Any) -> int:
        attributes = {k: v for k, v in primitive.items() if k.isupper() or k[-1].isdigit()}
        rest = {k: v for k, v in primitive.items() if k not in attributes}
        self.header["meshes"].append({"primitives": [{"attributes": attributes, **rest}]})
        return len(self.header["meshes"]) - 1

    def write(self, path: Path) -> Path:
        uri = "data:;base64," + base64.b64encode(self._data).decode()
        buffers = [{"uri": uri, "byteLength": len(self._data)}]
        path.write_text(json.dumps({**self.header, "buffers": buffers}))
        return path
