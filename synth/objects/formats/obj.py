"""OBJ text in the form that trimesh reads: triangles, or polygons that a fan fills, and indices from 1 on."""

import re
from array import array

import numpy as np

from synth.objects.formats.polygons import cuts

_FORMS = ("", r"/\d+", r"//\d+", r"/\d+/\d+")
"""What may stand behind a corner's vertex."""
_PLAIN_FACE = "|".join(rf"(?: +[1-9]\d*{form}){{3}}" for form in _FORMS)
_ODD_FACE = re.compile(rf"^(?!f(?:{_PLAIN_FACE})[ \t]*$)[ \t]*f[ \t]", re.MULTILINE)
_FORM_BEGINS = [re.compile(rf"^f +\d+{form}\s", re.MULTILINE) for form in _FORMS]
_ODD_START = re.compile(r"^(?:[ \t]+(?:v|vt|vn|usemtl|o|g)[ \t]|(?:v|vt|vn|usemtl|o|g)\t)", re.MULTILINE)
_COLORED = re.compile(r"^[ \t]*v(?:[ \t]+[^\s#]+){6}", re.MULTILINE)
_COLOR = re.compile(r"^v\s+\S+\s+\S+\s+\S+\s+(\S+\s+\S+\s+\S+).*$", re.MULTILINE)
_FREE_FORM = re.compile(r"^[ \t]*(?:surf|curv2?)[ \t]", re.MULTILINE)
_USED = re.compile(r"^[ \t]*usemtl[ \t](.+)", re.MULTILINE)
_SHAPE = {
    (0, False): (False, False),
    (1, False): (True, False),
    (2, True): (False, True),
    (2, False): (True, True),
}
"""By number of slashes and whether two stand together: names a corner texture coordinates, a normal?"""
_KINDS = {"v": 0, "vt": 1, "vn": 2}


def has_colors(text: str) -> bool:
    """Whether vertices carry colours: six numbers or more on a line."""
    return _COLORED.search(text) is not None


def colors_as_places(text: str) -> str:
    """The plain text with each vertex at its colour's place, from black (0, 0, 0) to white (1, 1, 1).

    Trimesh drops colours beside materials and texture coordinates, places never.
    """
    return _COLOR.sub(r"v \1", text)


def used_materials(text: str) -> list[str]:
    """Names of materials in the order of their first use."""
    return list(dict.fromkeys(name.strip() for name in _USED.findall(text)))


def not_drawn(text: str) -> list[str]:
    """What the file holds beside polygons and is not drawn."""
    found = []
    if _FREE_FORM.search(text):
        found.append("free-form curves or surfaces: not drawn, export them as polygons")
    if "\n#MRGB" in text:
        found.append("polypaint (#MRGB): drawn without it, export it as vertex colours or a texture")
    return found


