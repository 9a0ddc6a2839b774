"""Piles: what lies on or leans against another object is held up, touches it and does not enter it."""

from dataclasses import replace

import numpy as np
import pytest

from synth.config import SynthConfig
from synth.objects.library import Library
from synth.scene.camera import sample_camera
from synth.scene.instances import hull_world
from synth.scene.piling import centre_of_mass, pile_objects
from synth.scene.placement import sample_objects
from synth.scene.polygons import convex_overlap, footprint
from synth.scene.sample import sample_scene
from synth.scene.scene_json import scene_to_json
from synth.scene.streams import stream
from synth.types import ObjectInstance

SCENES = 40


def config(piled: float) -> SynthConfig:
    return SynthConfig.model_validate(
        {"objects": {"count": [2, 3], "negatives": 0.0, "truncation": 0.0, "piled": piled}}
    )


def piles(library: Library, piled: float) -> list[tuple[tuple[ObjectInstance, ...], ...]]:
    """Per scene the objects before and after piling."""
    asset, settings, found = library.objects[0], config(piled), []
    for index in range(SCENES):
        camera = sample_camera(settings, asset, 0.3, stream(1, index, "camera"))
        before = sample_objects(settings, asset, camera, 0.3, 2 + index % 2, stream(1, index, "objects"))
        found.append((before, pile_objects(settings, asset, camera, before, stream(1, index, "piled"))))
    return found


def depth_inside(library: Library, a: ObjectInstance, b: ObjectInstance) -> float:
    """How deep two boxes enter each other, < 0 where a plane parts them: separating axis theorem."""
    one, two = (hull_world(library.objects[0], o) for o in (a, b))
    axes = [*a.T_world_from_object[:3, :3].T, *b.T_world_from_object[:3, :3].T]
    axes += [np.cross(u, v) for u in axes[:3] for v in axes[3:]]
    axes = [axis / np.linalg.norm(axis) for axis in axes if np.linalg.norm(axis) > 1e-6]
    directions = np.array([*axes, *(-axis for axis in axes)])
    return float(((one @ directions.T).max(0) - (two @ directions.T).min(0)).min())


def test_share_zero_leaves_every_object_where_it_was(box_library: Library) -> None:
    for before, after in piles(box_library, 0.0):
        assert all(a is b for a, b in zip(before, after, strict=True))


def test_images_without_piles_stay_as_they_are(box_library: Library) -> None:
    same = 0
    for index in range(SCENES):
        plain, piled = (scene_to_json(sample_scene(config(p), box_library, 0, index)) for p in (0.0, 0.3))
        if plain["objects"] == piled["objects"]:
            same += 1
            assert plain == piled
    assert 0 < same < SCENES


def test_piled_objects_touch_a_support_without_entering_it(box_library: Library) -> None:
    asset = box_library.objects[0]
    moved = leaning = 0
    for before, after in piles(box_library, 1.0):
        for old, new in zip(before, after, strict=True):
            if new is old:
                continue
            moved += 1
            mine = hull_world(asset, new)
            assert mine[:, 2].min() > -0.005 * asset.diameter_m
            leaning += mine[:, 2].min() < 0.005 * asset.diameter_m
            depths = [depth_inside(box_library, o, new) for o in after if o is not new]
            assert -0.03 * asset.diameter_m < max(depths) < 1e-6
    assert moved > 0.3 * SCENES
    assert 0 < leaning < moved


def test_stacked_objects_have_their_weight_over_their_support(box_library: Library) -> None:
    asset = box_library.objects[0]
    for before, after in piles(box_library, 1.0):
        for old, new in zip(before, after, strict=True):
            mine = hull_world(asset, new)
            if new is old or mine[:, 2].min() < 0.01 * asset.diameter_m:
                continue
            spot = centre_of_mass(mine)[:2] + 1e-6 * np.array([[0, 0], [1, 0], [0, 1]])
            feet = [footprint(hull_world(asset, o)) for o in after if o is not new]
            assert any(convex_overlap(spot, f) for f in feet)


def test_objects_that_stand_upright_are_never_piled(box_library: Library) -> None:
    box = box_library.objects[0]
    library = Library((replace(box, placement=replace(box.placement, mode="upright")),))
    for before, after in piles(library, 1.0):
        assert all(a is b for a, b in zip(before, after, strict=True))


def test_centre_of_mass_is_that_of_the_solid_not_of_its_corners() -> None:
    pyramid = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0], [0, 0, 4], [0, 0.01, 3.9]], float)
    assert centre_of_mass(pyramid) == pytest.approx([0, 0, 1.0], abs=0.01)
