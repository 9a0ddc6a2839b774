"""The reference renderer: pyrender (glTF metallic-roughness shading) on EGL, with a GPU or in software.

Differences to plain pyrender: the shadow map covers the objects only, at a fixed resolution, and the
ground does not cast; meshes are drawn in a fixed order, so that equal scenes give equal bytes. Of an
environment only the mean colour arrives, the same from all sides; lights are points.
"""

import os
from typing import Any

os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
os.environ.setdefault("PYGLET_HEADLESS", "true")
os.environ.setdefault("LP_NUM_THREADS", "0")  # a thread of Mesa beside this one costs a seventh more time

import numpy as np
import pyrender
from OpenGL.EGL import eglDestroyContext
from OpenGL.GL import (
    GL_CLAMP_TO_EDGE,
    GL_FLOAT,
    GL_NEAREST,
    GL_POLYGON_OFFSET_FILL,
    glDisable,
    glEnable,
    glPolygonOffset,
    glViewport,
)
from pyrender.renderer import Renderer as _GLRenderer

from synth.asset import ObjectAsset, Part
from synth.errors import EnvironmentProblem
from synth.geometry import rigid, rotation_between
from synth.objects.library import Library
from synth.render.contents import (
    backdrop,
    backdrop_texture,
    clip_planes,
    distractor_parts,
    may_be_hidden,
    shadow_region,
    shift_hsv,
    varied_color,
    varied_texture,
)
from synth.render.egl import remedy
from synth.scene.environment import surround_of
from synth.scene.instances import joint_transform
from synth.scene.surfaces import surface
from synth.types import Array, Look, ObjectInstance, RenderResult, SceneSpec

SHADOW_MAP_PX = 1024
SHADOW_OFFSET = (2.5, 4.0)
"""Slope and constant offset of the shadow map, without which surfaces shade themselves in stripes."""
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


class _Scene(pyrender.Scene):
    """A scene whose meshes have an order and whose shadow region is given, not its bounding box."""

    def __init__(self, ambient: Array, shadow_centre: Array, shadow_radius: float) -> None:
        super().__init__(bg_color=np.zeros(4), ambient_light=ambient)
        self.ordered: list[Any] = []
        self.ground: Any = None
        self.casting = False
        self.shadow_centre, self.shadow_radius = shadow_centre, shadow_radius

    @property
    def mesh_nodes(self) -> list[Any]:
        return [n for n in self.ordered if not (self.casting and n is self.ground)]

    @property
    def centroid(self) -> Array:
        return self.shadow_centre

    @property
    def scale(self) -> float:
        return self.shadow_radius

    def add_mesh(self, mesh: Any, pose: Array) -> Any:
        node = self.add(mesh, pose=pose)
        self.ordered.append(node)
        return node


class _KeyLight(pyrender.DirectionalLight):
    """A directional light with a shadow map of SHADOW_MAP_PX that is lit outside its borders."""

    def _generate_shadow_texture(self, size: int | None = None) -> None:
        sampler = pyrender.Sampler(
            magFilter=GL_NEAREST, minFilter=GL_NEAREST, wrapS=GL_CLAMP_TO_EDGE, wrapT=GL_CLAMP_TO_EDGE
        )
        self.shadow_texture = pyrender.Texture(
            width=SHADOW_MAP_PX,
            height=SHADOW_MAP_PX,
            source_channels="D",
            data_format=GL_FLOAT,
            sampler=sampler,
        )

    def _get_shadow_camera(self, scene_scale: float) -> Any:
        return pyrender.OrthographicCamera(
            xmag=scene_scale, ymag=scene_scale, znear=1e-3 * scene_scale, zfar=4 * scene_scale
        )


class _ShadowRenderer(_GLRenderer):
    def _shadow_mapping_pass(self, scene: _Scene, light_node: Any, flags: int) -> None:
        scene.casting = True
        glEnable(GL_POLYGON_OFFSET_FILL)
        glPolygonOffset(*SHADOW_OFFSET)
        super()._shadow_mapping_pass(scene, light_node, flags)
        glDisable(GL_POLYGON_OFFSET_FILL)
        scene.casting = False

    def _configure_shadow_mapping_viewport(self, light: Any, flags: int) -> None:
        super()._configure_shadow_mapping_viewport(light, flags)
        glViewport(0, 0, SHADOW_MAP_PX, SHADOW_MAP_PX)


