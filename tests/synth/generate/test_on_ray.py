import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image as Picture

import synth.generate.run
from synth.config import SynthConfig
from synth.errors import EnvironmentProblem
from synth.generate.job import RenderJob
from synth.generate.run import generate

N = 24
HEAD = {"num_cpus": 1, "resources": {"head": 1}, "include_dashboard": False}


@pytest.fixture
def job(box_folder: Path, small_config: SynthConfig, tmp_path: Path) -> RenderJob:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (60, 80, 3), np.uint8)
        Picture.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "meshes").mkdir()
    trimesh.creation.cone(1.0, 2.0).export(tmp_path / "meshes" / "cone.ply")
    meshes = {"meshes": str(tmp_path / "meshes"), "mesh_share": 1.0}
    distractors = small_config.distractors.model_copy(update=meshes)
    config = small_config.model_copy(update={"distractors": distractors})
    return RenderJob(str(box_folder), config, tmp_path / "photos", 7)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.gl
@pytest.mark.slow
def test_a_cluster_that_loses_a_node_half_way_gives_the_bytes_of_the_process_pool(
    job: RenderJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args=HEAD)
    second = cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False)
    try:
        occupied = ray.remote(num_cpus=1, resources={"head": 1})(Occupant).remote()
        ray.get(occupied.wait.remote())
        rendered = synth.generate.run.rendered

        def with_a_loss(*arguments: Any) -> Iterator[Any]:
            for index, image in enumerate(rendered(*arguments)):
                if index == N // 2:
                    cluster.remove_node(second, allow_graceful=False)
                    ray.kill(occupied)
                yield image

        monkeypatch.setattr(synth.generate.run, "rendered", with_a_loss)
        assert generate(job, tmp_path / "cluster", N, executor="ray") == N
    finally:
        ray.shutdown()
        cluster.shutdown()
    monkeypatch.undo()
    generate(job, tmp_path / "pool", N, 1)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "pool")
    pools = (sorted(p.name for p in pool.iterdir()) for pool in (tmp_path / "cache").iterdir())
    assert sorted(pools) == [["a.png", "b.png"], ["cone.ply"]]


class Occupant:
    """Keeps the head's core busy, so that the other node renders the first half."""

    def wait(self) -> None:
        return None


def test_without_ray_the_error_names_the_extra(
    job: RenderJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "synth.generate.on_ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'meshmark\[scale\]'"):
        generate(job, tmp_path / "out", 1, executor="ray")