def plain(text: str) -> str:
    """The text as trimesh reads it rightly; what it reads rightly stays as it is.

    Indices count from the first vertex. Polygons that a fan does not fill become triangles. Where some faces
    of a material name texture coordinates, the others get (0, 0). Colours lie in [0, 1]; where some vertices
    have one, the others are white. Raises ValueError naming the line.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", "")
    mixed = sum(form.search(text) is not None for form in _FORM_BEGINS) > 1
    if not (mixed or _ODD_FACE.search(text) or _ODD_START.search(text) or _COLORED.search(text)):
        return text
    lines = text.split("\n")
    rows = _Rows()
    for number, line in enumerate(lines):
        words = line.split(None, 1)
        if words and words[0] in ("v", "vt", "vn", "f", "usemtl", "o", "g"):
            try:
                lines[number] = rows.plain(number, words[0], words[1] if len(words) > 1 else "")
            except (ValueError, IndexError, KeyError) as error:
                reason = str(error) if isinstance(error, ValueError) else "expected other numbers"
                raise ValueError(f"line {number + 1}: {line.strip()!r:.60}: {reason}") from error
    rows.finish(lines)
    return "\n".join(lines) + "\n"


class _Rows:
    """What the lines up to here say: counts, places and colours of vertices, and where faces are."""

    def __init__(self) -> None:
        self._counts = [0, 0, 0]
        self._places = array("d")
        self._vertex_rows = array("q")
        self._colors: dict[int, list[float]] = {}
        self._polygons: list[tuple[int, list[int]]] = []
        self._material = ""
        self._faces: dict[str, dict[tuple[bool, bool], array[int]]] = {}

    def plain(self, row: int, keyword: str, rest: str) -> str:
        """The line `keyword rest` as it is to stand in the row."""
        if keyword in ("usemtl", "o", "g"):
            if keyword == "usemtl":
                self._material = rest.strip()
            return f"{keyword} {rest.strip()}"
        words = rest.partition("#")[0].split()
        if keyword == "f":
            return self._face(row, words)
        self._counts[_KINDS[keyword]] += 1
        if keyword == "v":
            values = [float(word) for word in words]
            self._places.extend((values[0], values[1], values[2]))
            self._vertex_rows.append(row)
            if len(values) >= 6:
                self._colors[len(self._vertex_rows) - 1] = values[3:6]
        return f"{keyword} {' '.join(words)}"

    def _face(self, row: int, corners: list[str]) -> str:
        if any("-" in corner or corner[0] == "0" or corner[-1] == "/" for corner in corners):
            corners = [self._absolute(corner) for corner in corners]
        if len(corners) < 3:
            return f"f {' '.join(corners)}"
        if len(corners) > 3:
            self._polygons.append((row, [int(corner.partition("/")[0]) - 1 for corner in corners]))
        shapes = {_SHAPE[corner.count("/"), "//" in corner] for corner in corners}
        shape = min(t for t, _ in shapes), min(n for _, n in shapes)
        if len(shapes) > 1:
            named = [[*corner.split("/"), "", ""] for corner in corners]
            corners = [_corner(v, t if shape[0] else "", n if shape[1] else "") for v, t, n, *_ in named]
        rows = self._faces.setdefault(self._material, {}).setdefault(shape, array("q"))
        rows.append(row)
        return f"f {' '.join(corners)}"

    def _absolute(self, corner: str) -> str:
        indices = [int(word) if word else 0 for word in corner.split("/")]
        if "-" in corner:
            counted = zip(indices, self._counts, strict=False)
            indices = [count + 1 + index if index < 0 else index for index, count in counted]
        if indices[0] < 1 or min(indices) < 0:
            raise ValueError("a corner lies before the first vertex")
        return _corner(*(str(index or "") for index in indices))

    def finish(self, lines: list[str]) -> None:
        """Changes the lines in place where only all of them say what must stand there."""
        self._finish_colors(lines)
        for shapes in self._faces.values():
            if len(shapes) > 1:
                self._agree(lines, shapes)
        if any(len({t for t, _ in shapes}) > 1 for shapes in self._faces.values()):
            lines.append("vt 0 0")
        vertices = np.array(self._places).reshape(-1, 3)
        try:
            concave = cuts(vertices, [corners for _, corners in self._polygons])
        except IndexError as error:
            raise ValueError(f"a face names a vertex beyond the last of {len(vertices)}") from error
        for number, triangles in concave.items():
            row = self._polygons[number][0]
            corners = lines[row].split()[1:]
            lines[row] = "\n".join(f"f {corners[a]} {corners[b]} {corners[c]}" for a, b, c in triangles)

    def _finish_colors(self, lines: list[str]) -> None:
        if not self._colors:
            return
        scale = 255 if max(map(max, self._colors.values())) > 1 else 1
        if scale == 1 and len(self._colors) == len(self._vertex_rows):
            return
        for vertex, row in enumerate(self._vertex_rows):
            color = [value / scale for value in self._colors.get(vertex, [scale] * 3)]
            place = lines[row].split()[1:4]
            lines[row] = f"v {' '.join(place)} {color[0]:.6g} {color[1]:.6g} {color[2]:.6g}"

    def _agree(self, lines: list[str], shapes: dict[tuple[bool, bool], "array[int]"]) -> None:
        """Makes faces of different shapes name the same: coordinates of the texture if one does, normals if
        all do."""
        textured = any(t for t, _ in shapes)
        lit = all(n for _, n in shapes)
        extra = str(self._counts[1] + 1)
        for (has_texture, _), rows in shapes.items():
            for row in rows:
                named = [[*corner.split("/"), "", ""][:3] for corner in lines[row].split()[1:]]
                agreed = [
                    _corner(v, (t if has_texture else extra) if textured else "", n if lit else "")
                    for v, t, n in named
                ]
                lines[row] = f"f {' '.join(agreed)}"


def _corner(vertex: str, texture: str = "", normal: str = "") -> str:
    return f"{vertex}/{texture}/{normal}".rstrip("/")