class _Offscreen(pyrender.OffscreenRenderer):
    _platform: Any
    _renderer: Any

    def _create(self) -> None:
        super()._create()
        self._renderer = _ShadowRenderer(self.viewport_width, self.viewport_height)

    def delete(self) -> None:
        """Frees the context, but not the display, which all contexts of the process share."""
        if self._platform is None:
            return
        self._platform.make_current()
        self._renderer.delete()
        self._platform.make_uncurrent()
        eglDestroyContext(self._platform._egl_display, self._platform._egl_context)
        self._platform = self._renderer = None


class PyrenderRenderer:
    """See synth.render.protocol.Renderer."""

    def __init__(self, library: Library) -> None:
        self._library = library
        try:
            self._gl = _Offscreen(64, 64)
        except Exception as error:
            raise EnvironmentProblem(
                f"no OpenGL context through EGL ({type(error).__name__}: {error}); {remedy()}"
            ) from error

    def close(self) -> None:
        self._gl.delete()

    def render(self, scene: SceneSpec) -> RenderResult:
        camera = scene.camera
        self._gl.viewport_width, self._gl.viewport_height = camera.width_px, camera.height_px
        stage, nodes = self._build(scene)
        flags = pyrender.RenderFlags.NONE
        if scene.objects or scene.distractors:
            flags |= pyrender.RenderFlags.SHADOWS_DIRECTIONAL
        rgb, _ = self._gl.render(stage, flags)
        instance_id, depth = self._segment(stage, nodes)
        alone = [
            self._unoccluded(stage, nodes, n) if hidden else int((instance_id == n + 1).sum())
            for n, hidden in enumerate(may_be_hidden(scene, self._library))
        ]
        depth_m = np.where(depth > 0, depth, np.inf).astype(np.float32)
        self._free(stage)
        return RenderResult(np.ascontiguousarray(rgb), depth_m, instance_id, np.array(alone, dtype=np.int64))

    def _segment(self, stage: _Scene, nodes: list[list[Any]]) -> tuple[Any, Any]:
        """instance_id (H, W) int32 and depth (H, W) metres of the stage's visible meshes."""
        colors = {node: (0, 0, 0) for node in stage.mesh_nodes}
        for n, parts in enumerate(nodes, start=1):
            colors.update(dict.fromkeys(parts, (n & 255, n >> 8, 0)))
        flags = pyrender.RenderFlags.SEG | pyrender.RenderFlags.SKIP_CULL_FACES
        seg, depth = self._gl.render(stage, flags, colors)
        return seg[:, :, 0].astype(np.int32) + (seg[:, :, 1].astype(np.int32) << 8), depth

    def _unoccluded(self, stage: _Scene, nodes: list[list[Any]], n: int) -> int:
        """Pixels object n covers when it is drawn alone."""
        everything = stage.ordered
        stage.ordered = nodes[n]
        alone, _ = self._segment(stage, nodes)
        stage.ordered = everything
        return int((alone == n + 1).sum())

    def _build(self, scene: SceneSpec) -> tuple[_Scene, list[list[Any]]]:
        """The pyrender scene, and the mesh nodes of each object."""
        centre, radius = shadow_region(scene, self._library)
        surround, _ = surround_of(scene, self._library)
        stage = _Scene(scene.ambient * surround.mean, centre, radius)
        stage.ground = stage.add_mesh(self._ground(scene), np.eye(4))
        nodes = []
        for instance in scene.objects:
            asset = self._library[instance.asset]
            nodes.append(
                [
                    stage.add_mesh(
                        _mesh(
                            *_posed(asset, instance, part),
                            part,
                            _material(asset, instance, part),
                            _colors(part, instance.looks[part.name]),
                        ),
                        instance.T_world_from_object,
                    )
                    for part in asset.meshes[instance.mesh]
                ]
            )
        for distractor in scene.distractors:
            for part in distractor_parts(distractor, self._library):
                image = part.texture
                if distractor.surface:
                    image = surface(distractor.surface, distractor.surface_seed)
                material = pyrender.MetallicRoughnessMaterial(
                    baseColorFactor=(*part.base_color, 1.0),
                    baseColorTexture=None if image is None else _texture(image),
                    roughnessFactor=part.roughness,
                    metallicFactor=part.metallic,
                )
                mesh = _mesh(part.vertices, part.normals, part, material)
                stage.add_mesh(mesh, distractor.T_world_from_object)
        for light in scene.lights:
            kind = _KeyLight if light.kind == "key" else pyrender.PointLight
            towards = np.array(light.direction)
            R = rotation_between(np.array([0.0, 0.0, 1.0]), towards)
            distance = 20 * radius
            power = light.irradiance * np.pi * (1.0 if light.kind == "key" else distance**2)
            stage.add(
                kind(color=np.array(light.color), intensity=power),
                pose=rigid(R, centre + towards * distance),
            )
        camera = scene.camera
        diameter = max(self._library[o.asset].diameter_m for o in scene.objects) if scene.objects else radius
        near, far = clip_planes(scene, diameter)
        stage.main_camera_node = stage.add(
            pyrender.IntrinsicsCamera(
                camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2], near, far
            ),
            pose=camera.T_world_from_camera @ OPENGL_FROM_OPENCV,
        )
        return stage, nodes

    def _ground(self, scene: SceneSpec) -> Any:
        vertices, faces, uv = backdrop(scene)
        texture = _texture(backdrop_texture(scene, self._library))
        tint = np.ones(3) if scene.background.kind == "photo" else np.array(scene.background.tint)
        if scene.background.on_plane:
            material = pyrender.MetallicRoughnessMaterial(
                baseColorFactor=(*tint, 1.0),
                baseColorTexture=texture,
                roughnessFactor=scene.background.roughness,
                metallicFactor=0.0,
            )
        else:
            material = pyrender.MetallicRoughnessMaterial(
                baseColorFactor=(0.0, 0.0, 0.0, 1.0),
                emissiveTexture=texture,
                emissiveFactor=np.sqrt(tint),  # its shader multiplies by it twice
                roughnessFactor=1.0,
                metallicFactor=1.0,
            )
        up = np.broadcast_to([0.0, 0.0, 1.0], vertices.shape)
        primitive = pyrender.Primitive(
            positions=vertices, normals=up, texcoord_0=uv, indices=faces, material=material
        )
        return pyrender.Mesh([primitive])

    def _free(self, stage: _Scene) -> None:
        """Frees the scene's GL objects at once: pyrender would keep them until the next frame."""
        empty = pyrender.Scene()
        self._gl._platform.make_current()
        self._gl._renderer._update_context(empty, pyrender.RenderFlags.NONE)
        self._gl._platform.make_uncurrent()


