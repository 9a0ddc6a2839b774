"""What the fast renderer draws: the parts of a scene's objects and distractors, on the graphics device."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from synth.asset import ObjectAsset, Part
from synth.geometry import transform_points
from synth.objects.library import Library
from synth.render.contents import chosen_texture, distractor_parts, varied_color
from synth.render.device import ROOT_FROM_SRGB, Geometry
from synth.scene.instances import joint_transform
from synth.scene.surfaces import surface
from synth.types import Array, Look, ObjectInstance, SceneSpec

TEXTURES_KEPT = 128
"""On the device; of those beyond, the ones that were used longest ago are dropped."""
ANISOTROPY = 8.0
"""Of textures, on a GPU; on Mesa's software rasterizer it would cost 7 ms a picture."""


@dataclass(frozen=True)
class Draw:
    """One part in the scene. id: n for parts of the n-th object (from 1), 0 for distractors.

    textures: of surface.frag, by the flag that names the variant which reads it. color: factor of the base
    colour; look: how that is varied.
    """

    geometry: Geometry
    T_world_from_part: Array
    id: int
    color: tuple[float, float, float]
    textures: dict[str, moderngl.Texture]
    look: Look

    @cached_property
    def corners_world(self) -> Array:
        return transform_points(self.T_world_from_part, self.geometry.corners)


def boxes(draws: Sequence[Draw]) -> Array:
    """(D, 8, 3) corners of what is drawn, in world."""
    return np.array([draw.corners_world for draw in draws]).reshape(-1, 8, 3)


class Models:
    """Meshes and textures of a library on the graphics device: those of objects stay, those of distractors,
    each of its own size, until tidy()."""

    def __init__(self, gl: moderngl.Context, library: Library) -> None:
        self._gl, self._library = gl, library
        self._anisotropy = 1.0 if "llvmpipe" in gl.info["GL_RENDERER"] else ANISOTROPY
        self._geometries: dict[tuple[str, int, int], Geometry] = {}
        self._passing: list[Geometry] = []
        self._textures: OrderedDict[Hashable, moderngl.Texture] = OrderedDict()

    def draws(self, scene: SceneSpec) -> list[Draw]:
        """All parts of the scene's objects, then of its distractors."""
        return [*self._object_draws(scene), *self._distractor_draws(scene)]

    def tidy(self) -> None:
        """Frees what only the last scene needed, and the textures beyond TEXTURES_KEPT."""
        while self._passing:
            self._passing.pop().release()
        while len(self._textures) > TEXTURES_KEPT:
            self._textures.popitem(last=False)[1].release()

    def _object_draws(self, scene: SceneSpec) -> Iterator[Draw]:
        for n, instance in enumerate(scene.objects, start=1):
            asset = self._library[instance.asset]
            shaped = instance.T_world_from_object @ np.diag([*instance.scale, 1.0])
            for p, part in enumerate(asset.meshes[instance.mesh]):
                place = (asset.name, instance.mesh, p)
                if place not in self._geometries:
                    self._geometries[place] = Geometry(self._gl, part)
                look = instance.looks[part.name]
                textures = self._part_textures(place, part, look, asset)
                varied = "TEXTURED" in textures or part.vertex_colors is not None
                yield Draw(
                    geometry=self._geometries[place],
                    T_world_from_part=shaped @ _jointed(asset, instance, part.name),
                    id=n,
                    color=varied_color(part, look),
                    textures=textures,
                    look=look if varied else replace(look, hue=0.0, saturation=1.0, value=1.0),
                )

    def _part_textures(
        self, place: tuple[str, int, int], part: Part, look: Look, asset: ObjectAsset
    ) -> dict[str, moderngl.Texture]:
        """See Draw.textures. place: of the part: object, shape variant and number."""
        named = part.name if part.name in asset.materials else "*"
        base = chosen_texture(part, look, asset.materials.get(named))
        own = base is part.texture
        images: dict[str, tuple[Hashable, NDArray[np.uint8] | None]] = {
            "TEXTURED": (place if own else (asset.name, named, look.texture), base),
            "BUMPY": (place, part.normal_texture),
            "GLOSSY": (place, part.surface_texture),
        }
        return {
            flag: self._texture((flag, key), partial(np.asarray, image), light=flag == "TEXTURED")
            for flag, (key, image) in images.items()
            if image is not None
        }

    def _distractor_draws(self, scene: SceneSpec) -> Iterator[Draw]:
        for d in scene.distractors:
            look = Look(roughness=d.roughness, metallic=d.metallic)
            for p, part in enumerate(distractor_parts(d, self._library)):
                textures = {}
                if part.texture is not None:
                    textures["TEXTURED"] = self._texture((d.shape, p), partial(np.asarray, part.texture))
                elif d.surface:
                    textures["TEXTURED"] = self.surface(d.surface, d.surface_seed)
                geometry = Geometry(self._gl, part)
                self._passing.append(geometry)
                yield Draw(geometry, d.T_world_from_object, 0, part.base_color, textures, look)

    def surface(self, kind: str, seed: int) -> moderngl.Texture:
        """The texture of a procedural surface."""
        return self._texture((kind, seed), lambda: surface(kind, seed))

    def _texture(
        self, key: Hashable, load: Callable[[], NDArray[np.uint8]], light: bool = True
    ) -> moderngl.Texture:
        """The texture of `key`, which names an image of the library or a procedural surface.

        light: the array holds sRGB colours, not directions or factors.
        """
        if key not in self._textures:
            image = load()
            image = np.asarray(cv2.LUT(image, ROOT_FROM_SRGB), np.uint8) if light else image
            texture = self._gl.texture(image.shape[1::-1], 3, image.tobytes())
            texture.build_mipmaps()
            texture.anisotropy = self._anisotropy
            self._textures[key] = texture
        self._textures.move_to_end(key)
        return self._textures[key]


def _jointed(asset: ObjectAsset, instance: ObjectInstance, part: str) -> Array:
    """(4, 4) motion of the part by the instance's joints, within the unscaled object frame."""
    T = np.eye(4)
    for joint in asset.joints:
        if part in joint.parts:
            T = joint_transform(asset, joint.name, instance.joints[joint.name]) @ T
    return T
