"""What PLY files hold: header and values, in text or binary, lists of any length."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float32": "f4", "float64": "f8", "double": "f8", "int64": "i8", "uint64": "u8", "float16": "f2"},
}


@dataclass(frozen=True)
class Property:
    """name, and kind as numpy calls it without byte order. counts: of a list, the kind of its length."""

    name: str
    kind: str
    counts: str | None = None


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: tuple[Property, ...]

    def names(self) -> set[str]:
        return {p.name for p in self.properties}


@dataclass(frozen=True)
class Header:
    """byte_order: '<' or '>', None = text. start: where the values begin. textures: file names."""

    byte_order: str | None
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    start: int

    def textures(self) -> list[str]:
        named = [line for line in self.comments if "texturefile" in line.lower()]
        return [line[line.lower().index("texturefile") + 11 :].strip() for line in named]

    def element(self, name: str) -> Element | None:
        return next((element for element in self.elements if element.name == name), None)


@dataclass(frozen=True)
class Lists:
    """A list property of all rows: values behind one another, and where each row's begin (rows + 1)."""

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def uniform(cls, table: NDArray[Any]) -> "Lists":
        """Of a table (rows, n)."""
        return cls(table.ravel(), np.arange(len(table) + 1) * table.shape[1])

    def row(self, number: int) -> NDArray[Any]:
        return self.values[self.starts[number] : self.starts[number + 1]]


def read_header(data: bytes) -> Header:
    """Raises ValueError for what is no PLY header."""
    end = data.find(b"end_header")
    start = data.find(b"\n", end) + 1
    if not data[:3].lower() == b"ply" or end < 0 or start == 0:
        raise ValueError("not a PLY file")
    byte_order: str | None = None
    elements: list[tuple[str, int, list[Property]]] = []
    comments = []
    for line in data[:end].decode("utf-8", "replace").splitlines()[1:]:
        words = line.split()
        if not words:
            continue
        if words[0] == "format":
            byte_order = {"ascii": None, "binary_big_endian": ">"}.get(words[1], "<")
        elif words[0] in ("comment", "obj_info"):
            comments.append(line.strip())
        elif words[0] == "element" and len(words) == 3:
            elements.append((words[1], int(words[2]), []))
        elif words[0] == "property" and len(words) in (3, 5) and elements:
            kinds = [KINDS.get(word.lower()) for word in words[1 if len(words) == 3 else 2 : -1]]
            if None in kinds:
                raise ValueError(f"{line.strip()!r}: no such kind of number")
            elements[-1][2].append(Property(words[-1], str(kinds[-1]), kinds[0] if len(kinds) == 2 else None))
        elif words[0] in ("element", "property"):
            raise ValueError(f"{line.strip()!r:.60} in the header")
    if any(count < 0 for _, count, _ in elements):
        raise ValueError("an element that is there less than 0 times")
    made = tuple(Element(name, count, tuple(properties)) for name, count, properties in elements)
    return Header(byte_order, made, tuple(comments), start)


def read_values(data: bytes, header: Header) -> dict[str, dict[str, Any]]:
    """Element -> property -> its values (rows,), or Lists. Raises ValueError for a file that ends early."""
    found: dict[str, dict[str, Any]] = {}
    if header.byte_order is None:
        numbers, at = np.array([float(word) for word in data[header.start :].split()]), 0
        for element in header.elements:
            found[element.name], at = _from_text(numbers, at, element)
    else:
        at = header.start
        for element in header.elements:
            found[element.name], at = _from_bytes(data, at, element, header.byte_order)
    return found


def _from_text(numbers: NDArray[np.float64], at: int, element: Element) -> tuple[dict[str, Any], int]:
    """The element's values in the numbers from `at` on, and where they end."""
    lists = [p for p in element.properties if p.counts]
    sizes = {}
    end = at
    for p in element.properties:  # lists of the first row
        if p.counts and element.count:
            sizes[p.name] = int(_take(numbers, end, 1)[0])
            end += 1 + sizes[p.name]
        else:
            end += 1
    width = end - at
    table = numbers[at : at + width * element.count]
    if len(table) == width * element.count:
        table = table.reshape(element.count, width)
        found: dict[str, Any] = {}
        column, uniform = 0, True
        for p in element.properties:
            if p in lists:
                uniform = uniform and bool((table[:, column] == sizes.get(p.name, 0)).all())
                column += 1
                size = sizes.get(p.name, 0)
                found[p.name] = Lists.uniform(table[:, column : column + size].astype(p.kind))
            else:
                size = 1
                found[p.name] = table[:, column].astype(p.kind)
            column += size
        if uniform:
            return found, at + width * element.count
    rows: dict[str, list[NDArray[Any]]] = {p.name: [] for p in element.properties}
    for _ in range(element.count):
        for p in element.properties:
            size = 1
            if p.counts:
                size = int(_take(numbers, at, 1)[0])
                at += 1
            rows[p.name].append(_take(numbers, at, size))
            at += size
    return _joined(element, rows), at


def _take(values: NDArray[Any], at: int, size: int) -> NDArray[Any]:
    if size < 0 or at + size > len(values):
        raise ValueError("it ends early")
    return values[at : at + size]


def _from_bytes(data: bytes, at: int, element: Element, order: str) -> tuple[dict[str, Any], int]:
    """The element's values in the bytes from `at` on, and where they end."""
    kinds = {p.name: np.dtype(order + p.kind) for p in element.properties}
    counts = {p.name: np.dtype(order + p.counts) for p in element.properties if p.counts}
    fields: list[Any] = []
    end = at
    for name, kind in kinds.items():  # lists of the first row
        if name in counts:
            size = _count(data, end, counts[name]) if element.count else 0
            fields += [(f"n {name}", counts[name]), (name, kind, (size,))]
            end += counts[name].itemsize + size * kind.itemsize
        else:
            fields.append((name, kind))
            end += kind.itemsize
    row = np.dtype(fields)
    if at + row.itemsize * element.count <= len(data):
        table = np.frombuffer(data, row, element.count, at)
        if all((table[f"n {name}"] == table[name].shape[1]).all() for name in counts):
            found = {name: Lists.uniform(table[name]) if name in counts else table[name] for name in kinds}
            return found, at + row.itemsize * element.count
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}
    for _ in range(element.count):
        for name, kind in kinds.items():
            size = 1
            if name in counts:
                size = _count(data, at, counts[name])
                at += counts[name].itemsize
            if at + size * kind.itemsize > len(data):
                raise ValueError("it ends early")
            rows[name].append(np.frombuffer(data, kind, size, at) if size else np.empty(0, kind))
            at += size * kind.itemsize
    return _joined(element, rows), at


def _count(data: bytes, at: int, kind: np.dtype[Any]) -> int:
    if at + kind.itemsize > len(data):
        raise ValueError("it ends early")
    return int(np.frombuffer(data, kind, 1, at)[0])


def _joined(element: Element, rows: dict[str, list[NDArray[Any]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for p in element.properties:
        values = np.concatenate(rows[p.name]).astype(p.kind)
        starts = np.cumsum([0, *map(len, rows[p.name])])
        found[p.name] = Lists(values, starts) if p.counts else values
    return found
