"""PLY files whose faces are triangles and whose properties have the names and kinds that trimesh knows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.objects.formats.ply_values import KINDS, Element, Header, Lists, read_header, read_values
from synth.objects.formats.polygons import cuts

_NAMES = {kind: name for name, kind in reversed(KINDS.items())}
_COLORS = ("red", "green", "blue")
_OTHER_COLORS = (("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_INDICES = ("vertex_index", "vertex_indices")
_PLACES = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))


def plain(data: bytes) -> bytes:
    """The file as trimesh reads it rightly; what it reads rightly stays as it is.

    Polygons that a fan does not fill, and lists of several lengths in a binary file, become triangles;
    colours get their usual names and 8 bits. Raises ValueError for a header that is no PLY's, triangle
    strips, several textures and a file that ends early.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    header = read_header(data)
    if header.element("tristrips"):
        raise ValueError("triangle strips (tristrips): export it with faces")
    faces, vertices = header.element("face"), header.element("vertex")
    if len(set(header.textures())) > 1:
        raise ValueError(
            f"{len(set(header.textures()))} textures: export it as OBJ or glTF, or with one texture"
        )
    if faces is None or vertices is None or not faces.count:
        return data
    if not {"x", "y", "z"} <= vertices.names():
        return data
    values = read_values(data, header)
    corners = _corners(faces, values["face"])
    if corners is None:
        return data
    sizes = np.diff(corners.starts)
    many = np.flatnonzero(sizes > 3)
    places = np.column_stack([np.asarray(values["vertex"][axis], np.float64) for axis in "xyz"])
    try:
        found = cuts(places, [corners.row(int(number)) for number in many])
    except IndexError as error:
        raise ValueError(f"a face has a corner that is none of its {len(places)} vertices") from error
    concave = {int(many[n]): ears for n, ears in found.items()}
    ragged = len(np.unique(sizes)) > 1
    textured = "texcoord" in values["face"]
    binary = header.byte_order is not None
    cut = bool(concave) or (ragged and (binary or textured)) or (faces.count == 1 and textured)
    colors = [_usual_colors(element, values[element.name]) for element in (vertices, faces)]
    idle = _idle_places(header, vertices, faces)
    if not cut and not idle and colors == [None, None]:
        return data
    of_vertices, of_faces = colors
    written = {
        name: column
        for name, column in values["vertex"].items()
        if not isinstance(column, Lists) and name not in idle
    }
    positions, sources = _triangles(sizes, concave)
    at = corners.starts[sources][:, None] + positions
    new_faces: dict[str, NDArray[Any]] = {"vertex_indices": corners.values[at].astype(np.int32)}
    places_on_texture = values["face"].get("texcoord")
    if isinstance(places_on_texture, Lists) and "texcoord" not in idle:
        pairs = (places_on_texture.starts[sources][:, None] + 2 * positions)[:, :, None] + np.arange(2)
        new_faces["texcoord"] = places_on_texture.values[pairs].reshape(-1, 6).astype(np.float32)
    of_faces = of_faces or {c: values["face"][c] for c in _COLORS if c in faces.names()}
    new_faces |= {name: np.asarray(column)[sources] for name, column in of_faces.items()}
    return _written(header.comments, {"vertex": written | (of_vertices or {}), "face": new_faces})


def not_drawn(data: bytes) -> list[str]:
    """What a file asks for and is not drawn."""
    header = read_header(data.removeprefix(b"\xef\xbb\xbf"))
    vertices, faces = header.element("vertex"), header.element("face")
    if vertices is None or faces is None or not header.textures():
        return []
    placed = "texcoord" in faces.names() or any(set(pair) <= vertices.names() for pair in _PLACES)
    if not placed:
        return [f"texture {header.textures()[0]}: drawn without it: the faces have no texture coordinates"]
    if any(set(names) <= vertices.names() | faces.names() for names in (_COLORS, *_OTHER_COLORS)):
        return ["colours of vertices or faces: drawn with the texture alone"]
    return []


def _idle_places(header: Header, vertices: Element, faces: Element) -> set[str]:
    """Texture coordinates without a texture beside colours, for which trimesh would drop the colours."""
    if header.textures() or not any(set(_COLORS) <= element.names() for element in (vertices, faces)):
        return set()
    places = {name for pair in _PLACES for name in pair if set(pair) <= vertices.names()}
    return places | ({"texcoord"} & faces.names())


def _corners(faces: Element, values: dict[str, Any]) -> Lists | None:
    """The list of a face's vertices: by its name, or the only one of whole numbers."""
    lists = [p.name for p in faces.properties if p.counts and p.kind[0] in "iu"]
    named = [name for name in _INDICES if name in lists] or (lists if len(lists) == 1 else [])
    return values[named[0]] if named else None


def _usual_colors(element: Element, values: dict[str, Any]) -> dict[str, NDArray[np.uint8]] | None:
    """Colours of 8 bits by the names that trimesh knows; None where there are none or trimesh reads them."""
    names = next((n for n in (_COLORS, *_OTHER_COLORS) if set(n) <= element.names()), None)
    if names is None or any(isinstance(values[name], Lists) for name in names):
        return None
    colors = np.column_stack([values[name] for name in names])
    shares = colors.dtype.kind == "f" and colors.max(initial=0) <= 1
    if names == _COLORS and (shares or colors.dtype == np.uint8):
        return None
    if shares:
        colors = colors * 255 + 0.5
    elif colors.dtype == np.uint16:
        colors = colors // 257
    eight = np.clip(colors, 0, 255).astype(np.uint8)
    return dict(zip(_COLORS, eight.T, strict=True))


def _triangles(
    sizes: NDArray[np.int64], concave: dict[int, NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(F, 3) corners of each triangle, as positions in its polygon, and (F,) the polygon's number."""
    fans = {int(n): [(0, i, i + 1) for i in range(1, n - 1)] for n in np.unique(sizes)}
    positions: list[Any] = []
    sources: list[int] = []
    for number, size in enumerate(sizes):
        new = concave.get(number, fans[int(size)])
        positions.extend(new)
        sources += [number] * len(new)
    return np.array(positions, np.int64).reshape(-1, 3), np.array(sources, np.int64)


def _written(comments: tuple[str, ...], elements: dict[str, dict[str, NDArray[Any]]]) -> bytes:
    """A binary PLY file; columns of (rows, n) become lists."""
    lines = ["ply", "format binary_little_endian 1.0", *comments]
    tables = []
    for name, columns in elements.items():
        fields: list[Any] = []
        count = len(next(iter(columns.values())))
        lines.append(f"element {name} {count}")
        for key, column in columns.items():
            kind = column.dtype.newbyteorder("<")
            words = _NAMES[kind.str[1:]]
            if column.ndim == 2:
                fields.append((f"n_{key}", "u1"))
                fields.append((key, kind, column.shape[1]))
                lines.append(f"property list uchar {words} {key}")
            else:
                fields.append((key, kind))
                lines.append(f"property {words} {key}")
        table = np.zeros(count, np.dtype(fields))
        for key, column in columns.items():
            table[key] = column
            if column.ndim == 2:
                table[f"n_{key}"] = column.shape[1]
        tables.append(table.tobytes())
    return "\n".join([*lines, "end_header\n"]).encode() + b"".join(tables)
