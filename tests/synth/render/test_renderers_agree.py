"""The renderers show the same scenes alike: same masks, depths, visibilities, and nearly the same colours."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from synth.config import RENDERERS, SynthConfig
from synth.geometry import rigid
from synth.labels import make_labels
from synth.objects.library import Library
from synth.objects.load import ASSETS, load_object
from synth.objects.mesh_pool import open_meshes
from synth.render import draws
from synth.render import fast as fast_renderer
from synth.render.backends import open_renderer
from synth.render.lens import render_through_lens
from synth.render.protocol import Renderer
from synth.scene.background import open_photos
from synth.scene.instances import hull_world
from synth.scene.sample import sample_scene
from synth.system.pool import Pool
from synth.types import Light, Look, RenderResult, SceneSpec

pytestmark = pytest.mark.gl

SCENES = 50
LAMPS = {"from_photo": 0.0, "key_radius_deg": [0.0, 0.0], "ambient": [0.0, 0.0]}
"""Light that both renderers know: the reference's light from all sides is neither mirrored nor occluded."""
Scenes = Callable[..., SceneSpec]


@dataclass(frozen=True)
class Pair:
    """One scene through the reference and the fast renderer, and the visibilities of its keypoints."""

    scene: SceneSpec
    reference: RenderResult
    fast: RenderResult
    v: tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    pool = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(pool / "blobs.png"), cv2.resize(noise, (800, 600), interpolation=cv2.INTER_CUBIC))
    assets = [load_object(str(ASSETS / name)) for name in ("glue_tube", "sailboat", "chessboard")]
    meshes = distractor_pool(tmp_path_factory.mktemp("meshes"))
    every = Library(tuple(assets), photos=open_photos(pool), meshes=meshes)
    renderers = [open_renderer(every, backend) for backend in ("pyrender", "fast")]
    config = SynthConfig.model_validate(
        {
            "camera": {"width_px": 320, "height_px": 240},
            "light": LAMPS,
            "objects": {"piled": 0.8},
            "distractors": {"mesh_share": 0.5},
        }
    )
    found = []
    for index in range(SCENES):
        library = replace(every, objects=(assets[index % len(assets)],))
        scene = sample_scene(config, library, 3, index)
        results = [render_through_lens(renderer, scene) for renderer in renderers]
        labels = [make_labels(scene, library, result) for result in results]
        found.append(Pair(scene, *results, (labels[0].keypoints[..., 2], labels[1].keypoints[..., 2])))
    for renderer in renderers:
        renderer.close()
    return found


def distractor_pool(folder: Path) -> Pool:
    """A textured and a plain mesh of several parts, both far from round and far from the origin."""
    torus = trimesh.creation.torus(3.0, 1.0, major_sections=24, minor_sections=12)
    uv = torus.vertices[:, :2] / 8 + 0.5
    checks = np.kron([[200, 40], [40, 200]], np.ones((8, 8))).astype(np.uint8)
    torus.visual = trimesh.visual.TextureVisuals(uv=uv, image=Image.fromarray(checks).convert("RGB"))
    torus.apply_translation((50, 0, 0)).export(folder / "ring.glb")
    table = trimesh.Scene([trimesh.creation.box((10, 6, 0.5)), trimesh.creation.cylinder(1.0, 8.0)])
    table.geometry["geometry_1"].apply_translation((0, 0, -4))
    table.export(folder / "table.glb")
    return open_meshes(folder)


@pytest.mark.slow
def test_the_scenes_hold_piles_and_mesh_distractors(pairs: list[Pair]) -> None:
    shapes = {d.shape for pair in pairs for d in pair.scene.distractors}
    assert {"ring.glb", "table.glb", "box"} <= shapes
    tubes = [o for pair in pairs for o in pair.scene.objects if o.asset == "glue_tube"]
    tube = load_object(str(ASSETS / "glue_tube"))
    lifted = [hull_world(tube, o)[:, 2].max() > 0.35 * tube.diameter_m for o in tubes]
    assert sum(lifted) >= 3


@pytest.mark.slow
def test_masks_agree(pairs: list[Pair]) -> None:
    overlaps = []
    for pair in pairs:
        for n in range(1, len(pair.scene.objects) + 1):
            a, b = pair.reference.instance_id == n, pair.fast.instance_id == n
            if a.any() or b.any():
                overlaps.append((a & b).sum() / (a | b).sum())
    print(f"\n{len(overlaps)} masks: mean IoU {np.mean(overlaps):.5f}, least {min(overlaps):.5f}")
    assert np.mean(overlaps) >= 0.995
    assert min(overlaps) >= 0.95


