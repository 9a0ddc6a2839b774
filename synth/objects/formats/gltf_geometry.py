"""The geometry of glTF files in the form that trimesh reads: dense, in floats, in triangles, posed."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synth.types import Array

KINDS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
FLOAT, UINT = 5126, 5125
FAN = 6
SAME = 1e-5
"""Matrices that differ by less than this share of their largest entry pose alike."""


def settle(header: Any, load: Callable[[int], bytes]) -> bytes:
    """Changes the header in place so that trimesh draws what it says; returns a further buffer, empty where
    nothing had to change. load: the bytes of a buffer by its number.

    Sparse accessors become dense, places and texture coordinates in whole shares of 1 floats, fans triangles.
    Weights of morph targets and skins are applied, and skinned meshes moved to the scene's root: their joints
    alone say where they lie (glTF 2.0, 3.7.3). Cameras go, with which trimesh would drop their nodes.
    Raises ValueError, IndexError or KeyError for what is malformed.
    """
    accessors = _Accessors(header, load)
    for node in header.get("nodes", []):
        node.pop("camera", None)
    for number in _indirect(header):
        accessors.replace(number, accessors.values(number, as_is=True))
    for mesh in header.get("meshes", []):
        for primitive in mesh["primitives"]:
            if primitive.get("mode") == FAN:
                _unfold(primitive, accessors)
    _pose(header, accessors)
    return bytes(accessors.new)


class _Accessors:
    """Reads accessors and adds new ones, whose values gather in the buffer `new`."""

    def __init__(self, header: Any, load: Callable[[int], bytes]) -> None:
        self._header, self._load = header, load
        self._buffers: dict[int, bytes] = {}
        self._number = len(header.get("buffers", []))
        self.new = bytearray()

    def values(self, number: int, as_is: bool = False) -> NDArray[Any]:
        """(count, width), sparse values included; whole numbers are shares of 1 where the accessor says so.

        as_is: plain whole numbers stay whole, else all are float64.
        """
        accessor = self._header["accessors"][number]
        kind, width, count = (
            np.dtype(KINDS[accessor["componentType"]]),
            WIDTHS[accessor["type"]],
            accessor["count"],
        )
        found = np.zeros((count, width), kind)
        if "bufferView" in accessor:
            found = self._view(accessor["bufferView"], accessor.get("byteOffset", 0), kind, width, count)
        if "sparse" in accessor:
            found = found.copy()
            sparse, size = accessor["sparse"], accessor["sparse"]["count"]
            at, by = sparse["indices"], sparse["values"]
            whole = np.dtype(KINDS[at["componentType"]])
            rows = self._view(at["bufferView"], at.get("byteOffset", 0), whole, 1, size)[:, 0]
            found[rows] = self._view(by["bufferView"], by.get("byteOffset", 0), kind, width, size)
        if accessor.get("normalized") and kind.kind != "f":
            return np.maximum(found / np.iinfo(kind).max, -1.0)
        return found if as_is else found.astype(np.float64)

    def _view(self, number: int, offset: int, kind: np.dtype[Any], width: int, count: int) -> NDArray[Any]:
        view = self._header["bufferViews"][number]
        if view["buffer"] not in self._buffers:
            self._buffers[view["buffer"]] = self._load(view["buffer"])
        start = view.get("byteOffset", 0)
        data = self._buffers[view["buffer"]][start : start + view["byteLength"]]
        row = width * kind.itemsize
        stride = view.get("byteStride", row)
        if count and offset + stride * (count - 1) + row > len(data):
            raise ValueError(f"bufferView {number} is shorter than its accessors say")
        shape, strides = (count, width), (stride, kind.itemsize)
        return np.array(np.ndarray(shape, kind, data, offset, strides)) if count else np.zeros(shape, kind)

    def replace(self, number: int, values: NDArray[Any]) -> None:
        """The accessor of that number now holds `values`."""
        accessors = self._header["accessors"]
        accessors[number] = self._written(values, accessors[number]["type"])

    def add(self, values: NDArray[Any], kind: str) -> int:
        """The number of a new accessor of the values."""
        self._header["accessors"].append(self._written(values, kind))
        return len(self._header["accessors"]) - 1

    def _written(self, values: NDArray[Any], kind: str) -> dict[str, Any]:
        self.new.extend(bytes(-len(self.new) % 4))
        data = values.astype("<f4" if values.dtype.kind == "f" else "<u4").tobytes()
        view = {"buffer": self._number, "byteOffset": len(self.new), "byteLength": len(data)}
        self.new.extend(data)
        self._header["bufferViews"].append(view)
        return {
            "bufferView": len(self._header["bufferViews"]) - 1,
            "componentType": FLOAT if values.dtype.kind == "f" else UINT,
            "count": len(values),
            "type": kind,
        }


def _indirect(header: Any) -> list[int]:
    """Accessors that are sparse, or places and texture coordinates in whole shares of 1."""
    accessors = header.get("accessors", [])
    found = {n for n, accessor in enumerate(accessors) if "sparse" in accessor}
    for mesh in header.get("meshes", []):
        for primitive in mesh["primitives"]:
            used = [primitive["attributes"].get(name) for name in ("POSITION", "TEXCOORD_0")]
            found |= {n for n in used if n is not None and accessors[n].get("normalized")}
    return sorted(found)


def _unfold(primitive: Any, accessors: _Accessors) -> None:
    """Makes the primitive's fan triangles."""
    if "indices" in primitive:
        rim = accessors.values(primitive["indices"], as_is=True)[:, 0]
    else:
        rim = np.arange(len(accessors.values(primitive["attributes"]["POSITION"])))
    faces = np.column_stack([np.full(max(len(rim) - 2, 0), rim[0]), rim[1:-1], rim[2:]])
    primitive |= {"mode": 4, "indices": accessors.add(faces.reshape(-1, 1).astype(np.uint32), "SCALAR")}


