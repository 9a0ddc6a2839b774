"""A lean renderer: OpenGL through EGL, on a GPU or in software, with the reference renderer's shading.

One picture is four passes: the shadow map; depth and ids of the things, one sample a pixel; their surfaces,
four samples a pixel, unshaded, because small triangles are many; and the whole image, which shades what each
pixel shows. Only the last touches more than the region of things. Meshes, textures, programs and framebuffers
stay resident.
"""

import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from synth.background import surface
from synth.errors import EnvironmentProblem
from synth.geometry import apply
from synth.instance import Library, joint_transform
from synth.render.base import (
    BACKDROP_REACH,
    backdrop_texture,
    chosen_texture,
    clip_planes,
    distractor_part,
    may_be_hidden,
    reach,
    shadow_region,
    varied_color,
)
from synth.render.projection import (
    Rect,
    background_depth,
    bounds,
    clip_from_world,
    clip_from_world_for_light,
    grid,
    ray_from_pixel,
    shadow_on_ground,
    touched_cells,
    union,
    widened,
)
from synth.types import Array, Light, Look, ObjectInstance, Part, RenderResult, SceneSpec

SHADERS = Path(__file__).parent / "shaders"
SHADOW_MAP_PX = 1024
CELLS = (32, 24)
"""Of the grid over the image: columns and rows."""
TEXTURES_KEPT = 96
FILL_DISTANCE = 20.0
"""Fill lights stand at this many radii of the lit things."""
SUNK = 1e-4
"""What lies below the ground by at most this share of the things' radius still shows, so that flat things do."""
EVERYTHING = 1e9
"""Metres below the ground that show where there is no ground."""
NO_KEY = Light("key", (0.0, 0.0, 1.0), 0.0, (1.0, 1.0, 1.0))
GL_CLIP_DISTANCE0, GL_SRGB8 = 0x3000, 0x8C41
FRAME_BYTES = 2048
FRAME, SHADOWS, BASE, SURFACES, MATERIALS = 0, 0, 1, 2, 3
"""Binding points of textures and of the uniform block."""


class _Geometry:
    """A part's vertices on the device. corners: (8, 3) of its bounding box, in its frame."""

    def __init__(self, gl: moderngl.Context, part: Part) -> None:
        uv = np.zeros((len(part.vertices), 2)) if part.uv is None else part.uv
        rows = np.column_stack([part.vertices, part.normals, uv]).astype("f4")
        self._gl = gl
        self._vertices = gl.buffer(rows.tobytes())
        self._indices = gl.buffer(part.faces.astype("u4").tobytes())
        self._arrays: dict[int, moderngl.VertexArray] = {}
        bounds = zip(part.vertices.min(0), part.vertices.max(0), strict=True)
        self.corners = np.array(list(itertools.product(*bounds)))

    def draw(self, program: moderngl.Program) -> None:
        if program.glo not in self._arrays:
            content = [(self._vertices, "3f 3f 2f", "in_position", "in_normal", "in_uv")]
            self._arrays[program.glo] = self._gl.vertex_array(
                program, content, self._indices, skip_errors=True
            )
        self._arrays[program.glo].render()

    def release(self) -> None:
        for array in self._arrays.values():
            array.release()
        self._vertices.release()
        self._indices.release()


@dataclass(frozen=True)
class _Draw:
    """One part in the scene. id: n for parts of the n-th object (from 1), 0 for distractors."""

    geometry: _Geometry
    T_world_from_part: Array
    id: int
    color: tuple[float, float, float]
    texture: moderngl.Texture | None
    look: Look

    def corners_world(self) -> Array:
        return apply(self.T_world_from_part, self.geometry.corners)