@pytest.mark.slow
def test_depths_agree(pairs: list[Pair]) -> None:
    whole = [np.abs(p.fast.depth_m / p.reference.depth_m - 1) for p in pairs]
    things = [e[p.reference.instance_id > 0] for e, p in zip(whole, pairs, strict=True) if p.scene.objects]
    assert np.median([np.median(e) for e in whole]) <= 1e-3
    assert max(float(np.median(e)) for e in things) <= 1e-3


@pytest.mark.slow
def test_visibilities_agree(pairs: list[Pair]) -> None:
    assert all(a.shape == b.shape for a, b in (pair.v for pair in pairs))
    equal = np.concatenate([(a == b).ravel() for a, b in (pair.v for pair in pairs)])
    assert equal.size > 300
    assert equal.mean() >= 0.99


@pytest.mark.slow
def test_unoccluded_areas_agree(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert pair.fast.unoccluded_px == pytest.approx(pair.reference.unoccluded_px, rel=0.01, abs=3)


@pytest.mark.slow
def test_colours_agree(pairs: list[Pair]) -> None:
    whole = [np.abs(p.fast.rgb.astype(int) - p.reference.rgb) for p in pairs]
    things = [e[p.reference.instance_id > 0] for e, p in zip(whole, pairs, strict=True)]
    of_things = np.concatenate(things)
    print(f"\nmean difference of 255: images {np.mean(whole):.2f}, objects {of_things.mean():.2f}")
    assert np.mean(whole) <= 2
    assert of_things.mean() <= 4


@pytest.mark.parametrize("backend", RENDERERS)
def test_an_open_mesh_shows_its_inside(box_library: Library, box_scene: Scenes, backend: str) -> None:
    box = box_library.objects[0]
    (part,) = box.meshes[0]
    towards_camera = part.vertices[part.faces].mean(1) @ [0.0, -1.0, 0.0] > 0.04
    opened = replace(part, faces=part.faces[~towards_camera], closed=False)
    assert len(opened.faces) < len(part.faces)
    library = Library((replace(box, meshes=((opened,),)),))
    results = []
    for each in (box_library, library):
        renderer = open_renderer(each, backend=backend)
        results.append(renderer.render(box_scene()))
        renderer.close()
    whole, inside = results
    assert (whole.instance_id == inside.instance_id).all()
    assert (whole.depth_m[whole.instance_id > 0] < inside.depth_m[whole.instance_id > 0] - 0.01).any()


# --- what only the fast renderer could get wrong ---------------------------------------------------------


@pytest.fixture
def fast(box_library: Library) -> Iterator[Renderer]:
    opened = open_renderer(box_library, backend="fast")
    yield opened
    opened.close()


def test_image_sizes_may_change_from_scene_to_scene(
    box_library: Library, small_config: SynthConfig, box_scene: Scenes, fast: Renderer
) -> None:
    small, large = sample_scene(small_config, box_library, 0, 1), box_scene()
    first = fast.render(small)
    assert fast.render(large).rgb.shape == (240, 320, 3)
    again = fast.render(small)
    assert (first.rgb == again.rgb).all()
    assert (first.depth_m == again.depth_m).all()


def test_framebuffers_are_not_renewed_when_sizes_alternate(box_scene: Scenes, fast: Renderer) -> None:
    assert isinstance(fast, fast_renderer.FastRenderer)
    tall, wide = (
        replace(box_scene(), camera=replace(box_scene().camera, width_px=w, height_px=h))
        for w, h in ((96, 160), (200, 96))
    )
    expected = [fast.render(scene).rgb for scene in (tall, wide)]
    samples = fast._targets.samples
    for _ in range(2):
        for scene, rgb in zip((tall, wide), expected, strict=True):
            assert (fast.render(scene).rgb == rgb).all()
    assert fast._targets.samples is samples


def test_nothing_is_left_over_from_the_scene_before(
    box_library: Library, small_config: SynthConfig, fast: Renderer
) -> None:
    scenes = [sample_scene(small_config, box_library, 4, index) for index in range(30)]
    forwards = [fast.render(scene).rgb for scene in scenes]
    backwards = [fast.render(scene).rgb for scene in reversed(scenes)]
    assert all((a == b).all() for a, b in zip(forwards, reversed(backwards), strict=True))


def test_textures_that_were_dropped_come_back_alike(
    box_library: Library, small_config: SynthConfig, fast: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [sample_scene(small_config, box_library, 2, index) for index in range(4)]
    kept = [fast.render(scene).rgb for scene in scenes]
    monkeypatch.setattr(draws, "TEXTURES_KEPT", 0)
    for scene, before in zip(scenes, kept, strict=True):
        assert (fast.render(scene).rgb == before).all()


def test_faces_towards_the_light_do_not_shade_themselves(box_scene: Scenes, fast: Renderer) -> None:
    scene = box_scene(ambient=0.0)
    (light,) = scene.lights
    tilted = replace(scene, lights=(replace(light, direction=(0.48, -0.64, 0.6)),))
    (box,) = tilted.objects
    rgb = fast.render(replace(tilted, objects=(replace(box, looks={"box": Look(roughness=1.0)}),))).rgb
    inside = cv2.erode((fast.render(tilted).instance_id == 1).astype(np.uint8), np.ones((9, 9))) > 0
    levels = np.bincount(rgb[inside][:, 1], minlength=256)
    assert (np.sort(levels)[::-1][:24].sum() / levels.sum()) > 0.95


def test_edges_are_smooth(box_scene: Scenes, fast: Renderer) -> None:
    scene = box_scene()
    result = fast.render(scene)
    edge = cv2.Canny(np.where(result.instance_id > 0, 255, 0).astype(np.uint8), 50, 150) > 0
    empty = fast.render(replace(scene, objects=())).rgb.astype(int)
    whole = np.abs(result.rgb.astype(int) - empty).sum(2)
    partly = (whole[edge] > 10) & (whole[edge] < 0.8 * np.median(whole[result.instance_id > 0]))
    assert partly.mean() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glue_tube", "sailboat", "chessboard"])
def test_backs_of_closed_parts_are_not_missed(name: str) -> None:
    asset = load_object(str(ASSETS / name))
    whole = replace(asset, meshes=tuple(tuple(replace(p, closed=False) for p in m) for m in asset.meshes))
    assert any(part.closed for part in asset.meshes[0])
    results = []
    for each in (asset, whole):
        renderer = open_renderer(Library((each,)))
        results.append(
            [renderer.render(sample_scene(SynthConfig(), Library((each,)), 5, i)) for i in range(12)]
        )
        renderer.close()
    for fronts, both in zip(*results, strict=True):
        np.testing.assert_array_equal(fronts.instance_id, both.instance_id)
        np.testing.assert_array_equal(fronts.unoccluded_px, both.unoccluded_px)
        np.testing.assert_allclose(fronts.depth_m, both.depth_m, rtol=1e-3)
        other = np.abs(fronts.rgb.astype(int) - both.rgb).max(axis=2) > 3
        assert other.mean() < 2e-3


def test_light_and_shadow_do_not_depend_on_where_the_meshs_origin_lies(
    box_library: Library, box_scene: Scenes
) -> None:
    asset, offset = box_library.objects[0], np.array([3.0, 2.0, 1.0])
    (parts,), (hull,) = asset.meshes, asset.hulls
    elsewhere = replace(
        asset,
        meshes=(tuple(replace(part, vertices=part.vertices + offset) for part in parts),),
        hulls=(hull + offset,),
        pieces=(tuple((names, corners + offset) for names, corners in asset.pieces[0]),),
    )
    scene = box_scene(
        background=replace(box_scene().background, on_plane=True),
        lights=(Light("key", (0.6, 0.0, 0.8), 0.9, (1.0, 1.0, 1.0)),),
    )
    (instance,) = scene.objects
    T = instance.T_world_from_object @ rigid(np.eye(3), -offset)
    moved = replace(scene, objects=(replace(instance, T_world_from_object=T),))
    pictures = []
    for library, shown in ((box_library, scene), (Library((elsewhere,)), moved)):
        opened = open_renderer(library, backend="fast")
        pictures.append(opened.render(shown).rgb.astype(int))
        opened.close()
    assert (np.abs(pictures[0] - pictures[1]).max(2) > 8).mean() < 0.002