def _posed(asset: ObjectAsset, instance: ObjectInstance, part: Part) -> tuple[Array, Array]:
    """The part's vertices and normals in the object frame after joints and shape scale."""
    vertices, normals = part.vertices, part.normals
    for joint in asset.joints:
        if part.name in joint.parts:
            T = joint_transform(asset, joint.name, instance.joints[joint.name])
            vertices, normals = vertices @ T[:3, :3].T + T[:3, 3], normals @ T[:3, :3].T
    scale = np.array(instance.scale)
    normals = normals / scale
    return vertices * scale, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _material(asset: ObjectAsset, instance: ObjectInstance, part: Part) -> Any:
    look, gloss = instance.looks[part.name], part.surface_texture
    texture = varied_texture(part, look, asset.materials.get(part.name, asset.materials.get("*")))
    return pyrender.MetallicRoughnessMaterial(
        baseColorFactor=(*varied_color(part, look), 1.0),
        baseColorTexture=None if texture is None else _texture(texture),
        normalTexture=None if part.normal_texture is None else _texture(part.normal_texture),
        metallicRoughnessTexture=None if gloss is None else _texture(gloss, "GB"),
        roughnessFactor=look.roughness,
        metallicFactor=look.metallic,
    )


def _texture(image: Any, channels: str = "RGB") -> Any:
    return pyrender.Texture(source=np.ascontiguousarray(image), source_channels=channels)


def _colors(part: Part, look: Look) -> Array | None:
    """(V, 3) linear RGB of the vertices, with the look's hue, saturation and value."""
    if part.vertex_colors is None:
        return None
    return np.asarray((shift_hsv(part.vertex_colors[None], look)[0] / 255.0) ** 2.2)


def _mesh(
    vertices: Array, normals: Array, part: Part, material: Any, vertex_colors: Array | None = None
) -> Any:
    """Both sides as faces, each with its own normals: pyrender culls the back ones from shadows and masks,
    whatever its flags say."""
    primitive = pyrender.Primitive(
        positions=np.concatenate([vertices, vertices]),
        normals=np.concatenate([normals, -normals]),
        texcoord_0=None if part.uv is None else np.concatenate([part.uv, part.uv]),
        color_0=None if vertex_colors is None else np.concatenate([vertex_colors, vertex_colors]),
        indices=np.concatenate([part.faces, part.faces[:, ::-1] + len(vertices)]),
        material=material,
    )
    return pyrender.Mesh([primitive])
