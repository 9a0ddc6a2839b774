"""What the fast renderer keeps on the graphics device: context, meshes, framebuffers, programs."""

import itertools
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "0")  # a thread of Mesa beside this one costs a seventh more time

import cv2
import moderngl
import numpy as np

from synth.asset import Part
from synth.errors import EnvironmentProblem
from synth.render.egl import remedy

SHADERS = Path(__file__).parent / "shaders"
_STEPS = np.arange(256) / 255
_LINEAR = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4)
ROOT_FROM_SRGB = (np.sqrt(_LINEAR) * 255 + 0.5).astype(np.uint8)
RGB_FROM_ROOT = (_STEPS ** (2 / 2.2) * 255 + 0.5).astype(np.uint8)
"""On the device 8 bits hold the square root of linear light: it costs the least to decode and to encode."""
EGL: dict[str, Any] = {"backend": "egl", "libegl": "libEGL.so.1"}


def open_context() -> moderngl.Context:
    """A context of its own through EGL. Raises EnvironmentProblem when none can be made."""
    try:
        return moderngl.create_context(standalone=True, **EGL)
    except Exception as error:
        raise EnvironmentProblem(
            f"no OpenGL context through EGL ({type(error).__name__}: {error}); {remedy()}"
        ) from error


class Geometry:
    """A part's vertices and faces on the device. Backs of closed parts are not drawn.

    corners: (8, 3) of the part's bounding box, in the part's frame. colored: whether vertices have colours.
    """

    def __init__(self, gl: moderngl.Context, part: Part) -> None:
        uv = np.zeros((len(part.vertices), 2)) if part.uv is None else part.uv
        rows = np.column_stack([part.vertices, part.normals, uv]).astype("f4")
        self._gl = gl
        self._content: list[Any] = [
            (gl.buffer(rows.tobytes()), "3f 3f 2f", "in_position", "in_normal", "in_uv")
        ]
        if part.vertex_colors is not None:
            rgba = np.pad(cv2.LUT(part.vertex_colors, ROOT_FROM_SRGB), ((0, 0), (0, 1)))
            self._content.append((gl.buffer(rgba.tobytes()), "4f1", "in_color"))
        self.colored = part.vertex_colors is not None
        self._tests = moderngl.DEPTH_TEST | (moderngl.CULL_FACE if part.closed else moderngl.NOTHING)
        self._indices = gl.buffer(part.faces.astype("u4").tobytes())
        self._arrays: dict[int, moderngl.VertexArray] = {}
        bounds = zip(part.vertices.min(0), part.vertices.max(0), strict=True)
        self.corners = np.array(list(itertools.product(*bounds)))

    def draw(self, program: moderngl.Program) -> None:
        self._gl.enable_only(self._tests)
        if program.glo not in self._arrays:
            self._arrays[program.glo] = self._gl.vertex_array(
                program, self._content, self._indices, skip_errors=True
            )
        self._arrays[program.glo].render()

    def release(self) -> None:
        for array in self._arrays.values():
            array.release()
        for buffer, *_ in self._content:
            buffer.release()
        self._indices.release()


class Targets:
    """Framebuffers, and a texture for the background photo, as large as the largest image so far.

    They never shrink: images through lenses alternate in size, and memory given back and taken again for each
    would end up in pieces too small to use.
    """

    def __init__(self, gl: moderngl.Context) -> None:
        self._gl = gl
        self._make((64, 64))

    def _make(self, room: tuple[int, int]) -> None:
        gl, self.size, self._room = self._gl, room, room
        self.samples = gl.texture(room, 4, samples=4, dtype="u4")
        self.surfaces = gl.framebuffer([self.samples], gl.depth_renderbuffer(room, samples=4))
        self.traces = gl.framebuffer([gl.texture(room, 2, dtype="f4")], gl.depth_renderbuffer(room))
        self.image = gl.framebuffer([gl.renderbuffer(room, 4)])
        self.photo = gl.texture(room, 3)

    def fit(self, size: tuple[int, int]) -> None:
        """Makes room for images of that width and height, which are drawn from the framebuffers' origin
        on."""
        room = max(size[0], self._room[0]), max(size[1], self._room[1])
        if room != self._room:
            self._release()
            self._make(room)
        self.size = size
        for target in (self.surfaces, self.traces, self.image):
            target.viewport = (0, 0, *size)

    def _release(self) -> None:
        for target in (self.surfaces, self.traces, self.image):
            for attachment in (*target.color_attachments, target.depth_attachment):
                if attachment is not None:
                    attachment.release()
            target.release()
        self.photo.release()


def mipmapped(gl: moderngl.Context, size: int, components: int, dtype: str, levels: int) -> moderngl.Texture:
    """A square texture of `size` px a side that does not repeat, with so many mipmap levels, to be written
    one by one."""
    texture = gl.texture((size, size), components, dtype=dtype)
    if levels > 1:
        texture.build_mipmaps(0, levels - 1)
    texture.repeat_x = texture.repeat_y = False
    return texture


def load_program(gl: moderngl.Context, name: str, constants: dict[str, int]) -> moderngl.Program:
    """Compiles shaders/name.vert and name.frag, behind frame.glsl, with the constants as #define."""
    head = "#version 330\n#extension GL_ARB_shading_language_packing : require\n"
    head += "#define REFLECTING 1\n" if name == "compose" else ""
    head += "".join(f"#define {key} {value}\n" for key, value in constants.items())
    head += (SHADERS / "frame.glsl").read_text()
    vertex, fragment = ((SHADERS / f"{name}.{stage}").read_text() for stage in ("vert", "frag"))
    return gl.program(vertex_shader=head + vertex, fragment_shader=head + fragment)


def set_uniforms(program: moderngl.Program, **values: Any) -> None:
    """Writes uniforms: int as integer, all else as 32-bit floats, matrices row by row as NumPy has them.
    Names that the compiled program does not use are left out."""
    for name, value in values.items():
        uniform = program.get(name, None)
        if isinstance(uniform, moderngl.Uniform):
            uniform.write(np.asarray(value, dtype="i4" if isinstance(value, int) else "f4").T.tobytes())
