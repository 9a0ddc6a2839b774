"""A lean renderer: OpenGL through EGL, on a GPU or in software, with the reference renderer's shading.

One picture is four passes: the shadow map; depth and ids of the things, one sample a pixel; their surfaces,
four samples a pixel, unshaded, because small triangles are many; and the whole image, which shades what each
pixel shows. Only the last touches more than the region of things. Meshes, textures, programs and framebuffers
stay resident.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from synth.objects.library import Library
from synth.render.contents import (
    BACKDROP_REACH,
    backdrop_texture,
    clip_planes,
    may_be_hidden,
    reach,
    shadow_region,
)
from synth.render.device import (
    RGB_FROM_ROOT,
    ROOT_FROM_SRGB,
    Targets,
    load_program,
    mipmapped,
    open_context,
    set_uniforms,
)
from synth.render.draws import Draw, Models, boxes
from synth.render.projection import (
    Rect,
    background_depth,
    bounds,
    cell_rects,
    cells_showing,
    clip_from_world,
    clip_from_world_for_light,
    grid,
    ground_grid,
    ray_from_pixel,
    touched_cells,
)
from synth.render.shade import (
    OCCLUSION_PX,
    PENUMBRA_PX,
    SHADE_LEVELS,
    occlusion,
    pieces,
    plane_depth,
    shaded_places,
    soft_shadow,
)
from synth.scene.environment import LEVELS_PX, surround_of
from synth.types import Array, Light, RenderResult, SceneSpec

SHADOW_MAP_PX = 512
SHADOW_MARGIN = 1.08
"""The shadow map covers this much more than the things: soft shadows reach out."""
CELLS = (32, 24)
"""Of the grid over the image: columns and rows."""
OCCLUSION_REACH = 1.3
"""Occlusion is known within this many radii of the things' centre."""
FILL_DISTANCE = 20.0
"""Fill lights stand at this many radii of the lit things."""
SUNK = 1e-4
"""How far below the ground things still show, as a share of their radius: flat things lie right on it."""
EVERYTHING = 1e9
"""Metres below the ground that show where there is no ground."""
NO_KEY = Light("key", (0.0, 0.0, 1.0), 0.0, (1.0, 1.0, 1.0))
GL_CLIP_DISTANCE0 = 0x3000
IN_PICTURE = "cw"
"""Winding of a face's front in the picture, which is upside down to OpenGL."""
FRAME_BYTES = 2048
FRAME, SHADOWS, BASE, SURFACES, MATERIALS, NORMALS, GLOSS, SURROUND = 0, 0, 1, 2, 3, 4, 5, 6
SHADE, PENUMBRA, OCCLUSION = 7, 8, 9
"""Binding points of textures and of the uniform block."""


@dataclass(frozen=True)
class _View:
    """What one picture's passes share.

    centre, radius: of a sphere around the things. sunk: metres below the ground that still show.
    occlusion: of the ground by the things, see synth.render.shade; None without ground.
    """

    scene: SceneSpec
    draws: tuple[Draw, ...]
    key: Light
    centre: Array
    radius: float
    clip_from_world: Array
    clip_from_world_for_key: Array
    sunk: float
    occlusion: tuple[NDArray[np.uint8], float] | None

    @cached_property
    def boxes(self) -> Array:
        return boxes(self.draws)

    def fills(self) -> list[Light]:
        return [light for light in self.scene.lights if light is not self.key]

    def texture_from_world_for_key(self) -> Array:
        from_clip = np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0, 1]])
        return np.asarray(from_clip @ self.clip_from_world_for_key)

    def occlusion_from_world(self) -> Array:
        """(2, 4) places in `occlusion`, from 0 to 1."""
        scale = 1 / (2 * OCCLUSION_REACH * self.radius)
        return np.column_stack([scale * np.eye(2, 3), 0.5 - scale * self.centre[:2]])