@dataclass(frozen=True)
class _View:
    """What one picture's passes share. centre, radius: of a sphere around the things; sunk: see SUNK, metres."""

    scene: SceneSpec
    draws: tuple[_Draw, ...]
    key: Light
    centre: Array
    radius: float
    clip_from_world: Array
    clip_from_world_for_key: Array
    sunk: float

    def fills(self) -> list[Light]:
        return [light for light in self.scene.lights if light is not self.key]

    def shadow_on_ground(self, draw: _Draw) -> Array:
        margin = 4 * 2 * self.radius / SHADOW_MAP_PX
        return shadow_on_ground(draw.corners_world(), np.array(self.key.direction), margin)


class _Targets:
    """Framebuffers of one image size, and the texture of a photo that fills the image."""

    def __init__(self, gl: moderngl.Context, size: tuple[int, int]) -> None:
        self.size = size
        self.samples = gl.texture(size, 4, samples=4, dtype="u4")
        self.surfaces = gl.framebuffer([self.samples], gl.depth_renderbuffer(size, samples=4))
        self.traces = gl.framebuffer([gl.texture(size, 2, dtype="f4")], gl.depth_renderbuffer(size))
        self.image = gl.framebuffer([gl.renderbuffer(size, 4)])
        self.photo = gl.texture(size, 3, internal_format=GL_SRGB8)

    def release(self) -> None:
        for target in (self.surfaces, self.traces, self.image):
            for attachment in (*target.color_attachments, target.depth_attachment):
                if attachment is not None:
                    attachment.release()
            target.release()
        self.photo.release()


