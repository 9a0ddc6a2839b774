"""Distractor meshes: scaled, resting on the ground, from a random stream of their own, in the manifest."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from synth.config import SynthConfig, load_synth_config
from synth.errors import AssetError, DataError
from synth.generate.job import RenderJob, make_manifest
from synth.generate.run import generate
from synth.geometry import transform_points
from synth.objects.library import Library
from synth.objects.mesh_pool import open_meshes, pool_mesh
from synth.render.contents import distractor_parts
from synth.render.shade import pieces
from synth.scene.distractors import SHAPES
from synth.scene.instances import hull_world
from synth.scene.polygons import convex_overlap, footprint
from synth.scene.sample import sample_scene
from synth.scene.scene_json import scene_from_json, scene_to_json
from synth.system.pool import Pool

SCENES = 30


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    (tmp_path / "deep").mkdir()
    trimesh.creation.box((1, 40, 5)).apply_translation((99, 0, 0)).export(tmp_path / "plank.ply")
    trimesh.creation.cone(2, 6).export(tmp_path / "deep" / "cone.stl")
    (tmp_path / "notes.txt").write_text("no mesh")
    return open_meshes(tmp_path)


def config(share: float) -> SynthConfig:
    return SynthConfig.model_validate({"distractors": {"count": [3, 5], "mesh_share": share}})


def test_pool_names_its_meshes_in_order_and_brings_them_to_one_size(pool: Pool) -> None:
    assert pool.names == ("deep/cone.stl", "plank.ply")
    plank = pool_mesh(pool, "plank.ply")
    assert plank.size == pytest.approx((1 / 40, 1, 1 / 8))
    vertices = plank.parts[0].vertices
    assert vertices.max(0) == pytest.approx(np.array(plank.size) / 2)
    assert vertices.min(0) == pytest.approx(-np.array(plank.size) / 2)


def test_folder_without_meshes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing: no such folder of distractor meshes"):
        open_meshes(tmp_path / "nothing")


def test_file_that_is_no_mesh_is_named(pool: Pool) -> None:
    (pool.folder / "broken.ply").write_text("ply")
    with pytest.raises(AssetError, match=r"broken\.ply: cannot be read as a mesh"):
        pool_mesh(open_meshes(pool.folder), "broken.ply")


def test_a_broken_mesh_is_found_before_the_first_image(pool: Pool, box_folder: Path, tmp_path: Path) -> None:
    (pool.folder / "zzz.stl").write_text("no mesh")
    meshes = SynthConfig.model_validate({"distractors": {"meshes": str(pool.folder)}})
    job = RenderJob(str(box_folder), meshes, None, 0)
    with pytest.raises(AssetError, match=r"zzz\.stl"):
        generate(job, tmp_path / "out", 1, workers=1)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_share_zero_and_no_folder_give_the_same_scenes(pool: Pool, box_library: Library) -> None:
    with_pool = Library(box_library.objects, meshes=pool)
    for index in range(5):
        plain = scene_to_json(sample_scene(config(0.0), box_library, 0, index))
        assert plain == scene_to_json(sample_scene(config(0.0), with_pool, 0, index))
        meshes = scene_to_json(sample_scene(config(1.0), with_pool, 0, index))
        assert {k for k in plain if plain[k] != meshes[k]} <= {"distractors"}


def test_meshes_stand_on_the_ground_or_hang_before_the_object_and_enter_none(
    pool: Pool, box_library: Library
) -> None:
    library = Library(box_library.objects, meshes=pool)
    surfaces, standing, total = set(), 0, 0
    for index in range(SCENES):
        scene = sample_scene(config(1.0), library, 0, index)
        feet = [footprint(hull_world(library.objects[0], o)) for o in scene.objects]
        for d in scene.distractors:
            assert d.shape not in SHAPES
            surfaces.add(bool(d.surface))
            corners = transform_points(
                d.T_world_from_object, pool_mesh(pool, d.shape).corners * max(d.size_m)
            )
            total += 1
            if abs(corners[:, 2].min()) < 1e-9:
                standing += 1
                assert not any(convex_overlap(footprint(corners), f) for f in feet)
        assert scene_to_json(scene_from_json(json.loads(json.dumps(scene_to_json(scene))))) == scene_to_json(
            scene
        )
    assert surfaces == {True, False}
    assert standing > 0.4 * total


def test_folder_is_relative_to_the_config_and_hashed_in_the_manifest(
    pool: Pool, box_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("distractors: {meshes: deep}\n")
    settings = load_synth_config(path)
    assert settings.distractors.meshes == str(tmp_path / "deep")
    job = RenderJob(str(box_folder), settings, None, 0)
    manifest = make_manifest(job, job.library())
    assert set(manifest["distractors"]) == {"cone.stl"}
    (tmp_path / "deep" / "wood.png").write_bytes(b"1")
    assert set(make_manifest(job, job.library())["distractors"]) == {"cone.stl", "wood.png"}


def test_what_a_mesh_darkens_has_the_outline_of_its_parts(pool: Pool, box_library: Library) -> None:
    library = Library(box_library.objects, meshes=pool)
    for index in range(3):
        scene = sample_scene(config(1.0), library, 0, index)
        found = pieces(scene, library)[len(scene.objects) :]
        for distractor, hull in zip(scene.distractors, found, strict=True):
            parts = distractor_parts(distractor, library)
            points = transform_points(
                distractor.T_world_from_object, np.concatenate([p.vertices for p in parts])
            )
            assert hull.min(0) == pytest.approx(points.min(0), abs=1e-9)
            assert hull.max(0) == pytest.approx(points.max(0), abs=1e-9)