def _pose(header: Any, accessors: _Accessors) -> None:
    nodes, meshes = header.get("nodes", []), header.get("meshes", [])
    parents = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}
    roots = header["scenes"][header.get("scene", 0)].get("nodes", []) if header.get("scenes") else []
    drawn: set[int] = set()
    waiting = list(roots)
    while waiting:
        number = waiting.pop()
        if number not in drawn:
            drawn.add(number)
            waiting += nodes[number].get("children", [])
    users = [nodes[number].get("mesh") for number in drawn]
    for number in sorted(drawn):
        node = nodes[number]
        if "mesh" not in node:
            continue
        mesh = meshes[node["mesh"]]
        weights = np.array(node.get("weights", mesh.get("weights", [])), float)
        matrices = None
        if "skin" in node:
            skin, own = header["skins"][node["skin"]], _place(number, nodes, parents)
            joints = np.array([_place(joint, nodes, parents) for joint in skin["joints"]])
            matrices = _matrices(skin, joints, accessors)
            if np.abs(matrices - own).max(initial=0) <= SAME * np.abs(own).max():
                matrices = None
        if matrices is None and not weights.any():
            continue
        if users.count(node["mesh"]) > 1:
            meshes.append(deepcopy(mesh))
            node["mesh"] = len(meshes) - 1
        for primitive in meshes[node["mesh"]]["primitives"]:
            _pose_primitive(primitive, weights, matrices, accessors)
        if matrices is not None:
            nodes.append({"mesh": node.pop("mesh")})
            roots.append(len(nodes) - 1)


def _pose_primitive(primitive: Any, weights: Array, matrices: Array | None, accessors: _Accessors) -> None:
    """Moves the primitive's vertices and normals by its morph targets, then by the joints (J, 4, 4)."""
    attributes = primitive["attributes"]
    skin = None
    if matrices is not None and "JOINTS_0" in attributes:
        skin = _blended(attributes, matrices, accessors)
    for name in {"POSITION", "NORMAL"} & set(attributes):
        values = accessors.values(attributes[name])
        for weight, target in zip(weights, primitive.get("targets", []), strict=False):
            if weight and name in target:
                values = values + weight * accessors.values(target[name])
        if skin is not None and name == "POSITION":
            values = np.einsum("vij,vj->vi", skin[:, :3, :3], values) + skin[:, :3, 3]
        elif skin is not None:
            turned = np.linalg.pinv(skin[:, :3, :3]).transpose(0, 2, 1)
            values = np.einsum("vij,vj->vi", turned, values)
        if name == "NORMAL":
            values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        attributes[name] = accessors.add(values, "VEC3")


def _blended(attributes: Any, matrices: Array, accessors: _Accessors) -> Array:
    """(V, 4, 4): each vertex's mean of its joints' matrices, by their weights."""
    joints, weights = (
        np.concatenate(
            [accessors.values(attributes[f"{name}_{n}"]) for n in range(4) if f"{name}_{n}" in attributes], 1
        )
        for name in ("JOINTS", "WEIGHTS")
    )
    shares = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
    return np.asarray(np.einsum("vj,vjab->vab", shares, matrices[joints.astype(np.int64)]))


def _matrices(skin: Any, joints: Array, accessors: _Accessors) -> Array:
    """(J, 4, 4): what each joint, placed by joints (J, 4, 4), does to the vertices bound to it."""
    if "inverseBindMatrices" not in skin:
        return joints
    inverse = accessors.values(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    return np.asarray(joints @ inverse[: len(joints)])


def _place(number: int, nodes: list[Any], parents: dict[int, int]) -> Array:
    """(4, 4) from the node's frame to the scene's. Raises ValueError for nodes that are their own parents."""
    T = _own_place(nodes[number])
    for _ in nodes:
        if number not in parents:
            return T
        number = parents[number]
        T = _own_place(nodes[number]) @ T
    raise ValueError("nodes that are their own parents")


def _own_place(node: Any) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix() * np.array(
        node.get("scale", (1, 1, 1)), float
    )
    T[:3, 3] = node.get("translation", (0, 0, 0))
    return T