class FastRenderer:
    """See synth.render.base.Renderer."""

    _targets: _Targets

    def __init__(self, library: Library, photos: Path | None) -> None:
        self._library = library
        self._photos = photos
        try:
            self._gl = moderngl.create_context(standalone=True, backend="egl", libegl="libEGL.so.1")
        except Exception as error:
            raise EnvironmentProblem(
                f"no OpenGL context through EGL ({type(error).__name__}: {error}); "
                "install libegl1, libgl1 and libgl1-mesa-dri, or a GPU driver with EGL"
            ) from error
        self._programs: dict[tuple[str, str], moderngl.Program] = {}
        self._images: dict[int, moderngl.VertexArray] = {}
        self._geometries: dict[tuple[str, int, int], _Geometry] = {}
        self._textures: OrderedDict[Hashable, moderngl.Texture] = OrderedDict()
        with self._gl:
            self._gl.enable_direct(GL_CLIP_DISTANCE0)
            self._shadow_map = self._gl.depth_texture((SHADOW_MAP_PX, SHADOW_MAP_PX))
            self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
            self._shadows = self._gl.framebuffer(depth_attachment=self._shadow_map)
            self._shadow_map.use(SHADOWS)
            self._cells = self._gl.buffer(grid(*CELLS).tobytes())
            self._frame = self._gl.buffer(reserve=FRAME_BYTES)
            self._frame.bind_to_uniform_block(FRAME)
            self._targets = _Targets(self._gl, (64, 64))

    def close(self) -> None:
        self._gl.release()

    def render(self, scene: SceneSpec) -> RenderResult:
        with self._gl:
            size = scene.camera.width_px, scene.camera.height_px
            if size != self._targets.size:
                self._targets.release()
                self._targets = _Targets(self._gl, size)
            passing = [_Geometry(self._gl, distractor_part(d)) for d in scene.distractors]
            result = self._render(scene, self._view(scene, passing))
            for geometry in passing:
                geometry.release()
            while len(self._textures) > TEXTURES_KEPT:
                self._textures.popitem(last=False)[1].release()
        return result

    def _render(self, scene: SceneSpec, view: _View) -> RenderResult:
        depth_m = background_depth(scene)
        instance_id = np.zeros(depth_m.shape, np.int32)
        alone = np.zeros(len(scene.objects), np.int64)
        rect = union(bounds(scene.camera, d.corners_world()) for d in view.draws)
        if view.draws:
            self._cast_shadows(view)
        if rect is not None:
            x, y, w, h = rect
            window = np.s_[y : y + h, x : x + w]
            trace = self._trace(view, rect, view.draws, view.sunk)
            np.copyto(depth_m[window], trace[:, :, 0], where=trace[:, :, 0] > 0)
            instance_id[window] = trace[:, :, 1]
            for n in range(len(scene.objects)):
                alone[n] = self._unoccluded(view, n, instance_id[window])
            self._lay_surfaces(view, rect)
        rgb = self._compose(view, laid=rect is not None)
        return RenderResult(rgb, depth_m, instance_id, alone)

    def _unoccluded(self, view: _View, n: int, instance_id: NDArray[np.int32]) -> int:
        """Pixels object n covers when it is drawn alone."""
        if not may_be_hidden(view.scene, self._library, n):
            return int(np.count_nonzero(instance_id == n + 1))
        own = [d for d in view.draws if d.id == n + 1]
        rect = union(bounds(view.scene.camera, d.corners_world()) for d in own)
        return 0 if rect is None else int(np.count_nonzero(self._trace(view, rect, own, EVERYTHING)[:, :, 1]))

    # --- what is drawn -------------------------------------------------------------------------------

    def _view(self, scene: SceneSpec, distractors: Sequence[_Geometry]) -> _View:
        centre, radius = shadow_region(scene, self._library)
        draws = [*self._object_draws(scene), *self._distractor_draws(scene, distractors)]
        eye = scene.camera.T_world_from_camera[:3, 3]
        draws.sort(key=lambda d: float(np.linalg.norm(d.corners_world().mean(0) - eye)))
        diameter = max((self._library[o.asset].diameter_m for o in scene.objects), default=radius)
        key = next((light for light in scene.lights if light.kind == "key"), NO_KEY)
        view = _View(
            scene=scene,
            draws=tuple(draws),
            key=key,
            centre=centre,
            radius=radius,
            clip_from_world=clip_from_world(scene.camera, *clip_planes(scene, diameter)),
            clip_from_world_for_key=clip_from_world_for_light(np.array(key.direction), centre, radius),
            sunk=SUNK * radius if scene.background.on_plane else EVERYTHING,
        )
        self._set_frame(view)
        return view

    def _object_draws(self, scene: SceneSpec) -> Iterator[_Draw]:
        for n, instance in enumerate(scene.objects, start=1):
            asset = self._library[instance.asset]
            shaped = instance.T_world_from_object @ np.diag([*instance.scale, 1.0])
            for p, part in enumerate(asset.meshes[instance.mesh]):
                place = (asset.name, instance.mesh, p)
                if place not in self._geometries:
                    self._geometries[place] = _Geometry(self._gl, part)
                look = instance.looks[part.name]
                texture = chosen_texture(part, look, asset.materials.get(part.name, asset.materials.get("*")))
                yield _Draw(
                    geometry=self._geometries[place],
                    T_world_from_part=shaped @ self._jointed(instance, part.name),
                    id=n,
                    color=varied_color(part, look),
                    texture=None if texture is None else self._texture(id(texture), lambda t=texture: t),
                    look=look,
                )

    def _jointed(self, instance: ObjectInstance, part: str) -> Array:
        asset, T = self._library[instance.asset], np.eye(4)
        for joint in asset.joints:
            if part in joint.parts:
                T = joint_transform(asset, joint.name, instance.joints[joint.name]) @ T
        return T

    def _distractor_draws(self, scene: SceneSpec, geometries: Sequence[_Geometry]) -> Iterator[_Draw]:
        for d, geometry in zip(scene.distractors, geometries, strict=True):
            texture = self._surface(d.surface, d.surface_seed)
            look = Look(roughness=d.roughness, metallic=d.metallic)
            yield _Draw(geometry, d.T_world_from_object, 0, (1.0, 1.0, 1.0), texture, look)

    def _surface(self, kind: str, seed: int, format_: int | None = None) -> moderngl.Texture:
        return self._texture((kind, seed, format_), lambda: surface(kind, seed), format_)

    def _texture(
        self, key: Hashable, load: Callable[[], NDArray[np.uint8]], format_: int | None = None
    ) -> moderngl.Texture:
        """The resident texture of `key`, a procedural surface or the id of an array that the library holds."""
        if key not in self._textures:
            image = load()
            data = np.ascontiguousarray(image).tobytes()
            texture = self._gl.texture(image.shape[1::-1], 3, data, internal_format=format_)
            texture.build_mipmaps()
            self._textures[key] = texture
        self._textures.move_to_end(key)
        return self._textures[key]

    # --- passes --------------------------------------------------------------------------------------

    def _cast_shadows(self, view: _View) -> None:
        self._shadows.use()
        self._shadows.clear()
        self._draw_traces(view, view.draws, view.clip_from_world_for_key, EVERYTHING)

    def _trace(self, view: _View, rect: Rect, draws: Sequence[_Draw], sunk: float) -> NDArray[np.float32]:
        """(h, w, 2) depth in metres and id of what is nearest in each of the rect's pixels; 0, 0 = nothing."""
        target = self._targets.traces
        target.clear(viewport=rect)
        target.scissor = rect
        target.use()
        self._draw_traces(view, draws, view.clip_from_world, sunk)
        data = target.read(viewport=rect, components=2, dtype="f4")
        return np.frombuffer(data, np.float32).reshape(rect[3], rect[2], 2)

    def _draw_traces(self, view: _View, draws: Sequence[_Draw], clip: Array, sunk: float) -> None:
        self._gl.enable_only(moderngl.DEPTH_TEST)
        program = self._program("trace", view)
        for draw in draws:
            T = draw.T_world_from_part
            above = T[2] + [0.0, 0.0, 0.0, sunk]
            _set(program, clip_from_part=clip @ T, above_ground=above, id=float(draw.id))
            draw.geometry.draw(program)

    def _lay_surfaces(self, view: _View, rect: Rect) -> None:
        """Draws what image.frag shades; clears whatever cells it may look at."""
        target = self._targets.surfaces
        target.clear(viewport=widened(rect, self._targets.size, CELLS))
        target.scissor = rect
        target.use()
        self._gl.enable_only(moderngl.DEPTH_TEST)
        for number, draw in enumerate(view.draws, start=1):
            T = draw.T_world_from_part
            program = self._program("surface", view, "TEXTURED" if draw.texture else "")
            if draw.texture:
                draw.texture.use(BASE)
            _set(
                program,
                clip_from_part=view.clip_from_world @ T,
                normal_from_part=np.linalg.inv(T[:3, :3]).T,
                above_ground=T[2] + [0.0, 0.0, 0.0, view.sunk],
                part=number,
            )
            draw.geometry.draw(program)

    def _compose(self, view: _View, laid: bool) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB: the background, shaded where it is the ground, with the painted things before it."""
        background, targets = view.scene.background, self._targets
        texture = targets.photo
        if background.kind == "photo":
            texture.write(backdrop_texture(view.scene, self._photos))
        else:
            texture = self._surface(background.kind, background.seed, GL_SRGB8)
        texture.use(BASE)
        targets.samples.use(SURFACES)
        flags = "PHOTO" if background.kind == "photo" else "", "LIT" if background.on_plane else ""
        self._gl.enable_only(moderngl.NOTHING)
        camera = view.scene.camera
        things = touched_cells(camera, (d.corners_world() for d in view.draws if laid), CELLS)
        shade = (view.shadow_on_ground(d) for d in view.draws) if background.on_plane else ()
        shadows = touched_cells(camera, shade, CELLS) & ~things
        targets.image.use()
        self._fill(view, ~things & ~shadows, *flags)
        self._fill(view, shadows, *flags, "SHADOW")
        if things.any():
            materials = self._materials(view.draws)
            self._fill(view, things, *flags, "SHADOW", "THINGS")
            materials.release()
        width, height = targets.size
        rgba = np.frombuffer(targets.image.read(components=4), np.uint8).reshape(height, width, 4)
        return np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)

    def _materials(self, draws: Sequence[_Draw]) -> moderngl.Texture:
        """What image.frag knows of each part, in use."""
        rows = []
        for draw in draws:
            look = draw.look if draw.texture else Look(roughness=draw.look.roughness, metallic=draw.look.metallic)
            hue = round(look.hue * 256) / 256
            rows += [*draw.color, max(look.roughness, 0.04), hue, look.saturation, look.value, look.metallic]
        texture = self._gl.texture((2, len(draws)), 4, np.array(rows, "f4").tobytes(), dtype="f4")
        texture.filter = moderngl.NEAREST, moderngl.NEAREST
        texture.use(MATERIALS)
        return texture

    def _fill(self, view: _View, cells: NDArray[np.bool_], *flags: str) -> None:
        """Draws the cells of the image with the variant of image.frag that `flags` name."""
        program, background = self._program("image", view, *flags), view.scene.background
        _set(
            program,
            image_size=self._targets.size,
            mirror=-1.0 if background.flip else 1.0,
            roughness=max(background.roughness, 0.04),
        )
        if program.glo not in self._images:
            self._images[program.glo] = self._gl.vertex_array(program, [], self._cells)
        indices = grid(*CELLS)[cells]
        self._cells.orphan()
        self._cells.write(indices.tobytes())
        self._images[program.glo].render(vertices=indices.size)

    def _program(self, name: str, view: _View, *flags: str) -> moderngl.Program:
        """The program of shaders name.vert and name.frag, compiled with what `flags` name."""
        columns, rows = CELLS
        constants = {"FILLS": max(1, len(view.fills())), "COLUMNS": columns, "ROWS": rows}
        constants |= {flag: 1 for flag in flags if flag}
        defines = "".join(f"#define {key} {value}\n" for key, value in constants.items())
        if (name, defines) not in self._programs:
            shared = (
                "#version 330\n#extension GL_ARB_shading_language_packing : require\n"
                + defines
                + (SHADERS / "frame.glsl").read_text()
            )
            program = self._gl.program(
                vertex_shader=shared + (SHADERS / f"{name}.vert").read_text(),
                fragment_shader=shared + (SHADERS / f"{name}.frag").read_text(),
            )
            _set(program, shadow_map=SHADOWS, base_texture=BASE, surfaces=SURFACES, materials=MATERIALS)
            self._programs[name, defines] = program
        return self._programs[name, defines]

    def _set_frame(self, view: _View) -> None:
        """Writes the uniform block that frame.glsl describes."""
        scene, key, distance = view.scene, view.key, FILL_DISTANCE * view.radius
        from_clip = np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0, 1]])
        ray = np.eye(4)
        ray[:3, :3] = ray_from_pixel(scene.camera)
        fills = view.fills() or [NO_KEY]
        rows = [
            (from_clip @ view.clip_from_world_for_key).T,
            ray.T,
            [*scene.camera.T_world_from_camera[:3, 3], scene.ambient],
            [*key.direction, BACKDROP_REACH * reach(scene)],
            [*(np.array(key.color) * key.irradiance * np.pi), scene.background.tile_m],
            *([*(view.centre + np.array(f.direction) * distance), 0.0] for f in fills),
            *([*(np.array(f.color) * f.irradiance * np.pi * distance**2), 0.0] for f in fills),
        ]
        self._frame.write(np.vstack(rows).astype("f4").tobytes())


def _set(program: moderngl.Program, **values: Any) -> None:
    """Writes uniforms; what this variant of the program does not use is left out. Matrices: row-major."""
    for name, value in values.items():
        uniform = program.get(name, None)
        if uniform is not None:
            uniform.write(np.asarray(value, dtype="i4" if isinstance(value, int) else "f4").T.tobytes())