class FastRenderer:
    """See synth.render.protocol.Renderer."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._gl = open_context()
        self._models = Models(self._gl, library)
        self._programs: dict[tuple[str | int, ...], moderngl.Program] = {}
        self._images: dict[int, moderngl.VertexArray] = {}
        with self._gl:
            self._gl.enable_direct(GL_CLIP_DISTANCE0)
            self._shadow_map = self._gl.depth_texture((SHADOW_MAP_PX, SHADOW_MAP_PX))
            self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
            self._shadows = self._gl.framebuffer(depth_attachment=self._shadow_map)
            self._shadow_map.use(SHADOWS)
            self._surround = mipmapped(self._gl, LEVELS_PX[0], 3, "f2", len(LEVELS_PX))
            self._shade = mipmapped(self._gl, SHADOW_MAP_PX, 1, "f1", SHADE_LEVELS)
            self._penumbra = mipmapped(self._gl, PENUMBRA_PX, 1, "f1", 1)
            self._occlusion = mipmapped(self._gl, OCCLUSION_PX, 1, "f1", 1)
            for unit, texture in (
                (SURROUND, self._surround),
                (SHADE, self._shade),
                (PENUMBRA, self._penumbra),
                (OCCLUSION, self._occlusion),
            ):
                texture.use(unit)
            self._cells = self._gl.buffer(grid(*CELLS).tobytes())
            self._frame = self._gl.buffer(reserve=FRAME_BYTES)
            self._frame.bind_to_uniform_block(FRAME)
            self._targets = Targets(self._gl)

    def close(self) -> None:
        self._gl.release()

    def render(self, scene: SceneSpec) -> RenderResult:
        with self._gl:
            self._targets.fit((scene.camera.width_px, scene.camera.height_px))
            result = self._render(scene, self._view(scene))
            self._models.tidy()
        return result

    def _render(self, scene: SceneSpec, view: _View) -> RenderResult:
        if scene.background.kind == "photo":  # before anything is drawn: later it would wait for that
            photo = backdrop_texture(scene, self._library)
            self._targets.photo.write(cv2.LUT(photo, ROOT_FROM_SRGB), viewport=(0, 0, *self._targets.size))
        depth_m = background_depth(scene)
        instance_id = np.zeros(depth_m.shape, np.int32)
        alone = np.zeros(len(scene.objects), np.int64)
        rect = bounds(scene.camera, view.boxes)
        darkened = self._cast_shadows(view)
        things = touched_cells(scene.camera, view.boxes, CELLS) & (rect is not None)
        if rect is not None:
            x, y, w, h = rect
            window = np.s_[y : y + h, x : x + w]
            trace = self._trace(view, rect, view.draws, view.sunk)
            np.copyto(depth_m[window], trace[:, :, 0], where=trace[:, :, 0] > 0)
            ids = instance_id[window]
            ids[:] = trace[:, :, 1]
            for n, hidden in enumerate(may_be_hidden(scene, self._library)):
                alone[n] = self._unoccluded(view, n) if hidden else np.count_nonzero(ids == n + 1)
            self._lay_surfaces(view, rect, things)
        rgb = self._compose(view, things, darkened & ~things)
        return RenderResult(rgb, depth_m, instance_id, alone)

    def _unoccluded(self, view: _View, n: int) -> int:
        """Pixels object n covers when it is drawn alone."""
        own = [d for d in view.draws if d.id == n + 1]
        rect = bounds(view.scene.camera, boxes(own))
        return 0 if rect is None else int(np.count_nonzero(self._trace(view, rect, own, EVERYTHING)[:, :, 1]))

    def _view(self, scene: SceneSpec) -> _View:
        centre, radius = shadow_region(scene, self._library)
        draws = self._models.draws(scene)
        eye = scene.camera.T_world_from_camera[:3, 3]
        draws.sort(key=lambda d: float(np.linalg.norm(d.corners_world.mean(0) - eye)))
        diameter = max((self._library[o.asset].diameter_m for o in scene.objects), default=radius)
        key = next((light for light in scene.lights if light.kind == "key"), NO_KEY)
        view = _View(
            scene=scene,
            draws=tuple(draws),
            key=key,
            centre=centre,
            radius=radius,
            clip_from_world=clip_from_world(scene.camera, *clip_planes(scene, diameter)),
            clip_from_world_for_key=clip_from_world_for_light(
                np.array(key.direction), centre, SHADOW_MARGIN * radius
            ),
            sunk=SUNK * radius if scene.background.on_plane else EVERYTHING,
            occlusion=occlusion(pieces(scene, self._library), centre, OCCLUSION_REACH * radius)
            if draws and scene.background.on_plane
            else None,
        )
        surround, R_surround_from_world = surround_of(scene, self._library)
        for level, radiance in enumerate(surround.levels):
            self._surround.write(radiance.astype("f2").tobytes(), level=level)
        self._set_frame(view, surround.irradiance, R_surround_from_world)
        return view

    # --- passes --------------------------------------------------------------------------------------

    def _cast_shadows(self, view: _View) -> NDArray[np.bool_]:
        """Draws the shadow map and what darkens the ground; the cells in which that shows."""
        darkened = np.zeros(CELLS[0] * CELLS[1], np.bool_)
        if not view.draws:
            return darkened
        self._gl.front_face = "ccw"
        self._shadows.use()
        self._shadows.clear()
        self._draw_traces(view, view.draws, view.clip_from_world_for_key, EVERYTHING)
        if not view.occlusion:
            return darkened
        data = self._shadows.read(attachment=-1, components=1, dtype="f4")
        depth = np.frombuffer(data, np.float32).reshape(SHADOW_MAP_PX, SHADOW_MAP_PX)
        ground = plane_depth(view.texture_from_world_for_key())
        levels, penumbra = soft_shadow(depth, ground, view.key.radius)
        for level, shade in enumerate(levels):
            self._shade.write(shade.tobytes(), level=level)
        self._penumbra.write(penumbra.tobytes())
        self._occlusion.write(view.occlusion[0].tobytes())
        places = ground_grid(view.scene.camera, BACKDROP_REACH * reach(view.scene), CELLS)
        shaded = shaded_places(levels, penumbra)
        return cells_showing(places, view.texture_from_world_for_key()[:2], shaded) | cells_showing(
            places, view.occlusion_from_world(), view.occlusion[0] > 0
        )

    def _trace(self, view: _View, rect: Rect, draws: Sequence[Draw], sunk: float) -> NDArray[np.float32]:
        """(h, w, 2) depth in metres and id of what is nearest in each pixel of the rect; 0, 0 = nothing."""
        self._gl.front_face = IN_PICTURE
        target = self._targets.traces
        target.clear(viewport=rect)
        target.scissor = rect
        target.use()
        self._draw_traces(view, draws, view.clip_from_world, sunk)
        data = target.read(viewport=rect, components=2, dtype="f4")
        return np.frombuffer(data, np.float32).reshape(rect[3], rect[2], 2)

    def _draw_traces(self, view: _View, draws: Sequence[Draw], clip: Array, sunk: float) -> None:
        program = self._program("trace", view)
        for draw in draws:
            T = draw.T_world_from_part
            above = T[2] + [0.0, 0.0, 0.0, sunk]
            set_uniforms(program, clip_from_part=clip @ T, above_ground=above, id=float(draw.id))
            draw.geometry.draw(program)

    def _lay_surfaces(self, view: _View, rect: Rect, things: NDArray[np.bool_]) -> None:
        """Draws what compose.frag shades in the cells `things`."""
        target = self._targets.surfaces
        for cells in cell_rects(things, CELLS, self._targets.size):
            target.clear(viewport=cells)
        target.scissor = rect
        target.use()
        self._gl.front_face = IN_PICTURE
        for number, draw in enumerate(view.draws, start=1):
            T = draw.T_world_from_part
            colored = "COLORED" if draw.geometry.colored else ""
            program = self._program("surface", view, *draw.textures, colored)
            for flag, texture in draw.textures.items():
                texture.use({"TEXTURED": BASE, "BUMPY": NORMALS, "GLOSSY": GLOSS}[flag])
            set_uniforms(
                program,
                clip_from_part=view.clip_from_world @ T,
                world_from_part=T,
                normal_from_part=np.linalg.inv(T[:3, :3]).T,
                above_ground=T[2] + [0.0, 0.0, 0.0, view.sunk],
                part=number,
            )
            draw.geometry.draw(program)

    def _compose(
        self, view: _View, things: NDArray[np.bool_], shadows: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB: the background, darkened in the cells `shadows`; in the cells `things` also what is
        laid before it."""
        background, targets = view.scene.background, self._targets
        is_photo = background.kind == "photo"
        texture = targets.photo if is_photo else self._models.surface(background.kind, background.seed)
        texture.use(BASE)
        targets.samples.use(SURFACES)
        flags = "PHOTO" if is_photo else "", "LIT" if background.on_plane else ""
        self._gl.enable_only(moderngl.NOTHING)
        targets.image.use()
        self._fill(view, ~things & ~shadows, *flags)
        self._fill(view, shadows, *flags, "SHADOW")
        if things.any():
            materials = self._materials(view.draws)
            self._fill(view, things, *flags, "SHADOW", "THINGS")
            materials.release()
        width, height = targets.size
        data = targets.image.read(viewport=targets.size, components=4)
        rgba = np.frombuffer(data, np.uint8).reshape(height, width, 4)
        return np.asarray(cv2.LUT(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), RGB_FROM_ROOT), np.uint8)

    def _materials(self, draws: Sequence[Draw]) -> moderngl.Texture:
        """What compose.frag knows of each part, in use."""
        rows = []
        for draw in draws:
            look = draw.look
            hue = round(look.hue * 256) / 256
            rows += [*draw.color, look.roughness, hue, look.saturation, look.value, look.metallic]
        texture = self._gl.texture((2, len(draws)), 4, np.array(rows, "f4").tobytes(), dtype="f4")
        texture.filter = moderngl.NEAREST, moderngl.NEAREST
        texture.use(MATERIALS)
        return texture

    def _fill(self, view: _View, cells: NDArray[np.bool_], *flags: str) -> None:
        """Draws the cells of the image with the variant of compose.frag that `flags` name."""
        if not cells.any():
            return
        program, background = self._program("compose", view, *flags), view.scene.background
        set_uniforms(
            program,
            image_size=self._targets.size,
            mirror=-1.0 if background.flip else 1.0,
            roughness=max(background.roughness, 0.04),
            tint=background.tint,
        )
        if program.glo not in self._images:
            self._images[program.glo] = self._gl.vertex_array(program, [], self._cells)
        indices = grid(*CELLS)[cells]
        self._cells.orphan()
        self._cells.write(indices.tobytes())
        self._images[program.glo].render(vertices=indices.size)

    def _program(self, name: str, view: _View, *flags: str) -> moderngl.Program:
        """The program of shaders name.vert and name.frag, compiled with what `flags` name."""
        fills = len(view.fills())
        variant: tuple[str | int, ...] = (name, fills, *flags)
        if variant not in self._programs:
            constants = {"FILLS": fills, "COLUMNS": CELLS[0], "ROWS": CELLS[1]}
            program = load_program(self._gl, name, constants | {flag: 1 for flag in flags if flag})
            units = {
                "shadow_map": SHADOWS,
                "base_texture": BASE,
                "surfaces": SURFACES,
                "materials": MATERIALS,
                "normal_texture": NORMALS,
                "gloss_texture": GLOSS,
                "surround": SURROUND,
                "shade": SHADE,
                "penumbra": PENUMBRA,
                "occlusion": OCCLUSION,
            }
            set_uniforms(program, **units)
            self._programs[variant] = program
        return self._programs[variant]

    def _set_frame(self, view: _View, irradiance: Array, R_surround_from_world: Array) -> None:
        """Writes the uniform block that frame.glsl describes."""
        scene, key, distance = view.scene, view.key, FILL_DISTANCE * view.radius
        ray, turn = np.eye(4), np.eye(4)
        ray[:3, :3] = ray_from_pixel(scene.camera)
        turn[:3, :3] = R_surround_from_world
        fills = view.fills() or [NO_KEY]
        rows: list[Any] = [
            view.texture_from_world_for_key().T,
            ray.T,
            turn.T,
            *(scene.ambient * turn.T @ form @ turn for form in irradiance),
            [*scene.camera.T_world_from_camera[:3, 3], scene.ambient],
            [*key.direction, BACKDROP_REACH * reach(scene)],
            [*(np.array(key.color) * key.irradiance * np.pi), scene.background.tile_m],
            [*view.centre[:2], OCCLUSION_REACH * view.radius, view.occlusion[1] if view.occlusion else 1.0],
            *([*(view.centre + np.array(f.direction) * distance), 0.0] for f in fills),
            *([*(np.array(f.color) * f.irradiance * np.pi * distance**2), 0.0] for f in fills),
        ]
        self._frame.write(np.vstack(rows).astype("f4").tobytes())
