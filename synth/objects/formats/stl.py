"""STL files: what stands behind the last face, decimal commas, and colours in bytes that the format leaves
free."""

import re
import struct

import numpy as np
from numpy.typing import NDArray

HEAD_BYTES, FACE_BYTES = 84, 50
_COMMA = re.compile(rb"(?<=\d),(?=\d)")
WHITE = (255, 255, 255)


def plain(data: bytes) -> bytes:
    """The file as trimesh reads it: a binary one ends with its last face, a text has decimal points."""
    if _is_text(data):
        return _COMMA.sub(b".", data)
    return data[: HEAD_BYTES + FACE_BYTES * _count(data)] if _count(data) else data


def face_colors(data: bytes) -> NDArray[np.uint8] | None:
    """(F, 3) sRGB of a binary file's faces, or None where it has no colours.

    Five bits a channel. VisCAM and SolidView: blue in the lowest bits; bit 15 says that a face has a colour.
    Magics, whose header says COLOR=: red in the lowest bits; bit 15 says that the header's colour holds.
    """
    count = _count(data)
    if _is_text(data) or not count or len(data) < HEAD_BYTES + FACE_BYTES * count:
        return None
    faces = np.frombuffer(data, np.uint8, FACE_BYTES * count, HEAD_BYTES).reshape(count, FACE_BYTES)
    bits = np.ascontiguousarray(faces[:, 48:]).view("<u2").ravel()
    channels = np.stack([bits & 31, bits >> 5 & 31, bits >> 10 & 31], axis=1)
    flagged = (bits >> 15 & 1).astype(bool)
    at = data[:80].find(b"COLOR=")
    if 0 <= at <= 70:
        own = ~flagged if bits.any() else flagged
        colors, default = channels, tuple(data[at + 6 : at + 9])
    else:
        own, colors, default = flagged, channels[:, ::-1], WHITE
        if not own.any():
            return None
    eight = (colors * 255 + 15) // 31
    return np.where(own[:, None], eight, np.array(default)).astype(np.uint8)


def _count(data: bytes) -> int:
    """How many faces a binary file says it has, as far as it is long enough; 0 where it is not."""
    if len(data) < HEAD_BYTES:
        return 0
    (count,) = struct.unpack_from("<I", data, 80)
    return int(count) if len(data) >= HEAD_BYTES + FACE_BYTES * count else 0


def _is_text(data: bytes) -> bool:
    """Binary files may begin with `solid` too; only a text names facets behind it."""
    return data[:512].lstrip().lower().startswith(b"solid") and b"facet" in data[:2048].lower()
