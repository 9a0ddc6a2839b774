"""What darkens the ground: soft shadows and occlusion."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from synth.objects.hulls import convex_corners, convex_pieces
from synth.objects.library import Library
from synth.objects.meshes import load_mesh
from synth.render import fast as fast_module
from synth.render.backends import open_renderer
from synth.render.fast import CELLS
from synth.render.projection import cells_showing, clip_from_world_for_light
from synth.render.protocol import Renderer
from synth.render.shade import OCCLUSION_PX, SHADE_LEVELS, occlusion, plane_depth, soft_shadow
from synth.types import Background, SceneSpec
from tests.synth.conftest import box_at

Scenes = Callable[..., SceneSpec]
FLOOR = np.array([0.0, 0.0, 0.6])


def blocker(depth: float) -> np.ndarray:
    found = np.ones((512, 512), np.float32)
    found[200:312, 200:312] = depth
    return found


def test_a_blocker_above_the_ground_keeps_the_light_away_and_one_below_does_not() -> None:
    levels, _ = soft_shadow(blocker(0.4), FLOOR, 0.05)
    assert (levels[0][256, 256], levels[0][100, 100]) == (255, 0)
    assert [level.shape[0] for level in levels] == [512 >> n for n in range(SHADE_LEVELS)]
    assert soft_shadow(blocker(0.7), FLOOR, 0.05)[0][0].max() == 0


def test_shadows_are_softer_from_larger_lights_and_higher_blockers() -> None:
    def level(depth: float, radius: float) -> int:
        return int(soft_shadow(blocker(depth), FLOOR, radius)[1][32, 32])

    assert level(0.59, 0.1) < level(0.5, 0.1) < level(0.1, 0.1)
    assert level(0.1, 0.0) == 0 < level(0.1, 0.02) < level(0.1, 0.1)


def test_plane_depth_is_that_of_points_on_the_ground() -> None:
    clip = clip_from_world_for_light(np.array([0.48, -0.64, 0.6]), np.array([0.1, 0.2, 0.3]), 0.7)
    for point in ([0.0, 0.0], [0.3, -0.2]):
        x, y, depth, _ = clip @ [*point, 0.0, 1.0]
        assert plane_depth(clip) @ [x, y, 1.0] == pytest.approx(depth)


def test_what_touches_the_ground_has_a_sharp_shadow_beside_what_is_high() -> None:
    seat_and_foot = blocker(0.2)
    seat_and_foot[250:258, 330:332] = 0.595
    _, penumbra = soft_shadow(seat_and_foot, FLOOR, radius=0.05)
    assert penumbra[31, 41] == 0 < penumbra[31, 39] == penumbra[31, 31]


def test_the_ground_is_darkest_under_a_thing_and_open_far_from_it() -> None:
    corners = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.1, 0.1) for z in (0.0, 0.1)])
    dark, height = occlusion([corners], np.zeros(3), 0.5)
    assert height == pytest.approx(0.1)
    row = dark[OCCLUSION_PX // 2].astype(int)
    under, edge, beside, far = (row[round((x + 0.5) * OCCLUSION_PX)] for x in (0.0, 0.105, 0.15, 0.4))
    assert under > 200 > edge > beside > far == 0
    assert edge > 60


def test_a_raised_thing_darkens_less_than_one_that_stands() -> None:
    corners = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.1, 0.1) for z in (0.0, 0.1)])
    standing, _ = occlusion([corners], np.zeros(3), 0.5)
    raised, _ = occlusion([corners + np.array([0.0, 0.0, 0.08])], np.zeros(3), 0.5)
    middle = OCCLUSION_PX // 2
    assert 0 < raised[middle, middle] < standing[middle, middle]


def test_a_ring_leaves_the_ground_within_it_open(tmp_path: Path) -> None:
    trimesh.creation.annulus(r_min=0.18, r_max=0.2, height=0.02).export(tmp_path / "ring.ply")
    parts = load_mesh(tmp_path / "ring.ply", 1.0).parts
    ring, _ = occlusion(convex_pieces(parts), np.zeros(3), 0.5)
    disc, _ = occlusion([convex_corners(parts)], np.zeros(3), 0.5)
    middle, rim = OCCLUSION_PX // 2, round((0.5 + 0.19) * OCCLUSION_PX)
    assert ring[middle, middle] < 10 < 200 < disc[middle, middle]
    assert ring[middle, rim] > 100


def test_what_fills_its_hull_is_one_piece(box_library: Library) -> None:
    ((names, corners),) = box_library.objects[0].pieces[0]
    assert (names, len(corners)) == ((), 8)


# --- in pictures -----------------------------------------------------------------------------------------


@pytest.fixture
def ground_scene(box_scene: Scenes) -> Scenes:
    """The box on the ground, lit from the left."""

    def make(radius: float = 0.0, ambient: float = 0.3, irradiance: float = 0.8) -> SceneSpec:
        ground = Background("plain", "", (0.0, 0.0, 1.0, 1.0), False, 1, 1.0, 0.9, True)
        (light,) = box_scene().lights
        light = replace(light, direction=(0.8, 0.0, 0.6), radius=radius, irradiance=irradiance)
        return box_scene(
            background=ground, lights=(light,), ambient=ambient, objects=(box_at((0.0, 0.0, 0.04)),)
        )

    return make


@pytest.fixture
def fast(opengl: None, box_library: Library) -> Renderer:
    return open_renderer(box_library, backend="fast")


def darkened(fast: Renderer, scene: SceneSpec) -> np.ndarray:
    """How much darker the ground is than without things; 0 where they are."""
    with_things, without = fast.render(scene), fast.render(replace(scene, objects=()))
    difference = without.rgb.astype(int).sum(2) - with_things.rgb.astype(int).sum(2)
    return np.where(with_things.instance_id == 0, difference, 0)


def test_a_large_light_has_a_wide_penumbra(fast: Renderer, ground_scene: Scenes) -> None:
    def half_shaded(radius: float) -> int:
        dark = darkened(fast, ground_scene(radius, ambient=0.1))
        return int(((dark > 0.2 * dark.max()) & (dark < 0.8 * dark.max())).sum())

    assert half_shaded(0.25) > 1.5 * half_shaded(0.0)


def test_the_ground_is_darker_where_a_thing_touches_it(fast: Renderer, ground_scene: Scenes) -> None:
    dark = darkened(fast, ground_scene(irradiance=0.0))
    box = fast.render(ground_scene()).instance_id == 1
    below = box.nonzero()[0].max()
    columns = slice(150, 170)
    near, far = dark[below + 2 : below + 5, columns].mean(), dark[below + 50 : below + 55, columns].mean()
    assert near > 25
    assert far < 5


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.3])
def test_all_that_is_darkened_lies_in_the_cells_that_are_shaded(
    fast: Renderer, ground_scene: Scenes, radius: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[np.ndarray] = []

    def recorded(*args: Any) -> np.ndarray:
        found.append(cells_showing(*args))
        return found[-1]

    scene = ground_scene(radius)
    monkeypatch.setattr(fast_module, "cells_showing", recorded)
    some = fast.render(scene).rgb
    monkeypatch.setattr(fast_module, "cells_showing", lambda *_: np.ones(CELLS[0] * CELLS[1], np.bool_))
    everywhere = fast.render(scene).rgb
    assert np.abs(some.astype(int) - everywhere).max() <= 1
    assert 0.02 < np.mean(found[0] | found[1]) < 0.6


def test_shading_changes_no_labels(fast: Renderer, ground_scene: Scenes) -> None:
    plain, soft = fast.render(ground_scene()), fast.render(ground_scene(0.2))
    assert (plain.instance_id == soft.instance_id).all()
    assert (plain.depth_m == soft.depth_m).all()
    assert (plain.unoccluded_px == soft.unoccluded_px).all()
